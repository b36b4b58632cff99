import { getEventListeners } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { CheckpointSchedule } from '../checkpoint/coordinator/checkpoint-schedule.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../memory/memory-state-backend.js'
import { ManualClock } from '../testing/manual-clock.js'
import { ModelStateBackend } from '../testing/model-state-backend.js'
import { type Clock, ForwardClock, Sleeper, setLongTimer, setPatientTimer, systemClock } from './clock.js'
import { MAX_TIMER_MS } from './limits.js'

const SIXTY_DAYS_MS = 60 * 24 * 3_600_000
const bytes = (text: string) => Buffer.from(text)

/** A clock of a user's, with the delays that its timers were asked for. */
function noting(): { readonly clock: Clock; readonly delaysMs: number[]; readonly manual: ManualClock } {
  const manual = new ManualClock()
  const delaysMs: number[] = []
  const clock: Clock = {
    now: () => manual.now(),
    setTimer: (callback, delayMs) => {
      delaysMs.push(delayMs)
      return manual.setTimer(callback, delayMs)
    },
  }
  return { clock, delaysMs, manual }
}

describe('setLongTimer', () => {
  it('waits in steps that a clock can take, and calls back once, when all of it has passed', () => {
    const { clock, delaysMs, manual } = noting()
    let calls = 0
    setLongTimer(clock, () => calls++, SIXTY_DAYS_MS)
    manual.advance(SIXTY_DAYS_MS - 1)
    expect(calls).toBe(0)
    manual.advance(2 * SIXTY_DAYS_MS)
    expect(calls).toBe(1)
    expect(delaysMs).toEqual([MAX_TIMER_MS, MAX_TIMER_MS, SIXTY_DAYS_MS - 2 * MAX_TIMER_MS])
  })

  it('is stopped in any of its steps, and never fires after Infinity', () => {
    const { clock, manual } = noting()
    let calls = 0
    const cancel = setLongTimer(clock, () => calls++, SIXTY_DAYS_MS)
    setLongTimer(clock, () => calls++, Infinity)
    manual.advance(MAX_TIMER_MS + 1)
    cancel()
    expect(manual.pendingTimers).toBe(0)
    expect(calls).toBe(0)
  })
})

describe('a clock is asked for no more than it can wait for, at intervals of sixty days,', () => {
  it('by the memory engine', async () => {
    const { clock, delaysMs } = noting()
    const backend = new MemoryStateBackend({ clock, sweepIntervalMs: SIXTY_DAYS_MS })
    backend.putSync(bytes('k'), bytes('v'), { ttlMs: SIXTY_DAYS_MS })
    expect(delaysMs).toEqual([MAX_TIMER_MS])
    await backend.close()
  })

  it('by the model', async () => {
    const { clock, delaysMs } = noting()
    const backend = new ModelStateBackend({ clock, sweepIntervalMs: SIXTY_DAYS_MS })
    backend.putSync(bytes('k'), bytes('v'), { ttlMs: SIXTY_DAYS_MS })
    expect(delaysMs).toEqual([MAX_TIMER_MS])
    await backend.close()
  })

  it('by the persistent engine: sweeps, flushes and the age of snapshots', async () => {
    const { clock, delaysMs } = noting()
    const backend = await LmdbStateBackend.temporary({
      clock,
      sweepIntervalMs: SIXTY_DAYS_MS,
      flushIntervalMs: SIXTY_DAYS_MS,
      maxSnapshotAgeMs: SIXTY_DAYS_MS,
    })
    backend.putSync(bytes('k'), bytes('v'), { ttlMs: SIXTY_DAYS_MS })
    backend.snapshotSync().closeSync()
    expect(delaysMs).toEqual([MAX_TIMER_MS, MAX_TIMER_MS, MAX_TIMER_MS])
    await backend.close()
  })

  it('by the schedule of checkpoints', () => {
    const { clock, delaysMs } = noting()
    const run = () => Promise.resolve(undefined)
    const schedule = new CheckpointSchedule({ clock, intervalMs: SIXTY_DAYS_MS, minPauseMs: 0, run })
    schedule.start()
    expect(delaysMs).toEqual([MAX_TIMER_MS])
    schedule.stop()
  })
})

describe('setPatientTimer', () => {
  it('does not count time in which this thread was held, and hears first what has come meanwhile', async () => {
    let fired = false
    const port = new MessageChannel()
    const heard = new Promise<boolean>((resolve) => {
      port.port1.once('message', () => resolve(fired))
    })
    setPatientTimer(systemClock, () => (fired = true), 20)
    port.port2.postMessage('an answer that lies in the port')
    for (const until = performance.now() + 60; performance.now() < until; );
    expect(await heard).toBe(false)
    port.port1.close()
  })

  it('calls back when nobody was heard, once, unless it was stopped', async () => {
    const stopped: string[] = []
    setPatientTimer(systemClock, () => stopped.push('never'), 5)()
    await new Promise<void>((resolve) => {
      setPatientTimer(systemClock, () => resolve(), 150)
      // Its timers keep nothing alive.
      const alive = setInterval(() => {}, 1_000)
      setPatientTimer(systemClock, () => clearInterval(alive), 200)
    })
    expect(stopped).toEqual([])
  })
})

