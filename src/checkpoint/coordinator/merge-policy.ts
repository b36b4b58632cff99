// When base and deltas are merged, as pure functions. Every delta costs a restore, and the storage holds what it
// overwrites as long as it does not; a merge costs reading and writing all of it once more.

import { MAX_SEGMENTS, type ManifestSegment } from '../format/manifest.js'

/** Deltas of less than this in sum do not outweigh their base, however small that is. */
const MIN_OUTWEIGHING_BYTES = 1024 * 1024

/** A chain of this many times `maxDeltas` was not merged in time (merges fail); a full checkpoint ends it. */
const MAX_CHAIN_FACTOR = 4

/** Largest `maxDeltas`, so that a manifest can name the longest chain. */
export const MAX_DELTAS: number = Math.floor((MAX_SEGMENTS - 1) / MAX_CHAIN_FACTOR)

export interface MergePolicy {
  readonly maxDeltas: number
  readonly maxDeltaRatio: number
}

type Sized = Pick<ManifestSegment, 'sizeBytes'>

/** Whether a base with these deltas behind it should be merged. */
export function isMergeDue(segments: readonly Sized[], { maxDeltas, maxDeltaRatio }: MergePolicy): boolean {
  const [base, ...deltas] = segments
  if (base === undefined || deltas.length === 0) return false
  const deltaBytes = deltas.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const outweighed = deltaBytes >= MIN_OUTWEIGHING_BYTES && deltaBytes > maxDeltaRatio * base.sizeBytes
  return deltas.length > maxDeltas || outweighed
}

/** Whether the next checkpoint has to be a full one, since the chain must not grow any more. */
export function isChainTooLong(
  segments: readonly Sized[],
  { maxDeltas }: Pick<MergePolicy, 'maxDeltas'>,
): boolean {
  return segments.length - 1 >= MAX_CHAIN_FACTOR * maxDeltas
}
