import { checkpointId, manifestName } from '../format/object-names.js'
import type { LeasedStorage } from './leased-storage.js'
import { planSweep, type RetainedCheckpoint } from './retention.js'

export interface RemovalHooks {
  /** Those segments are about to be removed. */
  readonly letGoOf?: (names: readonly string[]) => Promise<void>
  /** The manifest is gone: there is no such checkpoint any more. */
  readonly onRemoved?: () => void
}

/**
 * Removes one checkpoint, whatever state it is in, and the segments that no other one needs: the manifest first, so that at no
 * moment there is one without its files. False where there is none.
 */
export async function removeCheckpoint(
  owner: LeasedStorage,
  sequence: number,
  { letGoOf, onRemoved }: RemovalHooks = {},
): Promise<boolean> {
  owner.distrustContents()
  const contents = await owner.contents()
  const isThere = contents.manifests.includes(sequence)
  const checkpoints = await contents.retained(new Set())
  const ofThisNumber = [...contents.segmentSizes.keys()].filter((name) =>
    name.startsWith(`${checkpointId(sequence)}.`),
  )
  const kept = checkpoints.filter((checkpoint) => checkpoint.sequence !== sequence)
  const named = new Set(kept.flatMap((checkpoint) => checkpoint.segments ?? []))
  const own = [...segmentsOf(checkpoints, new Set([sequence])), ...ofThisNumber]
  // The user asked for this one by name, so a savepoint's segment goes too.
  const savepoints = ofThisNumber.filter((name) => name.endsWith('.savepoint.segment') && !named.has(name))
  const unneeded = new Set([...planSweep(kept, own), ...savepoints])
  await letGoOf?.([...unneeded])
  if (isThere) {
    await owner.noteRemoval(sequence, contents)
    await owner.remove(manifestName(sequence))
    onRemoved?.()
  }
  for (const name of unneeded) await owner.remove(name)
  return isThere
}

/** Names of the segments that those checkpoints list. */
export function segmentsOf(
  checkpoints: readonly RetainedCheckpoint[],
  sequences: ReadonlySet<number>,
): string[] {
  return checkpoints
    .filter((checkpoint) => sequences.has(checkpoint.sequence))
    .flatMap((checkpoint) => checkpoint.segments ?? [])
}
