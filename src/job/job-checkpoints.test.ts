import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  type Click,
  type ClicksSchema,
  clicks,
  clicksJob,
  clicksSchema,
  expectedTotals,
  type Total,
} from '../../test/support/clicks-job.js'
import { StateError } from '../base/errors.js'
import { nextTurn } from '../base/slices.js'
import { CheckpointWorker } from '../checkpoint/worker/checkpoint-worker.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { StateStore } from '../state/store.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../testing/faulty-storage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'
import { ndjsonFileSink } from './sink/ndjson-file-sink.js'
import { arraySource, iterableSource } from './source/iterable-source.js'
import { mergedSource } from './source/merged-source.js'
import type { Source } from './source/source.js'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-job-'))
})
afterEach(async () => {
  vi.useRealTimers()
  await rm(folder, { recursive: true, force: true })
})

const outputPath = () => join(folder, 'totals.ndjson')
async function outputs(): Promise<Total[]> {
  const text = await readFile(outputPath(), 'utf8')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Total)
}

/** One for all: to start one takes longer than most of these jobs. */
const worker = new CheckpointWorker()
afterAll(() => worker.close())

/** Events that never come. */
const neverAny: AsyncIterable<readonly [Click, number]> = {
  [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }),
}

it('tells checkpoints that keep failing, and that they do no longer', async () => {
  const storage = new FaultyCheckpointStorage(new MemoryCheckpointStorage())
  await using backend = new MemoryStateBackend()
  const clock = new ManualClock(1_000)
  const job = await runJob<Click, ClicksSchema, Total>({
    ...clicksJob,
    process: () => {},
    source: iterableSource<Click>({ from: () => neverAny }),
    backend,
    checkpoints: { storage, worker, intervalMs: 1_000, clock },
  })
  // One cut after the other: where the clock went on while one is made, the next would begin at once.
  const untilFailed = async (count: number) => {
    await expect.poll(() => clock.nextTimerInMs).toBe(1_000)
    await clock.advanceAsync(1_000)
    await expect.poll(() => job.health().failedCuts?.count ?? 0).toBe(count)
  }
  storage.inject({ effect: 'fail', forever: true })
  await untilFailed(1)
  expect(job.health()).toMatchObject({ state: 'running', isHealthy: true })
  await untilFailed(2)
  expect(job.health()).toMatchObject({ state: 'running', isHealthy: false })
  expect(job.health().failedCuts?.error.message).toMatch(/./)
  storage.heal()
  await untilFailed(0)
  expect(job.health()).toMatchObject({ isHealthy: true, failedCuts: undefined })
  await job.stop()
})

it('ends where another process has taken over its checkpoints: two would put everything out twice', async () => {
  const storage = new MemoryCheckpointStorage()
  await using backend = new MemoryStateBackend()
  const job = await runJob<Click, ClicksSchema, Total>({
    ...clicksJob,
    source: iterableSource<Click>({
      async *from() {
        yield [{ user: 'u0', at: 0, price: 1 }, 1] as const
        await new Promise(() => {})
      },
    }),
    sink: ndjsonFileSink<Total>({ path: outputPath() }),
    backend,
    checkpoints: { storage, worker, intervalMs: 5 },
  })
  const other = await storage.acquire({ takeOver: true })
  await expect(job.finished).rejects.toMatchObject({ code: 'FENCED' })
  expect(job.health()).toMatchObject({ state: 'failed', isHealthy: false })
  await other.release()
})

describe('J3: a job with checkpoints on an engine that persists', () => {
  const openStore = () => LmdbStateBackend.open({ path: join(folder, 'store') })

  /** A run whose writes are durable when its source breaks, at this event, without a checkpoint since it began. */
  async function run(storage: MemoryCheckpointStorage, brokenAt: number): Promise<void> {
    await using backend = await openStore()
    async function* from(position: number) {
      for (const [i, click] of clicks(20).entries()) {
        if (i < position) continue
        if (i === brokenAt) {
          await backend.flush()
          throw new Error('the source broke')
        }
        yield [click, i + 1] as const
      }
    }
    const job = await runJob<Click, ClicksSchema, Total>({
      ...clicksJob,
      source: iterableSource<Click>({ from: (position = 0) => from(Number(position)) }),
      sink: ndjsonFileSink<Total>({ path: outputPath() }),
      backend,
      checkpoints: { storage, worker },
    })
    await job.finished
  }

  it('counts no event twice where a run ends before its first regular checkpoint', async () => {
    const storage = new MemoryCheckpointStorage()
    await expect(run(storage, 10)).rejects.toMatchObject({ code: 'JOB_FAILED' })
    await run(storage, -1)
    expect(await outputs()).toEqual(expectedTotals(clicks(20)))
  })

  it('goes on from what the engine held before its first event', async () => {
    const storage = new MemoryCheckpointStorage()
    const filled = await openStore()
    const store = await StateStore.open(filled, clicksSchema)
    store.count.put('u0', 5)
    await filled.close()
    await expect(run(storage, 10)).rejects.toMatchObject({ code: 'JOB_FAILED' })
    await run(storage, -1)
    const counts = (await outputs()).filter(({ user }) => user === 'u0').map(({ count }) => count)
    expect(counts).toEqual([6, 7, 8])
  })

  it('reads no event where its first checkpoint cannot be made', async () => {
    const storage = new FaultyCheckpointStorage(new MemoryCheckpointStorage())
    storage.inject({ effect: 'fail', operation: 'writer.commit', forever: true })
    await using backend = await openStore()
    let processed = 0
    const job = await runJob<Click, ClicksSchema, Total>({
      ...clicksJob,
      process: () => void processed++,
      source: arraySource(clicks(5)),
      sink: functionSink<Total>({ write: () => {} }),
      backend,
      checkpoints: { storage, worker },
    })
    await expect(job.finished).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    expect(processed).toBe(0)
  })
})