describe('the end of a life', () => {
  /** How often `count` lives that start in one step ask the clock. */
  function asked(clock: ForwardClock, count: number, now: { mock: { calls: unknown[] } }): number {
    const before = now.mock.calls.length
    for (let i = 0; i < count; i++) clock.endOfLife(60_000)
    return now.mock.calls.length - before
  }

  it("asks a user's clock each time", () => {
    const now = vi.fn<() => number>(() => 1_000)
    const clock = new ForwardClock({ now, setTimer: () => () => {} })
    expect(asked(clock, 5_000, now)).toBe(5_000)
  })

  it("asks the machine's clock each time but in a burst, and again as soon as the step of the burst has ended", async () => {
    let timeMs = 1_700_000_000_000
    const now = vi.spyOn(Date, 'now').mockImplementation(() => timeMs)
    try {
      const clock = new ForwardClock(systemClock)
      expect(asked(clock, 1_000, now)).toBe(1_000)
      expect(asked(clock, 16_000, now), 'one in sixteen').toBeLessThan(2_100)
      timeMs += 1_000
      expect(clock.now(), 'whoever looks what has expired asks').toBe(timeMs)
      expect(clock.endOfLife(60_000)).toBe(timeMs + 60_000)
      await Promise.resolve()
      timeMs += 50
      expect(clock.endOfLife(60_000)).toBe(timeMs + 60_000)
      expect(asked(clock, 1_000, now)).toBe(1_000)
    } finally {
      now.mockRestore()
    }
  })

  it('asks each time for a life that a pause could end', () => {
    let timeMs = 1_700_000_000_000
    const now = vi.spyOn(Date, 'now').mockImplementation(() => timeMs)
    try {
      const clock = new ForwardClock(systemClock)
      asked(clock, 16_000, now)
      timeMs += 1_000
      expect(clock.endOfLife(1_000)).toBe(timeMs + 1_000)
    } finally {
      now.mockRestore()
    }
  })

  it('asks each time where lives start further apart, and starts no life later than now', () => {
    let timeMs = 1_700_000_000_000
    const now = vi.spyOn(Date, 'now').mockImplementation(() => timeMs)
    try {
      const clock = new ForwardClock(systemClock)
      for (let i = 0; i < 4_000; i++) {
        if (i % 40 === 0) timeMs++
        expect(clock.endOfLife(60_000)).toBe(timeMs + 60_000)
      }
      for (let i = 0; i < 40_000; i++) {
        if (i % 100 === 0) timeMs++
        const startMs = clock.endOfLife(60_000) - 60_000
        if (startMs > timeMs || startMs < timeMs - 1) expect.fail(`${timeMs - startMs} ms off`)
      }
    } finally {
      now.mockRestore()
    }
  })

  it('is of the length that was asked for and of the latest time that anybody was told, within a burst as well', () => {
    let timeMs = 1_700_000_000_000
    const now = vi.spyOn(Date, 'now').mockImplementation(() => timeMs)
    const passed = vi.spyOn(performance, 'now').mockImplementation(() => timeMs)
    try {
      const clock = new ForwardClock(systemClock)
      asked(clock, 5_000, now)
      let aheadMs = 0
      for (let i = 0; i < 100; i++) {
        const lifeMs = i % 3 === 0 ? 60_000.5 : 90_000
        expect(clock.endOfLife(lifeMs)).toBe(Math.ceil(timeMs + aheadMs + lifeMs))
        if (i % 5 === 0) {
          timeMs += 7
          clock.now()
        }
        if (i % 7 === 0) {
          aheadMs += 1_000
          clock.advanceTo(timeMs + aheadMs)
        }
      }
    } finally {
      now.mockRestore()
      passed.mockRestore()
    }
  })
})

