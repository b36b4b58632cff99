// Copies one checkpoint from storage to storage. The order of steps is the promise:
//
// (1) Its number is taken in the other storage, durably, before anything there bears it.
// (2) Each segment is compared with the manifest's SHA-256 as it is copied, committed, and read back to its last byte; one that is
//     there already is read to its last byte, too, and not written. Where it is damaged there, it is removed and copied anew only
//     where that was asked for, it is whole here, and no checkpoint there means another one by that name.
// (3) The manifest comes last, with exactly the bytes that it has here, where all of its segments are there: only now there is a
//     checkpoint.
// (4) Whatever fails leaves no checkpoint there, and nothing that was written for it, as far as it can be removed; where the copy is
//     resumable, segments that were copied whole stay, for the next attempt.

import { throwIfAborted } from '../../base/abort.js'
import { equalBytes } from '../../base/bytes.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { blockCodec, type CodecOf } from '../../codec/block-codec.js'
import { RunningSha256 } from '../../codec/checksum.js'
import type { CheckpointStorage, ObjectSource, ObjectWriter } from '../../storage/checkpoint-storage.js'
import { MAX_MANIFEST_BYTES, type ManifestSegment, type StoredManifest } from '../format/manifest.js'
import { checkpointId, manifestName } from '../format/object-names.js'
import { READ_AHEAD, ReadAhead } from '../format/read-ahead.js'
import { damagedSegment } from '../format/segment-format.js'
import type { Logger } from '../types.js'
import type { LeasedStorage } from './leased-storage.js'
import { openSegment } from './open-segments.js'
import { planSweep } from './retention.js'

const OPERATION = 'copy a checkpoint'

export interface CopyRequest {
  readonly from: CheckpointStorage
  readonly stored: StoredManifest
  readonly manifestBytes: Uint8Array
  readonly to: LeasedStorage
  readonly signal: AbortSignal | undefined
  readonly resumable: boolean
  readonly logger: Logger
  /** Default: codecs that work in the thread pool. */
  readonly codecOf?: CodecOf | undefined
  /**
   * SHA-256 by name of the segments that were found whole there: those that are still there are not read again. What is found whole is
   * added.
   */
  readonly whole?: Map<string, string>
  /** A segment was read to its last byte there. */
  readonly onVerified?: (name: string) => void
  /** A segment that is damaged there, though checkpoints there name it, is copied anew where it is whole here; default: `CORRUPTION`. */
  readonly replacesDamaged?: boolean
}

type Condition = 'whole' | 'missing' | 'removed'

/**
 * Resolves when the checkpoint is published and durable in the other storage, or was there already and verified. Returns how many bytes
 * were written.
 */
export async function copyCheckpoint(request: CopyRequest): Promise<number> {
  const { stored, manifestBytes, to, signal } = request
  const { sequence, segments } = stored.manifest
  const there = await to.read(manifestName(sequence), MAX_MANIFEST_BYTES)
  if (there !== undefined && !equalBytes(there, manifestBytes)) {
    throw invalidArgument('id', `names another checkpoint in ${to.storage.name}`)
  }
  await to.reserveUpTo(sequence)
  const written: string[] = []
  let writtenBytes = 0
  try {
    for (const segment of segments) {
      throwIfAborted(signal, OPERATION)
      const condition = await conditionThere(request, segment)
      if (condition === 'whole') continue
      // What checkpoints there name stays, whatever becomes of this one.
      await copySegment(request, segment, condition === 'missing' ? written : [])
      writtenBytes += segment.sizeBytes
      await verifySegment(to, segment, request)
      noteWhole(request, segment)
    }
    await requireAll(to, segments)
    if (there === undefined) {
      await publish(request, written)
      writtenBytes += manifestBytes.length
    }
  } catch (error) {
    const isManifest = (name: string) => name === manifestName(sequence)
    const doomed =
      request.resumable && !isStateError(error, 'CORRUPTION') ? written.filter(isManifest) : written
    await removeWritten(request, doomed, error)
    throw error
  }
  await to.notePublished(stored)
  return writtenBytes
}

/**
 * Looks for the segment there and reads it to its last byte, unless that was done before. What an attempt has left behind whose
 * checkpoint was never published may have other bytes: it belongs to nobody, and is removed. `CORRUPTION` where a checkpoint there
 * needs it, unless that is to be replaced: `removed`.
 */
async function conditionThere(request: CopyRequest, segment: ManifestSegment): Promise<Condition> {
  const { to, whole, logger } = request
  const contents = await to.contents()
  const sizeBytes = contents.segmentSizes.get(segment.name)
  // Retention there removes what was whole, too.
  if (sizeBytes === undefined) return 'missing'
  if (sizeBytes === segment.sizeBytes && whole?.get(segment.name) === segment.sha256) return 'whole'
  try {
    await verifySegment(to, segment, request)
    noteWhole(request, segment)
    return 'whole'
  } catch (error) {
    if (!isStateError(error, 'CORRUPTION')) throw error
    const isNeeded = planSweep(await contents.retained(new Set()), [segment.name]).length === 0
    if (isNeeded && !(await isReplaceable(request, segment))) throw error
    const what = isNeeded ? 'a damaged segment' : 'a segment that no checkpoint names'
    logger.warn({ segment: segment.name, reason: error.message }, `${what} is copied anew`)
    await to.remove(segment.name)
    return isNeeded ? 'removed' : 'missing'
  }
}

