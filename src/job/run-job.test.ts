import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import type { SyncStateBackend } from '../backend/state-backend.js'
import { type Clock, systemClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { CheckpointWorker } from '../checkpoint/worker/checkpoint-worker.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { float64, uint32 } from '../state/codec/numbers.js'
import { reducing, value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { StateStore } from '../state/store.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../testing/faulty-storage.js'
import { ManualClock } from '../testing/manual-clock.js'
import { ascending } from '../window/time/watermark-strategy.js'
import type { BadEvent, JobOptions } from './job-options.js'
import { runJob } from './run-job.js'
import type { RunningJob } from './running-job.js'
import { functionSink } from './sink/function-sink.js'
import { ndjsonFileSink } from './sink/ndjson-file-sink.js'
import { arraySource, iterableSource } from './source/iterable-source.js'
import { mergedSource } from './source/merged-source.js'
import type { Source } from './source/source.js'

interface Click {
  readonly user: string
  readonly at: number
  readonly price: number
}

interface Total {
  readonly user: string
  readonly count: number
  readonly spent: number
}

const schema = defineState({
  key: utf8,
  states: { count: value(uint32, { default: () => 0 }), spent: reducing(float64, (sum, more) => sum + more) },
})
type Options = JobOptions<Click, typeof schema, Total>

const full = new StateError('STORAGE_ERROR', {
  storage: 'file:outputs',
  operation: 'write',
  reason: 'no space is left',
})

const clicks = (count: number): Click[] =>
  Array.from({ length: count }, (_, i) => ({ user: `u${i % 7}`, at: i, price: i % 5 }))

/** What the outputs must be: the running total after each event. */
function expectedTotals(events: readonly Click[]): Total[] {
  const totals = new Map<string, Total>()
  return events.map(({ user, price }) => {
    const before = totals.get(user) ?? { user, count: 0, spent: 0 }
    const total = { user, count: before.count + 1, spent: before.spent + price }
    totals.set(user, total)
    return total
  })
}

const common = {
  name: 'clicks',
  schema,
  key: ({ user }: Click) => user,
  process: ({ user, price }: Click, { store, key, emit }) => {
    store.count.update(key, (count) => count + 1)
    store.spent.add(key, price)
    emit({ user, count: store.count.get(key), spent: store.spent.get(key) ?? 0 })
  },
} satisfies Partial<Options>

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-job-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

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

/** An engine for the life of a process, and what outlives it. */
interface Place {
  readonly name: string
  open(): Promise<{ backend: SyncStateBackend; checkpoints?: Options['checkpoints'] }>
}

const places = (): readonly Place[] => {
  const storage = new MemoryCheckpointStorage()
  return [
    {
      name: 'the memory engine with checkpoints',
      open: async () => ({
        backend: new MemoryStateBackend(),
        checkpoints: { storage, worker, intervalMs: 20 },
      }),
    },
    {
      name: 'the LMDB engine, which keeps its state itself',
      open: async () => ({ backend: await LmdbStateBackend.open({ path: join(folder, 'store') }) }),
    },
  ]
}

for (const place of [0, 1]) {
  describe(`a job on ${places()[place]?.name}`, () => {
    const run = async (
      at: Place,
      options: Partial<Options>,
      during: (job: RunningJob<typeof schema>) => Promise<unknown> = (job) => job.finished,
    ) => {
      const { backend, checkpoints } = await at.open()
      try {
        const job = await runJob<Click, typeof schema, Total>({
          ...common,
          source: arraySource(clicks(1_000)),
          sink: ndjsonFileSink<Total>({ path: outputPath() }),
          backend,
          flushIntervalMs: 20,
          ...(checkpoints !== undefined && { checkpoints }),
          ...options,
        })
        return await during(job)
      } finally {
        await backend.close()
      }
    }

    it('gives each output once, in order, until the source ends', async () => {
      const stats = await run(places()[place] as Place, {})
      expect(stats).toMatchObject({ events: 1_000, badEvents: 0 })
      expect(await outputs()).toEqual(expectedTotals(clicks(1_000)))
    })

    it('J9: stopped and started again and again, is as one that was not stopped', async () => {
      const at = places()[place] as Place
      const all = clicks(3_000)
      /** Gives some events, then waits. */
      const source = (until: number) =>
        iterableSource<Click>({
          async *from(position = 0) {
            for (let i = Number(position); i < until; i++) yield [all[i] as Click, i + 1] as const
            if (until < all.length) await new Promise(() => {})
          },
        })
      for (const until of [700, 1_500, 2_999]) {
        await run(at, { source: source(until) }, async (job) => {
          while (job.stats().positions['0'] !== until) await new Promise((resolve) => setTimeout(resolve, 1))
          await job.stop()
        })
      }
      await run(at, { source: source(3_000) })
      expect(await outputs()).toEqual(expectedTotals(all))
    })

    it('J8: stops at an event that throws, names it, and keeps nothing of it', async () => {
      const at = places()[place] as Place
      const failing = {
        process: (event: Click, context: Parameters<NonNullable<Options['process']>>[1]) => {
          common.process(event, context)
          if (event.at === 500) throw new Error('no such luck')
        },
      }
      const failed = run(at, failing)
      await expect(failed).rejects.toMatchObject({
        code: 'JOB_FAILED',
        details: { job: 'clicks', partition: '0', position: 501, reason: 'no such luck' },
      })
      await run(at, {})
      expect(await outputs()).toEqual(expectedTotals(clicks(1_000)))
    })

    it('J8: makes no cut where one is due while an event fails', async () => {
      const at = places()[place] as Place
      const busy = (ms: number) => {
        const endMs = performance.now() + ms
        while (performance.now() < endMs);
      }
      const slow = {
        source: arraySource(clicks(320)),
        process: (event: Click, context: Parameters<NonNullable<Options['process']>>[1]) => {
          common.process(event, context)
          // There are turns between slices, in which a cut becomes due, and waits for the end of what was read at once.
          busy(0.5)
          if (event.at === 319) throw new Error('no such luck')
        },
      }
      await expect(run(at, slow)).rejects.toMatchObject({ code: 'JOB_FAILED' })
      await run(at, { source: arraySource(clicks(320)) })
      expect(await outputs()).toEqual(expectedTotals(clicks(320)))
    })

    it('J7: skips bad events, or gives them to a function, and keeps nothing of them', async () => {
      const seen: BadEvent<Click>[] = []
      const events = clicks(100)
      const stats = await run(places()[place] as Place, {
        key: ({ user, at }) => (at === 10 ? undefined : user),
        process: (event, context) => {
          common.process(event, context)
          // A sum that has no number is refused (W20).
          if (event.at === 20) context.store.spent.add(context.key, Number.NaN)
        },
        source: arraySource(events),
        onBadEvent: (bad) => void seen.push(bad),
      })
      expect(stats).toMatchObject({ events: 98, badEvents: 2 })
      expect(seen.map(({ reason, position }) => [reason, position])).toEqual([
        ['noKey', 11],
        ['badValue', 21],
      ])
      expect(await outputs()).toEqual(expectedTotals(events.filter(({ at }) => at !== 10 && at !== 20)))
    })

    it('J7: fails at a bad event by default', async () => {
      const failed = run(places()[place] as Place, {
        timestamp: ({ at }) => (at === 5 ? 0.5 : at),
        time: { watermarks: ascending() },
      })
      await expect(failed).rejects.toMatchObject({ code: 'JOB_FAILED', details: { position: 6 } })
    })

    it('T9: goes on with the watermark that it had', async () => {
      const at = places()[place] as Place
      const time = { watermarks: ascending() }
      await run(at, { timestamp: ({ at: ms }) => ms, time, source: arraySource(clicks(50)) }, async (job) => {
        await job.finished
        expect(job.store.watermark).toBe(48)
      })
    })

    it('J1, J3: what is in the state is what outputs tell, at every cut', async () => {
      const at = places()[place] as Place
      await run(at, { source: arraySource(clicks(5_000)) }, async (job) => {
        await job.finished
        const last = new Map((await outputs()).map((total) => [total.user, total]))
        for (const [user, { count, spent }] of last) {
          expect(job.store.count.get(user)).toBe(count)
          expect(job.store.spent.get(user)).toBe(spent)
        }
      })
    })

    it('is INCOMPATIBLE where the state is that of another job', async () => {
      const at = places()[place] as Place
      await run(at, { source: arraySource(clicks(5)) })
      await expect(run(at, { name: 'others' })).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    })

    it('J4: hands an output to an idempotent sink at least once, under an id that stays', async () => {
      const at = places()[place] as Place
      const given: string[] = []
      const sink = functionSink<Total>({
        write: (some) =>
          void given.push(...some.map(({ id, output }) => `${id} ${output.user} ${output.count}`)),
      })
      await run(at, { sink, source: arraySource(clicks(500)) })
      expect(new Set(given).size).toBe(500)
      expect(new Set(given.map((line) => line.split(' ')[0])).size).toBe(500)
    })

    const hangingCalls = [
      ['write', 'the sink to take outputs'],
      ['prepare', 'the sink to prepare outputs'],
      ['commit', 'the sink to commit outputs'],
      ['close', 'the sink to close'],
    ] as const
    // What waits for a sink does not know the engine: a quick run lets each call hang on one engine, and one on the other.
    it.each(
      hangingCalls.filter(([call]) => place === 0 || leftToLongRuns === undefined || call === 'commit'),
    )('J9: is not kept from its end by a sink whose %s hangs, and loses nothing', async (hangs, call) => {
      const at = places()[place] as Place
      const file = ndjsonFileSink<Total>({ path: outputPath() })
      let noteHanging = () => {}
      const hanging = new Promise<void>((resolve) => {
        noteHanging = resolve
      })
      const hang = () => {
        noteHanging()
        return new Promise<never>(() => {})
      }
      const sink: Options['sink'] = {
        ...file,
        open: async (options) => {
          const writer = await file.open(options)
          return {
            write: (some, epoch, first) => writer.write(some, epoch, first),
            prepare: (epoch) => writer.prepare(epoch),
            commit: (prepared) => writer.commit(prepared),
            close: () => writer.close(),
            [hangs]: async () => {
              if (hangs === 'close') await writer.close()
              return await hang()
            },
          }
        },
      }
      const source = arraySource(clicks(2_000))
      await run(at, { sink, source, maxPollEvents: 100 }, async (job) => {
        await hanging
        await expect(job.stop({ timeoutMs: 1 })).rejects.toMatchObject({
          code: 'JOB_FAILED',
          message: expect.stringContaining(call),
        })
        expect(job.health()).toMatchObject({ state: 'failed', isHealthy: false })
      })
      // A hurried job does not wait either until its file is let go of.
      const next = ndjsonFileSink<Total>({ path: outputPath(), waitForOwnerMs: 60_000 })
      await run(at, { sink: next, source })
      expect(await outputs()).toEqual(expectedTotals(clicks(2_000)))
    })

    it('J1: has its backend for itself: a second one beside it would count everything twice', async () => {
      await using backend = new MemoryStateBackend()
      const sink = functionSink<Total>({ write: () => {} })
      const checkpoints = { storage: new MemoryCheckpointStorage() }
      const start = () => runJob({ ...common, backend, sink, source: arraySource(clicks(10)), checkpoints })
      const first = await start()
      await expect(start()).rejects.toThrow(/options.backend is that of a job that runs/)
      await first.finished
      await (await start()).finished
    })

    it('J9: is not kept from its end by a source that hangs, whoever hears of the failure', async () => {
      const at = places()[place] as Place
      const source: Options['source'] = {
        ...arraySource<Click>([]),
        open: async () => ({
          partitions: () => ['one'],
          poll: () => new Promise<never>(() => {}),
          close: () => new Promise<never>(() => {}),
        }),
      }
      // No other call takes a millisecond.
      const sink = functionSink<Total>({ write: () => {} })
      await run(at, { source, sink, stopTimeoutMs: 1 }, async (job) => {
        await expect(job.stop()).rejects.toMatchObject({
          code: 'JOB_FAILED',
          message: expect.stringContaining('the source'),
        })
      })
    })

    it.each([
      ['with a code ends the job with it', full, 'STORAGE_ERROR'],
      ['without one ends it with JOB_FAILED', new Error('the sink is gone'), 'JOB_FAILED'],
    ])('a sink that fails %s, and nothing of its outputs counts twice', async (_, failure, code) => {
      const at = places()[place] as Place
      let calls = 0
      const file = ndjsonFileSink<Total>({ path: outputPath() })
      const failing: Options['sink'] = {
        ...file,
        open: async (options) => {
          const writer = await file.open(options)
          return {
            write: async (some, epoch, first) => {
              await writer.write(some, epoch, first)
              if (++calls === 2) throw failure
            },
            prepare: (epoch) => writer.prepare(epoch),
            commit: (prepared) => writer.commit(prepared),
            close: () => writer.close(),
          }
        },
      }
      const source = arraySource(clicks(5_000))
      await expect(run(at, { sink: failing, source })).rejects.toMatchObject({ code })
      await run(at, { source })
      expect(await outputs()).toEqual(expectedTotals(clicks(5_000)))
    })
  })
}

it('lists everything that is wrong with its options', async () => {
  const failed = runJob({ name: '', source: {}, time: {}, backend: new MemoryStateBackend() } as never)
  await expect(failed).rejects.toThrow(/name.*source.*key.*schema.*process.*timestamp.*checkpoints/s)
})

/** Events that never come. */
const neverAny: AsyncIterable<readonly [Click, number]> = {
  [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }),
}

it('tells checkpoints that keep failing, and that they do no longer', async () => {
  const storage = new FaultyCheckpointStorage(new MemoryCheckpointStorage())
  await using backend = new MemoryStateBackend()
  const clock = new ManualClock(1_000)
  const job = await runJob<Click, typeof schema, Total>({
    ...common,
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

it('tells a sink that hangs, and does not wait for it in silence', async () => {
  const warnings: object[] = []
  const logger = { debug() {}, info() {}, error() {}, warn: (fields: object) => void warnings.push(fields) }
  await using backend = new MemoryStateBackend()
  let letGo: () => void = () => {}
  const job = await runJob<Click, typeof schema, Total>({
    ...common,
    source: arraySource(clicks(10)),
    sink: functionSink<Total>({ write: () => new Promise((resolve) => (letGo = resolve)) }),
    backend,
    checkpoints: { storage: new MemoryCheckpointStorage(), worker },
    stallAfterMs: 20,
    logger,
  })
  await expect.poll(() => job.health().stalled?.call).toBe('the sink to take outputs')
  expect(job.health().isHealthy).toBe(false)
  await expect.poll(() => warnings).toHaveLength(1)
  letGo()
  await job.finished
  expect(job.health()).toMatchObject({ state: 'stopped', isHealthy: true })
})

it('lets go of everything where the last step of its beginning fails, so that it can begin again', async () => {
  await using backend = new MemoryStateBackend()
  const given = arraySource(clicks(10))
  let closes = 0
  let fails = true
  let isOpen = false
  const source: Source<Click> = {
    ...given,
    open: async (request) => {
      const reader = await given.open(request)
      isOpen = true
      return Object.assign(reader, { close: async () => void closes++ })
    },
  }
  const clock: Clock = {
    now: () => {
      if (isOpen && fails) throw new Error('the clock has stopped')
      return systemClock.now()
    },
    setTimer: systemClock.setTimer,
  }
  const sink = functionSink<Total>({ write: () => {} })
  const checkpoints = { storage: new MemoryCheckpointStorage() }
  const start = () => runJob({ ...common, backend, sink, source, clock, checkpoints })
  await expect(start()).rejects.toThrow('the clock has stopped')
  expect(closes).toBe(1)
  fails = false
  const job = await start()
  await job.finished
  expect(job.stats().events).toBe(10)
})

it('ends where another process has taken over its checkpoints: two would put everything out twice', async () => {
  const storage = new MemoryCheckpointStorage()
  await using backend = new MemoryStateBackend()
  const job = await runJob<Click, typeof schema, Total>({
    ...common,
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

it('an output that is no JSON is refused where it would lie in the store', async () => {
  await using backend = await LmdbStateBackend.open({ path: join(folder, 'store') })
  const job = await runJob<Click, typeof schema, Date>({
    ...common,
    process: (_, { emit }) => emit(new Date(0)),
    source: arraySource(clicks(1)),
    sink: functionSink<Date>({ write: () => {} }),
    backend,
  })
  await expect(job.finished).rejects.toMatchObject({ code: 'SERIALIZATION_FAILED' })
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
    const job = await runJob<Click, typeof schema, Total>({
      ...common,
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
    const store = await StateStore.open(filled, schema)
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
    const job = await runJob<Click, typeof schema, Total>({
      ...common,
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
    const job = await runJob<Click, typeof schema, Total>({
      ...common,
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
    const job = await runJob<Click, typeof schema, Total>({
      ...common,
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
  const storage = new MemoryCheckpointStorage()
  let letGo: () => void = () => {}
  let commits = 0
  const backend = new MemoryStateBackend()
  const job = await runJob<Click, typeof schema, Total>({
    ...common,
    backend,
    // A thread that many others keep from the processor is not silent yet.
    checkpoints: { storage, worker, intervalMs: Infinity, maxSilenceMs: 2_000 },
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
  await expect.poll(() => commits).toBe(1)
  // Longer than the storage and the worker may be silent: it is not they who are waited for.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
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
    ...common,
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
