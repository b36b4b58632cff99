import type { SegmentTable } from './segment-table.js'

/** What a log takes, in bytes. */
export interface LogMemory {
  /** Segments in use and held ready. */
  readonly segmentBytes: number
  /** Of these, current entries … */
  readonly liveBytes: number
  /** … and entries that were replaced or removed and await compaction or the end of a snapshot. */
  readonly deadBytes: number
  /** The hash index. */
  readonly indexBytes: number
  /** The keys in order, once something has asked for them. */
  readonly orderBytes: number
  readonly expiryBytes: number
  readonly totalBytes: number
}

/** Adds up what the segments and the structures beside them take. */
export function memoryOf(
  { allocatedBytes, usedBytes, deadBytes }: SegmentTable,
  indexBytes: number,
  orderBytes: number,
  expiryBytes: number,
): LogMemory {
  return {
    segmentBytes: allocatedBytes,
    liveBytes: usedBytes - deadBytes,
    deadBytes,
    indexBytes,
    orderBytes,
    expiryBytes,
    totalBytes: allocatedBytes + indexBytes + orderBytes + expiryBytes,
  }
}
