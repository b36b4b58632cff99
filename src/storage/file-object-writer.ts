import { StateError } from '../base/errors.js'
import { invalidArgument } from '../base/options.js'
import type { DurableDirectory } from '../files/durable-directory.js'
import { afterCleanUp } from '../files/file-failure.js'
import type { LeaseGuard, TemporaryFile } from '../files/temporary-file.js'
import type { ObjectWriter } from './checkpoint-storage.js'
import { checkBytes, publishedBefore } from './object-arguments.js'

/** Writes one object through a temporary file. The first failure ends it: later calls reject with the same error. */
export class FileObjectWriter implements ObjectWriter {
  readonly #directory: DurableDirectory
  readonly #name: string
  readonly #file: TemporaryFile
  readonly #guard: LeaseGuard
  #failure: unknown
  #committed = false
  #aborted = false
  #pending: Promise<void> | undefined

  constructor(directory: DurableDirectory, name: string, file: TemporaryFile, guard: LeaseGuard) {
    this.#directory = directory
    this.#name = name
    this.#file = file
    this.#guard = guard
  }

  async write(bytes: Uint8Array): Promise<void> {
    checkBytes(bytes)
    await this.#step('write', () => this.#file.write(bytes))
  }

  async commit(): Promise<void> {
    await this.#step('commit', async () => {
      if (!(await this.#file.publishAs(this.#name, this.#guard))) {
        throw publishedBefore(this.#directory.pathOf(this.#name))
      }
      this.#committed = true
    })
  }

  async abort(): Promise<void> {
    // A step under way is waited for: it may be publishing. How it ended is its caller's to know.
    await this.#pending?.catch(() => undefined)
    if (this.#committed) return
    this.#aborted = true
    await this.#file.discard()
  }

  async #step(method: string, work: () => Promise<void>): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#committed || this.#aborted)
      throw new StateError('CLOSED', { component: `the writer of ${this.#name}` })
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

  async #runOrGiveUp(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#failure = await afterCleanUp(error, this.#directory.storageName, () => this.#file.discard())
      throw this.#failure
    }
  }
}
