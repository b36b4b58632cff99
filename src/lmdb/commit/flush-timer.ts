import { type CancelTimer, type Clock, setLongTimer } from '../../base/clock.js'

/** Sees to it that what was written is committed in time although nobody waits for it. */
export class FlushTimer {
  readonly #clock: Clock
  readonly #intervalMs: number
  readonly #flush: () => void
  #cancel: CancelTimer | undefined
  #isStopped: boolean

  /** `intervalMs` Infinity: never. */
  constructor(clock: Clock, intervalMs: number, flush: () => void) {
    this.#clock = clock
    this.#intervalMs = intervalMs
    this.#flush = flush
    this.#isStopped = intervalMs === Infinity
  }

  /** Something waits to be committed: the time runs from the first call on. */
  arm(): void {
    if (this.#cancel !== undefined || this.#isStopped) return
    const flush = () => {
      this.#cancel = undefined
      this.#flush()
    }
    this.#cancel = setLongTimer(this.#clock, flush, this.#intervalMs)
  }

  /** Nothing waits any more: the next call of `arm` is the first one. */
  disarm(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  stop(): void {
    this.#isStopped = true
    this.disarm()
  }
}
