import { MAX_TIMER_MS } from './limits.js'
import { invalidArgument } from './options.js'
import { nextTurn } from './slices.js'

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
 * As `clock.setTimer`, for a delay of any length: one that is longer than a clock can wait for is waited for in steps.
 * `Infinity`: never.
 */
export function setLongTimer(clock: Clock, callback: () => void, delayMs: number): CancelTimer {
  let cancel: CancelTimer = () => {}
  const wait = (leftMs: number) => {
    if (leftMs === Infinity) return
    const stepMs = Math.min(leftMs, MAX_TIMER_MS)
    cancel = clock.setTimer(() => (leftMs > stepMs ? wait(leftMs - stepMs) : callback()), stepMs)
  }
  wait(delayMs)
  return () => cancel()
}

/** A step of a patient timer: as much as it counts at most for the time in which this thread was held. */
const PATIENT_STEP_MS = 100

/**
 * Calls back after `delayMs` in which this thread could have heard from whomever it waits for: time in which it was held
 * does not count, and what has arrived meanwhile is dealt with first. For limits to how long another thread or process may
 * be silent. Like a clock's timers, it does not keep the process alive.
 */
export function setPatientTimer(clock: Clock, callback: () => void, delayMs: number): CancelTimer {
  let cancel: CancelTimer = () => {}
  let cancelled = false
  const wait = (leftMs: number) => {
    const stepMs = Math.min(leftMs, PATIENT_STEP_MS)
    cancel = clock.setTimer(() => void after(leftMs - stepMs), stepMs)
  }
  const after = async (leftMs: number) => {
    // This may be the first turn after the thread was held, and what has arrived comes after the timers.
    await nextTurn()
    if (cancelled) return
    if (leftMs > 0) wait(leftMs)
    else callback()
  }
  wait(delayMs)
  return () => {
    cancelled = true
    cancel()
  }
}

/** Whether the work settles, however, before a patient timer has run out. What it rejects with is for others. */
export async function settlesWithin(work: Promise<unknown>, limitMs: number): Promise<boolean> {
  let cancelTimer: CancelTimer = () => {}
  const late = new Promise<boolean>((resolve) => {
    cancelTimer = setPatientTimer(systemClock, () => resolve(false), limitMs)
  })
  const settled = work.then(
    () => true,
    () => true,
  )
  return await Promise.race([settled, late]).finally(() => cancelTimer())
}

/** Waits by the machine's time, and keeps the process alive meanwhile: somebody awaits what comes after it. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/**
 * Keeps the process alive for so long, by the machine's time, or until what it returns is called: where somebody awaits what a clock's timer is to
 * end, and nothing else may be left of the process.
 */
export function stayAlive(ms: number): () => void {
  const timer = setTimeout(() => {}, Math.min(ms, MAX_TIMER_MS))
  return () => clearTimeout(timer)
}

/** As {@link pause}, but it ends at once where one of the signals fires. */
export function pauseUnless(ms: number, ...signals: readonly AbortSignal[]): Promise<void> {
  return new Sleeper().sleep(ms, ...signals)
}

/**
 * One that waits for what may be long in coming, again and again, and is woken when it has come. Nothing of a wait stays when it is over: a race
 * with what is waited for would leave something with it each time.
 */
export class Sleeper {
  #end = () => {}

  /**
   * Waits by the machine's time, until it is woken or one of the signals fires. One wait at a time. It listens to each of them: of each signal that
   * `AbortSignal.any` makes, Node 20 to 24 keep something with those that it is made of.
   */
  sleep(ms: number, ...signals: readonly (AbortSignal | undefined)[]): Promise<void> {
    return new Promise((resolve) => {
      if (signals.some((signal) => signal?.aborted === true)) {
        resolve()
        return
      }
      const end = () => {
        clearTimeout(timer)
        for (const signal of signals) signal?.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      for (const signal of signals) signal?.addEventListener('abort', end, { once: true })
      this.#end = end
    })
  }

  /** Ends the wait at hand. */
  wake(): void {
    this.#end()
  }
}

/**
 * A time rounded up to whole milliseconds; later than a number can count exactly is never. `INVALID_ARGUMENT` where it is no
 * number: a clock's answer, or that of a getter which was another one when it was checked. Nothing that is sorted by time takes it.
 */
export function wholeMs(timeMs: number): number {
  const whole = Math.ceil(timeMs)
  if (whole <= Number.MAX_SAFE_INTEGER) return Math.max(whole, 0)
  if (Number.isNaN(whole)) throw invalidArgument('ttlMs', 'gives a time that is no number')
  return Infinity
}

/** From this many readings within a millisecond on, the readings of the step at hand are counted … */
const DENSE_READINGS = 64
/** … and from this many on, only one in so many starts of a life asks the clock. */
const BURST_READINGS = 1_024
const UNASKED_IN_BURST = 15
/** A shorter life always asks: a pause within a step could be a good part of it, or all of it. */
const LONG_LIFE_MS = 60_000

/**
 * Time that never goes back. When the clock underneath jumps back, this one goes on from where it was: nothing that has expired revives,
 * and nothing lives for ever because a clock was wrong once. The machine's clock is known to be ahead of its time of day until that has
 * caught up: meanwhile this one goes by the time that passes, so that a clock that was wrong and is put right ages nothing. Of any other
 * clock nobody can tell a jump forward from time that passed: there this one goes on at the clock's pace.
 */
export class ForwardClock {
  readonly #clock: Clock
  #last: number
  #offsetMs = 0
  /** Of the machine's clock: what was told when the time that passes was at `#passedMs`. It moves on while there is no offset. */
  #toldMs: number
  #passedMs = performance.now()
  /** Starts of lives that need not ask. */
  #unasked = 0
  /** When the last start asked, and how many before it had the same answer. */
  #askedAtMs = 0
  #sameStarts = 0
  /** Starts that asked in the step at hand; -1: nobody counts. */
  #startsInStep = -1
  // The last life: the next one is often as long and starts within the same millisecond. Then it is not only its end that is the same but
  // also the object that V8 makes of a number of this size where it passes from function to function: this field, which did not
  // begin with a number, holds on to it.
  #startMs = Number.NaN
  #lifeMs = Number.NaN
  #endMs: number | undefined
  /** The same life again, if it need not ask, ends with the last one; NaN: as soon as the time that was told has gone on. */
  #unaskedLifeMs = Number.NaN

