import { type CancelTimer, type Clock, setLongTimer } from '../../base/clock.js'
import { SLICE_MS } from '../../base/slices.js'

/** Work goes on after this pause when a slice was not enough: it takes a sixth of the time at most. */
const NEXT_SLICE_MS = 10

export interface BackgroundHost {
  /** There is something to do, now or later: what is to expire, memory to be tidied. */
  hasWork(): boolean
  /** Does some of it, until `performance.now()` passes `untilMs`; returns whether nothing is left for now. */
  work(untilMs: number): boolean
}

/** Runs an engine's upkeep in slices, by a timer that is armed only while there is any to come. */
export class BackgroundWork {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #host: BackgroundHost
  #cancel: CancelTimer | undefined
  #stopped = false

  /** `intervalMs` Infinity: never. */
  constructor(clock: Clock, intervalMs: number, host: BackgroundHost) {
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#host = host
  }

  /** To be called whenever work may have come up. Writes call it: it is small, so that it becomes part of them. */
  arm(): void {
    if (this.#cancel === undefined) this.#armAfter(this.#intervalMs)
  }

  #armAfter(delayMs: number): void {
    if (this.#stopped || this.#intervalMs === Infinity || !this.#host.hasWork()) return
    this.#cancel = setLongTimer(
      this.#clock,
      () => {
        this.#cancel = undefined
        const done = this.#host.work(performance.now() + SLICE_MS)
        // What the work has called may have armed it.
        if (this.#cancel === undefined) this.#armAfter(done ? this.#intervalMs : NEXT_SLICE_MS)
      },
      delayMs,
    )
  }

  stop(): void {
    this.#stopped = true
    this.#cancel?.()
  }
}
