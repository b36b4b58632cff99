// Outputs that are delivered beside the events that come after them.

import { afterAll, expect, it } from 'vitest'
import { nextTurn } from '../../base/slices.js'
import { CheckpointWorker } from '../../checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { defineState } from '../../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { runJob } from '../run-job.js'
import { iterableSource } from '../source/iterable-source.js'
import type { IdentifiedOutput } from './function-sink.js'
import { outboxSink } from './outbox-sink.js'

const worker = new CheckpointWorker()
afterAll(() => worker.close())

/** A job that emits each number it is given, and gives away what was delivered. */
async function numbersJob(
  checkpoints: {
    readonly storage: MemoryCheckpointStorage
    readonly intervalMs: number
    readonly clock?: ManualClock
  },
  deliver: (outputs: readonly IdentifiedOutput<number>[]) => Promise<void>,
) {
  const given: number[] = []
  let wake = () => {}
  let hasEnded = false
  async function* from(position: unknown) {
    for (let next = Number(position ?? 0); ; ) {
      if (next < given.length) yield [given[next] as number, ++next] as const
      else if (hasEnded) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  const inner = iterableSource({ from })
  let prepared = 0
  const source: typeof inner = {
    ...inner,
    open: async (request) => {
      const prepareCut = async () => void prepared++
      return Object.assign(await inner.open(request), { prepareCut })
    },
  }
  const job = await runJob({
    name: 'numbers',
    source,
    key: String,
    schema: defineState({ key: utf8, states: {} }),
    process: (event: number, { emit }: { emit: (output: number) => void }) => emit(event),
    sink: outboxSink<number>({ deliver, maxOutputs: 2 }),
    backend: new MemoryStateBackend(),
    checkpoints: { ...checkpoints, worker },
  })
  const give = (...numbers: number[]) => {
    given.push(...numbers)
    wake()
  }
  const end = () => {
    hasEnded = true
    wake()
  }
  return { job, give, end, prepared: () => prepared }
}

it('J1: events are processed while outputs are delivered, and the next cut waits for that', async () => {
  const delivered: IdentifiedOutput<number>[] = []
  let asked = () => {}
  const isAsked = new Promise<void>((resolve) => (asked = resolve))
  let goOn = () => {}
  const mayGoOn = new Promise<void>((resolve) => (goOn = resolve))
  const storage = new MemoryCheckpointStorage()
  const clock = new ManualClock()
  const deliver = async (outputs: readonly IdentifiedOutput<number>[]) => {
    delivered.push(...outputs)
    asked()
    await mayGoOn
  }
  const { job, give, end, prepared } = await numbersJob({ storage, intervalMs: 1_000, clock }, deliver)
  const untilEvents = async (count: number) => {
    await expect.poll(() => job.stats().events, { interval: 5 }).toBe(count)
  }
  try {
    give(1, 2, 3)
    await untilEvents(3)
    await clock.advanceAsync(1_000)
    await isAsked
    give(4, 5)
    await untilEvents(5)
    // The next cut is due.
    await clock.advanceAsync(1_000)
    for (let turn = 0; turn < 20; turn++) await nextTurn()
    expect(prepared()).toBe(1)
  } finally {
    goOn()
    end()
  }
  await job.finished
  expect(delivered.map(({ output }) => output)).toEqual([1, 2, 3, 4, 5])
  expect(new Set(delivered.map(({ id }) => id)).size).toBe(5)
  // All of it was acknowledged, and is in no cut any more.
  const again: number[] = []
  const next = await numbersJob(
    { storage, intervalMs: 10 },
    async (outputs) => void again.push(...outputs.map((each) => each.output)),
  )
  next.give(1, 2, 3, 4, 5)
  next.end()
  await next.job.finished
  expect(again).toEqual([])
})

it('J4: what could not be delivered beside events comes again under the same ids', async () => {
  const storage = new MemoryCheckpointStorage()
  const seen: IdentifiedOutput<number>[] = []
  const first = await numbersJob({ storage, intervalMs: 10 }, async (outputs) => {
    seen.push(...outputs)
    throw new Error('nobody takes it')
  })
  first.give(1, 2, 3)
  await expect(first.job.finished).rejects.toMatchObject({ code: 'JOB_FAILED' })
  const again: IdentifiedOutput<number>[] = []
  const next = await numbersJob({ storage, intervalMs: 10 }, async (outputs) => void again.push(...outputs))
  next.give(1, 2, 3)
  next.end()
  await next.job.finished
  expect(again.map(({ output }) => output)).toEqual([1, 2, 3])
  expect(again.slice(0, seen.length)).toEqual(seen)
})
