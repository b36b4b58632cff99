import { Readable } from 'node:stream'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { arraySource, iterableSource } from './iterable-source.js'
import { mergedSource } from './merged-source.js'
import type { Source } from './source.js'
import { streamSource } from './stream-source.js'

const numbers = (from: number) => Array.from({ length: 5 }, (_, i) => ({ n: from + i }))
const NONE: ReadonlySet<string> = new Set()

runSourceConformanceSuite({ describe, it }, 'mergedSource', async () => ({
  source: mergedSource({
    a: arraySource(numbers(0)),
    b: streamSource({ open: (count) => Readable.from(numbers(100).slice(count)) }),
  }),
  events: { 'a/0': numbers(0), 'b/0': numbers(100) },
  dispose: async () => {},
}))

describe('merged sources', () => {
  it('do not wait for one that has nothing', async () => {
    const silent = iterableSource<string>({
      async *from() {
        await new Promise(() => {})
        yield ['never', 1] as const
      },
    })
    const source = mergedSource({ silent, numbers: arraySource([1, 2, 3]) })
    expectTypeOf(source).toEqualTypeOf<Source<string | number>>()
    const reader = await source.open({ positions: {} })
    const read: unknown[] = []
    for (let polls = 0; read.length < 3 && polls < 10; polls++) {
      for (const { events } of await reader.poll({ maxEvents: 2, waitMs: 60_000, paused: NONE }))
        read.push(...events)
    }
    expect(read).toEqual([1, 2, 3])
    expect(reader.partitions()).toEqual(['silent/0', 'numbers/0'])
    await reader.close()
  })

  it('fail where one does, and close all where one cannot be opened', async () => {
    const broken = streamSource({
      open: () => new Readable({ read: () => {} }).destroy(new Error('the source is gone')),
    })
    const reader = await mergedSource({ broken }).open({ positions: {} })
    await expect(reader.poll({ maxEvents: 2, waitMs: 1_000, paused: NONE })).rejects.toThrow(
      'the source is gone',
    )
    await reader.close()
    let isClosed = false
    const good: Source<number> = {
      name: 'good',
      open: async (options) => {
        const opened = await arraySource([1]).open(options)
        return {
          partitions: () => [],
          poll: (request) => opened.poll(request),
          close: async () => void (isClosed = true),
        }
      },
    }
    const bad: Source<number> = { name: 'bad', open: () => Promise.reject(new Error('no such thing')) }
    await expect(mergedSource({ good, bad }).open({ positions: {} })).rejects.toThrow('no such thing')
    expect(isClosed).toBe(true)
  })

  it('have names without a slash', () => {
    expect(() => mergedSource({ 'a/b': arraySource([1]) })).toThrow(/without '\/'/)
    expect(() => mergedSource({})).toThrow(/must have a source/)
    expect(() => mergedSource({ a: {} } as never)).toThrow(/must be sources: a/)
  })
})
