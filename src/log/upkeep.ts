// The work that writes leave behind and pay for, each a little: moving what lives in mostly dead segments, removing what has
// expired and what closed snapshots have left, rewriting the order of keys without dead segments. So a log never pauses for it.

import type { Compactor } from './compactor.js'
import type { EntryExpiry, OnExpired } from './entry-expiry.js'
import type { LogHistory } from './history/log-history.js'
import type { Remains } from './history/remains.js'
import type { LogSpace } from './log-space.js'
import type { OrderedIndex } from './order/ordered-index.js'

/** Looks that are paid for together. */
const LOOKS_STEP = 64
/**
 * Hashes of the expiry queue, and of keys that have left traces, looked at for each write that appends or removes: more than the two
 * to four looks that an entry takes in its life, so that what nobody needs goes at least as fast as anything comes.
 */
const LOOKS_PER_WRITE = 8
/** Places of the ordered index looked through for dead segments, for each write that appends or removes, and in a step of `tidy`. */
const CLEANED_PER_WRITE = 64
const CLEANED_PER_STEP = 16 * 1024

/** What works for the log. */
export interface Workers {
  readonly space: LogSpace
  readonly compactor: Compactor
  readonly ordered: OrderedIndex
  readonly history: LogHistory
  readonly remains: Remains
  readonly expiry: EntryExpiry
}

export class Upkeep {
  readonly #space: LogSpace
  readonly #compactor: Compactor
  readonly #ordered: OrderedIndex
  readonly #history: LogHistory
  readonly #remains: Remains
  readonly #expiry: EntryExpiry
  readonly #expire: OnExpired
  /** Hashes that writes have paid a look at. */
  #looksOwed = 0

  /** @param expire removes an entry that has expired. */
  constructor(workers: Workers, expire: OnExpired) {
    this.#space = workers.space
    this.#compactor = workers.compactor
    this.#ordered = workers.ordered
    this.#history = workers.history
    this.#remains = workers.remains
    this.#expiry = workers.expiry
    this.#expire = expire
  }

  /** Pays with what was written or removed, and does the work at once where it has come to a step. A batch pays at its end. */
  pay(units: number): void {
    if (this.#space.inBatch) return
    this.#compactor.paid(units)
    this.#ordered.clean(CLEANED_PER_WRITE)
    this.#oweLooks(1)
    if (this.#looksOwed >= LOOKS_STEP) this.#payForLooks()
  }

  /** The end of a batch of so many writes. */
  payForBatch(writes: number, units: number): void {
    this.#oweLooks(writes)
    this.pay(units)
  }

  /** Owes for a write what `settle` is to do: nothing moves now. */
  owe(units: number): void {
    this.#compactor.owe(units)
    this.#oweLooks(1)
  }

  /** Does what is owed, where it has come to a step. */
  settle(): void {
    this.#compactor.paid(0)
    this.#ordered.clean(CLEANED_PER_WRITE)
    if (this.#looksOwed >= LOOKS_STEP) this.#payForLooks()
  }

  /** Something waits to be cleared away that `tidy` would see to. */
  get hasChores(): boolean {
    return this.#history.hasRemains || this.#ordered.needsCleaning || this.#compactor.hasWork
  }

  /** Does all there is to do but for what expires, until nothing is left or `performance.now()` passes `untilMs`; returns whether nothing is. */
  tidy(untilMs: number): boolean {
    while (this.hasChores) {
      this.#remains.remove(LOOKS_STEP)
      this.#ordered.clean(CLEANED_PER_STEP)
      // Where the log has no room for what must be moved, compaction waits for some.
      const isLeft = this.#ordered.needsCleaning || this.#history.hasRemains
      if (!this.#compactor.step() && !isLeft) return true
      if (performance.now() >= untilMs) return !this.hasChores
    }
    return true
  }

  #oweLooks(writes: number): void {
    if (this.#expiry.isWaiting || this.#history.hasRemains) this.#looksOwed += writes * LOOKS_PER_WRITE
  }

  #payForLooks(): void {
    const most = this.#looksOwed
    this.#looksOwed = 0
    this.#remains.remove(most)
    this.#expiry.look(most, this.#expire)
  }
}
