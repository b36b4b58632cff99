import { nextTurn } from '../../base/slices.js'

const TURN_MS = 2
const CALLS_BETWEEN_LOOKS = 64

/** Lets the event loop run now and then, for callers in a loop that never have to wait for anything. */
export class Turns {
  #callsSinceLook = 0
  #startedAt = 0

  /** Undefined: go on at once. */
  due(): Promise<void> | undefined {
    if (++this.#callsSinceLook < CALLS_BETWEEN_LOOKS) return undefined
    this.#callsSinceLook = 0
    return performance.now() - this.#startedAt < TURN_MS ? undefined : this.#pass()
  }

  async #pass(): Promise<void> {
    await nextTurn()
    this.#startedAt = performance.now()
  }
}
