import { describe, expect, it, vi } from 'vitest'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { tuple } from '../state/codec/composite.js'
import { float64, int64, uint32 } from '../state/codec/numbers.js'
import { list, value } from '../state/kinds/definitions.js'
import { defineState, fromKey } from '../state/schema/define-state.js'
import { StateStore } from '../state/store.js'
import { MemoryCheckpointStorage } from '../storage/memory-checkpoint-storage.js'
import { JobTest, testJob } from '../testing/job-test.js'
import { ManualClock } from '../testing/manual-clock.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { withTimers } from '../window/timers/timer-states.js'
import { defineJob } from './define-job.js'
import type { KeyTimers } from './job-options.js'
import { runJob } from './run-job.js'
import { functionSink } from './sink/function-sink.js'

interface Step {
  readonly key: string
  readonly at: number
  /** What is done with the timers of the key. */
  readonly acts?: (
    timers: { readonly event: KeyTimers; readonly processing: KeyTimers },
    nowMs: number,
  ) => void
}

/** `key name@timestamp watermark`, of timers of processing time with the time at which they fire. */
type Fired = string

const schema = defineState({
  key: utf8,
  states: {
    count: value(uint32, { default: () => 0 }),
    fired: list(utf8),
    short: value(float64, { ttl: { afterMs: 10, time: 'event' } }),
    written: value(int64, { ttl: { afterMs: 1_000_000, time: 'event' } }),
  },
})

const common = {
  name: 'timers',
  key: ({ key }: Step) => key,
  timestamp: ({ at }: Step) => at,
  time: { watermarks: ascending() },
  schema,
} as const

const showing = defineJob<Step, Fired>()({
  ...common,
  process({ acts }, { state, timers, now }) {
    state.count.update((count) => count + 1)
    acts?.(timers, now())
  },
  onTimer({ time, timestampMs, name }, { key, state, watermarkMs, now, emit }) {
    state.fired.append(`${name}@${timestampMs}`)
    emit(`${key} ${name}@${timestampMs} ${time === 'event' ? watermarkMs : `at ${now()}`}`)
  },
})

const step = (key: string, at: number, acts?: Step['acts']): Step => ({
  key,
  at,
  ...(acts !== undefined && { acts }),
})

