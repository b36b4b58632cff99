import { setImmediate as nextTurn } from 'node:timers/promises'

/** How long a reader may hold the thread before everybody else has a turn. */
const TURN_MS = 2

/** A walk over entries beside a job that has other things to do: it lets others have their turns, and knows when its time is over. */
export class Turns {
  readonly #endsAtMs: number
  #turnEndsAtMs: number
  #nowMs: number

  /** Without a limit, somebody else ends it. */
  constructor(limitMs: number = Infinity) {
    this.#nowMs = performance.now()
    this.#endsAtMs = this.#nowMs + limitMs
    this.#turnEndsAtMs = this.#nowMs + TURN_MS
  }

  get isOver(): boolean {
    return this.#nowMs >= this.#endsAtMs
  }

  /** To be called for each entry. */
  async next(): Promise<void> {
    this.#nowMs = performance.now()
    if (this.#nowMs < this.#turnEndsAtMs) return
    await nextTurn()
    this.#turnEndsAtMs = performance.now() + TURN_MS
  }
}
