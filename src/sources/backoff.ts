import { pauseUnless } from '../base/clock.js'

const FIRST_MS = 100
const LONGEST_MS = 5_000

/** Waits between attempts: each twice as long as the one before, up to 5 s. */
export class Backoff {
  #failures = 0

  /** Something has worked. */
  reset(): void {
    this.#failures = 0
  }

  async wait(signal: AbortSignal): Promise<void> {
    const delayMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#failures)
    this.#failures++
    await pauseUnless(signal, delayMs)
  }
}
