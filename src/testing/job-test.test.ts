import { describe, expect, expectTypeOf, it } from 'vitest'
import { defineJob } from '../job/define-job.js'
import { utf8 } from '../state/codec/byte-strings.js'
import { uint32 } from '../state/codec/numbers.js'
import { value } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { JobTest, testJob } from './job-test.js'

interface Click {
  readonly user: string
  readonly at: number
}

const HOUR_MS = 3_600_000

const counting = defineJob<Click, { readonly user: string; readonly count: number; readonly on: Date }>()({
  name: 'clicks',
  key: ({ user }) => user,
  timestamp: ({ at }) => at,
  time: { watermarks: ascending() },
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  process({ user, at }, { store, key, emit }) {
    if (user === 'thrower') throw new Error('no such luck')
    store.count.update(key, (count) => count + 1)
    emit({ user, count: store.count.get(key), on: new Date(at) })
  },
})

const click = (user: string, at: number): Click => ({ user, at })

describe('testJob', () => {
  it('gives the outputs of a job, as they were emitted, and what it came to', async () => {
    const { outputs, stats, store } = await testJob(counting, [click('a', 1), click('b', 2), click('a', 3)])
    expect(outputs).toEqual([
      { user: 'a', count: 1, on: new Date(1) },
      { user: 'b', count: 1, on: new Date(2) },
      { user: 'a', count: 2, on: new Date(3) },
    ])
    expectTypeOf(outputs[0]).toEqualTypeOf<
      { readonly user: string; readonly count: number; readonly on: Date } | undefined
    >()
    expect(stats).toMatchObject({ events: 3, badEvents: 0, outputs: 3, watermarkMs: Infinity })
    expect(store.count.get('a')).toBe(2)
  })

  it('reads partitions by their names', async () => {
    const { stats } = await testJob(counting, { one: [click('a', 1)], two: [click('b', 9), click('b', 10)] })
    expect(stats).toMatchObject({ events: 3, positions: { one: 1, two: 2 } })
  })

  it('ends at once where there are no events', async () => {
    expect((await testJob(counting, [])).stats).toMatchObject({ events: 0, watermarkMs: Infinity })
  })

  it('fails as the job does', async () => {
    await expect(testJob(counting, [click('a', 1), click('thrower', 2)])).rejects.toMatchObject({
      code: 'JOB_FAILED',
      details: { position: 2, reason: 'no such luck' },
    })
  })

  it('has a clock that is as far as the events, or stands where it is told to', async () => {
    const far = [click('a', 0), click('a', 100 * HOUR_MS)]
    expect((await testJob(counting, far)).stats.events).toBe(2)
    await expect(testJob(counting, far, { startMs: 0 })).rejects.toMatchObject({ code: 'JOB_FAILED' })
  })

  it('takes what runJob is to run, and refuses what it would refuse', async () => {
    await expect(testJob({ ...counting, key: 'user' } as never, [])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
    await expect(testJob(counting, [], { startMs: Number.NaN })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
  })
})

describe('JobTest', () => {
  it('shows a job step by step', async () => {
    await using test = await JobTest.start(counting)
    await test.send(click('a', 1), click('a', 2))
    expect(test.takeOutputs()).toHaveLength(2)
    expect(test.takeOutputs()).toHaveLength(0)
    expect(test.store.count.get('a')).toBe(2)
    await test.sendTo('other', click('b', 2))
    expect(test.stats()).toMatchObject({ events: 3, positions: { '0': 2, other: 1 } })
    expect((await test.end()).watermarkMs).toBe(Infinity)
    expect(test.outputs).toHaveLength(3)
  })

  it('goes on from the state alone after a restart', async () => {
    await using test = await JobTest.start(counting)
    await test.send(click('a', 5))
    await test.restart()
    expect(test.store.watermark).toBe(4)
    await test.send(click('a', 6))
    expect(test.takeOutputs().map(({ count }) => count)).toEqual([1, 2])
    await test.restart()
    await test.end()
    expect(test.stats().positions).toEqual({ '0': 2 })
  })

  it('T5: has partitions that become idle as time passes', async () => {
    const job = { ...counting, time: { watermarks: ascending(), idleAfterMs: 1_000 } }
    await using test = await JobTest.start(job, { partitions: ['slow', 'fast'] })
    await test.sendTo('fast', click('a', 500))
    expect(test.stats().watermarkMs).toBe(-Infinity)
    await test.advance(1)
    await test.advance(1_000)
    await test.sendTo('fast', click('a', 1_600))
    expect(test.stats().watermarkMs).toBe(1_599)
  })

  it('T5: a partition is idle once exactly that time has passed in one step', async () => {
    const job = { ...counting, time: { watermarks: ascending(), idleAfterMs: 1_000 } }
    await using test = await JobTest.start(job, { partitions: ['slow', 'fast'] })
    await test.sendTo('fast', click('a', 500))
    await test.advance(1_000)
    expect(test.stats().partitions).toMatchObject({ slow: { isIdle: true } })
    await using before = await JobTest.start(job, { partitions: ['slow', 'fast'] })
    await before.sendTo('fast', click('a', 500))
    await before.advance(999)
    expect(before.stats().partitions).toMatchObject({ slow: { isIdle: false } })
  })

  it('fails where the job has failed', async () => {
    await using test = await JobTest.start(counting)
    await expect(test.send(click('thrower', 1))).rejects.toMatchObject({ code: 'JOB_FAILED' })
    await expect(test.send(click('a', 2))).rejects.toMatchObject({ code: 'JOB_FAILED' })
  })
})

describe('the figures of a job', () => {
  it('say how far it is, and how far behind', async () => {
    await using test = await JobTest.start(counting, { startMs: 10_000, partitions: ['one', 'two'] })
    expect(test.stats()).toMatchObject({ behindMs: Number.NaN, cuts: 0, sinceCutMs: 0, waitingTimers: 0 })
    await test.sendTo('one', click('a', 4_000))
    await test.advance(500)
    const stats = test.stats()
    expect(stats).toMatchObject({ events: 1, outputs: 1, behindMs: 6_500, sinceCutMs: 500 })
    expect(stats.partitions).toEqual({
      one: { highestMs: 4_000, watermarkMs: 3_999, isIdle: false, hasEnded: false },
      two: { highestMs: -Infinity, watermarkMs: -Infinity, isIdle: false, hasEnded: false },
    })
    expect(stats.watermarkMs).toBe(-Infinity)
  })
})
