import { throwIfAborted } from '../../backend/validate.js'

interface Waiter {
  readonly start: () => void
}

/** Runs tasks one after the other, in the order of the calls. A task that fails does not stop the next one. */
export class SerialQueue {
  readonly #waiting: Waiter[] = []
  #busy = false

  /**
   * Runs the task when its turn comes: in this very call, up to its first `await`, where nothing is running.
   * `ABORTED` where the signal fires before that.
   */
  async run<T>(task: () => Promise<T>, signal: AbortSignal | undefined, operation: string): Promise<T> {
    throwIfAborted(signal, operation)
    if (this.#busy) await this.#turn(signal, operation)
    this.#busy = true
    try {
      return await task()
    } finally {
      this.#busy = false
      this.#waiting.shift()?.start()
    }
  }

  #turn(signal: AbortSignal | undefined, operation: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
        try {
          throwIfAborted(signal, operation)
        } catch (error) {
          reject(error)
        }
      }
      const waiter: Waiter = {
        start: () => {
          signal?.removeEventListener('abort', onAbort)
          // Handed over: nobody may begin between now and when the waiting call continues.
          this.#busy = true
          resolve()
        },
      }
      this.#waiting.push(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }
}
