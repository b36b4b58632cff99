import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import { hasMethods, invalidArgument, type Rule } from '../../base/options.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { MAX_MANIFEST_BYTES, parseManifest, type StoredManifest } from '../format/manifest.js'
import { checkpointId, manifestName, parseObjectName, SEQUENCE_NAME } from '../format/object-names.js'
import {
  MAX_SEQUENCE_FILE_BYTES,
  type NamedSequences,
  parseSequence,
  type SequenceState,
} from '../format/sequence-file.js'

/** What the names in a storage tell: nothing was opened for it. */
export interface StorageListing extends NamedSequences {
  /** Numbers of the manifests, newest first. */
  readonly manifests: readonly number[]
  /** Size of each segment by its name. */
  readonly segmentSizes: ReadonlyMap<string, number>
  /** Numbers that have a savepoint's segment. */
  readonly savepoints: ReadonlySet<number>
}

/** Reads what a storage holds, anew each time. It never writes and needs no lease. */
export class CheckpointCatalog {
  readonly storage: CheckpointStorage

  constructor(storage: CheckpointStorage) {
    this.storage = storage
  }

  /** `STORAGE_ERROR` where the storage cannot be listed. */
  async listing(): Promise<StorageListing> {
    const manifests: number[] = []
    const segmentSizes = new Map<string, number>()
    const savepoints = new Set<number>()
    let largest = 0
    for (const { name, sizeBytes } of await this.storage.list()) {
      const parsed = parseObjectName(name)
      if (parsed === undefined || parsed.type === 'sequence') continue
      largest = Math.max(largest, parsed.sequence)
      if (parsed.type === 'manifest') manifests.push(parsed.sequence)
      else segmentSizes.set(name, sizeBytes)
      if (parsed.type === 'segment' && parsed.kind === 'savepoint') savepoints.add(parsed.sequence)
    }
    manifests.sort((left, right) => right - left)
    return { manifests, segmentSizes, savepoints, largest, largestManifest: manifests[0] ?? 0 }
  }

  /** The manifest of a checkpoint; `undefined` where there is none. `CORRUPTION`, `INCOMPATIBLE`, `STORAGE_ERROR`. */
  async manifest(sequence: number): Promise<StoredManifest | undefined> {
    const bytes = await this.storage.read(manifestName(sequence), MAX_MANIFEST_BYTES)
    return bytes === undefined ? undefined : parseManifest(bytes, sequence)
  }

  /** As {@link manifest}; `INVALID_ARGUMENT` where there is none. */
  async requiredManifest(sequence: number): Promise<StoredManifest> {
    return (await this.requiredManifestBytes(sequence)).stored
  }

  /** As {@link requiredManifest}, with the bytes as they are. */
  async requiredManifestBytes(
    sequence: number,
  ): Promise<{ readonly bytes: Uint8Array; readonly stored: StoredManifest }> {
    const bytes = await this.storage.read(manifestName(sequence), MAX_MANIFEST_BYTES)
    if (bytes === undefined) throw this.noSuchCheckpoint(undefined)
    return { bytes, stored: parseManifest(bytes, sequence) }
  }

  /** Whether there is no such checkpoint any more. Never rejects: in doubt, there is. */
  async isGone(sequence: number): Promise<boolean> {
    try {
      return (await this.storage.read(manifestName(sequence), MAX_MANIFEST_BYTES)) === undefined
    } catch {
      return false
    }
  }

  noSuchCheckpoint(cause: unknown): StateError<'INVALID_ARGUMENT'> {
    const violations = [{ argument: 'id', reason: `names no checkpoint in ${this.storage.name}` }]
    return new StateError('INVALID_ARGUMENT', { violations }, cause === undefined ? undefined : { cause })
  }

  /** As {@link manifest}, but returns the error, and one for a manifest that is missing. */
  async tryManifest(sequence: number): Promise<StoredManifest | StateError> {
    try {
      return (await this.manifest(sequence)) ?? missingManifest(sequence)
    } catch (error) {
      if (isStateError(error)) return error
      const details = { storage: this.storage.name, operation: 'read a manifest', reason: reasonOf(error) }
      return new StateError('STORAGE_ERROR', details, { cause: error })
    }
  }

  /** The persisted sequence; `undefined` where there is none. `CORRUPTION`, `INCOMPATIBLE`, `STORAGE_ERROR`. */
  async sequence(): Promise<SequenceState | undefined> {
    const bytes = await this.storage.read(SEQUENCE_NAME, MAX_SEQUENCE_FILE_BYTES)
    return bytes === undefined ? undefined : parseSequence(bytes)
  }
}

/** The rule that something is a storage. */
export const storageRule: Rule = hasMethods('acquire', 'open', 'read', 'list')

/** `INVALID_ARGUMENT` unless it is a storage. */
export function checkStorage(storage: unknown): void {
  const problem = storageRule(storage)
  if (problem !== undefined) throw invalidArgument('storage', problem)
}

export function missingManifest(sequence: number): StateError<'CORRUPTION'> {
  const what = `manifest of ${checkpointId(sequence)}`
  return new StateError('CORRUPTION', { what, reason: 'it was published, and is missing' })
}
