import { expect, it } from 'vitest'
import { busiest } from './totals.js'

it('knows the busiest windows, among equals the earlier one, then by model', () => {
  const one = { tenant: 't', tokensIn: 1, tokensOut: 1, costMicros: 1, maxLatencyMs: 1 }
  const windows = [
    { ...one, model: 'b', startMs: 0, count: 1 },
    { ...one, model: 'a', startMs: 60_000, count: 2 },
    { ...one, model: 'c', startMs: 0, count: 3 },
    { ...one, model: 'd', startMs: 0, count: 2 },
    { ...one, model: 'a', startMs: 0, count: 1 },
  ]
  expect(busiest(windows, 4).map(({ model, count }) => `${model}${count}`)).toEqual(['c3', 'd2', 'a2', 'a1'])
})
