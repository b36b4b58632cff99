import type { KeyStretch } from '../../backend/scan-range.js'
import type { StateError } from '../../base/errors.js'
import { runSliced, type SlicedWork } from '../../base/slices.js'
import {
  type DeletedRange,
  type DeletedRanges,
  NOTHING_DELETED,
  rangeOf,
  withStretch,
} from '../store/deleted-ranges.js'
import type { StoreView } from '../store/store-view.js'

/** What the removal of ranges asks of its engine. */
export interface RemovalHost {
  /** The newest view of the store. */
  view(): StoreView
  /** Whether the write buffer says something of a key: what lies below it is of no account then. */
  isBuffered(key: Uint8Array): boolean
  /** Adds a tombstone for a key that is not in the write buffer. `expired`: its time had come before the range was deleted. */
  remove(key: Uint8Array, expired: boolean): void
  /** No range is pending any more: what waited for that may go on. */
  finished(): void
  /** A view could not be read: part of a range can be removed, and the rest cannot. */
  failed(error: StateError): void
}

/** Keys that are looked at in one step. */
const PAGE_KEYS = 128

/**
 * Ranges that were deleted and whose keys in the store have no tombstones yet.
 *
 * (1) A key in such a range that the write buffer does not know is absent for every read, from the call on that deletes it.
 * (2) Tombstones are added in slices between turns of the event loop. No generation that has some of them is frozen before it has
 *     all: so the store never holds a part of the deletion, and the view changes only by what was written before it.
 * (3) A snapshot has the ranges of its moment. Only who cannot do with that (a base of what changes from here on, a write near
 *     the limit of the store that must know how much is used) has the rest done at once.
 */
export class RangeRemovals {
  readonly #host: RemovalHost
  #pending: DeletedRanges = NOTHING_DELETED
  #work: SlicedWork<void> | undefined
  #done: Promise<void> = Promise.resolve()
  #failure: StateError | undefined

  constructor(host: RemovalHost) {
    this.#host = host
  }

  get isPending(): boolean {
    return this.#pending.length > 0
  }

  /** As they are now; they stay so for whoever has them. */
  get ranges(): DeletedRanges {
    return this.#pending
  }

  /** Resolves when nothing is pending any more, or rejects when that cannot be. */
  get done(): Promise<void> {
    return this.#done
  }

  /** The time at which a key was deleted that the write buffer does not know; undefined: it was not. */
  deletedAtMs(bytes: Uint8Array, start: number, length: number): number | undefined {
    return rangeOf(this.#pending, bytes.subarray(start, start + length))?.nowMs
  }

  /** Deletes what the store holds of a stretch; what the write buffer holds of it has tombstones already. To be begun. */
  add(stretch: KeyStretch, nowMs: number): void {
    this.#pending = withStretch(this.#pending, stretch, nowMs)
  }

  /**
   * Begins to add tombstones for what was added, where nobody has yet. The first slice is done when this returns, and what is
   * small with it. Never throws: `failed` is told, and the promise rejects.
   */
  begin(): Promise<void> {
    if (!this.isPending) return Promise.resolve()
    if (this.#work !== undefined) return this.#done
    const work = this.#removeAll()
    this.#work = work
    this.#failure = undefined
    this.#done = this.#run(work)
    // Whoever waits is told; nobody has to.
    this.#done.catch(() => {})
    return this.#done
  }

  /** Whoever finishes the work at once meanwhile is who sees it fail. */
  async #run(work: SlicedWork<void>): Promise<void> {
    await runSliced(work)
    if (this.#failure !== undefined) throw this.#failure
  }

  /** One step, for a write that pays for it. */
  pay(): void {
    this.#work?.next()
  }

  /** Does at once what is left to do. */
  finish(): void {
    while (this.isPending && this.#work?.next().done === false);
  }

  /** Everything was deleted: nothing is left to do. */
  forget(): void {
    this.#pending = NOTHING_DELETED
  }

  *#removeAll(): SlicedWork<void> {
    try {
      for (let first = this.#pending[0]; first !== undefined; first = this.#pending[0]) {
        yield* this.#remove(first)
        this.#pending = this.#pending.filter((removal) => removal !== first)
      }
    } catch (error) {
      // The range stays deleted for reads; nothing that was written since can become durable.
      this.#work = undefined
      this.#failure = error as StateError
      this.#host.failed(this.#failure)
      throw error
    }
    this.#work = undefined
    this.#host.finished()
  }

  *#remove(removal: DeletedRange): SlicedWork<void> {
    const { until, nowMs } = removal
    let { from } = removal
    for (;;) {
      // A commit of what was written before may have replaced the view since the last page.
      const view = this.#host.view()
      const page = view.keyPages(from, until, PAGE_KEYS).next().value
      const last = page?.at(-1)
      if (page === undefined || last === undefined) return
      for (const key of page) {
        if (this.#host.isBuffered(key)) continue
        const mayExpire = view.firstDeadlineMs <= nowMs
        this.#host.remove(key, mayExpire && view.expiryOf(key, 0, key.length) <= nowMs)
      }
      if (page.length < PAGE_KEYS) return
      from = Uint8Array.of(...last, 0)
      yield
      if (!this.#pending.includes(removal)) return
    }
  }
}
