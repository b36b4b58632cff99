import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsonTextOf, parseJsonText } from './json-value.js'

describe('a source position as JSON', () => {
  it('comes back as it went in', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const expected = JSON.parse(JSON.stringify(value))
        expect(parseJsonText(jsonTextOf(value, 'source'))).toEqual(expected)
      }),
    )
  })

  it.each<[string, unknown, RegExp]>([
    ['undefined', undefined, /source is undefined/],
    ['an undefined member', { a: { b: undefined } }, /source\.a\.b is undefined/],
    ['NaN', [1, Number.NaN], /source\[1\] is NaN/],
    ['Infinity', Infinity, /Infinity/],
    ['a function', { f: () => 1 }, /source\.f is a function/],
    ['a bigint', 1n, /a bigint/],
    ['a symbol', Symbol('x'), /a symbol/],
    ['a symbol as a key', { [Symbol('x')]: 1 }, /symbol as a key/],
    ['a date', new Date(0), /instance of a class/],
    ['a map', new Map(), /instance of a class/],
    ['a buffer', new Uint8Array(1), /instance of a class/],
    ['a hole', Object.assign([], { length: 1 }), /source\[0\] is undefined/],
  ])('is refused for %s', (_, value, message) => {
    expect(() => jsonTextOf(value, 'source')).toThrow(message)
    expect(() => jsonTextOf(value, 'source')).toThrow(
      expect.objectContaining({ code: 'SERIALIZATION_FAILED' }),
    )
  })

  it('is refused for cycles', () => {
    const cycle: Record<string, unknown> = {}
    cycle['a'] = [cycle]
    expect(() => jsonTextOf(cycle, 'source')).toThrow(/contains itself/)
  })
})
