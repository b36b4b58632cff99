import { describe, expect, it } from 'vitest'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { arraySource } from './source/iterable-source.js'

const ALL = ['a', 'b', 'a', 'c', 'b', 'a']

/** A store that outlives its runs, and what they have put out. */
async function place(given?: MemoryStateBackend) {
  const backend = given ?? (await LmdbStateBackend.temporary())
  const put: string[] = []
  let isAway = false
  const run = async (events: readonly string[], storage?: MemoryCheckpointStorage) => {
    const job = await runJob<string, typeof schema, string>({
      name: 'letters',
      source: arraySource(events),
      key: (letter) => letter,
      schema,
      process: (_, { state, key, emit }) => {
        state.count.update((count) => count + 1)
        emit(`${key}${state.count.get()}`)
      },
      sink: functionSink({
        write: (outputs) => {
          if (isAway) throw new Error('nobody is there')
          put.push(...outputs.map(({ output }) => output))
        },
      }),
      backend,
      ...(storage !== undefined && { checkpoints: { storage } }),
    })
    await job.finished
  }
  return {
    backend,
    put,
    run,
    awayWhile: async (work: () => Promise<unknown>) => {
      isAway = true
      await work().finally(() => {
        isAway = false
      })
    },
    [Symbol.asyncDispose]: () => backend.close(),
  }
}

const schema = defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } })
const COUNTED = ['a1', 'b1', 'a2', 'c1', 'b2', 'a3']

describe('a job on an engine that persists, whose cuts are kept elsewhere from one run to the next', () => {
  it('is given checkpoints: it goes on from what the store says of it, and counts nothing twice', async () => {
    await using at = await place()
    await at.run(ALL.slice(0, 3))
    const storage = new MemoryCheckpointStorage()
    await at.run(ALL.slice(0, 4), storage)
    await at.run(ALL, storage)
    expect(at.put).toEqual(COUNTED)
  })

  it('is given checkpoints while outputs wait in the store for its sink: refused, and nothing is lost', async () => {
    await using at = await place()
    await at.awayWhile(() => expect(at.run(ALL.slice(0, 3))).rejects.toThrow('nobody is there'))
    await expect(at.run(ALL, new MemoryCheckpointStorage())).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      message: expect.stringContaining('3 outputs that wait for the sink'),
    })
    await at.run(ALL)
    expect(at.put).toEqual(COUNTED)
  })

  it('is not given its checkpoints any more: INCOMPATIBLE, instead of all events once more', async () => {
    await using at = await place()
    const storage = new MemoryCheckpointStorage()
    await at.run(ALL.slice(0, 3), storage)
    await expect(at.run(ALL)).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      message: expect.stringContaining('checkpoints'),
    })
    await at.run(ALL, storage)
    expect(at.put).toEqual(COUNTED)
  })

  it('nor behind a change to checkpoints', async () => {
    await using at = await place()
    await at.run(ALL.slice(0, 2))
    const storage = new MemoryCheckpointStorage()
    await at.run(ALL.slice(0, 3), storage)
    await expect(at.run(ALL)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    // What is restored has what the store said before.
    await at.run(ALL.slice(0, 3), storage)
    await expect(at.run(ALL)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('is given an empty storage: RESTORE_FAILED, as its checkpoints are elsewhere or gone', async () => {
    await using at = await place()
    const storage = new MemoryCheckpointStorage()
    await at.run(ALL.slice(0, 3), storage)
    await expect(at.run(ALL, new MemoryCheckpointStorage())).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringContaining('letters'),
    })
    await at.run(ALL, storage)
    expect(at.put).toEqual(COUNTED)
  })

  it('is another job: INCOMPATIBLE, with checkpoints as without', async () => {
    await using at = await place()
    await at.run(ALL.slice(0, 3))
    const other = {
      name: 'other',
      source: arraySource(ALL),
      key: (letter: string) => letter,
      schema,
      process: () => {},
      backend: at.backend,
    }
    const storage = new MemoryCheckpointStorage()
    await expect(runJob({ ...other, checkpoints: { storage } })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
    })
    await at.run(ALL, storage)
    const elsewhere = new MemoryCheckpointStorage()
    await expect(runJob({ ...other, checkpoints: { storage: elsewhere } })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
    })
  })
})

describe('a job on a backend of the memory engine that it has run on before', () => {
  it('is given another storage: RESTORE_FAILED, as how far it has read is told elsewhere; its own one it goes on from', async () => {
    await using at = await place(new MemoryStateBackend())
    const storage = new MemoryCheckpointStorage()
    await at.run(ALL.slice(0, 3), storage)
    const elsewhere = at.run(ALL, new MemoryCheckpointStorage())
    await expect(elsewhere).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringMatching(/has the state of job 'letters'.*Open another backend/),
    })
    await at.run(ALL, storage)
    expect(at.put).toEqual(COUNTED)
  })

  it('nor where its state was restored there, and nothing was read since', async () => {
    const storage = new MemoryCheckpointStorage()
    await using first = await place(new MemoryStateBackend())
    await first.run(ALL, storage)
    await using at = await place(new MemoryStateBackend())
    await at.run(ALL, storage)
    await expect(at.run(ALL, new MemoryCheckpointStorage())).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    expect(at.put).toEqual([])
  })

  it('begins anew where the backend was cleared', async () => {
    await using at = await place(new MemoryStateBackend())
    await at.run(ALL, new MemoryCheckpointStorage())
    await at.backend.clear()
    // It opens its states, and reads nothing.
    await at.run([], new MemoryCheckpointStorage())
    await at.run(ALL, new MemoryCheckpointStorage())
    expect(at.put).toEqual([...COUNTED, ...COUNTED])
  })
})
