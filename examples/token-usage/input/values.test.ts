import { describe, expect, it } from 'vitest'
import { readAmount, readCount, readName, readTimeMs } from './values.js'

const NOON_MS = Date.UTC(2024, 1, 29, 12, 0, 0)

describe('readTimeMs', () => {
  it.each<[unknown, number]>([
    [NOON_MS, NOON_MS],
    [NOON_MS / 1000, NOON_MS],
    [String(NOON_MS), NOON_MS],
    [`${NOON_MS / 1000}.9999`, NOON_MS + 999],
    [` ${NOON_MS} `, NOON_MS],
    [0, 0],
    ['2024-02-29T12:00:00Z', NOON_MS],
    ['2024-02-29t12:00:00.1234567z', NOON_MS + 123],
    ['2024-02-29T12:00:00', NOON_MS],
    ['2024-02-29T12:00', NOON_MS],
    ['2024-02-29', NOON_MS - 12 * 3_600_000],
    ['2024-02-29 12:00:00', NOON_MS],
    ['2024-02-29 12:00:00.9799600', NOON_MS + 979],
    ['2024-02-29 12:00:00,5', NOON_MS + 500],
    ['2024-02-29T14:30:00+02:30', NOON_MS],
    ['2024-02-29T07:00:00-0500', NOON_MS],
    ['2024-02-29T07:00:00-05', NOON_MS],
    ['1969-12-31 23:59:59.999', -1],
  ])('%j', (value, expected) => {
    expect(readTimeMs(value)).toBe(expected)
  })

  it.each([
    '',
    ' ',
    'now',
    '12:00',
    '2024-02-30',
    '2023-02-29',
    '2024-13-01',
    '2024-00-10',
    '2024-02-29T24:00',
    '2024-02-29T12:60',
    '2024-02-29T12:00:61',
    '2024-02-29T12:00:00 CET',
    '29.02.2024',
    '2024-02-29x',
    '-5',
    '0x10',
    'Infinity',
    -1,
    Number.NaN,
    Infinity,
    // Microseconds: 54,000 years from now, were they milliseconds.
    NOON_MS * 1000,
    null,
    undefined,
    true,
    {},
  ])('not %j', (value) => {
    expect(readTimeMs(value)).toBeUndefined()
  })
})

describe('numbers and names', () => {
  it('reads whole numbers', () => {
    expect(['0', '12', '+7', '1e3', '5.0', 8, 1e9].map(readCount)).toEqual([0, 12, 7, 1_000, 5, 8, 1e9])
    const wrong = [
      '',
      ' ',
      '-1',
      '1.5',
      '1,000',
      '1 000',
      '0x1',
      '1e10',
      '٣',
      1e9 + 1,
      -1,
      0.5,
      null,
      true,
      [1],
    ]
    expect(wrong.filter((value) => readCount(value) !== undefined)).toEqual([])
  })

  it('reads amounts', () => {
    expect(['0.25', '.5', '1.', '1e-3', 0.1].map(readAmount)).toEqual([0.25, 0.5, 1, 0.001, 0.1])
    const wrong = ['', '.', '$1', '1e999', 'NaN', -0.1, Infinity, undefined, {}]
    expect(wrong.filter((value) => readAmount(value) !== undefined)).toEqual([])
  })

  it('reads names', () => {
    expect(['', 'a b', 'é', 7].map(readName)).toEqual(['', 'a b', 'é', '7'])
    expect(['x'.repeat(201), null, undefined, true, {}].map(readName)).toEqual(Array(5).fill(undefined))
  })
})
