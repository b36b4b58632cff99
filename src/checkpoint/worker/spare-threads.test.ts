import { describe, expect, it } from 'vitest'
import { blockCodec } from '../../codec/block-codec.js'
import { callsToSpare, PoolCalls, sparingCodec } from './spare-threads.js'

describe('the calls that the thread pool may have', () => {
  it.each([
    { processors: 1, hostLoad: 0, calls: 0 },
    { processors: 2, hostLoad: 0, calls: 2 },
    { processors: 2, hostLoad: 0.2, calls: 2 },
    { processors: 2, hostLoad: 0.3, calls: 0 },
    { processors: 2, hostLoad: 1, calls: 0 },
    { processors: 4, hostLoad: 1, calls: 4 },
    { processors: 4, hostLoad: 0, calls: 6 },
  ])('are $calls on $processors processors beside a thread with a load of $hostLoad', (row) => {
    expect(callsToSpare(row.hostLoad, row.processors)).toBe(row.calls)
  })

  it('are never more than that, of all codecs together; as many wait, what is more is done at once, and all come to the same', async () => {
    const lz4 = blockCodec('lz4')
    let inPool = 0
    let mostInPool = 0
    let here = 0
    const watched = {
      ...lz4,
      compress: async (raw: Uint8Array) => {
        mostInPool = Math.max(mostInPool, ++inPool)
        return await lz4.compress(raw).finally(() => inPool--)
      },
      compressSync: (raw: Uint8Array) => {
        here++
        return lz4.compressSync(raw)
      },
    }
    const calls = new PoolCalls()
    const [one, other] = [sparingCodec(watched, calls, () => 2), sparingCodec(watched, calls, () => 2)]
    const blocks = Array.from({ length: 8 }, (_, i) => new Uint8Array(10_000).fill(i))
    const stored = await Promise.all(blocks.map((block, i) => (i % 2 === 0 ? one : other).compress(block)))
    expect({ mostInPool, here }).toEqual({ mostInPool: 2, here: 4 })
    const back = await Promise.all(stored.map((bytes) => one.decompress(bytes, 10_000)))
    expect(back).toEqual(blocks)
    await one.compress(blocks[0] as Uint8Array)
    expect(here).toBe(4)
  })

  it('are what waits when the one before has failed, and none waits where the pool may have none', async () => {
    const calls = new PoolCalls()
    const done: string[] = []
    const call = (name: string, most: number) =>
      calls.queue(
        most,
        async () => {
          done.push(`${name} in the pool`)
          await Promise.resolve()
          if (name === 'first') throw new Error('no')
        },
        () => void done.push(`${name} here`),
      )
    await Promise.allSettled([call('first', 1), call('second', 1), call('third', 1), call('fourth', 0)])
    expect(done).toEqual(['first in the pool', 'third here', 'fourth here', 'second in the pool'])
    await call('fifth', 1)
    expect(done.at(-1)).toBe('fifth in the pool')
  })

  it('count a call no longer that has failed', async () => {
    const failing = { ...blockCodec('lz4'), compress: () => Promise.reject(new Error('no')) }
    const codec = sparingCodec(failing, new PoolCalls(), () => 1)
    for (let i = 0; i < 3; i++) await expect(codec.compress(new Uint8Array(10))).rejects.toThrow('no')
  })
})
