import { type CancelTimer, type Clock, setLongTimer, stayAlive } from '../base/clock.js'
import { diagnostics, timedOn } from '../base/diagnostics.js'
import { StateError } from '../base/errors.js'
import type { Logger } from '../checkpoint/types.js'

/** How long a call may take by default once a job is to end. */
export const DEFAULT_STOP_TIMEOUT_MS = 60_000

export interface WaitingOptions {
  readonly job: string
  readonly clock: Clock
  readonly logger: Logger
  readonly stallAfterMs: number
  /** How long a call may take once the job is to end. */
  readonly stopTimeoutMs: number
}

interface WaitedFor {
  readonly call: string
  readonly sinceMs: number
  readonly limitMs: number
  /** Ends the wait, not the call. */
  giveUp: (error: StateError) => void
  cancelEnd: CancelTimer
}

/** What a job waits for, so that one that waits for too long can say so, and one that is to end does. */
export class Waiting {
  readonly #options: WaitingOptions
  readonly #calls = new Set<WaitedFor>()
  #isEnding = false
  /** By the clock. */
  #endAtMs = Infinity

  constructor(options: WaitingOptions) {
    this.#options = options
  }

  /**
   * Waits for a call. It may take `graceMs` longer than others before that is worth telling. `JOB_FAILED`, with its name, where it
   * does not end in time once the job is to end.
   */
  async for<Result>(call: string, begin: () => Promise<Result>, graceMs = 0): Promise<Result> {
    const { clock, logger, stallAfterMs, job } = this.#options
    const limitMs = stallAfterMs + graceMs
    const waiting: WaitedFor = { call, sinceMs: clock.now(), limitMs, giveUp: () => {}, cancelEnd: () => {} }
    this.#calls.add(waiting)
    const warn = () => logger.warn({ job, call, forMs: clock.now() - waiting.sinceMs }, 'the job waits')
    const cancel: CancelTimer = limitMs === Infinity ? () => {} : clock.setTimer(warn, limitMs)
    if (this.#isEnding) this.#limit(waiting)
    try {
      const heard = diagnostics['holdfast:job.call']
      // Of the end of the call and the end of the wait, what comes second is heard by nobody.
      return await new Promise<Result>((resolve, reject) => {
        waiting.giveUp = reject
        const called = heard.hasSubscribers ? timedOn(heard, { job, call }, begin) : begin()
        Promise.resolve(called).then(resolve, reject)
      })
    } finally {
      cancel()
      waiting.cancelEnd()
      this.#calls.delete(waiting)
    }
  }

  /**
   * The job is to end: calls that are open, and those to come, are not waited for any longer than `stopTimeoutMs` each, and all of
   * them together not longer than `withinMs` from now.
   */
  hurry(withinMs: number = Infinity): void {
    this.#isEnding = true
    this.#endAtMs = Math.min(this.#endAtMs, this.#options.clock.now() + withinMs)
    for (const waiting of this.#calls) this.#limit(waiting)
  }

  /** The call that has taken the longest, where it has taken too long. */
  stalled(): { readonly call: string; readonly forMs: number } | undefined {
    const nowMs = this.#options.clock.now()
    for (const { call, sinceMs, limitMs } of this.#calls) {
      if (nowMs - sinceMs > limitMs) return { call, forMs: nowMs - sinceMs }
    }
    return undefined
  }

  end(): void {
    for (const { cancelEnd } of this.#calls) cancelEnd()
    this.#calls.clear()
  }

  #limit(waiting: WaitedFor): void {
    const { clock, job, stopTimeoutMs } = this.#options
    const nowMs = clock.now()
    const afterMs = Math.max(0, Math.min(stopTimeoutMs, this.#endAtMs - nowMs))
    waiting.cancelEnd()
    if (afterMs === Infinity) return
    const giveUp = () => {
      const forMs = clock.now() - waiting.sinceMs
      const reason = `it was to end, and ${waiting.call} did not: it has taken ${forMs} ms`
      waiting.giveUp(new StateError('JOB_FAILED', { job, partition: undefined, position: undefined, reason }))
    }
    const cancel = setLongTimer(clock, giveUp, afterMs)
    const letGo = stayAlive(afterMs)
    waiting.cancelEnd = () => {
      cancel()
      letGo()
    }
  }
}
