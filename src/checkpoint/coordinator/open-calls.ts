import { throwIfAborted } from '../../base/abort.js'
import type { CancelTimer } from '../../base/clock.js'
import type { SilenceWatch } from './silence-watch.js'

/**
 * The calls of a coordinator that have not settled. Each ends when its work does, and also, though the work may hang in a
 * storage that does not answer, when its signal has fired and nothing more is heard, or when all are given up.
 */
export class OpenCalls {
  readonly #watch: SilenceWatch
  readonly #rejections = new Set<(error: unknown) => void>()

  constructor(watch: SilenceWatch) {
    this.#watch = watch
  }

  /** Begins the work in this very call. It may go on after the promise was rejected; what it comes to is then lost. */
  run<T>(work: () => Promise<T>, signal: AbortSignal | undefined, operation: string): Promise<T> {
    return new Promise((resolve, reject) => {
      let stopListening: CancelTimer = () => {}
      const onAbort = () => {
        stopListening = this.#watch.whenSilent(() => reject(abortedBy(signal, operation)))
      }
      const over = () => {
        this.#rejections.delete(reject)
        signal?.removeEventListener('abort', onAbort)
        stopListening()
      }
      this.#rejections.add(reject)
      if (signal?.aborted) onAbort()
      else signal?.addEventListener('abort', onAbort, { once: true })
      work().then(resolve, reject).finally(over)
    })
  }

  /** Rejects all that are open. */
  giveUp(error: unknown): void {
    for (const reject of this.#rejections) reject(error)
  }
}

function abortedBy(signal: AbortSignal | undefined, operation: string): unknown {
  try {
    throwIfAborted(signal, operation)
    return undefined
  } catch (error) {
    return error
  }
}
