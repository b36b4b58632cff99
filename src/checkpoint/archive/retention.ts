// What retention removes, as pure functions over what lies in the storage.
//
// (1) The newest `maxCheckpoints` good ones stay, and with them everything newer. What is not good takes no place from
//     what is; so the last good one never goes.
// (2) Savepoints stay, and so does what this build cannot judge: manifests that could not be read just now, and
//     those of a newer format.
// (3) A segment that a kept manifest names stays. While there is a kept manifest whose list of segments is not known,
//     every segment up to its number stays, since it may be one of them.
// (4) Segments of savepoints stay, also without a manifest. A savepoint is known by its manifest or by its segment's
//     name; one with a damaged manifest and no segment any more is like any other damaged checkpoint.
// (5) Segments in use stay: those that the next checkpoint will build on, those that a merge reads, and what it writes,
//     from before it has a name in a manifest.

import { parseObjectName } from '../format/object-names.js'

/**
 * What is known of a checkpoint: `good` (it was verified, and its files are there), `damaged`,
 * `unreadable` (the storage failed to read the manifest), `incompatible` (written by a newer version).
 */
export type CheckpointCondition = 'good' | 'damaged' | 'unreadable' | 'incompatible'

export interface RetainedCheckpoint {
  readonly sequence: number
  readonly condition: CheckpointCondition
  readonly savepoint: boolean
  /** Names of the segments that its manifest lists; `undefined` where the manifest cannot tell. */
  readonly segments: readonly string[] | undefined
}

/** The numbers of the checkpoints that have to go, oldest first. */
export function planRetention(checkpoints: readonly RetainedCheckpoint[], maxCheckpoints: number): number[] {
  const plain = checkpoints.filter((checkpoint) => !checkpoint.savepoint)
  const good = plain.filter(({ condition }) => condition === 'good').map(({ sequence }) => sequence)
  const oldestKept = good.sort((left, right) => right - left)[maxCheckpoints - 1] ?? 0
  return plain
    .filter(({ sequence }) => sequence < oldestKept)
    .filter(({ condition }) => condition === 'good' || condition === 'damaged')
    .map(({ sequence }) => sequence)
    .sort((left, right) => left - right)
}

/** Of the segments in a storage, those that none of the kept checkpoints can need and that are not in use. */
export function planSweep(
  kept: readonly RetainedCheckpoint[],
  segmentNames: readonly string[],
  inUse: ReadonlySet<string> = new Set(),
): string[] {
  const named = new Set([...kept.flatMap((checkpoint) => checkpoint.segments ?? []), ...inUse])
  const unknownUpTo = Math.max(
    0,
    ...kept.filter(({ segments }) => segments === undefined).map(({ sequence }) => sequence),
  )
  return segmentNames.filter((name) => {
    const parsed = parseObjectName(name)
    if (parsed?.type !== 'segment' || parsed.kind === 'savepoint') return false
    return !named.has(name) && parsed.sequence > unknownUpTo
  })
}
