import { type Clock, systemClock } from '../../base/clock.js'
import type { WorkerLimits } from './worker-protocol.js'

/** Bytes that were not moved earlier may be moved faster now: those of this long at most. */
const MAX_BYTES_CREDIT_MS = 100

/** Shorter rests are saved up: a timer is not that exact. */
const MIN_REST_MS = 1

/** Where a throttle has its times from. */
export interface ThrottleTimes {
  /** Milliseconds of any clock that never goes back. */
  readonly nowMs: () => number
  /** Milliseconds in which the thread has been at work. */
  readonly busyMs: () => number
  readonly setTimer: Clock['setTimer']
}

const threadTimes: ThrottleTimes = {
  nowMs: () => performance.now(),
  busyMs: () => performance.eventLoopUtilization().active,
  setTimer: systemClock.setTimer,
}

/**
 * Makes a thread rest after its work, so that it takes no more than its share: after each step, as long as the step's
 * busy time calls for, and until the bytes it moved are within the rate.
 */
export class Throttle {
  readonly #limits: WorkerLimits
  readonly #times: ThrottleTimes
  #countedBusyMs: number
  #cpuFreeAtMs = -Infinity
  #bytesFreeAtMs = -Infinity

  constructor(limits: WorkerLimits, times: ThrottleTimes = threadTimes) {
    this.#limits = limits
    this.#times = times
    this.#countedBusyMs = times.busyMs()
  }

  /** Counts what was done since the last call, and waits until more may be done; no longer than until the signal fires. */
  async pace(bytes: number, signal: AbortSignal): Promise<void> {
    this.#count(bytes)
    for (;;) {
      const restMs = Math.max(this.#cpuFreeAtMs, this.#bytesFreeAtMs) - this.#times.nowMs()
      if (restMs < MIN_REST_MS || signal.aborted) return
      await this.#rest(restMs, signal)
    }
  }

  #count(bytes: number): void {
    const { workerShare, maxBytesPerSecond } = this.#limits
    const nowMs = this.#times.nowMs()
    const busyMs = this.#times.busyMs()
    const workedMs = busyMs - this.#countedBusyMs
    this.#countedBusyMs = busyMs
    // The work began after the last rest was due to end, whether or not it was taken.
    this.#cpuFreeAtMs = Math.max(this.#cpuFreeAtMs, nowMs - workedMs) + workedMs / workerShare
    const from = Math.max(this.#bytesFreeAtMs, nowMs - MAX_BYTES_CREDIT_MS)
    this.#bytesFreeAtMs = from + (bytes * 1_000) / maxBytesPerSecond
  }

  #rest(restMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel()
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const cancel = this.#times.setTimer(wake, restMs)
      signal.addEventListener('abort', wake, { once: true })
    })
  }
}
