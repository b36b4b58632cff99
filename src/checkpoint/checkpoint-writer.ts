// Makes one checkpoint out of a cut through the state. The order of steps is the promise:
//
// (1) The segment is written whole, and committed (durable) before anything names it.
// (2) It is read back from the storage and verified, to its last byte.
// (3) The lease is checked, then the manifest is committed: only now there is a checkpoint. The manifest is read back too.
// (4) Whatever fails leaves no checkpoint: a manifest whose commit failed is taken back, segments are removed or left to
//     the sweep.

import type { StateSnapshot } from '../backend/state-backend.js'
import { throwIfAborted } from '../backend/validate.js'
import { equalBytes } from '../base/bytes.js'
import { isStateError, reasonOf, StateError } from '../base/errors.js'
import type { BlockCodec } from '../codec/block-codec.js'
import type { ObjectWriter } from '../storage/checkpoint-storage.js'
import { HOLDFAST_VERSION } from './holdfast-version.js'
import { parseJsonText } from './json-value.js'
import {
  formatManifest,
  MAX_MANIFEST_BYTES,
  type Manifest,
  type ManifestSegment,
  type StoredManifest,
} from './manifest.js'
import { checkpointId, manifestName, segmentName } from './object-names.js'
import { damagedSegment, TARGET_BLOCK_BYTES } from './segment-format.js'
import { SegmentReader } from './segment-reader.js'
import { SegmentWriter } from './segment-writer.js'
import type { StorageOwner } from './storage-owner.js'
import type { Logger } from './types.js'

const OPERATION = 'checkpoint'

export interface CheckpointRequest {
  readonly owner: StorageOwner
  /** A number that the owner reserved. */
  readonly sequence: number
  /** Closed as soon as its blocks are written. */
  readonly snapshot: StateSnapshot
  /** The source's position as JSON, if there is one. */
  readonly sourceText: string | undefined
  readonly backend: string
  readonly savepoint: boolean
  readonly codec: BlockCodec
  readonly createdAt: Date
  readonly signal: AbortSignal | undefined
  readonly logger: Logger
}

/** Resolves when the checkpoint is published and durable. Errors are those of the step that failed. */
export async function writeCheckpoint(request: CheckpointRequest): Promise<StoredManifest> {
  const { snapshot, sequence } = request
  const segment = await writeSegment(request)
  let stored: StoredManifest & { readonly bytes: Uint8Array }
  try {
    await verifySegment(request, segment)
    const manifest: Manifest = {
      id: checkpointId(sequence),
      sequence,
      createdAt: request.createdAt,
      kind: 'full',
      savepoint: request.savepoint,
      validated: true,
      backend: request.backend,
      compression: request.codec.name,
      clockMs: snapshot.takenAtMs,
      entryCount: segment.entryCount,
      segments: [segment],
      holdfast: HOLDFAST_VERSION,
      ...(request.sourceText === undefined ? {} : { source: parseJsonText(request.sourceText) }),
    }
    const { bytes, checksum } = formatManifest(manifest)
    stored = { manifest, manifestBytes: bytes.length, checksum, bytes }
  } catch (error) {
    // No manifest was attempted, so nothing can need the segment.
    await cleanUp(request, error, 'remove the segment', () => request.owner.storage.remove(segment.name))
    throw error
  }
  await publishManifest(request, stored.bytes, segment.name)
  return stored
}

async function writeSegment(request: CheckpointRequest): Promise<ManifestSegment> {
  const { owner, snapshot, sequence, savepoint, signal } = request
  const name = segmentName(sequence, savepoint ? 'savepoint' : 'base')
  const output = await owner.storage.create(name)
  try {
    const writer = new SegmentWriter(output, request.codec, 'base')
    try {
      for await (const block of snapshot.blocks({ targetBytes: TARGET_BLOCK_BYTES })) {
        throwIfAborted(signal, OPERATION)
        await writer.append(block)
      }
    } finally {
      await snapshot.close()
    }
    const { sizeBytes, rawBytes, entryCount, sha256 } = await writer.finish()
    throwIfAborted(signal, OPERATION)
    await output.commit()
    return { name, role: 'base', sizeBytes, rawBytes, entryCount, sha256 }
  } catch (error) {
    await discard(request, output, error)
    throw error
  }
}

/** Reads a segment back from the storage, all of it, as a restore would. */
async function verifySegment(request: CheckpointRequest, segment: ManifestSegment): Promise<void> {
  const object = await request.owner.storage.open(segment.name)
  if (object === undefined) throw damagedSegment(segment.name, 'it is gone right after it was written')
  try {
    const reader = await SegmentReader.open(object, segment.name, segment)
    let entries = 0
    for await (const block of reader.blocks(request.signal)) entries += block.entryCount
    if (entries !== segment.entryCount) throw damagedSegment(segment.name, `${entries} entries came back`)
  } finally {
    await object.close()
  }
}

async function publishManifest(
  request: CheckpointRequest,
  bytes: Uint8Array,
  segment: string,
): Promise<void> {
  const { owner, signal, sequence } = request
  const name = manifestName(sequence)
  let output: ObjectWriter | undefined
  let attempted = false
  try {
    output = await owner.storage.create(name)
    await output.write(bytes)
    await owner.check()
    throwIfAborted(signal, OPERATION)
    attempted = true
    await output.commit()
    const published = await owner.storage.read(name, MAX_MANIFEST_BYTES)
    if (published === undefined || !equalBytes(published, bytes)) {
      const reason = 'it does not read back as it was written'
      throw new StateError('CORRUPTION', { what: `manifest of ${checkpointId(sequence)}`, reason })
    }
  } catch (error) {
    if (output !== undefined) await discard(request, output, error)
    // A commit that failed may have published all the same. This checkpoint failed: take it back if it is there.
    // Only when the manifest is gone for certain may its segment go. FENCED means that the name is somebody else's.
    await cleanUp(request, error, 'take the checkpoint back', async () => {
      if (attempted) await owner.storage.remove(name)
      await owner.storage.remove(segment)
    })
    throw error
  }
}

async function discard(request: CheckpointRequest, output: ObjectWriter, error: unknown): Promise<void> {
  try {
    await output.abort()
  } catch (failure) {
    logLeftover(request, 'discard an uncommitted file', error, failure)
  }
}

/** Cleans up after a failure, unless it means that another owner is at work here. */
async function cleanUp(
  request: CheckpointRequest,
  error: unknown,
  what: string,
  action: () => Promise<unknown>,
): Promise<void> {
  if (isStateError(error, 'FENCED')) return
  try {
    await request.owner.check()
    await action()
  } catch (failure) {
    logLeftover(request, what, error, failure)
  }
}

function logLeftover(request: CheckpointRequest, what: string, error: unknown, failure: unknown): void {
  const fields = {
    checkpoint: checkpointId(request.sequence),
    failure: reasonOf(failure),
    after: reasonOf(error),
  }
  request.logger.warn(fields, `could not ${what} after a failed checkpoint`)
}

/** Errors that keep their code; every other failure of a checkpoint is `CHECKPOINT_FAILED` with its cause. */
const PASSED_ON = ['FENCED', 'ABORTED', 'CLOSED', 'INVALID_ARGUMENT', 'SERIALIZATION_FAILED'] as const

export function asCheckpointFailure(error: unknown, sequence: number | undefined): StateError {
  if (isStateError(error) && PASSED_ON.some((code) => code === error.code)) return error
  const id = sequence === undefined ? undefined : checkpointId(sequence)
  const details = { checkpointId: id, reason: reasonOf(error) }
  return new StateError('CHECKPOINT_FAILED', details, { cause: error })
}
