import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  blocksOf,
  collect,
  entriesOf,
  entry,
  shown,
  sortedEntries,
  streamOf,
  type TestEntry,
} from '../../../test/support/checkpoints.js'
import { mergeSegments } from './merge-segments.js'

async function merged(
  layers: readonly (readonly TestEntry[])[],
  targetBytes = 100,
  clockMs = 0,
): Promise<string[]> {
  const streams = layers.map((layer) => streamOf(blocksOf(sortedEntries(layer), 60)))
  return shown(entriesOf(await collect(mergeSegments(streams, targetBytes, clockMs))))
}

const arbitraryEntry: fc.Arbitrary<TestEntry> = fc
  .record({
    key: fc.uint8Array({ maxLength: 2, max: 4 }),
    value: fc.option(fc.uint8Array({ maxLength: 30 }), { nil: undefined }),
    expiresAtMs: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 9 })),
  })
  .map((each) => (each.value === undefined ? { ...each, expiresAtMs: Infinity } : each))

describe('merging base and deltas', () => {
  it('takes the newest of each key and leaves out what was deleted', async () => {
    const base = [entry('a', '1'), entry('b', '1'), entry('c', '1'), entry('e', '1')]
    const first = [entry('a', undefined), entry('b', '2', 7), entry('d', '2')]
    const second = [entry('a', '3'), entry('c', undefined), entry('d', undefined), entry('f', undefined)]
    expect(await merged([base, first, second])).toEqual(
      shown([entry('a', '3'), entry('b', '2', 7), entry('e', '1')]),
    )
  })

  it('leaves out what has expired at the instant of the state, and nothing that was refreshed', async () => {
    const base = [entry('a', '1', 5), entry('b', '1', 5), entry('c', '1', 6), entry('d', '1', 5)]
    const delta = [entry('b', '2', 7), entry('d', '2', 4), entry('e', '2', 5)]
    expect(await merged([base, delta], 100, 5)).toEqual(shown([entry('b', '2', 7), entry('c', '1', 6)]))
  })

  it('equals applying the layers to a map, whatever they hold', async () => {
    const layers = fc.array(fc.array(arbitraryEntry, { maxLength: 30 }), { minLength: 1, maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(
        layers,
        fc.integer({ min: 1, max: 200 }),
        fc.nat(10),
        async (drawn, targetBytes, clockMs) => {
          const expected = sortedEntries(drawn.flatMap(sortedEntries)).filter(
            ({ value, expiresAtMs }) => value !== undefined && expiresAtMs > clockMs,
          )
          expect(await merged(drawn, targetBytes, clockMs)).toEqual(shown(expected))
        },
      ),
    )
  })

  it('hands on the blocks of the base in front of the first key of a delta as they are', async () => {
    const entries = Array.from({ length: 40 }, (_, i) =>
      entry(`key ${String(i).padStart(2, '0')}`, 'x'.repeat(20), i === 36 ? 4 : 9),
    )
    const base = blocksOf(entries, 200)
    const delta = blocksOf([entry('key 30', undefined), entry('key 32', '2', 9)], 200)
    const out = await collect(mergeSegments([streamOf(base), streamOf(delta)], 200, 5))
    const untouched = base.filter(({ bytes }) => out.some((block) => block.bytes === bytes))
    expect(untouched.length).toBeGreaterThan(base.length / 2)
    const expected = [...entries.filter((_, i) => i !== 30 && i !== 32 && i !== 36), entry('key 32', '2', 9)]
    expect(shown(entriesOf(out))).toEqual(shown(sortedEntries(expected)))
  })

  it('reads every stream to its end, and closes all of them when one fails', async () => {
    const closed: string[] = []
    async function* failing() {
      try {
        yield* blocksOf([entry('a', '1'), entry('m', '1')], 1)
        throw new Error('unreadable')
      } finally {
        closed.push('failing')
      }
    }
    async function* endless() {
      try {
        yield* blocksOf([entry('b', '1'), entry('x', '1'), entry('y', '1')], 1)
      } finally {
        closed.push('endless')
      }
    }
    await expect(collect(mergeSegments([endless(), failing()], 100, 0))).rejects.toThrow('unreadable')
    expect(closed.sort()).toEqual(['endless', 'failing'])
  })
})
