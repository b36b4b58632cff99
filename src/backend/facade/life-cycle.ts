import { StateError } from '../../base/errors.js'

/** Whether a backend is open, and whether it may be written to. */
export class LifeCycle {
  /** For errors: 'memory backend'. */
  readonly #component: string
  #replacing = false
  #closing: Promise<void> | undefined

  constructor(name: string) {
    this.#component = `${name} backend`
  }

  get isOpen(): boolean {
    return this.#closing === undefined
  }

  get replacing(): boolean {
    return this.#replacing
  }

  /** Throws `CLOSED` from the first call of `close` on. */
  assertOpen(): void {
    if (this.#closing !== undefined) throw new StateError('CLOSED', { component: this.#component })
  }

  /** Throws `NOT_INITIALIZED` while the content is being replaced. */
  assertWritable(operation: string): void {
    this.assertOpen()
    if (!this.#replacing) return
    const component = `${this.#component}, whose content is being replaced,`
    throw new StateError('NOT_INITIALIZED', { component, operation })
  }

  /** Refuses writes until `replace` has ended. */
  async whileReplacing(replace: () => Promise<void>): Promise<void> {
    this.#replacing = true
    try {
      await replace()
    } finally {
      this.#replacing = false
    }
  }

  /** Closes once; whoever calls again waits for the same end. */
  close(close: () => Promise<void>): Promise<void> {
    if (this.#closing === undefined) {
      // Set before anything runs, so that what closing calls meets a closed backend.
      const { promise, resolve, reject } = settler()
      this.#closing = promise
      close().then(resolve, reject)
    }
    return this.#closing
  }
}

function settler(): { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void } {
  let resolve: () => void = () => {}
  let reject: (error: unknown) => void = () => {}
  const promise = new Promise<void>((resolved, rejected) => {
    resolve = resolved
    reject = rejected
  })
  return { promise, resolve, reject }
}
