import { isSyncBackend, type StateBackend } from '../../backend/state-backend.js'
import type { ChangeBase } from '../../backend/state-snapshot.js'
import type { BackendStats } from '../../backend/types.js'

/**
 * Makes what was restored the base of the next checkpoint, where it is certain that nothing was written since.
 *
 * The backend swaps its content after the end of the stream, and whoever waits for `replaceAll` runs a few steps after that:
 * others may write in between. No write can happen before the swap. So the counters at the end of the stream and after
 * the swap tell whether there was one; `clear` is not counted, but leaves nothing behind.
 */
export class RestoredBase {
  readonly #backend: StateBackend
  readonly #entryCount: number
  #before: BackendStats | undefined

  /** @param entryCount of the checkpoint. */
  constructor(backend: StateBackend, entryCount: number) {
    this.#backend = backend
    this.#entryCount = entryCount
  }

  /** To be called at the end of the stream, when writes are still refused. */
  noteEndOfStream(): void {
    if (isSyncBackend(this.#backend)) this.#before = this.#backend.stats()
  }

  /** To be called in the very step in which `replaceAll` has resolved. */
  take(): ChangeBase | undefined {
    const backend = this.#backend
    const before = this.#before
    if (before === undefined || !isSyncBackend(backend)) return undefined
    const { puts, deletes, entries } = backend.stats()
    if (puts !== before.puts || deletes !== before.deletes) return undefined
    if (entries === 0 && this.#entryCount > 0) return undefined
    const snapshot = backend.snapshotSync({ track: true })
    snapshot.closeSync()
    return snapshot.base
  }
}