describe("the machine's clock", () => {
  const HOUR_MS = 3_600_000
  const START_MS = 1_700_000_000_000

  /** Time of day and time that has passed, which a test moves apart. */
  function machine() {
    const times = { ofDayMs: START_MS, passedMs: 5_000.25 }
    vi.spyOn(Date, 'now').mockImplementation(() => times.ofDayMs)
    vi.spyOn(performance, 'now').mockImplementation(() => times.passedMs)
    const pass = (ms: number) => {
      times.ofDayMs += ms
      times.passedMs += ms
    }
    return { times, pass, clock: new ForwardClock(systemClock) }
  }

  afterEach(() => {
    vi.restoreAllMocks()
  })

  it('ages nothing when a jump back is put right', () => {
    const { times, pass, clock } = machine()
    times.ofDayMs -= 5 * HOUR_MS
    expect(clock.now()).toBe(START_MS)
    pass(400)
    expect(clock.now()).toBe(START_MS + 400)
    times.ofDayMs += 5 * HOUR_MS
    expect(clock.now()).toBe(START_MS + 400)
    pass(1_000)
    expect(clock.now(), 'by the time of day again').toBe(times.ofDayMs)
    times.ofDayMs += HOUR_MS
    expect(clock.now(), 'a jump forward of a clock that was right').toBe(times.ofDayMs)
  })

  it('is ahead for no more than is left when a jump back is put right in part, or by more than it was', () => {
    const { times, pass, clock } = machine()
    times.ofDayMs -= 3 * HOUR_MS
    clock.now()
    times.ofDayMs += HOUR_MS
    pass(10)
    expect(clock.now()).toBe(START_MS + 10)
    times.ofDayMs -= HOUR_MS
    expect(clock.now()).toBe(START_MS + 10)
    times.ofDayMs += 4 * HOUR_MS
    expect(clock.now()).toBe(times.ofDayMs)
    expect(times.ofDayMs).toBe(START_MS + HOUR_MS + 10)
  })

  it('goes at the pace of the time that passes, however often it is asked and the time of day jumps', () => {
    const { times, clock } = machine()
    times.ofDayMs -= HOUR_MS
    let last = clock.now()
    for (let i = 1; i <= 10_000; i++) {
      times.passedMs += 0.25
      times.ofDayMs += (i % 7) - 3
      expect(clock.now()).toBeGreaterThanOrEqual(last)
      last = clock.now()
    }
    expect(last).toBe(START_MS + 2_500)
  })

  it('counts the time between the last reading and a jump back', () => {
    const { times, pass, clock } = machine()
    pass(60_000)
    times.ofDayMs -= HOUR_MS
    expect(clock.now()).toBe(START_MS + 60_000)
  })

  it('goes on from a state that was ahead, by the time that passes, until the time of day is there', () => {
    const { times, pass, clock } = machine()
    clock.advanceTo(START_MS + HOUR_MS)
    pass(50)
    expect(clock.now()).toBe(START_MS + HOUR_MS + 50)
    clock.advanceTo(START_MS + 2 * HOUR_MS)
    times.ofDayMs += 90 * 60_000
    pass(50)
    expect(clock.now()).toBe(START_MS + 2 * HOUR_MS + 50)
    times.ofDayMs += HOUR_MS
    expect(clock.now()).toBe(times.ofDayMs)
  })

  it('is not behind the time of day when the machine has slept, where the time that passes stands still', () => {
    const { times, clock } = machine()
    times.ofDayMs -= HOUR_MS
    clock.now()
    times.ofDayMs += 8 * HOUR_MS
    expect(clock.now()).toBe(START_MS + 7 * HOUR_MS)
  })

  it("is told from a user's, which goes on at its own pace: of that one, a jump forward may be time that passed", () => {
    const manual = new ManualClock(START_MS)
    const clock = new ForwardClock(manual)
    manual.set(START_MS - HOUR_MS)
    expect(clock.now()).toBe(START_MS)
    manual.set(START_MS)
    expect(clock.now()).toBe(START_MS + HOUR_MS)
  })
})

describe('one that sleeps', () => {
  it('wakes when it is woken or the signal fires, and leaves nothing with the signal', async () => {
    const sleeper = new Sleeper()
    const controller = new AbortController()
    const { signal } = controller
    for (let i = 0; i < 3; i++) {
      const sleeping = sleeper.sleep(1_000_000, signal)
      sleeper.wake()
      await sleeping
    }
    expect(getEventListeners(signal, 'abort')).toEqual([])
    const sleeping = sleeper.sleep(1_000_000, signal)
    controller.abort()
    await sleeping
    await sleeper.sleep(1_000_000, signal)
    await sleeper.sleep(0)
    sleeper.wake()
  })
})

it('a sleeper ends when either of its signals fires, and leaves nothing with them', async () => {
  const [first, second] = [new AbortController(), new AbortController()]
  const left = () => [first, second].map(({ signal }) => getEventListeners(signal, 'abort').length)
  const sleeper = new Sleeper()
  const woken = sleeper.sleep(2_000_000_000, first.signal, undefined, second.signal)
  expect(left()).toEqual([1, 1])
  sleeper.wake()
  await woken
  expect(left()).toEqual([0, 0])
  const ended = sleeper.sleep(2_000_000_000, first.signal, second.signal)
  second.abort()
  await ended
  await sleeper.sleep(2_000_000_000, first.signal, second.signal)
  expect(left()).toEqual([0, 0])
})
