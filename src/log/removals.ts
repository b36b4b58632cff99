// The removal of keys. What nobody needs to hear of is gone at once; where an open snapshot still sees the key, somebody asks for
// changes since a base that knows it, or something below the log may hold it too, a tombstone takes the place of its latest version.

import type { Entries } from './entries.js'
import type { LogHistory } from './history/log-history.js'
import type { SnapshotEpochs } from './history/snapshot-epochs.js'
import type { HashIndex } from './index/hash-index.js'
import type { KeyProbe } from './index/key-probe.js'
import { entryUnits, FLAG_TOMBSTONE } from './layout.js'
import type { LogTail } from './log-tail.js'
import type { SegmentTable } from './segment-table.js'

/** What keys are removed from: parts of one log. */
export interface RemovedFrom {
  readonly segments: SegmentTable
  readonly entries: Entries
  readonly index: HashIndex
  readonly epochs: SnapshotEpochs
  readonly history: LogHistory
  readonly tail: LogTail
  /** The key that maintenance is looking at. */
  readonly chore: KeyProbe
  /** Something below the log may hold the same keys: tombstones stay. */
  readonly covers: boolean
}

export class Removals {
  /** Keys of which the latest version is a tombstone. */
  tombstoneCount = 0
  readonly #segments: SegmentTable
  readonly #entries: Entries
  readonly #index: HashIndex
  readonly #epochs: SnapshotEpochs
  readonly #history: LogHistory
  readonly #tail: LogTail
  readonly #chore: KeyProbe
  readonly #covers: boolean

  constructor({ segments, entries, index, epochs, history, tail, chore, covers }: RemovedFrom) {
    this.#segments = segments
    this.#entries = entries
    this.#index = index
    this.#epochs = epochs
    this.#history = history
    this.#tail = tail
    this.#chore = chore
    this.#covers = covers
  }

  /** Removes the key of `probe`, which was sought and whose latest version is at `address`. */
  removeFound(address: number, probe: KeyProbe): void {
    this.#epochs.dirty = true
    const previous = this.#history.previousFor(address)
    if (previous === 0 && !this.#covers && !this.#history.isKnownToBase(address)) {
      this.#index.remove(probe)
      this.#tail.bury(address)
      return
    }
    if (previous === address) this.#appendTombstone(address, probe)
    else this.#turnIntoTombstone(address, previous, probe.hash)
    this.tombstoneCount++
  }

  /** Removes the key whose latest version is at `address`; returns the units that this took. */
  removeAt(address: number): number {
    const units = this.#entries.units(address)
    this.#chore.loadEntry(address)
    this.#index.find(this.#chore)
    this.removeFound(address, this.#chore)
    return units
  }

  /** Removes the key of the tombstone at `address`, and the tombstone. */
  dropTombstone(address: number): void {
    this.#chore.loadEntry(address)
    this.#index.find(this.#chore)
    this.#index.remove(this.#chore)
    this.tombstoneCount--
    this.#tail.bury(address)
  }

  /** No open snapshot sees the version at `address`. */
  #turnIntoTombstone(address: number, previous: number, hash: number): void {
    const history = this.#history
    const isFirstChange = history.isUnchanged(address)
    this.#entries.makeTombstone(address, this.#epochs.current, previous)
    if (isFirstChange) history.changedInPlace(address)
    if (previous === 0 && !this.#covers) history.queueTombstone(address, hash)
  }

  /** An open snapshot sees the version at `address`, which stays as it is. */
  #appendTombstone(address: number, probe: KeyProbe): void {
    const history = this.#history
    const units = entryUnits(probe.length, 0, false)
    if (this.#segments.room(this.#tail.number) < units) {
      this.#tail.roll(units, -Infinity)
      // Retiring the old tail may have looked other keys up, also with this probe.
      if (probe === this.#chore) probe.loadEntry(address)
      this.#index.find(probe)
    }
    const tombstone = this.#segments.take(this.#tail.number, units)
    const flags = FLAG_TOMBSTONE | history.flagsAfter(address)
    this.#entries.create(tombstone, probe, 0, Infinity, this.#epochs.current, flags)
    this.#entries.setPrevious(tombstone, address)
    this.#index.replace(probe, tombstone)
    history.superseded(this.#epochs.newest, probe.hash)
    if (history.changes.isActive) history.changes.push(tombstone)
    this.#tail.bury(address)
  }
}
