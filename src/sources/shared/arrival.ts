import { pauseUnless } from '../../base/clock.js'

/** A wait for what may come: over when it is told of, when its time is over, or when a signal fires. */
export class Arrival {
  readonly #closing: AbortSignal
  #tell: () => void = () => {}

  /** `closing` ends every wait. */
  constructor(closing: AbortSignal) {
    this.#closing = closing
  }

  /** Ends the wait under way, if there is one. */
  tell(): void {
    this.#tell()
  }

  async wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const told = new AbortController()
    this.#tell = () => told.abort()
    const signals = [this.#closing, told.signal, ...(signal === undefined ? [] : [signal])]
    await pauseUnless(AbortSignal.any(signals), ms)
    this.#tell = () => {}
  }
}
