import { MAX_TIMER_MS } from './limits.js'

/** Stops a timer; a no-op once it has fired or was stopped. */
export type CancelTimer = () => void

/**
 * Where time comes from. Everything in holdfast that waits or expires asks a clock, so that tests can
 * drive it by hand (`ManualClock` in `holdfast/testing`).
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. It may jump in either direction; see {@link ForwardClock}. */
  now(): number
  /** Calls back once after `delayMs` (at most 2^31 - 1). Must not keep the process alive. */
  setTimer(callback: () => void, delayMs: number): CancelTimer
}

/** The machine's clock. Its timers do not keep the process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimer: (callback, delayMs) => {
    const timer = setTimeout(callback, Math.min(delayMs, MAX_TIMER_MS))
    timer.unref()
    return () => clearTimeout(timer)
  },
}

/**
 * Time that never goes back. When the clock underneath jumps back, this one goes on from where it was at the
 * clock's pace: nothing that has expired revives, and nothing lives for ever because a clock was wrong once.
 */
export class ForwardClock {
  readonly #clock: Clock
  #last: number
  #offsetMs = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#last = clock.now()
  }

  now(): number {
    const reading = this.#clock.now()
    if (reading < this.#last) this.#offsetMs += this.#last - reading
    this.#last = reading
    return reading + this.#offsetMs
  }

  /** Moves on to `timeMs` if this clock is behind it: time that a restored state has already seen. */
  advanceTo(timeMs: number): void {
    const behindMs = timeMs - this.now()
    if (behindMs > 0) this.#offsetMs += behindMs
  }
}
