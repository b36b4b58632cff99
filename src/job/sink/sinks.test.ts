import { mkdtemp, readFile, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { StateError } from '../../base/errors.js'
import { LmdbStateBackend } from '../../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { defineState } from '../../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { runSinkConformanceSuite } from '../../testing/sink-conformance.js'
import { defineJob } from '../define-job.js'
import { runJob } from '../run-job.js'
import { arraySource } from '../source/iterable-source.js'
import { functionSink } from './function-sink.js'
import { ndjsonFileSink } from './ndjson-file-sink.js'
import { outboxSink } from './outbox-sink.js'
import { OutboxWriter } from './outbox-writer.js'
import { storedOutputs } from './stored-outputs.js'

interface Output {
  readonly n: number
}

const parsed = (text: string) =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Output)

runSinkConformanceSuite<Output>({ describe, it }, 'ndjsonFileSink', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-sink-'))
  const path = join(folder, 'out.ndjson')
  return {
    sink: ndjsonFileSink<Output>({ path }),
    output: (n) => ({ n }),
    read: async () => parsed(await readFile(path, 'utf8')),
    dispose: () => rm(folder, { recursive: true, force: true }),
  }
})

runSinkConformanceSuite<Output>({ describe, it }, 'functionSink', async () => {
  const arrived: Output[] = []
  return {
    sink: functionSink<Output>({
      write: (outputs) => void arrived.push(...outputs.map(({ output }) => output)),
    }),
    output: (n) => ({ n }),
    read: async () => arrived,
    dispose: async () => {},
  }
})

for (const stateAfterCrash of ['cut', 'all'] as const) {
  runSinkConformanceSuite<Output>({ describe, it }, `outboxSink (${stateAfterCrash})`, async () => {
    const arrived: Output[] = []
    return {
      sink: outboxSink<Output>({
        maxOutputs: 2,
        deliver: (outputs) => void arrived.push(...outputs.map(({ output }) => output)),
      }),
      output: (n) => ({ n }),
      read: async () => arrived,
      stateAfterCrash,
      dispose: async () => {},
    }
  })
}

