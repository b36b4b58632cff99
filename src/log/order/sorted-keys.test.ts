import { expect, it } from 'vitest'
import { walked } from '../../../test/support/walked.js'
import { ChunkWriter, joinSmall, SortedKeys } from './sorted-keys.js'

const numbers = (from: number, until: number) => Array.from({ length: until - from }, (_, i) => from + i)

/** What a walk gives so many at a time. */
function takenBy(most: number, keys: SortedKeys, reverse: boolean): number[] {
  const addresses: number[] = []
  const walk = keys.walk(reverse)
  const into = new Uint32Array(most)
  for (let count = walk.take(into); count > 0; count = walk.take(into)) {
    addresses.push(...into.subarray(0, count))
  }
  expect(walk.next()).toBe(0)
  return addresses
}

it('a stretch has what lies between its bounds, in both directions, wherever the chunks are cut', () => {
  for (const cuts of [[], [9], [4, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) {
    const chunks = cuts.map((end, i) =>
      Uint32Array.from(numbers(cuts[i - 1] ?? 0, end), (each) => each * 2 + 2),
    )
    const all = walked(SortedKeys.over(chunks))
    for (const from of numbers(0, 22)) {
      for (const until of [...numbers(0, 22), undefined]) {
        const stretch = SortedKeys.over(chunks).stretch(
          (address) => address < from,
          until === undefined ? undefined : (address) => address < until,
        )
        const expected = all.filter((address) => from <= address && address < (until ?? Infinity))
        expect(walked(stretch)).toEqual(expected)
        expect(walked(stretch, true)).toEqual(expected.toReversed())
        expect(takenBy(3, stretch, false)).toEqual(expected)
        expect(takenBy(3, stretch, true)).toEqual(expected.toReversed())
        expect(stretch.isEmpty).toBe(expected.length === 0)
      }
    }
  }
})

it('a walk that has ended stays at its end', () => {
  for (const reverse of [false, true]) {
    const walk = SortedKeys.of(Uint32Array.of(1, 2)).walk(reverse)
    expect([walk.next(), walk.next(), walk.next(), walk.next()]).toEqual(
      reverse ? [2, 1, 0, 0] : [1, 2, 0, 0],
    )
  }
})

it('addresses are cut into chunks of about one size, which have no room to spare', () => {
  for (const [most, count, lengths] of [
    [0, 0, []],
    [1, 1, [1]],
    [2_048, 2_048, [2_048]],
    [2_049, 2_049, [1_025, 1_024]],
    [2_049, 1_025, [1_025]],
    [5_000, 3_400, [1_667, 1_667, 66]],
  ] as const) {
    const writer = new ChunkWriter(most)
    writer.pushAll(Uint32Array.from(numbers(1, count + 1)), 0, count)
    const chunks = writer.finish()
    expect(chunks.map(({ length }) => length)).toEqual(lengths)
    expect(walked(SortedKeys.over(chunks))).toEqual(numbers(1, count + 1))
    expect(chunks.every(({ byteLength, buffer }) => byteLength === buffer.byteLength)).toBe(true)
  }
})

it('chunks of which little is left become one', () => {
  const chunks = [2_000, 48, 1, 1_000, 1_047, 1].map((length) => new Uint32Array(length))
  expect(joinSmall(chunks).map(({ length }) => length)).toEqual([2_048, 2_048, 1])
})
