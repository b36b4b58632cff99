import { PassThrough, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { defineState, utf8 } from '../../state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { runJob } from '../run-job.js'
import { linesOf, streamSource } from './stream-source.js'

const runner = { describe, it }
const NONE: ReadonlySet<string> = new Set()
const POLL = { maxEvents: 10, waitMs: 200, paused: NONE }
const all = Array.from({ length: 7 }, (_, n) => ({ n }))

runSourceConformanceSuite(runner, 'streamSource of a stream of objects', async () => ({
  source: streamSource({ open: (count) => Readable.from(all.slice(count)) }),
  events: { 0: all },
  dispose: async () => {},
}))

runSourceConformanceSuite(runner, 'streamSource of lines that begin anew', async () => ({
  source: streamSource({
    open: (count) =>
      linesOf(Readable.from([Buffer.from('{"n":0}\n{"n"'), Buffer.from(':1}\r\n{"n":2}')]), count),
    decode: (line) => JSON.parse(line) as { n: number },
  }),
  events: { 0: all.slice(0, 3) },
  dispose: async () => {},
}))

describe('a stream as a source', () => {
  it('tells of what cannot be decoded, in its place', async () => {
    const source = streamSource({
      open: () => linesOf(Readable.from(['1\nx\n3\n'])),
      decode: (line) => JSON.parse(line) as number,
    })
    const reader = await source.open({ positions: {} })
    const [polled] = await reader.poll(POLL)
    expect(polled?.events).toEqual([1, undefined, 3])
    expect([...(polled?.failures?.keys() ?? [])]).toEqual([1])
    await reader.close()
  })

  it('is destroyed when the job ends, and fails where the stream does', async () => {
    const stream = new PassThrough({ objectMode: true })
    const reader = await streamSource({ open: () => stream }).open({ positions: {} })
    stream.write({ n: 1 })
    expect((await reader.poll({ ...POLL, maxEvents: 1 }))[0]?.events).toEqual([{ n: 1 }])
    await reader.close()
    await expect.poll(() => stream.destroyed).toBe(true)
    // Also where it is waited for.
    const silent = new PassThrough()
    const waiting = await streamSource({ open: () => linesOf(silent) }).open({ positions: {} })
    expect((await waiting.poll({ ...POLL, waitMs: 1 }))[0]?.events).toEqual([])
    await waiting.close()
    expect(silent.destroyed).toBe(true)
    const broken = await streamSource({
      open: () => new Readable({ read: () => {} }).destroy(new Error('the pipe is broken')),
    }).open({ positions: {} })
    await expect(broken.poll(POLL)).rejects.toThrow('the pipe is broken')
    await broken.close()
  })

  it('is no failed restore where it cannot be had at its beginning: what was thrown is passed on', async () => {
    const source = streamSource({
      name: 'pipe',
      open: () => {
        throw new Error('no such pipe')
      },
    })
    await expect(source.open({ positions: {} })).rejects.toThrow(/^no such pipe$/)
    const job = { key: () => 'key', schema: defineState({ key: utf8, states: {} }), process: () => {} }
    const backend = new MemoryStateBackend()
    await expect(
      runJob({
        name: 'job',
        ...job,
        source,
        backend,
        checkpoints: { storage: new MemoryCheckpointStorage() },
      }),
    ).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringContaining('no such pipe'),
    })
    await backend.close()
  })

  it('J6: is RESTORE_FAILED where it cannot be had again', async () => {
    const source = streamSource({
      name: 'stdin',
      open: (count) => {
        if (count > 0) throw new Error('it was read once')
        return Readable.from(all)
      },
    })
    await expect(source.open({ positions: { 0: 3 } })).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringContaining('it was read once'),
    })
  })

  it('gives lines of pieces that end anywhere, in UTF-8', async () => {
    const bytes = Buffer.from('zü\r\n\nsecond\nlast')
    const pieces = Array.from(bytes, (byte) => Uint8Array.of(byte))
    const lines: string[] = []
    for await (const line of linesOf(Readable.from(pieces))) lines.push(line)
    expect(lines).toEqual(['zü', '', 'second', 'last'])
  })
})