describe('timers of event time', () => {
  it('R1: setting one again and deleting one that is not there change nothing', async () => {
    const { outputs, stats } = await testJob(showing, [
      step('a', 1, ({ event }) => {
        event.set(5, 'x')
        event.set(5, 'x')
        event.set(5, 'y')
        event.set(6, 'x')
        event.delete(7, 'x')
        event.delete(5, 'z')
      }),
      step('a', 2, ({ event }) => event.delete(6, 'x')),
      step('b', 3, ({ event }) => {
        event.delete(5, 'x')
        event.set(5)
      }),
      step('a', 9),
    ])
    expect(outputs).toEqual(['a x@5 8', 'a y@5 8', 'b @5 8'])
    expect(stats.firedTimers).toBe(3)
  })

  it('R2: fire by timestamp, then by the bytes of the key, then by name', async () => {
    const set =
      (...ids: [number, string][]) =>
      ({ event }: { event: KeyTimers }) =>
        ids.forEach(([timestampMs, name]) => event.set(timestampMs, name))
    const { outputs } = await testJob(showing, [
      step('b', 1, set([10, 'y'], [10, 'x'], [9, 'z'])),
      step('é', 1, set([10, 'x'])),
      step('aa', 1, set([10, 'x'], [-5, 'x'])),
      step('a', 1, set([10, 'zz'], [11, 'x'], [10, 'z'])),
      step('', 1, set([10, 'x'])),
      step('a', 20),
    ])
    expect(outputs.map((output) => output.replace(/ \d+$/, ''))).toEqual([
      'aa x@-5',
      'b z@9',
      ' x@10',
      'a z@10',
      'a zz@10',
      'aa x@10',
      'b x@10',
      'b y@10',
      'é x@10',
      'a x@11',
    ])
  })

  it('R3: one that is set in the past fires at the next advance of the watermark', async () => {
    await using test = await JobTest.start(showing)
    await test.send(step('a', 100))
    await test.send(step('a', 100, ({ event }) => event.set(7)))
    expect(test.takeOutputs()).toEqual([])
    await test.send(step('a', 101))
    expect(test.takeOutputs()).toEqual(['a @7 100'])
  })

  it('R4: one that a timer sets at or below the watermark fires in the same advance, in its place', async () => {
    const job = defineJob<Step, Fired>()({
      ...common,
      process: ({ acts }, { timers, now }) => acts?.(timers, now()),
      onTimer({ timestampMs, name }, { key, timers, watermarkMs, emit }) {
        emit(`${key} ${name}@${timestampMs} ${watermarkMs}`)
        if (name !== 'again') return
        timers.event.set(timestampMs + 10, timestampMs < 30 ? 'again' : 'last')
        timers.event.set(timestampMs - 100, 'past')
      },
    })
    await using test = await JobTest.start(job)
    await test.send(
      step('a', 1, ({ event }) => event.set(10, 'again')),
      step('b', 2, ({ event }) => event.set(25)),
      step('c', 36),
    )
    expect(test.takeOutputs()).toEqual([
      'a again@10 35',
      'a past@-90 35',
      'a again@20 35',
      'a past@-80 35',
      'b @25 35',
      'a again@30 35',
      'a past@-70 35',
    ])
    await test.send(step('c', 41))
    expect(test.takeOutputs()).toEqual(['a last@40 40'])
  })

  it('R4: a periodic timer may catch up with the events however often it takes, also at the end of the source', async () => {
    const periodic = defineJob<Step, Fired>()({
      ...common,
      process: ({ key }, { timers }) => {
        if (key === 'a') timers.event.set(0)
      },
      onTimer: ({ timestampMs }, { timers, watermarkMs, emit }) => {
        if (timestampMs === 1_500_000) emit('done')
        // At the end nothing is expected any more: a timer asks for that, or it is one in a row without an end.
        else if (watermarkMs < Infinity || timestampMs < 1_500_000) timers.event.set(timestampMs + 100)
      },
    })
    // 15,000 at one advance of the watermark, and as many at the end.
    expect((await testJob(periodic, [step('a', 1), step('b', 2_000_000)])).outputs).toEqual(['done'])
    expect((await testJob(periodic, { x: [step('a', 1)], y: [step('b', 2_000_000)] })).outputs).toEqual([
      'done',
    ])
  })

  it('R4: more than 10,000 in a row for one key are an error, not a hang', async () => {
    const endless = defineJob<Step, Fired>()({
      ...common,
      process: (_, { timers }) => timers.event.set(0),
      onTimer: ({ timestampMs }, { timers, watermarkMs, key }) => {
        if (key === 'careful' && watermarkMs === Infinity) return
        timers.event.set(timestampMs + 1)
      },
    })
    await expect(testJob(endless, [step('a', 9), step('b', 10)])).rejects.toMatchObject({
      code: 'JOB_FAILED',
      details: { reason: expect.stringMatching(/10000|10,000/) },
    })
    const { stats } = await testJob(endless, [step('careful', 5), step('careful', 10_001)])
    expect(stats.firedTimers).toBe(10_007)
  })

  it('R5: what is overdue after a restore fires before anything is read, in order', async () => {
    await using test = await JobTest.start(showing)
    await test.send(step('a', 100))
    // In the past: they wait for the next advance, which does not come before the restart.
    await test.send(
      step('b', 100, ({ event, processing }, nowMs) => {
        event.set(40)
        processing.set(nowMs + 50)
      }),
      step('a', 100, ({ event }) => event.set(60)),
      step('a', 100, ({ event }) => event.set(40)),
    )
    expect(test.takeOutputs()).toEqual([])
    await test.restart()
    expect(test.takeOutputs()).toEqual(['a @40 99', 'b @40 99', 'a @60 99'])
    await test.advance(50)
    expect(test.takeOutputs()).toEqual(['b @150 at 150'])
  })

  it('R6: fire also where the state of their key has expired, and see none', async () => {
    const seen: unknown[] = []
    const job = defineJob<Step>()({
      ...common,
      process: (_, { state, timers, timestampMs }) => {
        state.short.put(1)
        timers.event.set(timestampMs + 5, 'soon')
        timers.event.set(timestampMs + 10, 'late')
      },
      onTimer: ({ name }, { key, state }) => {
        if (key === 'a') seen.push([name, state.short.get()])
      },
    })
    await testJob(job, [step('a', 0), step('b', 6), step('b', 11)])
    expect(seen).toEqual([
      ['soon', 1],
      ['late', undefined],
    ])
  })

  it('R7: are state, which goes where the state of their key goes', async () => {
    const backend = new MemoryStateBackend()
    const old = defineState({ key: utf8, states: { count: value(uint32) } })
    const store = (await StateStore.open(backend, withTimers(old))) as unknown as {
      readonly 'onTimer.event': {
        put(key: string, id: [number, string]): void
        keys(key: unknown): Iterable<[number, string]>
      }
      readonly count: { put(key: string, count: number): void }
    }
    store['onTimer.event'].put('a', [5, 'x'])
    store.count.put('a', 1)
    const next = defineState({
      key: tuple(utf8, utf8),
      states: { count: value(uint32) },
      migrateKey: fromKey(utf8, (key) => ['eu', key] as [string, string]),
    })
    const migrated = (await StateStore.open(backend, withTimers(next), {
      migrate: true,
    })) as unknown as typeof store
    expect([...migrated['onTimer.event'].keys(['eu', 'a'])]).toEqual([[5, 'x']])
    // Those of one range of key groups are in the keys of that range.
    const all = await backend.listKeys(new Uint8Array(0))
    expect(all.filter((key) => (key[0] as number) < 0x80)).toHaveLength(2)
    await backend.close()
  })

  it('T8, T12: all fire at the end of the source, and their watermark is the new one', async () => {
    const { outputs } = await testJob(showing, [step('a', 1, ({ event }) => event.set(1_000_000))])
    expect(outputs).toEqual(['a @1000000 Infinity'])
  })

  it('write at their own time what expires by event time', async () => {
    const job = defineJob<Step>()({
      ...common,
      process: (_, { timers }) => timers.event.set(500_000),
      onTimer: (_, { state }) => state.written.put(1),
    })
    await using test = await JobTest.start(job)
    await test.send(step('a', 0), step('b', 500_001))
    expect(test.store.written.has('a')).toBe(true)
    await test.send(step('b', 1_500_000))
    expect(test.store.written.has('a')).toBe(true)
    await test.send(step('b', 1_500_001))
    expect(test.store.written.has('a')).toBe(false)
  })

  it('are gone with their key, and do not fire', async () => {
    const job = defineJob<Step, Fired>()({
      ...common,
      process: ({ acts }, { store, key, timers, now }) => {
        if (acts === undefined) store.clear(key)
        else acts(timers, now())
      },
      onTimer: (_, { emit }) => emit('fired'),
    })
    const { outputs } = await testJob(job, [
      step('a', 0, ({ event }) => event.set(5)),
      step('a', 1),
      step('b', 9),
    ])
    expect(outputs).toEqual([])
  })

  it('J8: one that throws stops the job, which names it', async () => {
    const job = defineJob<Step>()({
      ...common,
      process: (_, { timers }) => timers.event.set(5, 'x'),
      onTimer: () => {
        throw new Error('no such luck')
      },
    })
    await expect(testJob(job, [step('a', 0), step('a', 9)])).rejects.toMatchObject({
      code: 'JOB_FAILED',
      details: { partition: undefined, reason: `the event timer 'x' at 5 of key "a": no such luck` },
    })
  })

  it('refuse a time or a name that is none, and all where there is no onTimer', async () => {
    for (const acts of [
      ({ event }: { event: KeyTimers }) => event.set(0.5),
      ({ event }: { event: KeyTimers }) => event.set(1, 'x'.repeat(257)),
      ({ processing }: { processing: KeyTimers }) => processing.delete(Infinity),
    ]) {
      await expect(testJob(showing, [step('a', 0, acts)])).rejects.toMatchObject({ code: 'JOB_FAILED' })
    }
    const { onTimer: _, ...without } = showing
    await expect(testJob(without, [step('a', 0, ({ event }) => event.set(1))])).rejects.toThrow(/no onTimer/)
  })

  it('a job without onTimer does not open the state of one with timers', async () => {
    const backend = new MemoryStateBackend()
    await StateStore.open(backend, withTimers(schema))
    await expect(StateStore.open(backend, schema)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    await backend.close()
    const taken = defineState({ key: utf8, states: { 'onTimer.event': value(uint32) } })
    expect(() => withTimers(taken)).toThrow(/kept under/)
  })
})

describe('timers of processing time', () => {
  it('R3, R4: fire when the clock has come to them; one that is set in the past in the next turn', async () => {
    const job = defineJob<Step, Fired>()({
      ...common,
      process: ({ acts }, { timers, now }) => acts?.(timers, now()),
      onTimer({ timestampMs, name }, { key, timers, now, emit }) {
        emit(`${key} ${name}@${timestampMs} at ${now()}`)
        if (name === 'first') timers.processing.set(timestampMs, 'second')
      },
    })
    await using test = await JobTest.start(job, { startMs: 1_000 })
    await test.send(
      step('b', 1, ({ processing }) => processing.set(1_500, 'first')),
      step('a', 1, ({ processing }) => {
        processing.set(1_500)
        processing.set(1_200, 'deleted')
        processing.set(3_000)
      }),
      step('a', 2, ({ processing }) => processing.delete(1_200, 'deleted')),
    )
    await test.advance(499)
    expect(test.takeOutputs()).toEqual([])
    await test.advance(1)
    expect(test.takeOutputs()).toEqual(['a @1500 at 1500', 'b first@1500 at 1500'])
    await test.advance(1)
    expect(test.takeOutputs()).toEqual(['b second@1500 at 1501'])
    await test.send(step('c', 3, ({ processing }) => processing.set(-1)))
    await test.advance(1)
    expect(test.takeOutputs()).toEqual(['c @-1 at 1502'])
  })

  it('R5: overdue ones fire at once after a restart, in order', async () => {
    await using test = await JobTest.start(showing, { startMs: 1_000 })
    await test.send(
      step('b', 1, ({ processing }) => processing.set(2_000)),
      step('a', 1, ({ processing }) => processing.set(3_000)),
      step('c', 1, ({ processing }) => processing.set(9_000)),
    )
    await test.restart(5_000)
    expect(test.takeOutputs()).toEqual(['b @2000 at 6000', 'a @3000 at 6000'])
    await test.advance(3_000)
    expect(test.takeOutputs()).toEqual(['c @9000 at 9000'])
  })

  it('T13: a clock that goes back fires nothing again, and nothing late', async () => {
    await using test = await JobTest.start(showing, { startMs: 1_000 })
    await test.send(step('a', 1, ({ processing }, nowMs) => processing.set(nowMs + 100)))
    test.clock.set(500)
    // The time stays until the clock is asked, and goes on from there.
    await test.advance(100)
    expect(test.takeOutputs()).toEqual([])
    await test.advance(100)
    expect(test.takeOutputs()).toEqual(['a @1100 at 1100'])
    test.clock.set(500)
    await test.advance(1_000)
    expect(test.takeOutputs()).toEqual([])
  })

  const dueAtOnce = step('a', 1, ({ event, processing }) => {
    processing.set(999)
    event.set(5)
  })

  it('R3: those that are due at the end of the source fire before it', async () => {
    await using test = await JobTest.start(showing, { startMs: 1_000 })
    await test.send(dueAtOnce)
    expect(test.takeOutputs()).toEqual([])
    await test.end()
    expect(test.takeOutputs()).toEqual(['a @999 at 1000', `a @5 ${Infinity}`])
    expect(test.stats().timers.processing).toMatchObject({ waiting: 0, due: 0 })
  })

  it('R3: so do those that are due when a job is drained', async () => {
    const outputs: Fired[] = []
    let polls = 0
    const job = await runJob({
      ...showing,
      source: {
        name: 'one event, and no end',
        open: async () => ({
          partitions: () => ['0'],
          poll: async () =>
            polls++ === 0 ? [{ partition: '0', events: [dueAtOnce], positionAfter: () => 1 }] : [],
          close: async () => {},
        }),
      },
      sink: functionSink<Fired>({ write: (some) => void outputs.push(...some.map(({ output }) => output)) }),
      backend: new MemoryStateBackend(),
      checkpoints: { storage: new MemoryCheckpointStorage() },
      clock: new ManualClock(1_000),
    })
    await vi.waitUntil(() => polls >= 2)
    await job.stop({ drain: true })
    expect(outputs).toEqual(['a @999 at 1000', `a @5 ${Infinity}`])
  })

  it('R4: one that a timer sets over and over when it is due does not hold up the end of the source', async () => {
    const job = defineJob<Step, Fired>()({
      ...common,
      process: ({ acts }, { timers, now }) => acts?.(timers, now()),
      onTimer({ timestampMs }, { timers, emit }) {
        timers.processing.set(timestampMs)
        emit('fired')
      },
    })
    await using test = await JobTest.start(job, { startMs: 1_000 })
    await test.send(step('a', 1, ({ processing }) => processing.set(1_000)))
    await test.end()
    expect(new Set(test.outputs)).toEqual(new Set(['fired']))
    expect(test.stats().timers.processing).toMatchObject({ waiting: 1 })
  })

  it('T8: those that are not due stay at the end of the source, for the next run', async () => {
    await using test = await JobTest.start(showing, { startMs: 1_000 })
    await test.send(step('a', 1, ({ processing }) => processing.set(2_000)))
    await test.end()
    expect(test.outputs).toEqual([])
  })
})
