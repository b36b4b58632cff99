import fc from 'fast-check'
import { expect, it } from 'vitest'
import { sortedNumbers } from './sorted-numbers.js'

/** So many that they are not left to the sort of the language. */
const MANY = 20_000

/** Whether they come out as the sort of the language puts them. */
function areSorted(numbers: Uint32Array): boolean {
  return Buffer.from(sortedNumbers(numbers.slice()).buffer).equals(Buffer.from(numbers.slice().sort().buffer))
}

it('numbers of 32 bits come out in ascending order, those that are there more than once as often', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 32 }), fc.integer(), (bits, seed) => {
      let mixed = seed
      const numbers = Uint32Array.from({ length: MANY }, () => {
        mixed = Math.imul(mixed, 1_664_525) + 1_013_904_223
        return mixed >>> (32 - bits)
      })
      expect(areSorted(numbers)).toBe(true)
    }),
    { numRuns: 32 },
  )
})

it('numbers that differ in some of their bits only, the lowest, the middle or the highest ones', () => {
  for (const shift of [0, 11, 22, 31]) {
    const numbers = Uint32Array.from({ length: MANY }, (_, i) => (((i * 7919) % 512) << shift) | (1 << 5))
    expect(areSorted(numbers)).toBe(true)
  }
})

it('few, one, and none', () => {
  expect(sortedNumbers(Uint32Array.of(3, 0xffffffff, 0, 3))).toEqual(Uint32Array.of(0, 3, 3, 0xffffffff))
  expect(sortedNumbers(Uint32Array.of(1))).toEqual(Uint32Array.of(1))
  expect(sortedNumbers(new Uint32Array(0))).toEqual(new Uint32Array(0))
  expect(areSorted(new Uint32Array(MANY).fill(9))).toBe(true)
})
