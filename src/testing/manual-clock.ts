import type { CancelTimer, Clock } from '../base/clock.js'
import { MAX_TIMER_MS } from '../base/limits.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn } from '../base/slices.js'

/** Where a clock starts unless told otherwise: a plausible time, so that arithmetic on it is that of production. */
const DEFAULT_START_MS = 1_700_000_000_000

/** As in Node: a timer never fires in the very millisecond it was set in, so a re-arming one cannot spin for ever. */
const MIN_DELAY_MS = 1

/** Turns of the event loop after which promise chains without real input or output have come to rest. */
const SETTLE_TURNS = 4

interface ManualTimer {
  readonly dueAtElapsedMs: number
  readonly callback: () => void
}

/**
 * A clock that only tests move.
 *
 * Like a machine's, it is two clocks: the time of day that `now()` tells, which may jump in either direction, and the
 * time that has passed, which timers wait for. A jump back therefore leaves every timer its remaining delay.
 */
export class ManualClock implements Clock {
  #elapsedMs = 0
  #offsetMs: number
  /** In the order in which they will fire; equal deadlines in the order in which they were set. */
  readonly #timers: ManualTimer[] = []

  /** @param startMs the first time of day, in milliseconds since the epoch. */
  constructor(startMs: number = DEFAULT_START_MS) {
    requireFinite('startMs', startMs)
    this.#offsetMs = startMs
  }

  /** How many timers wait. */
  get pendingTimers(): number {
    return this.#timers.length
  }

  /** How long it is until the next timer comes due; `undefined` where none waits. */
  get nextTimerInMs(): number | undefined {
    const [next] = this.#timers
    return next === undefined ? undefined : next.dueAtElapsedMs - this.#elapsedMs
  }

  now(): number {
    return this.#elapsedMs + this.#offsetMs
  }

  setTimer(callback: () => void, delayMs: number): CancelTimer {
    requireFinite('delayMs', delayMs)
    if (delayMs > MAX_TIMER_MS)
      throw invalidArgument('delayMs', `is ${delayMs}; the limit is ${MAX_TIMER_MS}`)
    const timer = { dueAtElapsedMs: this.#elapsedMs + Math.max(delayMs, MIN_DELAY_MS), callback }
    const later = this.#timers.findIndex((other) => other.dueAtElapsedMs > timer.dueAtElapsedMs)
    this.#timers.splice(later === -1 ? this.#timers.length : later, 0, timer)
    return () => {
      const index = this.#timers.indexOf(timer)
      if (index !== -1) this.#timers.splice(index, 1)
    }
  }

  /**
   * Sets the time of day at once. Forward, the timers that the jump passed fire in order, all at the new time;
   * back, none does.
   */
  set(timeMs: number): void {
    requireFinite('timeMs', timeMs)
    const jumpMs = timeMs - this.now()
    if (jumpMs < 0) {
      this.#offsetMs += jumpMs
    } else {
      this.#elapsedMs += jumpMs
      // What a callback sets is due later than now, because of the least delay: this ends.
      while (this.#fireNext(this.#elapsedMs));
    }
  }

  /**
   * Lets time pass. Timers that come due fire in the order of their deadlines, those set by callbacks included;
   * while one fires, `now()` tells its own deadline.
   */
  advance(byMs: number): void {
    const targetMs = this.#target(byMs)
    while (this.#fireNext(targetMs));
    this.#elapsedMs = Math.max(this.#elapsedMs, targetMs)
  }

  /** As `advance`, and after each timer lets promise chains come to rest: work they set off is done at its own time. */
  async advanceAsync(byMs: number): Promise<void> {
    const targetMs = this.#target(byMs)
    await settle()
    while (this.#fireNext(targetMs)) await settle()
    this.#elapsedMs = Math.max(this.#elapsedMs, targetMs)
    await settle()
  }

  #target(byMs: number): number {
    requireFinite('byMs', byMs)
    if (byMs < 0) throw invalidArgument('byMs', 'must not be negative; to jump back, use set()')
    return this.#elapsedMs + byMs
  }

  #fireNext(targetMs: number): boolean {
    const timer = this.#timers[0]
    if (timer === undefined || timer.dueAtElapsedMs > targetMs) return false
    this.#timers.shift()
    this.#elapsedMs = Math.max(this.#elapsedMs, timer.dueAtElapsedMs)
    timer.callback()
    return true
  }
}

function requireFinite(argument: string, value: number): void {
  if (!Number.isFinite(value)) throw invalidArgument(argument, 'must be a finite number of milliseconds')
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < SETTLE_TURNS; turn++) {
    await nextTurn()
  }
}
