import { describe, expect, it } from 'vitest'
import { ManualClock } from '../../testing/manual-clock.js'
import { Throttle } from './throttle.js'

/** A thread whose work takes no time but what `work` says. */
function bench(limits: { workerShare?: number; maxBytesPerSecond?: number }) {
  const clock = new ManualClock(0)
  let busyMs = 0
  const times = {
    nowMs: () => clock.now(),
    busyMs: () => busyMs,
    setTimer: clock.setTimer.bind(clock),
  }
  const throttle = new Throttle({ workerShare: 1, maxBytesPerSecond: Infinity, ...limits }, times)
  const { signal } = new AbortController()
  return {
    clock,
    throttle,
    work: (forMs: number) => {
      busyMs += forMs
      clock.advance(forMs)
    },
    /** How long it rests. */
    restMs: async (bytes = 0, until: AbortSignal = signal) => {
      const startedAtMs = clock.now()
      const resting = { over: false }
      const note = () => {
        resting.over = true
      }
      void throttle.pace(bytes, until).then(note, note)
      await clock.advanceAsync(0)
      while (!resting.over) await clock.advanceAsync(1)
      return clock.now() - startedAtMs
    },
  }
}

describe('a throttle', () => {
  it('without limits never rests', async () => {
    const { work, restMs, clock } = bench({})
    work(1_000)
    expect(await restMs(1e9)).toBe(0)
    expect(clock.pendingTimers).toBe(0)
  })

  it.each([
    [0.5, 10, 10],
    [0.25, 10, 30],
    [0.01, 2, 198],
  ])('with a share of %d rests after %i ms for %i', async (workerShare, workMs, expectedMs) => {
    const { work, restMs } = bench({ workerShare })
    for (let step = 0; step < 5; step++) {
      work(workMs)
      expect(await restMs()).toBe(expectedMs)
    }
  })

  it('does not count waiting as work, and gives no credit for it', async () => {
    const { work, restMs, clock } = bench({ workerShare: 0.5 })
    clock.advance(10_000)
    work(10)
    expect(await restMs()).toBe(10)
  })

  it('saves up what is too short for a timer', async () => {
    const { work, restMs } = bench({ workerShare: 0.5 })
    const rests: number[] = []
    for (let step = 0; step < 4; step++) {
      work(0.5)
      rests.push(await restMs())
    }
    expect(rests.reduce((sum, each) => sum + each)).toBeGreaterThanOrEqual(1)
  })

  it('holds what moves to the rate, with a little credit for what did not', async () => {
    const { restMs, clock } = bench({ maxBytesPerSecond: 1_000 })
    expect(await restMs(500)).toBe(400)
    expect(await restMs(1_000)).toBe(1_000)
    clock.advance(60_000)
    expect(await restMs(500)).toBe(400)
  })

  it('rests for all that use it together', async () => {
    const { throttle, clock } = bench({ maxBytesPerSecond: 1_000 })
    const { signal } = new AbortController()
    let over = 0
    const note = () => void over++
    void throttle.pace(600, signal).then(note)
    void throttle.pace(500, signal).then(note)
    await clock.advanceAsync(999)
    expect(over).toBe(0)
    await clock.advanceAsync(1)
    expect(over).toBe(2)
  })

  it('wakes up at once when it is aborted', async () => {
    const { throttle, clock } = bench({ maxBytesPerSecond: 1 })
    const controller = new AbortController()
    const resting = throttle.pace(1e6, controller.signal)
    controller.abort()
    await resting
    expect(clock.pendingTimers).toBe(0)
  })
})
