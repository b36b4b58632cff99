import { throwIfAborted } from './abort.js'

interface Waiter {
  readonly start: () => void
}

/** Lets go of a mutex, or of a place in a semaphore. */
export type Unlock = () => void

/** So many holders at a time, in the order of the calls. */
export class Semaphore {
  readonly #waiting: Waiter[] = []
  #free: number

  constructor(holders: number) {
    this.#free = holders
  }

  /**
   * Runs a task while it holds a place: in this very call, up to its first `await`, where one is free. A task that fails lets go
   * of it as well. `ABORTED`, naming `operation`, where the signal fires before the task begins.
   */
  async run<Result>(
    task: () => Promise<Result>,
    signal?: AbortSignal | undefined,
    operation: string = 'wait',
  ): Promise<Result> {
    throwIfAborted(signal, operation)
    if (this.#free > 0) this.#free--
    else await this.#turn(signal, operation)
    try {
      return await task()
    } finally {
      this.#pass()
    }
  }

  /** Resolves once a place is free for it, with what lets go of that. `ABORTED` as with `run`. */
  async lock(signal?: AbortSignal | undefined, operation: string = 'lock'): Promise<Unlock> {
    throwIfAborted(signal, operation)
    if (this.#free > 0) this.#free--
    else await this.#turn(signal, operation)
    let isHeld = true
    return () => {
      if (isHeld) this.#pass()
      isHeld = false
    }
  }

  #pass(): void {
    // Handed over where somebody waits: nobody may begin between now and when the waiting call continues.
    const next = this.#waiting.shift()
    if (next === undefined) this.#free++
    else next.start()
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
          resolve()
        },
      }
      this.#waiting.push(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }
}

/** One holder at a time, in the order of the calls. */
export class Mutex extends Semaphore {
  constructor() {
    super(1)
  }
}
