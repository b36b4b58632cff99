import { StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import { afterCleanUp } from '../files/file-failure.js'
import type { ObjectWriter } from './checkpoint-storage.js'
import { checkBytes } from './object-arguments.js'

/** An object that nobody sees yet. */
export interface UnpublishedObject {
  /** Takes the bytes, all of them, before it resolves. */
  write(bytes: Uint8Array): Promise<void>
  /** Makes the bytes durable; `publish` does so where this was not called. */
  prepare?(): Promise<void>
  /** Gives it its name, durably. */
  publish(): Promise<void>
  /** Throws it away. Called also where one of the others has failed, and more than once. */
  discard(): Promise<void>
}

/** What every {@link ObjectWriter} does about the order of calls. The first failure ends it: later calls reject with the same error. */
export class StepwiseWriter implements ObjectWriter {
  readonly #name: string
  readonly #storage: string
  readonly #object: UnpublishedObject
  #failure: unknown
  #prepared = false
  #committed = false
  #aborted = false
  #pending: Promise<void> | undefined

  /** `storage` and `name` are for messages. */
  constructor(storage: string, name: string, object: UnpublishedObject) {
    this.#storage = storage
    this.#name = name
    this.#object = object
  }

  async write(bytes: Uint8Array): Promise<void> {
    checkBytes(bytes)
    if (this.#prepared && this.#failure === undefined) throw this.#closed()
    await this.#step('write', () => this.#object.write(bytes))
  }

  async prepare(): Promise<void> {
    if (this.#prepared && this.#failure === undefined) throw this.#closed()
    await this.#step('prepare', async () => {
      this.#prepared = true
      await this.#object.prepare?.()
    })
  }

  async commit(): Promise<void> {
    await this.#step('commit', async () => {
      await this.#object.publish()
      this.#committed = true
    })
  }

  async abort(): Promise<void> {
    // A step under way is waited for: it may be publishing. How it ended is its caller's to know.
    await this.#pending?.catch(() => undefined)
    if (this.#committed) return
    this.#aborted = true
    await this.#object.discard()
  }

  async #step(method: string, work: () => Promise<void>): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#committed || this.#aborted) throw this.#closed()
    if (this.#pending !== undefined) {
      throw invalidArgument(method, 'was called before the last call on this writer had settled')
    }
    this.#pending = this.#runOrGiveUp(work)
    try {
      await this.#pending
    } finally {
      this.#pending = undefined
    }
  }

  #closed(): StateError<'CLOSED'> {
    return new StateError('CLOSED', { component: `the writer of ${this.#name}` })
  }

  async #runOrGiveUp(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#failure = await afterCleanUp(error, this.#storage, () => this.#object.discard())
      throw this.#failure
    }
  }
}
