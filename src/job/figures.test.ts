// What a job says of its windows and timers.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { modelRuns } from '../../test/support/long.js'
import { onRandomRuns } from '../../test/support/random-runs.js'
import { RemoteServer, ToyBackend } from '../../test/support/remote-engine.js'
import type { StateBackend } from '../backend/state-backend.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { json } from '../state/codec/json.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { JobTest } from '../testing/job-test.js'
import { count, sum } from '../window/aggregate/ready-made.js'
import { hopping, tumbling } from '../window/assign/assigner.js'
import { countWindows, globalWindows, session, sliding } from '../window/assign/by-key.js'
import { ascending, boundedDisorder } from '../window/time/watermark-strategy.js'
import { windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'
import { runJob } from './run-job.js'
import type { RunningJob } from './running-job.js'
import { functionSink } from './sink/function-sink.js'
import { iterableSource } from './source/iterable-source.js'

interface Reading {
  readonly key: string
  readonly at: number
  readonly amount: number
}
const reading = (key: string, at: number, amount = 1): Reading => ({ key, at, amount })

const noStates = defineState({ key: utf8, states: {} })
const common = {
  name: 'readings',
  key: ({ key }: Reading) => key,
  timestamp: ({ at }: Reading) => at,
  time: { watermarks: ascending() },
  schema: noStates,
}
const total = () => sum((each: Reading) => Math.abs(each.amount))
const kept = { events: json<Reading>(), process: (events: Iterable<Reading>) => Array.from(events).length }

/** One of every kind, by what keeps it. */
const kinds = {
  tumbling: windowed({ windows: tumbling({ sizeMs: 10 }), aggregate: total(), output: () => undefined }),
  hopping: windowed({
    windows: hopping({ sizeMs: 10, slideMs: 5 }),
    aggregate: total(),
    output: () => undefined,
  }),
  sessions: windowed({ windows: session({ gapMs: 10 }), aggregate: total(), output: () => undefined }),
  lateSessions: windowed({
    windows: session({ gapMs: 10 }),
    aggregate: total(),
    allowedLatenessMs: 5,
    output: () => undefined,
  }),
  lateHopping: windowed({
    windows: hopping({ sizeMs: 10, slideMs: 5 }),
    aggregate: total(),
    allowedLatenessMs: 5,
    output: () => undefined,
  }),
  events: windowed({ windows: tumbling({ sizeMs: 10 }), ...kept, output: () => undefined }),
  sliding: windowed({ windows: sliding({ sizeMs: 10 }), ...kept, output: () => undefined }),
  counted: windowed({ windows: countWindows({ size: 2 }), aggregate: total(), output: () => undefined }),
  global: windowed({ windows: globalWindows(), aggregate: total(), output: () => undefined }),
}
/** Refuses what is negative: there is no such sum. */
const picky = windowed({
  windows: globalWindows(),
  aggregate: sum(({ amount }: Reading) => (amount < 0 ? Number.NaN : amount)),
  output: () => undefined,
})
type Kind = keyof typeof kinds
const kindNames = Object.keys(kinds) as Kind[]

const jobOf = (...names: readonly Kind[]) =>
  defineJob<Reading, undefined>()({
    ...common,
    windows: Object.fromEntries(names.map((name) => [name, kinds[name]])),
  })
const pickyJobOf = (...names: readonly Kind[]) =>
  defineJob<Reading, undefined>()({
    ...common,
    windows: { ...Object.fromEntries(names.map((name) => [name, kinds[name]])), picky },
    onBadEvent: 'skip',
  })

const disordered = { time: { watermarks: boundedDisorder(1_000) } }

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-figures-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

describe('open windows are counted', () => {
  it('of windows by time by key and window, until they end', async () => {
    await using test = await JobTest.start(jobOf('tumbling'))
    expect(test.stats()).toMatchObject({
      openWindows: 0,
      windows: { tumbling: { open: 0, nextMs: Infinity } },
    })
    await test.send(reading('a', 1), reading('b', 2), reading('a', 3))
    expect(test.stats().windows).toEqual({ tumbling: { open: 2, nextMs: 9 } })
    await test.restart()
    expect(test.stats().windows).toEqual({ tumbling: { open: 2, nextMs: 9 } })
    await test.send(reading('a', 12))
    expect(test.stats().windows).toEqual({ tumbling: { open: 1, nextMs: 19 } })
    expect((await test.end()).windows).toEqual({ tumbling: { open: 0, nextMs: Infinity } })
  })

  it('of hopping windows by key and pane, until the last window of a pane ends', async () => {
    await using test = await JobTest.start(jobOf('hopping'))
    await test.send(reading('a', 1), reading('a', 2))
    expect(test.stats().windows).toEqual({ hopping: { open: 1, nextMs: 4 } })
    // [-5, 5) has fired, of the panes [0, 5) and [5, 10) there are three.
    await test.send(reading('a', 6), reading('b', 6))
    expect(test.stats().windows).toEqual({ hopping: { open: 3, nextMs: 9 } })
    await test.restart()
    expect(test.stats().windows).toEqual({ hopping: { open: 3, nextMs: 9 } })
    await test.send(reading('a', 11))
    expect(test.stats().windows).toEqual({ hopping: { open: 3, nextMs: 14 } })
    expect((await test.end()).openWindows).toBe(0)
  })

  it.each(['sessions', 'lateSessions'] as const)(
    'of %s as they begin, go on, become one and end',
    async (kind) => {
      const job = { ...jobOf(kind), ...disordered }
      await using test = await JobTest.start(job)
      const open = () => test.stats().openWindows
      await test.send(reading('a', 0))
      expect(open()).toBe(1)
      await test.send(reading('a', 30))
      expect(open()).toBe(2)
      await test.send(reading('a', 15))
      expect(open()).toBe(3)
      await test.send(reading('b', 15), reading('b', 20))
      expect(open()).toBe(4)
      await test.restart()
      expect(test.stats().windows).toEqual({ [kind]: { open: 4, nextMs: 9 } })
      // From 0 to 18, so that it meets the one from 15 on.
      await test.send(reading('a', 8))
      expect(open()).toBe(3)
      // The watermark is 1,019: of b [15, 30) and of a [0, 25) and [30, 40) are over.
      await test.send(reading('c', 2_020))
      expect(open()).toBe(1)
      await test.restart()
      expect(open()).toBe(1)
    },
  )

  it('as long as they take late events', async () => {
    await using test = await JobTest.start(jobOf('lateHopping'))
    const open = () => test.stats().openWindows
    await test.send(reading('a', 1))
    expect(open()).toBe(2)
    // [-5, 5) has fired at 4, and goes at 9; [0, 10) and [5, 15) are open.
    await test.send(reading('a', 9))
    expect(open()).toBe(3)
    await test.send(reading('a', 10))
    expect(open()).toBe(3)
    await test.restart()
    expect(test.stats().windows).toEqual({ lateHopping: { open: 3, nextMs: 14 } })
  })

  it('of sliding windows until no later event can have theirs, and of others until they are full, or the end', async () => {
    await using test = await JobTest.start(jobOf('sliding', 'counted', 'global', 'events'))
    const opened = () =>
      Object.fromEntries(Object.entries(test.stats().windows).map(([name, { open }]) => [name, open]))
    await test.send(reading('a', 0), reading('b', 3))
    expect(opened()).toEqual({ sliding: 2, counted: 2, global: 2, events: 2 })
    await test.send(reading('a', 4))
    expect(opened()).toEqual({ sliding: 3, counted: 1, global: 2, events: 2 })
    await test.restart()
    expect(opened()).toEqual({ sliding: 3, counted: 1, global: 2, events: 2 })
    // The watermark is 19: of sliding windows, those that end at 1, 4 and 5 are needed up to 10, 13 and 14.
    await test.send(reading('b', 20))
    expect(opened()).toEqual({ sliding: 1, counted: 0, global: 2, events: 1 })
    expect((await test.end()).openWindows).toBe(0)
  })

  it('of processing time, until the clock has come to their end', async () => {
    const job = defineJob<Reading, undefined>()({
      name: 'by clock',
      key: ({ key }) => key,
      schema: noStates,
      windows: {
        perTen: windowed({
          windows: tumbling({ sizeMs: 10 }),
          time: 'processing',
          aggregate: count(),
          output: () => undefined,
        }),
      },
    })
    await using test = await JobTest.start(job, { startMs: 0 })
    await test.send(reading('a', 0), reading('b', 0), reading('a', 0))
    expect(test.stats().windows).toEqual({ perTen: { open: 2, nextMs: 10 } })
    await test.restart()
    expect(test.stats().windows).toEqual({ perTen: { open: 2, nextMs: 10 } })
    await test.advance(10)
    expect(test.stats().windows).toEqual({ perTen: { open: 0, nextMs: Infinity } })
  })

  it.each(kindNames)('without events that were refused by other windows, also of %s', async (kind) => {
    const job = { ...pickyJobOf(kind), ...disordered }
    await using test = await JobTest.start(job)
    const open = () => test.stats().windows[kind]?.open
    await test.send(reading('a', 0), reading('a', 30), reading('a', 15))
    const before = open()
    await test.send(reading('b', 3, -1), reading('a', 8, -1), reading('a', 60, -1))
    expect(test.stats().badEvents).toBe(3)
    expect(open()).toBe(before)
    await test.restart()
    expect(open()).toBe(before)
  })

  it('as they are in the store, whatever has happened', async () => {
    const steps = fc.array(
      fc.record({
        key: fc.constantFrom('', 'a', 'b', 'bb', 'é'),
        afterMs: fc.constantFrom(0, 0, 1, 2, 7, 30),
        backMs: fc.constantFrom(0, 0, 3, 12, 40),
        amount: fc.constantFrom(1, 1, 1, -1),
      }),
      { maxLength: 40 },
    )
    await onRandomRuns(
      fc.asyncProperty(steps, async (all) => {
        const job = { ...pickyJobOf(...kindNames), time: { watermarks: boundedDisorder(20) } }
        await using test = await JobTest.start(job)
        let at = 1_000
        for (const [i, { key, afterMs, backMs, amount }] of all.entries()) {
          at += afterMs
          await test.send(reading(key, at - backMs, amount))
          if (i % 7 !== 6) continue
          const { windows } = test.stats()
          await test.restart()
          expect(openOf(test.stats().windows)).toEqual(openOf(windows))
        }
        await test.end()
        expect(test.stats().openWindows).toBe(0)
      }),
      { runs: modelRuns(1_000, 15) },
    )
  })

  it.each(['sessions', 'lateSessions', 'tumbling', 'hopping', 'events', 'sliding'] as const)(
    'of %s with the next one that is due, also while some fire',
    async (kind) => {
      const seen: { readonly dueMs: number; readonly nextMs: number }[] = []
      let nextMs = () => Number.NaN
      const output = ({ window: { endMs } }: { readonly window: { readonly endMs: number } }) => {
        seen.push({ dueMs: endMs - 1, nextMs: nextMs() })
        return undefined
      }
      const windows = { [kind]: { ...kinds[kind], output } }
      const job = defineJob<Reading, undefined>()({ ...common, windows: windows as never })
      await using test = await JobTest.start(job)
      nextMs = () => test.stats().windows[kind]?.nextMs ?? Number.NaN
      await test.send(reading('a', 1), reading('b', 2), reading('c', 3), reading('a', 14))
      await test.send(reading('d', 1_000))
      expect(seen.length).toBeGreaterThan(2)
      const early = seen.slice(1).filter(({ dueMs }, i) => !((seen[i]?.nextMs as number) <= dueMs))
      expect(early).toEqual([])
      expect(nextMs()).toBeGreaterThan(999)
      await test.end()
      expect(nextMs()).toBe(Infinity)
    },
  )

  it('of processing time with the next one that is due, also while some fire', async () => {
    const seen: number[] = []
    let nextMs = () => Number.NaN
    const windows = {
      sessions: windowed({
        windows: session({ gapMs: 10 }),
        time: 'processing',
        aggregate: total(),
        output: () => void seen.push(nextMs()),
      }),
    }
    const job = defineJob<Reading, undefined>()({ ...common, windows })
    await using test = await JobTest.start(job, { startMs: 0 })
    nextMs = () => test.stats().windows['sessions']?.nextMs ?? Number.NaN
    await test.send(reading('a', 0), reading('b', 0))
    await test.advance(20)
    expect(seen).toEqual([10, 10])
    expect(nextMs()).toBe(Infinity)
  })

  const openOf = (windows: { readonly [name: string]: { readonly open: number } }) =>
    Object.entries(windows).map(([name, { open }]) => `${name} ${open}`)

  it.each(['LMDB', 'a server'])('on %s, also when the job goes on there', async (engine) => {
    const server = new RemoteServer()
    const open = () => openOn(engine, server)
    const events = [reading('a', 1), reading('b', 2), reading('a', 30), reading('a', 31)]
    const run = async (backend: StateBackend, until: number): Promise<RunningJob<typeof noStates>> => {
      const options = {
        ...jobOf(...kindNames),
        ...disordered,
        source: held(events, until),
        sink: functionSink<undefined>({ write: () => {} }),
        backend,
        flushIntervalMs: 5,
      }
      return (await runJob(options as never)) as RunningJob<typeof noStates>
    }
    const expected = {
      tumbling: 3,
      hopping: 3,
      sessions: 3,
      lateSessions: 3,
      lateHopping: 6,
      events: 3,
      sliding: 4,
      counted: 2,
      global: 2,
    }
    const before = await open()
    const first = await run(before, 3)
    await expect.poll(() => first.stats().positions['0']).toBe(3)
    await first.stop()
    await before.close()
    const backend = await open()
    const second = await run(backend, 4)
    await expect.poll(() => second.stats().positions['0']).toBe(4)
    const { windows, openWindows } = second.stats()
    expect(Object.fromEntries(Object.entries(windows).map(([name, { open: of }]) => [name, of]))).toEqual(
      expected,
    )
    expect(openWindows).toBe(Object.values(expected).reduce((left, right) => left + right))
    await second.stop()
    await backend.close()
  })
})

const openOn = async (engine: string, server: RemoteServer): Promise<StateBackend> =>
  engine === 'LMDB' ? await LmdbStateBackend.open({ path: join(folder, 'store') }) : new ToyBackend(server)

/** Events up to a place, and then none for a long time. */
function held<Event>(events: readonly Event[], until: number) {
  return iterableSource<Event>({
    async *from(position = 0) {
      for (let i = Number(position); i < until; i++) yield [events[i] as Event, i + 1] as const
      await new Promise(() => {})
    },
  })
}

interface Step {
  readonly key: string
  readonly at: number
  readonly set?: number
  readonly delete?: number
  readonly clock?: number
  readonly clear?: true
  readonly isBad?: true
}

const states = defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } })
const ofSteps = {
  name: 'timers',
  key: ({ key }: Step) => key,
  timestamp: ({ at }: Step) => at,
  time: { watermarks: ascending() },
  schema: states,
  onBadEvent: 'skip',
} as const
const timed = defineJob<Step, string>()({
  ...ofSteps,
  process({ key, set, delete: deleted, clock, clear, isBad }, { timers, state, store }) {
    if (set !== undefined) timers.event.set(set)
    if (deleted !== undefined) timers.event.delete(deleted)
    if (clock !== undefined) timers.processing.set(clock)
    if (clear === true) store.clear(key)
    if (isBad === true) state.seen.put(-1)
  },
  onTimer({ timestampMs }, { emit }) {
    emit(`${timestampMs}`)
  },
})