function noteWhole({ whole, onVerified }: CopyRequest, { name, sha256 }: ManifestSegment): void {
  whole?.set(name, sha256)
  onVerified?.(name)
}

/** Whether a segment may be removed there to be copied anew: nobody there means another one, and it is whole here. */
async function isReplaceable(
  { from, to, signal, codecOf, replacesDamaged = false }: CopyRequest,
  segment: ManifestSegment,
): Promise<boolean> {
  if (!replacesDamaged || !(await (await to.contents()).isMeantByAll(segment))) return false
  await verifySegment(from, segment, { signal, codecOf })
  return true
}

async function copySegment(
  { from, to, signal, logger }: CopyRequest,
  segment: ManifestSegment,
  written: string[],
): Promise<void> {
  const { name, sizeBytes, sha256 } = segment
  const object = await from.open(name, { access: 'sequential' })
  if (object === undefined) throw damagedSegment(name, 'it is missing')
  let output: ObjectWriter | undefined
  const source = new ReadAhead(object, 0, Math.min(sizeBytes, object.sizeBytes))
  try {
    if (object.sizeBytes !== sizeBytes) {
      throw damagedSegment(name, `it has ${object.sizeBytes} bytes; the manifest says ${sizeBytes}`)
    }
    output = await to.create(name)
    const digest = new RunningSha256()
    while (source.position < sizeBytes) {
      throwIfAborted(signal, OPERATION)
      const piece = await source.take(Math.min(READ_AHEAD.pieceBytes, sizeBytes - source.position))
      await Promise.all([output.write(piece), digest.update(piece)])
    }
    const found = digest.digest()
    if (found !== sha256) throw damagedSegment(name, `its SHA-256 is ${found}; the manifest says ${sha256}`)
    written.unshift(name)
    await output.commit()
    to.noteSegment(segment)
  } catch (error) {
    await output?.abort().catch((failure: unknown) => {
      logger.warn({ segment: name, reason: reasonOf(failure) }, 'could not discard an uncommitted file')
    })
    throw error
  } finally {
    await source.settle()
    await object.close().catch(() => {})
  }
}

/** Reads a segment to its last byte. `CORRUPTION` where it is not what its manifest says. */
export async function verifySegment(
  storage: ObjectSource,
  segment: ManifestSegment,
  { signal, codecOf = blockCodec }: Pick<CopyRequest, 'signal' | 'codecOf'>,
): Promise<void> {
  const { reader, close } = await openSegment(storage, segment, codecOf)
  try {
    for await (const _ of reader.blocks(signal)) {
      // That the stream comes to its end is all that is wanted.
    }
  } finally {
    await close()
  }
}

/** Throws unless all of them are there: no manifest is published without. */
async function requireAll(to: LeasedStorage, segments: readonly ManifestSegment[]): Promise<void> {
  const { segmentSizes } = await to.contents()
  const missing = segments.filter(({ name, sizeBytes }) => segmentSizes.get(name) !== sizeBytes)
  if (missing.length === 0) return
  await to.check()
  to.distrustContents()
  const reason = `of its segments, ${missing.map(({ name }) => name).join(' and ')} went while it was copied`
  throw new StateError('STORAGE_ERROR', { storage: to.storage.name, operation: OPERATION, reason })
}

async function publish({ stored, manifestBytes, to, signal }: CopyRequest, written: string[]): Promise<void> {
  const { sequence } = stored.manifest
  const name = manifestName(sequence)
  const output = await to.create(name)
  try {
    await output.write(manifestBytes)
    throwIfAborted(signal, OPERATION)
    // Where the commit fails, the manifest may be there all the same: it is taken back before its segments.
    written.unshift(name)
    await output.commit()
  } catch (error) {
    await output.abort()
    throw error
  }
  const there = await to.read(name, MAX_MANIFEST_BYTES)
  if (there === undefined || !equalBytes(there, manifestBytes)) {
    const reason = 'it does not read back as it was written'
    throw new StateError('CORRUPTION', { what: `manifest of ${checkpointId(sequence)}`, reason })
  }
}

async function removeWritten(
  { to, logger, whole }: CopyRequest,
  names: readonly string[],
  cause: unknown,
): Promise<void> {
  const error = await to.reasonFor(cause)
  if (isStateError(error, 'FENCED')) return
  try {
    for (const name of names) {
      whole?.delete(name)
      await to.remove(name)
    }
  } catch (failure) {
    logger.warn({ reason: reasonOf(failure) }, `could not remove ${names.join(' and ')} after a failed copy`)
  }
}
