import { throwIfAborted } from './abort.js'

interface Waiter {
  readonly start: () => void
}

/** Lets go of a mutex. */
export type Unlock = () => void

/** One holder at a time, in the order of the calls. */
export class Mutex {
  readonly #waiting: Waiter[] = []
  #isHeld = false

  /**
   * Runs a task while it holds the mutex: in this very call, up to its first `await`, where nobody holds it. A task that fails lets go
   * of it as well. `ABORTED`, naming `operation`, where the signal fires before the task begins.
   */
  async run<Result>(
    task: () => Promise<Result>,
    signal?: AbortSignal | undefined,
    operation: string = 'wait',
  ): Promise<Result> {
    throwIfAborted(signal, operation)
    if (this.#isHeld) await this.#turn(signal, operation)
    this.#isHeld = true
    try {
      return await task()
    } finally {
      this.#pass()
    }
  }

  /** Resolves once everybody before has let go of it, with what does so. */
  async lock(): Promise<Unlock> {
    if (this.#isHeld) await this.#turn(undefined, 'lock')
    this.#isHeld = true
    let isHeld = true
    return () => {
      if (isHeld) this.#pass()
      isHeld = false
    }
  }

  #pass(): void {
    this.#isHeld = false
    this.#waiting.shift()?.start()
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
          this.#isHeld = true
          resolve()
        },
      }
      this.#waiting.push(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }
}