it('J2: a restore from anything but the newest checkpoint begins a new lineage', async () => {
  const storage = new MemoryCheckpointStorage()
  const lineages: string[] = []
  const runOnce = async (count: number, restoreFrom?: string) => {
    await using backend = new MemoryStateBackend()
    const job = await runJob<Click, ClicksSchema, Total>({
      ...clicksJob,
      source: arraySource(clicks(count)),
      sink: functionSink<Total>({ write: (some) => void lineages.push(some[0]?.id.slice(0, 36) ?? '') }),
      backend,
      checkpoints: { storage, worker },
      ...(restoreFrom !== undefined && { restoreFrom }),
    })
    await job.finished
  }
  await runOnce(10)
  await runOnce(20)
  expect(lineages[1]).toBe(lineages[0])
  await runOnce(20, 'chk-0000000001')
  expect(lineages[2]).not.toBe(lineages[0])
})

it('J6: fails where the source does not have the position any more', async () => {
  const path = join(folder, 'input.ndjson')
  const storage = new MemoryCheckpointStorage()
  const { ndjsonFiles } = await import('./source/file-source.js')
  const runOnce = async () => {
    await using backend = new MemoryStateBackend()
    const job = await runJob<Click, ClicksSchema, Total>({
      ...clicksJob,
      source: ndjsonFiles<Click>({ paths: [path] }),
      sink: ndjsonFileSink<Total>({ path: outputPath() }),
      backend,
      checkpoints: { storage, worker },
    })
    await job.finished
  }
  const lines = (events: readonly Click[]) => events.map((event) => `${JSON.stringify(event)}\n`).join('')
  await writeFile(path, lines(clicks(10)))
  await runOnce()
  await writeFile(path, lines(clicks(5)))
  await expect(runOnce()).rejects.toSatisfy(
    (error: StateError) =>
      error.code === 'RESTORE_FAILED' && error.message.includes('the file ends before that'),
  )
  await writeFile(path, lines(clicks(30).reverse()))
  await expect(runOnce()).rejects.toSatisfy((error: StateError) => error.message.includes('another file'))
})

it('J3, J10: lets the next owner in once the outputs of its last cut are out, so that none of the two fences the other in the middle', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const storage = new MemoryCheckpointStorage()
  let letGo: () => void = () => {}
  let commits = 0
  const backend = new MemoryStateBackend()
  const job = await runJob<Click, ClicksSchema, Total>({
    ...clicksJob,
    backend,
    checkpoints: { storage, worker, intervalMs: Infinity },
    source: arraySource(clicks(10)),
    sink: {
      name: 'slow',
      guarantee: 'transactional',
      open: async () => ({
        write: async () => {},
        prepare: async () => null,
        commit: async () => {
          commits++
          await new Promise<void>((resolve) => {
            letGo = resolve
          })
        },
        close: async () => {},
      }),
    },
  })
  await expect.poll(() => commits, { interval: 1 }).toBe(1)
  // Longer than the storage and the worker may be silent: it is not they who are waited for.
  for (let passedMs = 0; passedMs < 12_000; passedMs += 10) {
    vi.advanceTimersByTime(10)
    await nextTurn()
  }
  await expect(storage.acquire()).rejects.toMatchObject({ code: 'FENCED' })
  letGo()
  await job.finished
  await (await storage.acquire()).release()
  await backend.close()
})

it('J1: a source hears of the positions of a cut before it is published, also behind those that merge or order it; where it refuses, there is no cut', async () => {
  await using backend = new MemoryStateBackend()
  const storage = new MemoryCheckpointStorage()
  const heard: [what: string, positions: unknown][] = []
  let refuses = false
  const inner = arraySource(clicks(3))
  const source: Source<Click> = {
    name: 'shared',
    open: async (options) => {
      const reader = await inner.open(options)
      reader.prepareCut = async (positions) => {
        if (refuses) throw new StateError('FENCED', { resource: 'a group', owner: 'another one' })
        heard.push(['prepared', positions])
      }
      reader.checkpointCompleted = async (positions) => void heard.push(['completed', positions])
      return reader
    },
  }
  const options = {
    ...clicksJob,
    source: mergedSource({ a: source }),
    timestamp: ({ at }: Click) => at,
    time: { watermarks: ascending(), inOrder: true },
    sink: functionSink<Total>({ write: () => {} }),
    backend,
    checkpoints: { storage, worker },
  }
  await (await runJob(options)).finished
  const [prepared, completed] = heard
  expect(heard.map(([what]) => what)).toEqual(['prepared', 'completed'])
  expect(prepared?.[1]).toEqual(completed?.[1])
  refuses = true
  await using other = new MemoryStateBackend()
  const refused = await runJob({ ...options, backend: other })
  await expect(refused.finished).rejects.toMatchObject({ code: 'FENCED' })
  expect(heard).toHaveLength(2)
})