  constructor(clock: Clock) {
    this.#clock = clock
    this.#last = clock.now()
    this.#toldMs = this.#last
  }

  now(): number {
    const reading = this.#clock.now()
    if (reading !== this.#last) this.#goOn(reading)
    return reading + this.#offsetMs
  }

  /** What `now` has told last: for whoever knows that it was asked in the same step. */
  get latest(): number {
    return this.#last + this.#offsetMs
  }

  /**
   * When a life of `lifeMs` that starts now ends, in whole milliseconds (`wholeMs`). As `now`, but of the machine's own clock, whose
   * answer takes as long as half a write, only every sixteenth call asks for lives of a minute and more in a burst: after more than
   * a thousand in one synchronous step, at more than 64 in a millisecond. A life that starts after a pause within such a step may so
   * start before the pause, and end as much too early; never too late.
   */
  endOfLife(lifeMs: number): number {
    // In a burst: small, so that it becomes part of a put.
    if (this.#unasked > 0 && lifeMs === this.#unaskedLifeMs) {
      this.#unasked--
      return this.#endMs as number
    }
    return this.#endOfOtherLife(lifeMs)
  }

  #endOfOtherLife(lifeMs: number): number {
    if (this.#unasked === 0 || lifeMs < LONG_LIFE_MS) this.#askForStart(lifeMs)
    else this.#unasked--
    const startMs = this.latest
    if (startMs !== this.#startMs || lifeMs !== this.#lifeMs) {
      this.#endMs = wholeMs(startMs + lifeMs)
      this.#startMs = startMs
      this.#lifeMs = lifeMs
    }
    this.#unaskedLifeMs = lifeMs < LONG_LIFE_MS ? Number.NaN : lifeMs
    return this.#endMs as number
  }

  #askForStart(lifeMs: number): void {
    const before = this.#last
    const nowMs = this.now()
    if (this.#clock !== systemClock || lifeMs < LONG_LIFE_MS) return
    if (nowMs !== this.#askedAtMs) {
      this.#askedAtMs = nowMs
      this.#sameStarts = 0
    } else if (++this.#sameStarts === DENSE_READINGS && this.#startsInStep < 0) {
      this.#startsInStep = 0
      // Runs as soon as the synchronous step ends.
      queueMicrotask(() => {
        this.#startsInStep = -1
        this.#unasked = 0
      })
    }
    if (this.#startsInStep < 0) return
    this.#startsInStep++
    const isDense = this.#last - before <= 1
    if (this.#startsInStep > BURST_READINGS && isDense) this.#unasked = UNASKED_IN_BURST
  }

  /** Moves on to `timeMs` if this clock is behind it: time that a restored state has already seen. */
  advanceTo(timeMs: number): void {
    const behindMs = timeMs - this.now()
    if (behindMs <= 0) return
    this.#offsetMs += behindMs
    this.#toldMs = this.latest
    this.#passedMs = performance.now()
    this.#unaskedLifeMs = Number.NaN
  }

  #goOn(reading: number): void {
    if (this.#clock === systemClock) this.#offsetMs = this.#offsetOfMachine(reading)
    else if (reading < this.#last) this.#offsetMs += this.#last - reading
    this.#last = reading
    this.#unaskedLifeMs = Number.NaN
  }

  #offsetOfMachine(reading: number): number {
    const passedMs = performance.now()
    if (this.#offsetMs > 0 || reading < this.#last) {
      // By whole milliseconds since the jump: rounded at each reading, time would stand still.
      const aheadMs = this.#toldMs + Math.floor(passedMs - this.#passedMs) - reading
      if (aheadMs > 0) return aheadMs
    }
    this.#toldMs = reading
    this.#passedMs = passedMs
    return 0
  }
}
