// How the engine divides its memory.

import { SEGMENT_BYTES } from '../../log/layout.js'
import type { LmdbSettings } from '../settings.js'

/** Shares of `cacheBytes`: kept for reading, begins a commit, holds a writer back. */
const CACHE_SHARE = 1 / 4
const FLUSH_SHARE = 1 / 16
const HOLD_SHARE = 1 / 4
/** Of logs that are gone, kept for those that come. */
const POOL_SHARE = 5 / 32
/** Beside `cacheBytes`: for the keys that changed since a checkpoint. */
const CHANGES_SHARE = 1 / 8
/**
 * Of blocks that replace all content, gathered for one commit, and once more of those that come while it is made; more at a time than the
 * default gives would not be faster.
 */
const REPLACE_SHARE = 1 / 16
const MAX_REPLACE_BYTES = 16 * 1024 * 1024
/** A log of the engine, at its largest, has about so many segments. */
const SEGMENTS_PER_LOG = 64
const SMALLEST_SEGMENT_BYTES = 64 * 1024

export interface MemoryShares {
  readonly cacheBytes: number
  readonly flushBytes: number
  readonly holdBytes: number
  readonly poolBytes: number
  readonly changesBytes: number
  readonly segmentBytes: number
  readonly replaceBytes: number
}

export function memorySharesOf({ cacheBytes }: LmdbSettings): MemoryShares {
  const holdBytes = cacheBytes * HOLD_SHARE
  const segmentBytes = 2 ** Math.round(Math.log2(holdBytes / SEGMENTS_PER_LOG))
  return {
    cacheBytes: cacheBytes * CACHE_SHARE,
    flushBytes: cacheBytes * FLUSH_SHARE,
    holdBytes,
    poolBytes: cacheBytes * POOL_SHARE,
    changesBytes: cacheBytes * CHANGES_SHARE,
    segmentBytes: Math.min(SEGMENT_BYTES, Math.max(SMALLEST_SEGMENT_BYTES, segmentBytes)),
    replaceBytes: Math.min(MAX_REPLACE_BYTES, cacheBytes * REPLACE_SHARE),
  }
}
