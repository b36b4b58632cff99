import { describe, expect, it } from 'vitest'
import { float64 } from '../../state/codec/numbers.js'
import { fixedAggregate, rawOf } from './raw-aggregate.js'
import { combined, count, first, last, max, mean, min, sum, variance } from './ready-made.js'

const parts = () => ({
  count: count(),
  sum: sum((event: number) => event),
  max: max((event: number) => event),
  min: min((event: number) => event),
  mean: mean((event: number) => event),
  variance: variance((event: number) => event),
  first: first(float64, (event: number) => event),
  last: last(float64, (event: number) => event),
})

describe('several aggregates side by side', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('%i of them come to what each comes to alone', (length) => {
    const chosen = Object.fromEntries(Object.entries(parts()).slice(0, length))
    const all = present(combined(chosen))
    const one = new DataView(new ArrayBuffer(256))
    const other = new DataView(new ArrayBuffer(256))
    const feed = (raw: typeof all, view: DataView, at: number, events: readonly number[]) =>
      events.forEach((event, i) => raw.add(view, at, event, event, i === 0))
    feed(all, one, 8, [5, -3, 12])
    feed(all, other, 16, [7, 40])
    all.merge(one, 8, other, 16)
    const expected = Object.entries(chosen).map(([name, part]) => {
      const raw = present(part)
      const alone = new DataView(new ArrayBuffer(64))
      const later = new DataView(new ArrayBuffer(64))
      feed(raw, alone, 0, [5, -3, 12])
      feed(raw, later, 0, [7, 40])
      raw.merge(alone, 0, later, 0)
      return [name, raw.result(alone, 0)]
    })
    expect(all.result(one, 8)).toEqual(Object.fromEntries(expected))
    expect(one.getFloat64(0)).toBe(0)
  })
})

it.each([1, 3, 6, 7])('what %i of them have stored is checked by each', (length) => {
  const damaged = fixedAggregate<number, number>({
    fields: [['', float64]],
    add: () => {},
    merge: () => {},
    result: () => 0,
    check: (view, at) => {
      if (view.getFloat64(at, true) !== 0) throw new Error('damaged')
    },
  })
  const names = Array.from({ length }, (_, i) => [`part${i}`, i === length - 1 ? damaged : count()])
  const all = present(combined(Object.fromEntries(names)))
  const view = new DataView(new ArrayBuffer(64))
  all.check?.(view, 0)
  view.setFloat64((length - 1) * 8, 1, true)
  expect(() => all.check?.(view, 0)).toThrow('damaged')
})

function present(aggregate: object) {
  const raw = rawOf(aggregate)
  if (raw === undefined) throw new Error('an aggregate of fixed size')
  return raw
}
