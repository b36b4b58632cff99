// What a log may take, and how a full one makes room.

import { StateError } from '../base/errors.js'
import type { HashIndex, SoughtKey } from './index/hash-index.js'
import type { LogTail } from './log-tail.js'
import type { SegmentTable } from './segment-table.js'

/** What this asks of its log. */
export interface SpaceHost {
  /** Memory that counts against the limit beside segments and index. */
  besideBytes(): number
  /** Removes what has expired, and tombstones that nobody needs. */
  clearAway(): void
  /** Frees a segment by moving what lives in it; false where that frees nothing. */
  compact(): boolean
  /** Forgets the order of keys, where that releases memory; false where it does not. */
  giveUpOrder(): boolean
  /** Forgets what changed; false where nothing was tracked. */
  giveUpTracking(): boolean
}

export class LogSpace {
  /** A batch is being applied, which has made sure of its room beforehand. */
  inBatch = false
  readonly #segments: SegmentTable
  readonly #index: HashIndex
  readonly #tail: LogTail
  readonly #isLimited: boolean
  readonly #host: SpaceHost

  /** @param isLimited the log has a bound of its own, not only that of the addresses. */
  constructor(segments: SegmentTable, index: HashIndex, tail: LogTail, isLimited: boolean, host: SpaceHost) {
    this.#segments = segments
    this.#index = index
    this.#tail = tail
    this.#isLimited = isLimited
    this.#host = host
  }

  /** What counts against the limit beside the segments. */
  get besideBytes(): number {
    return this.#index.byteLength + this.#host.besideBytes()
  }

  /** Whether an entry of `units` can go to the tail without more ado; `inserted` is its key, where the index has none of it yet. */
  hasRoom(units: number, inserted: SoughtKey | undefined): boolean {
    if (this.#segments.room(this.#tail.number) < units) return false
    return (
      this.inBatch || inserted === undefined || !this.#isLimited || this.#index.growthBytes(inserted) === 0
    )
  }

  /** Whether something beside the segments may grow by this much without being in a write's way. */
  hasRoomBeside(bytes: number): boolean {
    if (!this.#isLimited) return true
    if (this.inBatch) return this.#segments.isFree(this.besideBytes + bytes)
    return this.#segments.isWithin(this.#besideForWrites(bytes))
  }

  /** Returns the segment that has room for an entry of `units`, or throws `BACKEND_FULL`. */
  makeRoom(units: number, inserted: SoughtKey | undefined): number {
    const segments = this.#segments
    const growthBytes = inserted === undefined ? 0 : this.#index.growthBytes(inserted)
    for (;;) {
      // A batch must not fail half-way because an index has grown since.
      const beside = this.inBatch ? -Infinity : this.#besideForWrites(growthBytes)
      if (segments.room(this.#tail.number) >= units) {
        if (segments.isWithin(beside)) return this.#tail.number
      } else if (segments.canAllocate(units, beside)) {
        if (!segments.isOrdinary(units)) return segments.allocate(units, beside)
        this.#tail.roll(units, beside)
        return this.#tail.number
      }
      this.#reclaim()
    }
  }

  /** Makes sure that entries of these units fit, in this order, or throws `BACKEND_FULL`. */
  prepare(units: readonly number[]): void {
    while (!this.#prepared(units)) this.#reclaim()
  }

  #prepared(units: readonly number[]): boolean {
    const segments = this.#segments
    let room = segments.room(this.#tail.number)
    let spares = 0
    let dedicatedBytes = 0
    for (const each of units) {
      if (each <= room) room -= each
      else if (segments.isOrdinary(each)) {
        spares++
        room = segments.ordinaryUnits - each
      } else dedicatedBytes += segments.dedicatedBytes(each)
    }
    // Without a bound of its own, a log looks at the limit of addresses only when it takes another segment.
    if (!this.#isLimited && spares === 0 && dedicatedBytes === 0) return true
    const beside = this.#besideForWrites(dedicatedBytes + this.#index.growthBytesFor(units.length))
    return segments.prepareSpares(spares, beside)
  }

  /** What writes must leave free: a segment for compaction, so that a full log can make room again. */
  #besideForWrites(growthBytes: number): number {
    return this.besideBytes + this.#segments.largestBytes + growthBytes
  }

  /** Frees memory in a full log: expired entries, tombstones, dead entries, at last what tracks changes. */
  #reclaim(): void {
    const before = this.#segments.availableBytes
    this.#host.clearAway()
    if (this.#segments.availableBytes > before || this.#host.giveUpOrder()) return
    if (this.#host.compact() || this.#host.giveUpTracking()) return
    const used = this.#segments.allocatedBytes + this.besideBytes
    throw new StateError('BACKEND_FULL', { used, capacity: this.#segments.limitBytes })
  }
}
