import { isStateError, type StateError } from '../../base/errors.js'
import type { ManifestSegment, StoredManifest } from '../format/manifest.js'
import { parseObjectName } from '../format/object-names.js'
import type { CheckpointCatalog, StorageListing } from './checkpoint-catalog.js'
import type { CheckpointCondition, RetainedCheckpoint } from './retention.js'

/** A segment, and the number of the newest checkpoint that needs it. */
export interface NamedSegment {
  readonly sequence: number
  readonly segment: ManifestSegment
}

/**
 * What lies in a storage, as its one writer knows it without asking again: what one listing told, the manifests read since, which
 * never change, and what it has published and removed. Nobody else writes there while it holds the lease. What somebody
 * changes by hand all the same is noticed when the storage is next listed.
 */
export class StorageContents {
  readonly #catalog: CheckpointCatalog
  /** By number; `undefined`: there is one, and it was not read yet. */
  readonly #manifests: Map<number, StoredManifest | StateError | undefined>
  readonly #segmentSizes: Map<string, number>
  readonly #savepoints: Set<number>

  constructor(catalog: CheckpointCatalog, listing: StorageListing) {
    this.#catalog = catalog
    this.#manifests = new Map(listing.manifests.map((sequence) => [sequence, undefined]))
    this.#segmentSizes = new Map(listing.segmentSizes)
    this.#savepoints = new Set(listing.savepoints)
  }

  /** Numbers of the manifests, newest first. */
  get manifests(): number[] {
    return [...this.#manifests.keys()].sort((left, right) => right - left)
  }

  /** Size of each segment by its name. */
  get segmentSizes(): ReadonlyMap<string, number> {
    return this.#segmentSizes
  }

  /** There is such a segment now. */
  noteSegment(name: string, sizeBytes: number): void {
    this.#segmentSizes.set(name, sizeBytes)
    const parsed = parseObjectName(name)
    if (parsed?.type === 'segment' && parsed.kind === 'savepoint') this.#savepoints.add(parsed.sequence)
  }

  /** There is such a checkpoint now, with its segments. */
  notePublished(stored: StoredManifest): void {
    this.#manifests.set(stored.manifest.sequence, stored)
    for (const { name, sizeBytes } of stored.manifest.segments) this.noteSegment(name, sizeBytes)
  }

  /** There is no object of that name any more. */
  noteRemoved(name: string): void {
    const parsed = parseObjectName(name)
    if (parsed?.type === 'manifest') this.#manifests.delete(parsed.sequence)
    this.#segmentSizes.delete(name)
    if (parsed?.type === 'segment' && parsed.kind === 'savepoint') this.#savepoints.delete(parsed.sequence)
  }

  /**
   * Whether each checkpoint that names a segment of that name means this very one. In doubt, where a manifest that may name it cannot
   * be judged, it does not; what a damaged one named is lost with it.
   */
  async isMeantByAll({ name, sizeBytes, sha256 }: ManifestSegment): Promise<boolean> {
    for (const sequence of this.manifests) {
      const stored = await this.#manifest(sequence)
      if (isStateError(stored, 'CORRUPTION')) continue
      if (isStateError(stored)) return false
      const isAnother = (each: ManifestSegment) => each.sizeBytes !== sizeBytes || each.sha256 !== sha256
      if (stored.manifest.segments.some((each) => each.name === name && isAnother(each))) return false
    }
    return true
  }

  /** What the checkpoints consist of whose manifests can be read, each segment once, those of the newest first. */
  async namedSegments(): Promise<NamedSegment[]> {
    const named = new Map<string, NamedSegment>()
    for (const sequence of this.manifests) {
      const stored = await this.#manifest(sequence)
      if (isStateError(stored)) continue
      for (const segment of stored.manifest.segments)
        if (!named.has(segment.name)) named.set(segment.name, { sequence, segment })
    }
    return [...named.values()]
  }

  /** Every checkpoint, in the form that retention decides on. A manifest is read when it is first asked for. */
  async retained(knownDamaged: ReadonlySet<number>): Promise<RetainedCheckpoint[]> {
    const checkpoints: RetainedCheckpoint[] = []
    for (const sequence of this.manifests) {
      const stored = await this.#manifest(sequence)
      const named = this.#savepoints.has(sequence)
      if (isStateError(stored)) {
        checkpoints.push({ sequence, condition: conditionOf(stored), savepoint: named, segments: undefined })
        continue
      }
      const { segments, savepoint, validated } = stored.manifest
      const complete = segments.every(({ name, sizeBytes }) => this.#segmentSizes.get(name) === sizeBytes)
      const good = complete && validated && !knownDamaged.has(sequence)
      checkpoints.push({
        sequence,
        condition: good ? 'good' : 'damaged',
        savepoint: savepoint || named,
        segments: segments.map((segment) => segment.name),
      })
    }
    return checkpoints
  }

  async #manifest(sequence: number): Promise<StoredManifest | StateError> {
    const known = this.#manifests.get(sequence)
    // One that the storage failed to read may be readable the next time.
    if (known !== undefined && !isStateError(known, 'STORAGE_ERROR')) return known
    const stored = await this.#catalog.tryManifest(sequence)
    this.#manifests.set(sequence, stored)
    return stored
  }
}

function conditionOf(error: StateError): CheckpointCondition {
  if (error.code === 'INCOMPATIBLE') return 'incompatible'
  return error.code === 'CORRUPTION' ? 'damaged' : 'unreadable'
}
