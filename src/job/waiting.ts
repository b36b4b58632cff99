import type { CancelTimer, Clock } from '../base/clock.js'
import type { Logger } from '../checkpoint/types.js'

export interface WaitingOptions {
  readonly job: string
  readonly clock: Clock
  readonly logger: Logger
  readonly stallAfterMs: number
}

/** What a job waits for, so that one that waits for too long can say so. */
export class Waiting {
  readonly #options: WaitingOptions
  readonly #calls = new Set<{ readonly call: string; readonly sinceMs: number; readonly limitMs: number }>()

  constructor(options: WaitingOptions) {
    this.#options = options
  }

  /** Waits for a call. It may take `graceMs` longer than others before that is worth telling. */
  async for<Result>(call: string, begin: () => Promise<Result>, graceMs = 0): Promise<Result> {
    const { clock, logger, stallAfterMs, job } = this.#options
    const limitMs = stallAfterMs + graceMs
    const waiting = { call, sinceMs: clock.now(), limitMs }
    this.#calls.add(waiting)
    const warn = () => logger.warn({ job, call, forMs: clock.now() - waiting.sinceMs }, 'the job waits')
    const cancel: CancelTimer = limitMs === Infinity ? () => {} : clock.setTimer(warn, limitMs)
    try {
      return await begin()
    } finally {
      cancel()
      this.#calls.delete(waiting)
    }
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
    this.#calls.clear()
  }
}
