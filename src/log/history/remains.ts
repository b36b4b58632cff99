// What closed snapshots and released bases have left in a log: versions that only they saw, and tombstones that only they
// needed. It is found by the hashes of keys that were noted when it came to be, and removed step by step, as writes pay for it.

import type { Entries } from '../entries.js'
import type { HashIndex } from '../index/hash-index.js'
import type { LogHistory } from './log-history.js'
import type { SnapshotEpochs } from './snapshot-epochs.js'

/** What this asks of its log. */
export interface RemainsHost {
  /** Something below the log may hold the same keys: tombstones stay. */
  readonly covers: boolean
  /** Removes the key of the tombstone at `address` from the index, and the tombstone. */
  dropTombstone(address: number): void
}

export class Remains {
  readonly #history: LogHistory
  readonly #epochs: SnapshotEpochs
  readonly #entries: Entries
  readonly #index: HashIndex
  readonly #host: RemainsHost

  constructor(
    history: LogHistory,
    epochs: SnapshotEpochs,
    entries: Entries,
    index: HashIndex,
    host: RemainsHost,
  ) {
    this.#history = history
    this.#epochs = epochs
    this.#entries = entries
    this.#index = index
    this.#host = host
  }

  /** Looks at traces that may be needed no more, at most this many of each kind, and removes what is not. */
  remove(most: number): void {
    this.#removeSuperseded(most)
    this.#removeTombstones(most)
  }

  /** Of keys that were written or removed while a snapshot was open that is closed now: unlinks versions that nobody sees. */
  #removeSuperseded(most: number): void {
    const history = this.#history
    for (let i = 0; i < most; i++) {
      const { closed } = history
      if (closed === undefined) return
      const hash = closed.superseded.pop()
      let readerEpoch = 0
      for (const address of this.#index.collect(hash)) {
        readerEpoch = Math.max(readerEpoch, this.#unlinkUnseen(address, closed.epoch))
        if (this.#isBareTombstone(address)) this.#tombstoneUnseen(address, hash)
      }
      // Once for each time that it was listed, however many keys have this hash.
      if (readerEpoch !== 0) history.superseded(readerEpoch, hash)
      if (closed.superseded.length === 0) history.settled(closed)
    }
  }

  /**
   * Unlinks the versions behind the latest one at `latest` that no open snapshot sees. Returns the epoch of an open snapshot
   * that sees the version which the closed one of `closedEpoch` saw; 0: there is none.
   */
  #unlinkUnseen(latest: number, closedEpoch: number): number {
    const entries = this.#entries
    const { oldest } = this.#epochs
    let readerEpoch = 0
    let address = latest
    // Nobody looks further back than the oldest snapshot, and what lies there may be gone.
    while (entries.epoch(address) > oldest) {
      const epoch = entries.epoch(address)
      const version = entries.previous(address)
      if (version === 0) break
      const newestReader = this.#epochs.newestBelow(epoch)
      if (entries.epoch(version) > newestReader) {
        entries.setPrevious(address, entries.previous(version))
        continue
      }
      if (entries.epoch(version) <= closedEpoch && closedEpoch < epoch) readerEpoch = newestReader
      address = version
    }
    return readerEpoch
  }

  /** Removes tombstones that no base needs any more. */
  #removeTombstones(most: number): void {
    const { tombstones, changes } = this.#history
    for (let i = 0; i < most && tombstones.removable(changes.oldest); i++) {
      const hash = tombstones.take()
      for (const address of this.#index.collect(hash)) {
        this.#entries.clearQueued(address)
        // What a snapshot needs as well is looked at when that closes.
        if (this.#isBareTombstone(address)) this.#tombstoneUnseen(address, hash)
      }
    }
  }

  /** Whether at `address` is a tombstone that no open snapshot looks behind. */
  #isBareTombstone(address: number): boolean {
    const entries = this.#entries
    if (!entries.isTombstone(address) || this.#host.covers) return false
    return entries.epoch(address) <= this.#epochs.oldest || entries.previous(address) === 0
  }

  /** No open snapshot needs the tombstone at `address`: a base may. */
  #tombstoneUnseen(address: number, hash: number): void {
    const history = this.#history
    const isNeeded = this.#entries.epoch(address) > history.changes.oldest && history.isKnownToBase(address)
    if (isNeeded) history.queueTombstone(address, hash)
    else this.#host.dropTombstone(address)
  }
}
