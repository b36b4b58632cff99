// What a log keeps of its past: for open snapshots, for threads that read one, and for whoever asks what has changed.

import type { Entries } from '../entries.js'
import { FLAG_FRESH, FLAG_QUEUED, OFFSET_BITS, OFFSET_MASK } from '../layout.js'
import type { SegmentTable, SharedSegment } from '../segment-table.js'
import { type SharedPart, SharedUint32List } from '../share/shared-list.js'
import { Uint32List } from '../uint32-list.js'
import { type ChangeMark, ChangeTracker, type ChangeTrackerHost } from './change-tracker.js'
import type { SnapshotEpochs } from './snapshot-epochs.js'
import { TombstoneQueue } from './tombstone-queue.js'

/** A log at one instant, for another thread to read. */
export interface LogView {
  readonly segments: readonly SharedSegment[]
  /** Addresses of what has changed since a base; `undefined`: all is to be read. */
  readonly changes: readonly SharedPart[] | undefined
  /**
   * Addresses of the view that were buried since its instant. They belong to it all the same, and the flag alone does not
   * tell the other thread when it was set.
   */
  readonly buried: SharedUint32List
}

/** An instant that snapshots see, or saw and their traces are not removed yet. */
export interface SeenInstant {
  readonly epoch: number
  /** What keeps the segments that were there; 0: nothing has to any more. */
  pin: number
  /** Hashes of the keys of which a version was replaced or removed while it was the newest that was seen. */
  readonly superseded: Uint32List
}

/** What this asks of its log. */
export interface LogHistoryHost extends Omit<ChangeTrackerHost, 'isBuried'> {
  /** Whether a key is covered by a tombstone. */
  hasTombstones(): boolean
}

/** Places that a list of superseded keys has at first. */
const FIRST_SUPERSEDED = 16

export class LogHistory {
  readonly changes: ChangeTracker
  readonly tombstones: TombstoneQueue = new TombstoneQueue()
  readonly #epochs: SnapshotEpochs
  readonly #segments: SegmentTable
  readonly #entries: Entries
  readonly #host: LogHistoryHost
  /** By epoch, those that are open. */
  readonly #open = new Map<number, SeenInstant>()
  /** Those that nobody sees any more, with versions that are left of them. */
  #closed: readonly SeenInstant[] = []
  #views: readonly LogView[] = []

  constructor(epochs: SnapshotEpochs, segments: SegmentTable, entries: Entries, host: LogHistoryHost) {
    this.#epochs = epochs
    this.#segments = segments
    this.#entries = entries
    this.#host = host
    this.changes = new ChangeTracker({
      hasRoomForList: (bytes) => host.hasRoomForList(bytes),
      isBuried: (address) => entries.isBuried(address),
      keys: () => host.keys(),
    })
  }

