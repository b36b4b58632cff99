// Stretches of keys that were deleted together and are still in the store: they do not overlap, and lie in key order.

import type { KeyStretch } from '../../backend/scan-range.js'
import { compareBytes } from '../../base/bytes.js'

/** A stretch whose keys are absent, whatever the store says of them. */
export interface DeletedRange extends KeyStretch {
  /** When it was deleted. */
  readonly nowMs: number
}

export type DeletedRanges = readonly DeletedRange[]

export const NOTHING_DELETED: DeletedRanges = []

/** The one that holds a key; undefined: none does. */
export function rangeOf(ranges: DeletedRanges, key: Uint8Array): DeletedRange | undefined {
  const range = ranges[firstEndingBehind(ranges, key)]
  return range !== undefined && compareBytes(range.from, key) <= 0 ? range : undefined
}

/** What is left of a stretch without the ranges, in key order. */
export function partsOutside(stretch: KeyStretch, ranges: DeletedRanges): KeyStretch[] {
  const parts: KeyStretch[] = []
  let { from } = stretch
  const { until } = stretch
  for (let i = firstEndingBehind(ranges, from); i < ranges.length; i++) {
    const range = ranges[i] as DeletedRange
    if (until !== undefined && compareBytes(range.from, until) >= 0) break
    if (compareBytes(from, range.from) < 0) parts.push({ from, until: range.from })
    if (range.until === undefined) return parts
    from = range.until
  }
  if (until === undefined || compareBytes(from, until) < 0) parts.push({ from, until })
  return parts
}

/** The ranges with what a stretch adds to them. */
export function withStretch(ranges: DeletedRanges, stretch: KeyStretch, nowMs: number): DeletedRanges {
  const added = partsOutside(stretch, ranges).map(({ from, until }) => ({ from, until, nowMs }))
  return [...ranges, ...added].sort((a, b) => compareBytes(a.from, b.from))
}

/** The place of the first range that ends behind a key. */
function firstEndingBehind(ranges: DeletedRanges, key: Uint8Array): number {
  let low = 0
  let high = ranges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { until } = ranges[middle] as DeletedRange
    if (until !== undefined && compareBytes(until, key) <= 0) low = middle + 1
    else high = middle
  }
  return low
}