describe('an outbox', () => {
  const letters = ['a', 'b', 'c', 'd']
  const emitting = defineJob<string, string>()({
    name: 'letters',
    key: (letter) => letter,
    schema: defineState({ key: utf8, states: {} }),
    process: (letter, { emit }) => emit(letter),
  })

  it('J4: delivers what a cut has, under ids that stay the same, until it is acknowledged', async () => {
    const storage = new MemoryCheckpointStorage()
    const delivered: { id: string; output: string }[] = []
    let failures = 2
    const sink = outboxSink<string>({
      deliver: async (outputs) => {
        delivered.push(...outputs)
        if (failures-- > 0) throw new Error('nobody is there')
      },
    })
    const run = async (events: readonly string[]) => {
      await using backend = new MemoryStateBackend()
      const where = { source: arraySource(events), sink, backend, checkpoints: { storage } }
      const job = await runJob({ ...emitting, ...where })
      await job.finished
    }
    await expect(run(letters)).rejects.toThrow('nobody is there')
    // The cut was published: what it has is delivered again, while the sink is opened, and the source is read from there on.
    await expect(run(letters)).rejects.toMatchObject({
      code: 'JOB_FAILED',
      details: { reason: 'the sink could not be opened: nobody is there' },
      cause: { message: 'nobody is there' },
    })
    await run([...letters, 'e'])
    expect(delivered.map(({ output }) => output).join('')).toBe('abcdabcdabcde')
    expect(new Set(delivered.map(({ id }) => id)).size).toBe(5)
    await run([...letters, 'e'])
    // The last cut was made before its outputs were acknowledged.
    expect(new Set(delivered.map(({ id }) => id)).size).toBe(5)
  })

  it('J4: on an engine that keeps its state itself, nothing is left when all was acknowledged', async () => {
    const path = await mkdtemp(join(tmpdir(), 'holdfast-outbox-'))
    const delivered: string[] = []
    const sink = outboxSink<string>({
      deliver: (outputs) => void delivered.push(...outputs.map(({ output }) => output)),
    })
    for (let life = 1; life <= 2; life++) {
      await using backend = await LmdbStateBackend.open({ path: join(path, 'state') })
      const source = arraySource(letters.slice(0, life * 2))
      const job = await runJob({ ...emitting, source, sink, backend, flushIntervalMs: 1 })
      await job.finished
    }
    expect(delivered).toEqual(letters)
    await rm(path, { recursive: true })
  })

  it('has no order of the state made: its outputs are found one by one', async () => {
    const backend = new MemoryStateBackend()
    const state = storedOutputs(backend)
    const delivered: number[] = []
    const deliver = async ({ outputs }: { readonly outputs: readonly Output[] }) =>
      void delivered.push(...outputs.map(({ n }) => n))
    const epoch = { lineage: 'l', number: 0 }
    const first = new OutboxWriter<Output>({ prepared: [], state }, { maxOutputs: 2, deliver })
    const outputs = [{ n: 0 }, { n: 1 }, { n: 2 }]
    await first.write(outputs)
    const prepared = [{ epoch, token: await first.prepare() }]
    // No cut names it.
    await first.write([{ n: 3 }])
    const ranges: string[] = []
    const watched = new Proxy(backend, {
      get: (target, name) => {
        if (name === 'scanSync' || name === 'deleteRangeSync') ranges.push(name)
        const found: unknown = Reflect.get(target, name, target)
        return typeof found === 'function' ? found.bind(target) : found
      },
    })
    const undone = new OutboxWriter<Output>(
      { prepared, state: storedOutputs(watched) },
      { maxOutputs: 2, deliver },
    )
    expect(ranges.splice(0)).toEqual(['deleteRangeSync'])
    await undone.commitAll(prepared)
    expect(delivered).toEqual([0, 1, 2])
    const again = new OutboxWriter<Output>(
      { prepared, state: storedOutputs(watched) },
      { maxOutputs: 2, deliver },
    )
    await again.commitAll(prepared)
    expect([delivered, ranges, backend.stats().entries]).toEqual([[0, 1, 2], [], 0])
    await backend.close()
  })

  it('is a part of a job, and says so elsewhere', async () => {
    await expect(outboxSink({ deliver: () => {} }).open({ prepared: [] })).rejects.toThrow(/state/)
    expect(() => outboxSink({} as never)).toThrow(/deliver/)
  })
})