  get byteLength(): number {
    let bytes = this.changes.byteLength + this.tombstones.byteLength
    for (const { buried } of this.#views) bytes += buried.byteLength
    for (const { superseded } of this.#open.values()) bytes += superseded.byteLength
    for (const { superseded } of this.#closed) bytes += superseded.byteLength
    return bytes
  }

  /** There may be versions or tombstones that nobody needs any more. */
  get hasRemains(): boolean {
    return this.#closed.length > 0 || this.tombstones.removable(this.changes.oldest)
  }

  /** Of what snapshots have seen that are closed, an instant of which versions may be left; `undefined`: there is none. */
  get closed(): SeenInstant | undefined {
    return this.#closed[0]
  }

  /** Begins to keep what is there now for a snapshot, and returns the epoch that it sees. */
  openSnapshot(): number {
    const epoch = this.#epochs.open()
    if (!this.#open.has(epoch)) {
      const superseded = new Uint32List(FIRST_SUPERSEDED)
      this.#open.set(epoch, { epoch, pin: this.#segments.pin(), superseded })
    }
    return epoch
  }

  /** One more snapshot of an epoch that one is open of. */
  openSnapshotOf(epoch: number): void {
    this.#epochs.openAgain(epoch)
  }

  /** A version is replaced or removed that the open snapshot of `epoch` sees: its key is to be looked at when that closes. */
  superseded(epoch: number, hash: number): void {
    this.#open.get(epoch)?.superseded.push(hash)
  }

  /**
   * Tracks from now on what changes. `epoch` is that of an open snapshot; `undefined` where something was written since
   * it was opened.
   */
  trackChanges(epoch: number): ChangeMark | undefined {
    return this.#isAt(epoch) ? this.changes.addBase(epoch) : undefined
  }

  /** Whether changes are tracked and the entry at `address` (0: none) has not been written since the newest base. */
  isUnchanged(address: number): boolean {
    return this.changes.isActive && address !== 0 && this.#entries.epoch(address) <= this.changes.newest
  }

  /** Whether the key of the entry at `address` may have been there at a base. */
  isKnownToBase(address: number): boolean {
    return this.changes.isActive && !this.#entries.isFresh(address, this.changes.newest)
  }

  /** What a version that replaces `old` points back to: the newest one up to that which an open snapshot sees. */
  previousFor(old: number): number {
    return this.#epochs.openCount === 0 ? 0 : this.#entries.version(old, this.#epochs.newest)
  }

  /** What a version that replaces `old` (0: none) takes over from it, or begins with. */
  flagsAfter(old: number): number {
    if (old === 0) return FLAG_FRESH
    const fresh = this.#entries.isFresh(old, this.changes.newest) ? FLAG_FRESH : 0
    return this.#entries.isQueued(old) ? fresh | FLAG_QUEUED : fresh
  }

  /** The entry at `address`, which the newest base knows, was changed where it lies. */
  changedInPlace(address: number): void {
    this.#entries.makeKnown(address)
    this.changes.push(address)
  }

  /** The tombstone at `address`, of a key with this hash, is to go as soon as all bases are newer. */
  queueTombstone(address: number, hash: number): void {
    if (this.#entries.isQueued(address)) return
    const before = this.tombstones.byteLength
    this.#entries.setQueued(address)
    this.tombstones.push(this.#entries.epoch(address), hash)
    // Removing must never fail: where there is no room for its traces, they are given up.
    if (this.tombstones.byteLength > before && !this.#host.hasRoomForList(0)) this.changes.abandon()
  }

  /**
   * What another thread needs to read the snapshot of `epoch`, or what has changed since a base until then. `undefined`
   * where something was written since the snapshot was opened, or where the base is not known any more. Until `endView`
   * what is buried is noted. The snapshot is to stay open as long as the other thread reads.
   */
  openView(epoch: number, since?: ChangeMark): LogView | undefined {
    if (!this.#isAt(epoch)) return undefined
    const changes = since === undefined ? undefined : this.changes.since(since)
    if (since !== undefined && changes === undefined) return undefined
    const view = { segments: this.#segments.share(), changes, buried: new SharedUint32List() }
    this.#views = [...this.#views, view]
    return view
  }

  /** Nothing more needs to be noted for a view. */
  endView(view: LogView): void {
    this.#views = this.#views.filter((each) => each !== view)
  }

  /** The version at `address` is being buried. */
  bury(address: number): void {
    for (const { segments, buried } of this.#views) {
      // What was written after the instant of a view is beyond the units that were used then.
      const units = segments[address >>> OFFSET_BITS]?.usedUnits ?? 0
      if ((address & OFFSET_MASK) < units) buried.push(address)
    }
  }

  /** Nothing in the segment lives any more: its memory is given back, once nobody may read anything in it. */
  retire(number: number): void {
    this.changes.segmentRetired(number)
    this.#segments.retire(number)
  }

  closeSnapshot(epoch: number): void {
    this.#epochs.close(epoch)
    const instant = this.#open.get(epoch)
    if (instant !== undefined && !this.#epochs.isOpen(epoch)) {
      this.#open.delete(epoch)
      this.#closed = [...this.#closed, instant]
    }
    for (const closed of this.#closed) this.#letGo(closed)
    this.#closed = this.#closed.filter(({ superseded }) => superseded.length > 0)
  }

  /** Nothing is left to be looked at of a closed instant. */
  settled(instant: SeenInstant): void {
    this.#closed = this.#closed.filter((each) => each !== instant)
    this.#unpin(instant)
  }

  /**
   * Versions that only a closed snapshot saw are in the way of older ones, which are found through them: until they are unlinked,
   * their segments have to stay. Where no older snapshot is open, nobody looks for older versions.
   */
  #letGo(closed: SeenInstant): void {
    const { superseded } = closed
    if (superseded.length > 0 && this.#epochs.oldest < closed.epoch) return
    this.#unpin(closed)
    if (!this.#host.hasTombstones()) superseded.clear()
  }

  #unpin(instant: SeenInstant): void {
    if (instant.pin !== 0) this.#segments.unpin(instant.pin)
    instant.pin = 0
  }

  /** Whether the log holds now what the snapshot of `epoch` sees: nothing was written since. */
  #isAt(epoch: number): boolean {
    return this.#epochs.current === epoch + 1 && !this.#epochs.dirty
  }
}
