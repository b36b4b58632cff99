import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openLog, putInto } from '../../../test/support/logs.js'
import { runs } from '../../../test/support/long.js'
import { walked } from '../../../test/support/walked.js'
import { runThrough } from '../../base/slices.js'
import { SegmentTable } from '../segment-table.js'
import { mergeKeys } from './key-merge.js'
import { KeyOrder } from './key-order.js'
import { latestAddresses } from './latest-versions.js'
import { SortedKeys } from './sorted-keys.js'

const KEYS = 6_000

/** Two logs' worth of the same keys in one: of each key two addresses, both in the order of keys. */
function twice(): { order: KeyOrder; first: Uint32Array; second: Uint32Array } {
  const log = openLog()
  const putAll = () => {
    for (let i = 0; i < KEYS; i++) {
      const key = Buffer.from(String(i).padStart(5, '0'))
      putInto(log, key, key)
    }
  }
  putAll()
  const first = latestAddresses(SegmentTable.attach(log.share()))
  // A snapshot keeps the first ones, which would be overwritten.
  log.openSnapshot()
  putAll()
  const segments = SegmentTable.attach(log.share())
  return { order: new KeyOrder(segments), first, second: latestAddresses(segments) }
}

const { order, first, second } = twice()

function pick(of: Uint32Array, numbers: readonly number[]): Uint32Array {
  return Uint32Array.from(numbers, (number) => of[number] as number)
}

function cut(addresses: Uint32Array, length: number): Uint32Array[] {
  return Array.from({ length: Math.ceil(addresses.length / length) }, (_, i) =>
    addresses.slice(i * length, (i + 1) * length),
  )
}

const number = fc.nat(KEYS - 1)
const numbers = fc
  .tuple(number, fc.constantFrom(1, 2, 13, 700), fc.constantFrom(0, 1, 5, 400, 3_000), fc.array(number))
  .map(([from, stride, count, others]) => {
    const all = Array.from({ length: count }, (_, i) => from + i * stride).concat(others)
    return [...new Set(all.filter((each) => each < KEYS))].sort((a, b) => a - b)
  })

describe('mergeKeys', () => {
  it('has all keys in order, those that were added where both have one', () => {
    const drawn = fc.record({
      old: numbers,
      added: numbers,
      chunkLength: fc.constantFrom(1, 3, 50, 2_048),
    })
    fc.assert(
      fc.property(drawn, ({ old, added, chunkLength }) => {
        const chunks = cut(pick(first, old), chunkLength)
        const before = chunks.map((chunk) => chunk.slice())
        const merged = runThrough(mergeKeys(order, chunks, pick(second, added)))
        const isAdded = new Set(added)
        const all = [...new Set([...old, ...added])].sort((a, b) => a - b)
        const expected = all.map((each) => (isAdded.has(each) ? second : first)[each] as number)
        expect(walked(SortedKeys.over(merged.chunks))).toEqual(expected)
        expect(walked(SortedKeys.over(merged.chunks), true)).toEqual(expected.toReversed())
        expect(merged.grown).toBe(all.length - old.length)
        expect(merged.chunks.every(({ length }) => length > 0 && length <= 2_048)).toBe(true)
        expect(chunks, 'nothing is changed').toEqual(before)
        // The first chunks hold nothing that was behind as many of the old ones.
        const isBefore = (chunk: Uint32Array, behind: number | undefined) =>
          behind === undefined || order.compare(chunk.at(-1) as number, behind) < 0
        expect(merged.chunks.every((chunk, i) => isBefore(chunk, chunks[i + 1]?.[0]))).toBe(true)
      }),
      { numRuns: runs(2_000, 200) },
    )
  })

  it('copies the chunk that a key belongs to, and no other', () => {
    const chunks = cut(
      pick(
        first,
        Array.from({ length: KEYS / 2 }, (_, i) => 2 * i),
      ),
      100,
    )
    for (const added of [0, 1, 199, 200, 2_501, KEYS - 1]) {
      const merged = runThrough(mergeKeys(order, chunks, pick(second, [added])))
      expect(merged.chunks.length).toBe(chunks.length)
      expect(merged.chunks.filter((chunk) => !chunks.includes(chunk)).length, `${added}`).toBe(1)
    }
  })

  it('cuts what grows too large for a chunk, evenly', () => {
    const all = Array.from({ length: KEYS }, (_, i) => i)
    const chunks = [pick(first, all.slice(0, 2_048))]
    const one = runThrough(mergeKeys(order, chunks, pick(second, [2_048])))
    expect(one.chunks.map(({ length }) => length)).toEqual([1_025, 1_024])
    const many = runThrough(mergeKeys(order, [], second))
    expect(many.chunks.map(({ length }) => length)).toEqual([2_000, 2_000, 2_000])
  })
})