describe('a file of outputs', () => {
  let folder: string
  let path: string
  const epoch = { lineage: 'one', number: 0 }
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-sink-'))
    path = join(folder, 'out.ndjson')
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  it('keeps what was in it before the first output, also after a crash before the first cut', async () => {
    await writeFile(path, '{"mine":true}\n')
    for (let life = 0; life < 3; life++) {
      const writer = await ndjsonFileSink<Output>({ path }).open({ prepared: [] })
      await writer.write([{ n: life }], epoch, 0)
      await writer.close()
    }
    expect(await readFile(path, 'utf8')).toBe('{"mine":true}\n{"n":2}\n')
  })

  it('has one writer: another one is FENCED, unless it takes over, and then the first one is', async () => {
    const first = await ndjsonFileSink<Output>({ path }).open({ prepared: [] })
    await first.write([{ n: 1 }], epoch, 0)
    await expect(ndjsonFileSink<Output>({ path }).open({ prepared: [] })).rejects.toMatchObject({
      code: 'FENCED',
    })
    expect(parsed(await readFile(path, 'utf8'))).toEqual([{ n: 1 }])

    const second = await ndjsonFileSink<Output>({ path, takeOver: true }).open({ prepared: [] })
    await second.write([{ n: 2 }], epoch, 0)
    await expect(first.write([{ n: 3 }], epoch, 1)).rejects.toMatchObject({ code: 'FENCED' })
    await expect(first.prepare(epoch)).rejects.toMatchObject({ code: 'FENCED' })
    await first.close()
    expect(await second.prepare(epoch)).toEqual({ bytes: 8 })
    expect(parsed(await readFile(path, 'utf8'))).toEqual([{ n: 2 }])

    const waiting = ndjsonFileSink<Output>({ path, waitForOwnerMs: 60_000 }).open({ prepared: [] })
    await second.close()
    await (await waiting).close()
  })

  it('is not taken over by a job that was overtaken on its way', async () => {
    const successor = await ndjsonFileSink<Output>({ path }).open({ prepared: [] })
    const checkOwner = async () => {
      throw new StateError('FENCED', { resource: 'the checkpoints', owner: 'another process' })
    }
    const late = ndjsonFileSink<Output>({ path, takeOver: true }).open({ prepared: [], checkOwner })
    await expect(late).rejects.toMatchObject({ code: 'FENCED', details: { owner: 'another process' } })
    await successor.write([{ n: 1 }], epoch, 0)
    expect(await successor.prepare(epoch)).toEqual({ bytes: 8 })
    await successor.close()
  })

  it('is not waited for by a job that was overtaken', async () => {
    let asked = 0
    const checkOwner = async () => {
      asked++
      throw new StateError('FENCED', { resource: 'the checkpoints', owner: 'another process' })
    }
    const late = ndjsonFileSink<Output>({ path, waitForOwnerMs: 500 }).open({ prepared: [], checkOwner })
    await expect(late).rejects.toMatchObject({ code: 'FENCED', details: { owner: 'another process' } })
    expect(asked).toBe(1)
  })

  it('is RESTORE_FAILED where outputs that count are gone', async () => {
    const sink = ndjsonFileSink<Output>({ path })
    const writer = await sink.open({ prepared: [] })
    await writer.write([{ n: 1 }], epoch, 0)
    const token = await writer.prepare(epoch)
    await writer.close()
    const prepared = [{ epoch, token }]
    await truncate(path, 3)
    await expect(sink.open({ prepared })).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await rm(path)
    await expect(sink.open({ prepared })).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await expect(sink.open({ prepared: [{ epoch, token: 'x' }] })).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
    })
  })

  it.each([
    ['removed', () => rm(path)],
    ['renamed', () => rename(path, `${path}.1`)],
    ['replaced', async () => void (await rm(path), await writeFile(path, '{"n":1}\n{"n":2}\n'))],
    ['cut off', () => truncate(path, 3)],
  ])('prepares nothing for a cut in a file that was %s under it', async (_, takeAway) => {
    const writer = await ndjsonFileSink<Output>({ path }).open({ prepared: [] })
    await writer.write([{ n: 1 }], epoch, 0)
    expect(await writer.prepare(epoch)).toEqual({ bytes: 8 })
    await takeAway()
    await writer.write([], epoch, 1)
    await expect(writer.prepare(epoch)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('outputs that count by a cut are lost without it'),
    })
    await writer.close()
  })

  it('writes nothing behind the hole where its file was cut off under it', async () => {
    const writer = await ndjsonFileSink<Output>({ path }).open({ prepared: [] })
    await writer.write([{ n: 1 }], epoch, 0)
    await truncate(path, 3)
    await expect(writer.write([{ n: 2 }], epoch, 1)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('it was cut off at 3 of 8 bytes'),
    })
    expect(await readFile(path, 'utf8')).toBe('{"n')
    await writer.close()
  })

  it('follows a symbolic link, which is no other file', async () => {
    await writeFile(join(folder, 'elsewhere'), '')
    await symlink(join(folder, 'elsewhere'), path)
    const writer = await ndjsonFileSink<Output>({ path }).open({ prepared: [] })
    await writer.write([{ n: 1 }], epoch, 0)
    expect(await writer.prepare(epoch)).toEqual({ bytes: 8 })
    await writer.close()
  })

  it('takes no output that has no JSON, or that is more than a line', async () => {
    const writer = await ndjsonFileSink<unknown>({ path }).open({ prepared: [] })
    await expect(writer.write([{ a: 1 }, undefined], epoch, 0)).rejects.toMatchObject({
      code: 'SERIALIZATION_FAILED',
    })
    await writer.close()
    expect((await stat(path)).size).toBe(0)
    const lines = await ndjsonFileSink<string>({ path, encode: (text) => text }).open({ prepared: [] })
    await expect(lines.write(['a\nb'], epoch, 0)).rejects.toMatchObject({ code: 'SERIALIZATION_FAILED' })
    await lines.close()
  })

  it('says where it cannot be written', async () => {
    await expect(
      ndjsonFileSink({ path: join(folder, 'none', 'out') }).open({ prepared: [] }),
    ).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
    })
  })
})
