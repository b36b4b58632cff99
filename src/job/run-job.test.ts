import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Click,
  type ClicksJobOptions,
  type ClicksSchema,
  clicks,
  clicksJob,
  expectedTotals,
  type Total,
} from '../../test/support/clicks-job.js'
import { leftToLongRuns } from '../../test/support/long.js'
import type { SyncStateBackend } from '../backend/state-backend.js'
import { type Clock, systemClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { CheckpointWorker } from '../checkpoint/worker/checkpoint-worker.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { ascending } from '../window/time/watermark-strategy.js'
import type { BadEvent } from './job-options.js'
import { runJob } from './run-job.js'
import type { RunningJob } from './running-job.js'
import { functionSink } from './sink/function-sink.js'
import { ndjsonFileSink } from './sink/ndjson-file-sink.js'
import type { Sink } from './sink/sink.js'
import { arraySource, iterableSource } from './source/iterable-source.js'
import type { Source } from './source/source.js'

const full = new StateError('STORAGE_ERROR', {
  storage: 'file:outputs',
  operation: 'write',
  reason: 'no space is left',
})

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
  open(): Promise<{ backend: SyncStateBackend; checkpoints?: ClicksJobOptions['checkpoints'] }>
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
      options: Partial<ClicksJobOptions>,
      during: (job: RunningJob<ClicksSchema>) => Promise<unknown> = (job) => job.finished,
    ) => {
      const { backend, checkpoints } = await at.open()
      try {
        const job = await runJob<Click, ClicksSchema, Total>({
          ...clicksJob,
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
        process: (event: Click, context: Parameters<NonNullable<ClicksJobOptions['process']>>[1]) => {
          clicksJob.process(event, context)
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
        process: (event: Click, context: Parameters<NonNullable<ClicksJobOptions['process']>>[1]) => {
          clicksJob.process(event, context)
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
          clicksJob.process(event, context)
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
      const sink: ClicksJobOptions['sink'] = {
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
      const start = () =>
        runJob({ ...clicksJob, backend, sink, source: arraySource(clicks(10)), checkpoints })
      const first = await start()
      await expect(start()).rejects.toThrow(/options.backend is that of a job that runs/)
      await first.finished
      await (await start()).finished
    })

    it('J9: is not kept from its end by a source that hangs, whoever hears of the failure', async () => {
      const at = places()[place] as Place
      const source: ClicksJobOptions['source'] = {
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
      const failing: ClicksJobOptions['sink'] = {
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

it('tells a sink that hangs, and does not wait for it in silence', async () => {
  const warnings: object[] = []
  const logger = { debug() {}, info() {}, error() {}, warn: (fields: object) => void warnings.push(fields) }
  await using backend = new MemoryStateBackend()
  let letGo: () => void = () => {}
  const job = await runJob<Click, ClicksSchema, Total>({
    ...clicksJob,
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

it('lets go of everything where its logger throws: that surfaces by itself', async () => {
  const thrown: unknown[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', (error) => thrown.push(error))
  try {
    const broken = () => {
      throw new Error('logger')
    }
    await using backend = new MemoryStateBackend()
    let isClosed = false
    const failing = functionSink<Total>({
      write: () => {
        throw full
      },
    })
    const sink: Sink<Total> = {
      ...failing,
      open: async (request) =>
        Object.assign(await failing.open(request), { close: async () => void (isClosed = true) }),
    }
    const job = await runJob<Click, ClicksSchema, Total>({
      ...clicksJob,
      source: arraySource(clicks(10)),
      sink,
      backend,
      checkpoints: { storage: new MemoryCheckpointStorage(), worker },
      logger: { debug: broken, info: broken, warn: broken, error: broken },
    })
    await expect(job.finished).rejects.toBe(full)
    expect(isClosed).toBe(true)
    expect(thrown.length).toBeGreaterThan(0)
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
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
  const start = () => runJob({ ...clicksJob, backend, sink, source, clock, checkpoints })
  await expect(start()).rejects.toThrow('the clock has stopped')
  expect(closes).toBe(1)
  fails = false
  const job = await start()
  await job.finished
  expect(job.stats().events).toBe(10)
})

it('an output that is no JSON is refused where it would lie in the store', async () => {
  await using backend = await LmdbStateBackend.open({ path: join(folder, 'store') })
  const job = await runJob<Click, ClicksSchema, Date>({
    ...clicksJob,
    process: (_, { emit }) => emit(new Date(0)),
    source: arraySource(clicks(1)),
    sink: functionSink<Date>({ write: () => {} }),
    backend,
  })
  await expect(job.finished).rejects.toMatchObject({ code: 'SERIALIZATION_FAILED' })
})
