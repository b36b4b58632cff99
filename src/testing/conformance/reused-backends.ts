import type { StateBackend } from '../../backend/state-backend.js'
import { isStateError } from '../../base/errors.js'
import { ManualClock } from '../manual-clock.js'

/** A clock that remembers whether it was ever set back: a backend's time goes on, and would be ahead of it. */
class CaseClock extends ManualClock {
  wasSetBack = false

  override set(timeMs: number): void {
    if (timeMs < this.now()) this.wasSetBack = true
    super.set(timeMs)
  }
}

/** Backends that go from case to case, empty, with their clock. Whoever takes one has it alone until it is given back. */
export class ReusedBackends {
  #clock = new CaseClock()
  readonly #idle: StateBackend[] = []

  /** The clock of the backends that can be taken now. */
  get clock(): ManualClock {
    return this.#clock
  }

  take(): StateBackend | undefined {
    return this.#idle.pop()
  }

  /** Empties it for the next case; one that a case has closed, or left a scan open in, is not used again. */
  async giveBack(backend: StateBackend): Promise<void> {
    try {
      await backend.clear()
    } catch (error) {
      if (isStateError(error, 'CLOSED')) return
      throw error
    }
    if (backend.stats().openSnapshots === 0) this.#idle.push(backend)
    else await backend.close()
  }

  /** What comes after a case: where it has set the clock back, nothing that had it is used again. */
  async endCase(): Promise<void> {
    if (!this.#clock.wasSetBack) return
    this.#clock = new CaseClock()
    await this.close()
  }

  async close(): Promise<void> {
    for (const backend of this.#idle.splice(0)) await backend.close()
  }
}
