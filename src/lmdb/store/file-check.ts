import type { StateError } from '../../base/errors.js'
import type { StoreDirectory } from './store-directory.js'
import { StoreGuard } from './store-guard.js'

/** Looks whether the files of a store are still in their places, and owned, for those that hear that something is durable. */
export class FileCheck {
  readonly #directory: StoreDirectory
  readonly #failed: (error: StateError) => void
  #guard: StoreGuard
  /** What was waited for last, and that together with a look at the files. */
  #last: { readonly durable: Promise<void>; readonly checked: Promise<void> } | undefined

  constructor(directory: StoreDirectory, failed: (error: StateError) => void) {
    this.#directory = directory
    this.#failed = failed
    this.#guard = new StoreGuard(directory.dataPath, directory.leaseMark)
  }

  /** Another data file has taken the place of the one before. */
  follow(dataPath: string): void {
    this.#guard = new StoreGuard(dataPath, this.#directory.leaseMark)
  }

  /** Throws where what was made durable is not to be found any more, or would be lost to a new owner. */
  check(): void {
    try {
      this.#guard.check()
    } catch (failure) {
      this.#failed(failure as StateError)
      throw failure
    }
  }

  /**
   * Looks when something has become durable, also where there was nothing to commit: what was committed before is not to be lost
   * either. Once for all that wait for the same: a look takes longer than a put.
   */
  checkAfter(durable: Promise<void>): Promise<void> {
    if (this.#last?.durable !== durable) {
      this.#last = { durable, checked: durable.then(() => this.check()) }
    }
    return this.#last.checked
  }
}
