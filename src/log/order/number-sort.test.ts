import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../base/random.js'
import type { KeyColumns } from './key-bits.js'
import { NumberSort } from './number-sort.js'

const random = seededRandom(11)
const upTo = (limit: number) => Math.floor(random() * limit)

function columnsOf(length: number): KeyColumns {
  return {
    addresses: new Uint32Array(length),
    upper: new Uint32Array(length),
    lower: new Uint32Array(length),
  }
}

/** The numbers and the address of each, as one text. */
function shown({ addresses, upper, lower }: KeyColumns): string[] {
  return Array.from(addresses, (address, i) => `${upper[i]} ${lower[i]} ${address}`)
}

const shapes: Record<string, { bits: [number, number]; number: () => [number, number] }> = {
  'one bit': { bits: [0, 1], number: () => [0, upTo(2)] },
  'the same': { bits: [0, 13], number: () => [0, 4_711] },
  'a few of many bits': { bits: [32, 32], number: () => [upTo(3) * 0x40000000, upTo(3) * 0x40000000] },
  'all of 64 bits': { bits: [32, 32], number: () => [upTo(2 ** 32), upTo(2 ** 32)] },
  'each half of those before it': { bits: [32, 32], number: () => [2 ** upTo(32), 2 ** upTo(32)] },
  'bits that do not fill bytes': { bits: [11, 19], number: () => [upTo(2 ** 11), upTo(2 ** 19)] },
  'of one number': { bits: [0, 20], number: () => [0, upTo(2 ** 20)] },
}

describe('NumberSort', () => {
  for (const [shape, { bits, number }] of Object.entries(shapes)) {
    it.each([1, 24, 25, 300, 9_000])(
      `sorts %i numbers, and leaves what is around them: ${shape}`,
      (count) => {
        const columns = columnsOf(count + 20)
        for (let i = 0; i < count + 20; i++) {
          const [upper, lower] = number()
          columns.addresses[i] = i + 1
          columns.upper[i] = upper
          columns.lower[i] = lower
        }
        const before = shown(columns)
        const inside = Array.from({ length: count }, (_, i) => i + 10).sort(
          (left, right) =>
            (columns.upper[left] as number) - (columns.upper[right] as number) ||
            (columns.lower[left] as number) - (columns.lower[right] as number),
        )
        const expected = inside.map((i) => `${columns.upper[i]} ${columns.lower[i]}`)
        const [upperBits, lowerBits] = bits
        for (const _ of new NumberSort(columns, columnsOf(count + 20), { upperBits, lowerBits }).sort(
          10,
          count + 10,
        ));
        const after = shown(columns)
        const sorted = after.slice(10, -10).map((each) => each.split(' ', 2).join(' '))
        expect(sorted.join()).toBe(expected.join())
        // Each address is still beside its own numbers.
        expect([...after].sort().join()).toBe([...before].sort().join())
        expect([...after.slice(0, 10), ...after.slice(-10)]).toEqual([
          ...before.slice(0, 10),
          ...before.slice(-10),
        ])
      },
    )
  }

  it.each([undefined, 0, 4_095, 4_096, 4_097, 8_998])(
    'sorts what is in order but for one number, or for none: after place %s',
    (place) => {
      for (const bits of [
        { upperBits: 0, lowerBits: 14 },
        { upperBits: 14, lowerBits: 14 },
      ]) {
        const columns = columnsOf(9_000)
        for (let i = 0; i < 9_000; i++) {
          columns.addresses[i] = i + 1
          columns.upper[i] = bits.upperBits > 0 ? i >>> 1 : 0
          columns.lower[i] = bits.upperBits > 0 ? i & 1 : i
        }
        const expected = shown(columns)
        if (place !== undefined) {
          for (const column of [columns.addresses, columns.upper, columns.lower]) {
            column.subarray(place, place + 2).reverse()
          }
        }
        for (const _ of new NumberSort(columns, columnsOf(9_000), bits).sort(0, 9_000));
        expect(shown(columns)).toEqual(expected)
      }
    },
  )

  it('pauses all along', () => {
    const columns = columnsOf(100_000)
    for (let i = 0; i < 100_000; i++) columns.lower[i] = upTo(2 ** 20)
    let pauses = 0
    for (const _ of new NumberSort(columns, columnsOf(100_000), { upperBits: 0, lowerBits: 20 }).sort(
      0,
      100_000,
    ))
      pauses++
    expect(pauses).toBeGreaterThan(50)
  })
})
