import type { Entries } from './entries.js'
import type { LogHistory } from './history/log-history.js'
import { OFFSET_BITS } from './layout.js'
import type { SegmentTable } from './segment-table.js'

/** What this asks of its log. */
export interface TailHost {
  /** Compaction is moving entries to the segment: it may be empty for now. */
  isTarget(segment: number): boolean
  /** Nothing in the segment lives any more: it is to be given back. */
  retire(segment: number): void
}

/** Where a log grows, and where it shrinks: the segment that entries are appended to, and those in which the last one dies. */
export class LogTail {
  /** The segment that entries are appended to. It stays even while nothing in it lives. */
  number: number
  readonly #segments: SegmentTable
  readonly #entries: Entries
  readonly #history: LogHistory
  readonly #host: TailHost

  constructor(segments: SegmentTable, entries: Entries, history: LogHistory, host: TailHost) {
    this.#segments = segments
    this.#entries = entries
    this.#history = history
    this.#host = host
    this.number = segments.allocate(1, 0)
  }

  /** Makes a new tail with room for `units`. Throws `BACKEND_FULL` where `besideBytes` and the segments leave no room for it. */
  roll(units: number, besideBytes: number): void {
    const sealed = this.number
    this.number = this.#segments.allocate(units, besideBytes)
    if (this.#segments.isDead(sealed)) this.retire(sealed)
  }

  /** Nothing in the segment lives any more. */
  retire(segment: number): void {
    this.#host.retire(segment)
  }

  /** The version at `address` was replaced, removed or moved. */
  bury(address: number): void {
    const segment = address >>> OFFSET_BITS
    this.#history.bury(address)
    this.#entries.bury(address)
    const isDead = this.#segments.bury(segment, this.#entries.units(address))
    if (isDead && segment !== this.number && !this.#host.isTarget(segment)) this.retire(segment)
  }
}