const none = { waiting: 0, due: 0, nextMs: Infinity }

describe('timers are counted', () => {
  it('as they are set, deleted and fire, and are found after a restart', async () => {
    await using test = await JobTest.start(timed, { startMs: 0 })
    expect(test.stats().timers).toEqual({ event: none, processing: none })
    await test.send(
      { key: 'a', at: 1, set: 100 },
      { key: 'a', at: 1, set: 100 },
      { key: 'b', at: 1, set: 50 },
    )
    await test.send({ key: 'b', at: 1, clock: 7_000 })
    const both = {
      event: { waiting: 2, due: 0, nextMs: 50 },
      processing: { waiting: 1, due: 0, nextMs: 7_000 },
    }
    expect(test.stats()).toMatchObject({ waitingTimers: 3, timers: both })
    await test.restart()
    expect(test.stats()).toMatchObject({ waitingTimers: 3, timers: both })
    await test.send({ key: 'a', at: 2, delete: 100 }, { key: 'a', at: 2, delete: 100 })
    expect(test.stats().timers.event.waiting).toBe(1)
    await test.send({ key: 'c', at: 60 })
    expect(test.stats().timers).toEqual({ event: none, processing: both.processing })
    await test.advance(7_000)
    expect(test.stats()).toMatchObject({ waitingTimers: 0, firedTimers: 2, timers: { processing: none } })
  })

  it('without those of keys that were cleared', async () => {
    await using test = await JobTest.start(timed, { startMs: 0 })
    await test.send(
      { key: 'a', at: 1, set: 100 },
      { key: 'a', at: 1, set: 101 },
      { key: 'b', at: 1, set: 50 },
    )
    await test.send({ key: 'a', at: 1, clock: 7_000 }, { key: 'a', at: 2, clear: true })
    expect(test.stats()).toMatchObject({ waitingTimers: 1, timers: { event: { waiting: 1 } } })
    await test.restart()
    expect(test.stats().waitingTimers).toBe(1)
  })

  it('without those of bad events', async () => {
    await using test = await JobTest.start(timed, { startMs: 0 })
    const bad = { isBad: true } as const
    await test.send({ key: 'a', at: 1, set: 100 }, { key: 'b', at: 1, set: 100, ...bad }, { key: 'b', at: 1 })
    await test.send({ key: 'a', at: 1, delete: 100, ...bad })
    expect(test.stats()).toMatchObject({ badEvents: 2, waitingTimers: 1 })
    await test.restart()
    expect(test.stats().waitingTimers).toBe(1)
  })

  it('of which some are due, where several are at one time', async () => {
    const seen: string[] = []
    let ask = () => ''
    const job = defineJob<Step, string>()({
      ...timed,
      onTimer: (_, { key }) => void seen.push(`${key} ${ask()}`),
    })
    await using test = await JobTest.start(job, { startMs: 0 })
    ask = () => {
      const { waiting, due, nextMs } = test.stats().timers.event
      return `${waiting} ${due} ${nextMs}`
    }
    for (const key of ['a', 'b', 'c']) await test.send({ key, at: 1, set: 10 }, { key, at: 1, set: 1_000 })
    await test.send({ key: 'd', at: 20 })
    // What is due comes next until it has fired.
    expect(seen).toEqual(['a 5 2 10', 'b 4 1 10', 'c 3 0 1000'])
  })

  const staged = () =>
    defineJob<Step, Step>()({
      ...ofSteps,
      process: (step, { emit }) => emit(step),
      onTimer: () => {},
    }).pipe<string>()({
      name: 'later',
      key: ({ key }) => key,
      schema: states,
      process: ({ set, delete: deleted, isBad }, { timers, state, emit }) => {
        if (set !== undefined) timers.event.set(set)
        if (deleted !== undefined) timers.event.delete(deleted)
        state.seen.update((seen) => seen + 1)
        if (isBad === true) state.seen.put(-1)
        emit(`${state.seen.get()}`)
      },
      onTimer: () => {},
      onBadEvent: 'skip',
    })

  it('by stage', async () => {
    await using test = await JobTest.start(staged(), { startMs: 0 })
    await test.send({ key: 'a', at: 1, set: 100 }, { key: 'b', at: 1, set: 70, isBad: true })
    const { waitingTimers, timers, stages } = test.stats()
    expect([waitingTimers, timers.event.waiting]).toEqual([1, 0])
    expect(stages).toEqual({
      later: {
        events: 1,
        badEvents: 1,
        timers: { event: { waiting: 1, due: 0, nextMs: 70 }, processing: none },
      },
    })
    await test.restart()
    expect(test.stats().stages['later']?.timers.event).toEqual({ waiting: 1, due: 0, nextMs: 100 })
  })

  it('on a server, also where a later stage has the step done again', async () => {
    const job = defineJob<Step, Step>()({
      ...ofSteps,
      onBadEvent: 'fail',
      process: ({ set, delete: deleted }, { timers }) => {
        if (set !== undefined) timers.event.set(set)
        if (deleted !== undefined) timers.event.delete(deleted)
      },
      onTimer: ({ timestampMs }, { key, timers, emit }) => {
        if (timestampMs === 10) timers.event.set(11)
        emit({ key, at: timestampMs })
      },
    }).pipe<string>()({
      name: 'later',
      key: ({ key }) => key,
      schema: states,
      process: (_, { state }) => state.seen.update((seen) => seen + 1),
    })
    const backend: StateBackend = new ToyBackend(new RemoteServer())
    // What the timers need is there, when they fire; what the later stage needs is not.
    const steps: Step[] = [
      { key: 'a', at: 1, set: 10 },
      { key: 'a', at: 1, set: 11 },
      { key: 'a', at: 1, delete: 11 },
      { key: 'a', at: 1, set: 1_000 },
      { key: 'b', at: 20 },
    ]
    const running = await runJob({
      ...job,
      source: held(steps, steps.length),
      sink: functionSink<string>({ write: () => {} }),
      backend: backend as LmdbStateBackend,
    })
    await expect.poll(() => running.stats().stages['later']?.events).toBe(2)
    await running.stop()
    expect(running.stats()).toMatchObject({
      firedTimers: 2,
      timers: { event: { waiting: 1, due: 0, nextMs: 1_000 } },
    })
    await backend.close()
  })

  it.each(['LMDB', 'a server'])('on %s, also when the job goes on there', async (engine) => {
    const server = new RemoteServer()
    const open = () => openOn(engine, server)
    const steps: Step[] = [
      { key: 'a', at: 1, set: 100 },
      { key: 'b', at: 1, set: 70, isBad: true },
      { key: 'a', at: 1, set: 101 },
      { key: 'a', at: 1, delete: 101 },
      { key: 'c', at: 1, set: 200 },
    ]
    const run = async (backend: StateBackend, until: number) => {
      const job = await runJob({
        ...timed,
        source: held(steps, until),
        sink: functionSink<string>({ write: () => {} }),
        backend: backend as LmdbStateBackend,
        flushIntervalMs: 5,
      })
      await expect.poll(() => job.stats().positions['0']).toBe(until)
      return job
    }
    const before = await open()
    const first = await run(before, 4)
    expect(first.stats()).toMatchObject({ badEvents: 1, waitingTimers: 1 })
    await first.stop()
    await before.close()
    const backend = await open()
    const second = await run(backend, 5)
    expect(second.stats().timers.event).toEqual({ waiting: 2, due: 0, nextMs: 100 })
    await second.stop()
    await backend.close()
  })
})
