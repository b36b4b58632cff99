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
  /** What has changed since a base, which tombstones are kept, what another thread must be told of a shared snapshot. */
  readonly trackingBytes: number
  readonly totalBytes: number
}

type Beside = Pick<LogMemory, 'indexBytes' | 'orderBytes' | 'expiryBytes' | 'trackingBytes'>

/** Adds up what the segments and the structures beside them take. */
export function memoryOf({ allocatedBytes, usedBytes, deadBytes }: SegmentTable, beside: Beside): LogMemory {
  const { indexBytes, orderBytes, expiryBytes, trackingBytes } = beside
  return {
    segmentBytes: allocatedBytes,
    liveBytes: usedBytes - deadBytes,
    deadBytes,
    ...beside,
    totalBytes: allocatedBytes + indexBytes + orderBytes + expiryBytes + trackingBytes,
  }
}
