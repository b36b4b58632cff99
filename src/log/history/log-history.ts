// What a log keeps of its past: for open snapshots, for threads that read one, and for whoever asks what has changed.

import { OFFSET_BITS, OFFSET_MASK } from '../layout.js'
import type { SegmentTable, SharedSegment } from '../segment-table.js'
import { type SharedPart, SharedUint32List } from '../share/shared-list.js'
import { type ChangeMark, ChangeTracker, type ChangeTrackerHost } from './change-tracker.js'
import { RetiredSegments } from './retired-segments.js'
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

export class LogHistory {
  readonly changes: ChangeTracker
  readonly tombstones: TombstoneQueue = new TombstoneQueue()
  readonly #epochs: SnapshotEpochs
  readonly #segments: SegmentTable
  readonly #retired = new RetiredSegments()
  #views: readonly LogView[] = []

  constructor(epochs: SnapshotEpochs, segments: SegmentTable, host: ChangeTrackerHost) {
    this.#epochs = epochs
    this.#segments = segments
    this.changes = new ChangeTracker(host)
  }

  get byteLength(): number {
    let bytes = this.changes.byteLength + this.tombstones.byteLength
    for (const { buried } of this.#views) bytes += buried.byteLength
    return bytes
  }

  /** Tombstones up to this epoch are needed neither by an open snapshot nor by whoever asks for changes. */
  get oldestNeeded(): number {
    return Math.min(this.#epochs.oldest, this.changes.oldest)
  }

  /**
   * Tracks from now on what changes. `epoch` is that of an open snapshot; `undefined` where something was written since
   * it was opened.
   */
  trackChanges(epoch: number): ChangeMark | undefined {
    return this.#isAt(epoch) ? this.changes.addBase(epoch) : undefined
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

  /** Nothing in the segment lives any more: releases it, once no open snapshot can see anything in it. */
  retire(number: number): void {
    this.changes.segmentRetired(number)
    if (this.#epochs.openCount === 0) this.#segments.release(number)
    else this.#retired.add(number, this.#epochs.current)
  }

  closeSnapshot(epoch: number): void {
    this.#epochs.close(epoch)
    for (const number of this.#retired.take(this.#epochs.oldest)) this.#segments.release(number)
  }

  /** Whether the log holds now what the snapshot of `epoch` sees: nothing was written since. */
  #isAt(epoch: number): boolean {
    return this.#epochs.current === epoch + 1 && !this.#epochs.dirty
  }
}
