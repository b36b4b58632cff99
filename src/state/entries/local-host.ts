// Where the states of a store over a local engine read and write: the engine itself, or the batch that is open.

import { isInPlaceBackend, type SyncStateBackend } from '../../backend/state-backend.js'
import type { SyncStateSnapshot } from '../../backend/state-snapshot.js'
import type { Entry, ScanRange } from '../../backend/types.js'
import { WriteBatch } from '../../backend/write-batch.js'
import { StateError } from '../../base/errors.js'
import { isThenable } from '../../base/shapes.js'
import { Slot } from '../../base/slot.js'
import { CopiedEntries, InPlaceEntries } from './backend-entries.js'
import type { Entries, ScannableEntries } from './entries.js'
import { type Host, mergedAtOnce, rangeOfState, type ScannedEntry } from './host.js'
import { Overlay } from './overlay.js'

export class LocalHost implements Host {
  readonly later = undefined
  entries: Entries
  readonly #backend: SyncStateBackend
  readonly #base: ScannableEntries
  #overlay: Overlay | undefined

  constructor(backend: SyncStateBackend) {
    this.#backend = backend
    this.#base = isInPlaceBackend(backend)
      ? new InPlaceEntries(backend, new Slot())
      : new CopiedEntries(backend)
    this.entries = this.#base
  }

  /**
   * Runs `body`; what it writes is applied as one step when it returns, and not at all when it throws. A batch in a batch is a
   * part of the outer one.
   */
  batch<Result>(body: () => Result | PromiseLike<Result>): Result {
    if (this.#overlay !== undefined) return body() as Result
    const overlay = new Overlay(this.#base)
    this.#overlay = overlay
    this.entries = overlay
    try {
      const result = body()
      if (isThenable(result)) {
        // Whatever it goes on to do is not a part of this batch, and its failure is reported here.
        ;(result as PromiseLike<unknown>).then(undefined, () => {})
        throw new StateError('TRANSACTION_FAILED', {
          operation: 'batch',
          reason:
            'its function returned a promise; over a synchronous backend it must be done when it returns',
        })
      }
      this.#apply(overlay)
      return result as Result
    } finally {
      this.#overlay = undefined
      this.entries = this.#base
    }
  }

  get isInBatch(): boolean {
    return this.#overlay !== undefined
  }

  together(writes: () => void): void {
    if (this.#overlay !== undefined) writes()
    else this.batch(writes)
  }

  *scan(ranges: readonly ScanRange[], formerIds: readonly number[] = []): IterableIterator<ScannedEntry> {
    const overlay = this.#overlay
    const snapshot = this.#backend.snapshotSync()
    try {
      for (const range of ranges) {
        const own = scanned(snapshot, overlay, range)
        if (formerIds.length === 0) {
          yield* own
          continue
        }
        const formers = formerIds.map((id) => scanned(snapshot, overlay, rangeOfState(range, id)))
        yield* mergedAtOnce([own, ...formers], range.reverse ?? false)
      }
    } finally {
      snapshot.closeSync()
    }
  }

  #apply(overlay: Overlay): void {
    if (overlay.isEmpty) return
    const batch = new WriteBatch()
    overlay.addTo(batch)
    this.#backend.writeSync(batch)
  }
}

/** What a range holds at an instant, with the writes of the open batch. */
function scanned(
  snapshot: SyncStateSnapshot,
  overlay: Overlay | undefined,
  range: ScanRange,
): IterableIterator<Entry> {
  return overlay === undefined ? snapshot.scanSync(range) : merged(snapshot, overlay, range)
}

function* merged(
  snapshot: SyncStateSnapshot,
  overlay: Overlay,
  range: ScanRange,
): Generator<Entry, void, undefined> {
  const written = overlay.in(range)
  for (const entry of snapshot.scanSync(range)) yield* written.upTo(entry)
  yield* written.rest()
}
