import { describe, expect, it } from 'vitest'
import type { JsonValue } from '../../base/json.js'
import { fromJson, timeOfIso } from './json-form.js'

describe('times as text', () => {
  it.each<readonly [text: string, ms: number]>([
    ['2030-01-01T00:00:00Z', Date.UTC(2030, 0, 1)],
    ['2030-01-01', Date.UTC(2030, 0, 1)],
    ['2030-01-01T02:30+02:30', Date.UTC(2030, 0, 1)],
    ['2028-02-29T23:59:59.999Z', Date.UTC(2028, 1, 29, 23, 59, 59, 999)],
    ...[-8.64e15, -62_198_755_200_000, 0, 8.64e15].map((ms): [string, number] => [
      new Date(ms).toISOString(),
      ms,
    ]),
  ])('are those of ISO 8601: %s', (text, ms) => {
    expect(timeOfIso(text)).toBe(ms)
    expect(fromJson('date', text)).toEqual(new Date(ms))
  })

  it.each([
    '12',
    '2001',
    '2030-01',
    '2030-02-30T00:00:00Z',
    '2030-13-01T00:00:00Z',
    '2030-01-01T00:00:00',
    '2030-01-01T25:00:00Z',
    '2030-01-01 00:00:00Z',
    ' 2030-01-01',
    '-000000-01-01T00:00:00Z',
    '+999999-01-01T00:00:00Z',
  ])('and nothing else: %j', (text) => {
    expect(timeOfIso(text)).toBeUndefined()
    expect(() => fromJson('date', text)).toThrow('is not a time')
  })
})

describe('a struct as JSON', () => {
  const struct = {
    struct: [
      ['count', 'uint32'],
      ['note', { optional: 'utf8' }],
    ],
  } as JsonValue

  it('has the fields that it has, and no other', () => {
    expect(fromJson(struct, { count: 1, note: null })).toEqual({ count: 1, note: undefined })
    expect(() => fromJson(struct, { count: 1, note: null, nota: 'x' })).toThrow(
      'has "nota", which is not one of count, note',
    )
  })
})
