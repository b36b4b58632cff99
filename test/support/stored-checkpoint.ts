import type { Manifest, ManifestSegment } from '../../src/checkpoint/format/manifest.js'
import { formatManifest } from '../../src/checkpoint/format/manifest.js'
import { checkpointId, manifestName, segmentName } from '../../src/checkpoint/format/object-names.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { blocksOf, type TestEntry, writeTestSegment } from './checkpoints.js'

export interface StoredCheckpoint {
  readonly storage: MemoryCheckpointStorage
  readonly manifest: Manifest
}

/** A checkpoint of a base and deltas, each in blocks of about `targetBytes`, with its manifest; its clock stands at 0. */
export async function storedCheckpoint(
  segments: readonly (readonly TestEntry[])[],
  targetBytes = 100,
  storage: MemoryCheckpointStorage = new MemoryCheckpointStorage(),
  firstSequence = 1,
): Promise<StoredCheckpoint> {
  const listed: ManifestSegment[] = []
  const alive = new Map<string, boolean>()
  for (const [index, entries] of segments.entries()) {
    const role = index === 0 ? 'base' : 'delta'
    const name = segmentName(firstSequence + index, role)
    const written = await writeTestSegment(storage, name, blocksOf(entries, targetBytes), 'none', role)
    listed.push({ name, ...written })
    for (const { key, value, expiresAtMs } of entries) {
      alive.set(Buffer.from(key).toString('latin1'), value !== undefined && expiresAtMs > 0)
    }
  }
  const sequence = firstSequence + segments.length - 1
  const manifest: Manifest = {
    id: checkpointId(sequence),
    sequence,
    createdAt: new Date(0),
    kind: segments.length === 1 ? 'full' : 'incremental',
    savepoint: false,
    validated: true,
    backend: 'model',
    compression: 'none',
    clockMs: 0,
    entryCount: [...alive.values()].filter(Boolean).length,
    segments: listed,
    holdfast: '0.1.0',
  }
  storage.tamper(manifestName(sequence), formatManifest(manifest).bytes)
  return { storage, manifest }
}
