import { describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { defineState } from '../../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { defineJob } from '../define-job.js'
import { runJob } from '../run-job.js'
import { arraySource } from '../source/iterable-source.js'
import { functionSink, type IdentifiedOutput } from './function-sink.js'
import { outboxSink } from './outbox-sink.js'
import type { Sink } from './sink.js'

const letters = defineJob<string, string>()({
  name: 'letters',
  key: (letter) => letter,
  schema: defineState({ key: utf8, states: {} }),
  process: (letter, { emit }) => emit(letter),
})
const silent = defineJob<string, never>()({
  name: 'letters',
  key: (letter) => letter,
  schema: letters.schema,
  process: () => {},
})

/** A sink that takes everything, and says that it does so once. */
function transactionalSink(arrived: string[]): Sink<string> {
  return {
    name: 'array',
    guarantee: 'transactional',
    open: async () => ({
      write: async (outputs) => void arrived.push(...outputs),
      prepare: async () => null,
      commit: async () => {},
      close: async () => {},
    }),
  }
}

const failing = () => Promise.reject(new Error('nobody is there'))

describe('a job whose outbox has not delivered what a cut has, and that has another sink now', () => {
  const begun = async () => {
    const storage = new MemoryCheckpointStorage()
    const refused: IdentifiedOutput<string>[] = []
    const deliver = (outputs: readonly IdentifiedOutput<string>[]) => {
      refused.push(...outputs)
      return failing()
    }
    const where = { ...letters, sink: outboxSink<string>({ deliver }), checkpoints: { storage } }
    await using backend = new MemoryStateBackend()
    const job = await runJob({ ...where, source: arraySource(['a', 'b', 'c']), backend })
    await expect(job.finished).rejects.toThrow('nobody is there')
    return { storage, refused }
  }
  const source = arraySource(['a', 'b', 'c', 'd'])

  it('gives it these outputs first, under their ids, where it takes outputs again; and once', async () => {
    const { storage, refused } = await begun()
    const arrived: IdentifiedOutput<string>[] = []
    const sink = functionSink<string>({ write: (outputs) => void arrived.push(...outputs) })
    for (let run = 0; run < 2; run++) {
      await using backend = new MemoryStateBackend()
      const job = await runJob({ ...letters, sink, source, checkpoints: { storage }, backend })
      await job.finished
      // The schema alone.
      expect(await backend.count()).toBe(1)
    }
    expect(refused.length).toBe(3)
    expect(arrived.slice(0, 3)).toEqual(refused)
    expect(arrived.map(({ output }) => output)).toEqual(['a', 'b', 'c', 'd'])
  })

  it('is refused with one that takes none again, and loses nothing', async () => {
    const { storage } = await begun()
    const arrived: string[] = []
    await using backend = new MemoryStateBackend()
    const where = { ...letters, source, checkpoints: { storage }, backend }
    await expect(runJob({ ...where, sink: transactionalSink(arrived) })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      message: expect.stringContaining('wait in the state'),
    })
    expect(arrived).toEqual([])
    const deliver = (outputs: readonly IdentifiedOutput<string>[]) =>
      void arrived.push(...outputs.map(({ output }) => output))
    const job = await runJob({ ...where, sink: outboxSink<string>({ deliver }) })
    await job.finished
    expect(arrived).toEqual(['a', 'b', 'c', 'd'])
  })

  it('is refused without one', async () => {
    const { storage } = await begun()
    await using backend = new MemoryStateBackend()
    await expect(runJob({ ...silent, source, checkpoints: { storage }, backend })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
    })
  })
})

it('a job whose sink had nothing to commit goes on with an outbox', async () => {
  const storage = new MemoryCheckpointStorage()
  const arrived = new Map<string, string>()
  const write = (outputs: readonly IdentifiedOutput<string>[]) => {
    for (const { id, output } of outputs) arrived.set(id, output)
  }
  const byFunction = functionSink<string>({ write })
  const outbox = outboxSink<string>({ deliver: async (outputs) => write(outputs) })
  for (const [run, sink] of [byFunction, outbox, byFunction].entries()) {
    await using backend = new MemoryStateBackend()
    const source = arraySource(['a', 'b', 'c'].slice(0, run + 1))
    const job = await runJob({ ...letters, sink, source, checkpoints: { storage }, backend })
    await job.finished
  }
  expect([...arrived.values()]).toEqual(['a', 'b', 'c'])
})

it('a job whose outputs wait in its store for the sink is refused without one', async () => {
  await using backend = await LmdbStateBackend.temporary()
  const source = arraySource(['a', 'b', 'c'])
  const job = await runJob({ ...letters, source, backend, sink: functionSink<string>({ write: failing }) })
  await expect(job.finished).rejects.toThrow('nobody is there')
  await expect(runJob({ ...silent, source, backend })).rejects.toMatchObject({
    code: 'INCOMPATIBLE',
    message: expect.stringContaining('3 outputs'),
  })
})

it('a job without outputs may lose its sink, and get one', async () => {
  const storage = new MemoryCheckpointStorage()
  const source = arraySource(['a'])
  for (const sink of [
    outboxSink<never>({ deliver: failing }),
    undefined,
    functionSink<never>({ write: failing }),
  ]) {
    await using backend = new MemoryStateBackend()
    const job = await runJob({ ...silent, source, checkpoints: { storage }, backend, ...(sink && { sink }) })
    expect((await job.finished).outputs).toBe(0)
  }
})
