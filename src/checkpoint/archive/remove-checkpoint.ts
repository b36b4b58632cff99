import { throwIfAborted } from '../../base/abort.js'
import { checkpointId, manifestName } from '../format/object-names.js'
import type { LeasedStorage } from './leased-storage.js'
import { planSweep, type RetainedCheckpoint } from './retention.js'

export interface RemovalHooks {
  /** Those segments are about to be removed. */
  readonly letGoOf?: (names: readonly string[]) => Promise<void>
  /** The manifest is gone: there is no such checkpoint any more. */
  readonly onRemoved?: (sequence: number) => void
}

/** What is removed at once of many: each turn looks through all that is there, and leaves files of so many at most if it is cut off. */
const REMOVED_AT_ONCE = 100

/**
 * Removes one checkpoint, whatever state it is in, and the segments that no other one needs: the manifest first, so that at no
 * moment there is one without its files. False where there is none.
 */
export async function removeCheckpoint(
  owner: LeasedStorage,
  sequence: number,
  hooks?: RemovalHooks,
): Promise<boolean> {
  owner.distrustContents()
  return await removeTogether(owner, new Set([sequence]), hooks)
}

/** As `removeCheckpoint`, for many: the storage is listed, and each manifest read, once for all of them. */
export async function removeCheckpoints(
  owner: LeasedStorage,
  sequences: readonly number[],
  { signal, ...hooks }: RemovalHooks & { readonly signal: AbortSignal | undefined },
): Promise<void> {
  owner.distrustContents()
  for (let from = 0; from < sequences.length; from += REMOVED_AT_ONCE) {
    throwIfAborted(signal, 'delete checkpoints')
    await removeTogether(owner, new Set(sequences.slice(from, from + REMOVED_AT_ONCE)), hooks)
  }
}

/** False where none of them is there. */
async function removeTogether(
  owner: LeasedStorage,
  sequences: ReadonlySet<number>,
  { letGoOf, onRemoved }: RemovalHooks = {},
): Promise<boolean> {
  const contents = await owner.contents()
  const present = contents.manifests.filter((sequence) => sequences.has(sequence))
  const checkpoints = await contents.retained(new Set())
  const ids = new Set([...sequences].map((sequence): string => checkpointId(sequence)))
  const ofTheirNumbers = [...contents.segmentSizes.keys()].filter((name) =>
    ids.has(name.slice(0, name.indexOf('.'))),
  )
  const kept = checkpoints.filter(({ sequence }) => !sequences.has(sequence))
  const named = new Set(kept.flatMap((checkpoint) => checkpoint.segments ?? []))
  const own = [...segmentsOf(checkpoints, sequences), ...ofTheirNumbers]
  // The user asked for these by name, so a savepoint's segment goes too.
  const savepoints = ofTheirNumbers.filter((name) => name.endsWith('.savepoint.segment') && !named.has(name))
  const unneeded = new Set([...planSweep(kept, own), ...savepoints])
  await letGoOf?.([...unneeded])
  // Oldest first: what is left where this is cut off are the newest ones.
  for (const sequence of present.reverse()) {
    await owner.noteRemoval(sequence, contents)
    await owner.remove(manifestName(sequence))
    onRemoved?.(sequence)
  }
  for (const name of unneeded) await owner.remove(name)
  return present.length > 0
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
