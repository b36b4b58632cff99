import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { testJob } from '../testing/job-test.js'
import { count } from '../window/aggregate/ready-made.js'
import { tumbling } from '../window/assign/assigner.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'
import type { ProcessContext } from './job-options.js'
import { runJob } from './run-job.js'
import { arraySource } from './source/iterable-source.js'

const schema = defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } })
type Context = ProcessContext<string, typeof schema, string>

const common = { name: 'letters', key: (letter: string) => letter, schema }
const timed = { ...common, timestamp: () => 1, time: { watermarks: ascending() } }
/** Compiles in the place of a function that returns nothing. */
const later = async (_: unknown, { state, emit }: Context) => {
  await Promise.resolve()
  // By then the context is that of another event.
  state.count.update((before) => before + 1)
  emit('late')
}
const refused = /returned a promise: it must be done when it returns/

describe('what is asynchronous by mistake', () => {
  it('ends a job as its process returns, before it changes states of the next key', async () => {
    const job = defineJob<string, string>()({ ...common, process: later })
    await expect(testJob(job, ['a', 'b'])).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringMatching(refused),
    })
  })

  it('also where bad events are skipped, and where a step is a batch', async () => {
    await using backend = new MemoryStateBackend()
    const job = await runJob({
      ...common,
      process: later as never,
      onBadEvent: 'skip',
      source: arraySource(['a', 'b']),
      backend,
      checkpoints: { storage: new MemoryCheckpointStorage() },
    })
    await expect(job.finished).rejects.toThrow(refused)
  })

  it('what it rejects with ends no process', async () => {
    const process = async () => {
      throw new Error('heard by nobody')
    }
    const job = defineJob<string, string>()({ ...common, process })
    await expect(testJob(job, ['a'])).rejects.toThrow(refused)
  })

  it('ends a job as its onTimer, its onBadEvent, or the process of a later stage returns', async () => {
    const timers = defineJob<string, string>()({
      ...timed,
      process: (_, { timers: { event } }) => event.set(0),
      onTimer: later,
    })
    await expect(testJob(timers, ['a'])).rejects.toThrow(refused)
    const bad = defineJob<string, string>()({
      ...common,
      key: () => undefined,
      process: () => {},
      onBadEvent: async () => {},
    })
    await expect(testJob(bad, ['a'])).rejects.toThrow(refused)
    for (const onBadEvent of ['fail', 'skip'] as const) {
      const stages = defineJob<string, string>()({
        ...common,
        process: (letter, { emit }) => emit(letter),
      }).pipe<string>()({
        ...common,
        name: 'second',
        process: later,
        onBadEvent,
      })
      await expect(testJob(stages, ['a'])).rejects.toThrow(refused)
    }
  })

  it('ends a job whose output is a promise', async () => {
    const windows = defineJob<string, unknown>()({
      ...timed,
      schema: defineState({ key: utf8, states: {} }),
      windows: {
        all: windowed({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          output: async ({ key }: { key: string }) => key,
        }),
      },
    })
    await expect(testJob(windows, ['a'])).rejects.toThrow(/an output is a promise/)
    const emits = defineJob<string, unknown>()({
      ...common,
      process: (letter, { emit }) => emit(Promise.resolve(letter)),
    })
    await expect(testJob(emits, ['a'])).rejects.toThrow(/an output is a promise/)
  })
})
