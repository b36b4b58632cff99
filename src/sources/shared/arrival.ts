import { Sleeper } from '../../base/clock.js'

/** A wait for what may come: over when it is told of, when its time is over, or when a signal fires. */
export class Arrival {
  readonly #closing: AbortSignal
  #count = 0
  readonly #sleeper = new Sleeper()

  /** `closing` ends every wait. */
  constructor(closing: AbortSignal) {
    this.#closing = closing
  }

  /** How often it was told of something. */
  get count(): number {
    return this.#count
  }

  /** Ends the wait under way, if there is one. */
  tell(): void {
    this.#count++
    this.#sleeper.wake()
  }

  /** Who has to look for what has come, and waits for that, gives the count from before: what was told of since ends the wait as well. */
  async wait(ms: number, signal: AbortSignal | undefined, since: number = this.#count): Promise<void> {
    if (since !== this.#count) return
    await this.#sleeper.sleep(ms, this.#closing, signal)
  }
}
