// Makes one checkpoint out of a cut through the state. The order of steps is the promise:
//
// (0) The number is reserved, durably, beside (1): whatever bears it is committed only after that.
// (1) The segment is written whole, and committed (durable) before anything names it; in the worker.
// (2) It is read back from the storage and verified, to its last byte; in the worker.
// (3) The manifest is committed under the lease, which the storage checks: only now there is a checkpoint. It is read back too.
// (4) Whatever fails leaves no checkpoint: a manifest whose commit failed is taken back, segments are removed or left to
//     the sweep.

import { SCHEMA_KEY } from '../../backend/schema-entry.js'
import type { SharedSnapshot } from '../../backend/shared-snapshot.js'
import { throwIfAborted } from '../../base/abort.js'
import { assert } from '../../base/assert.js'
import { equalBytes } from '../../base/bytes.js'
import { reasonOf, StateError } from '../../base/errors.js'
import type { ObjectWriter } from '../../storage/checkpoint-storage.js'
import type { LeasedStorage, Reservation } from '../archive/leased-storage.js'
import { HOLDFAST_VERSION } from '../format/holdfast-version.js'
import { parseJsonText } from '../format/json-value.js'
import {
  formatManifest,
  MAX_MANIFEST_BYTES,
  type Manifest,
  type ManifestSegment,
  type StoredManifest,
} from '../format/manifest.js'
import { checkpointId, manifestName, type SegmentKind, segmentName } from '../format/object-names.js'
import { TARGET_BLOCK_BYTES } from '../format/segment-format.js'
import type { JobStarter } from '../worker/checkpoint-worker.js'
import { errorOf, startJob } from '../worker/start-job.js'
import type { WorkerJob } from '../worker/worker-job.js'
import type { JobResult } from '../worker/worker-protocol.js'
import { logLeftover, removeAfterFailure } from './checkpoint-failure.js'
import type { CoordinatorSettings } from './coordinator-settings.js'
import type { StateCut } from './state-cut.js'

const OPERATION = 'checkpoint'

export interface CheckpointRequest {
  readonly owner: LeasedStorage
  readonly worker: JobStarter
  /** The number, which the owner reserves or has reserved. */
  readonly reservation: Reservation
  /** Its snapshot is closed as soon as its blocks are written. */
  readonly cut: StateCut
  /** The segments that the changes of the cut come after; none: the checkpoint is full. */
  readonly preceding: readonly ManifestSegment[]
  readonly backend: string
  readonly savepoint: boolean
  readonly createdAt: Date
  readonly signal: AbortSignal | undefined
  readonly settings: Pick<CoordinatorSettings, 'codec' | 'limits' | 'logger'>
}

export interface WrittenCheckpoint {
  readonly stored: StoredManifest
  /** Bytes of the files that were written for it. */
  readonly writtenBytes: number
}

/** Why there is no checkpoint: the changes are larger than their base, or the thread came too late to read the snapshot. */
export type NotWritten = 'outgrown' | 'late'

/**
 * Resolves when the checkpoint is published and durable, or, with nothing left behind, to why the state of this cut was not
 * written. Errors are those of the step that failed.
 */
export async function writeCheckpoint(request: CheckpointRequest): Promise<WrittenCheckpoint | NotWritten> {
  const { cut, preceding, settings } = request
  const { sequence } = request.reservation
  const { segment, entryCount, isLate } = await writeContent(request)
  if (segment === undefined) return isLate ? 'late' : 'outgrown'
  let stored: StoredManifest & { readonly bytes: Uint8Array }
  try {
    throwIfAborted(request.signal, OPERATION)
    const manifest: Manifest = {
      id: checkpointId(sequence),
      sequence,
      createdAt: request.createdAt,
      kind: preceding.length === 0 ? 'full' : 'incremental',
      savepoint: request.savepoint,
      validated: true,
      backend: request.backend,
      compression: settings.codec.name,
      clockMs: cut.snapshot.takenAtMs,
      entryCount,
      segments: [...preceding, segment],
      holdfast: HOLDFAST_VERSION,
      ...(cut.schema === undefined ? {} : { schema: cut.schema }),
      ...(cut.sourceText === undefined ? {} : { source: parseJsonText(cut.sourceText) }),
    }
    const { bytes, checksum } = formatManifest(manifest)
    stored = { manifest, manifestBytes: bytes.length, checksum, bytes }
  } catch (error) {
    // No manifest was attempted, so nothing can need the segment.
    await removeAfterFailure(request.owner, [segment.name], error, settings.logger)
    throw error
  }
  await publishManifest(request, stored.bytes, segment.name)
  return { stored, writtenBytes: segment.sizeBytes + stored.manifestBytes }
}

/** The changes since the preceding segments, unless they are larger than the base; all of the state where there are none. */
async function writeContent(request: CheckpointRequest): Promise<JobResult> {
  const { cut, preceding, savepoint } = request
  const [base] = preceding
  if (base !== undefined) {
    assert(cut.snapshot.tellsChanges, 'what comes after other segments is changes')
    // What is sent block by block does not tell how many entries there are besides.
    const counted = cut.changes === undefined ? await cut.snapshot.count() : undefined
    const { changes: shared } = cut
    const result = await runJob(request, { kind: 'delta', shared, maxSizeBytes: base.sizeBytes })
    return { ...result, entryCount: counted ?? result.entryCount }
  }
  const kind = savepoint ? 'savepoint' : 'base'
  const result = await runJob(request, { kind, shared: cut.all, maxSizeBytes: Infinity })
  const isWhole = result.isLate === true || result.segment?.entryCount === result.entryCount
  assert(isWhole, `a full segment has ${result.entryCount} entries`)
  return result
}

interface SegmentContent {
  readonly kind: SegmentKind
  /** `undefined`: the blocks are read on this thread. */
  readonly shared: SharedSnapshot | undefined
  readonly maxSizeBytes: number
}

async function runJob(
  request: CheckpointRequest,
  { kind, shared, maxSizeBytes }: SegmentContent,
): Promise<JobResult> {
  const { owner, worker, signal, cut, settings, reservation } = request
  const { codec, limits, logger } = settings
  const name = segmentName(reservation.sequence, kind)
  const role = kind === 'delta' ? 'delta' : 'base'
  const source = shared === undefined ? undefined : { module: shared.module, data: shared.data }
  let committed = false
  let closing: Promise<void> | undefined
  const sharedOwner = owner.share()
  try {
    // How such a storage begins an object is not known here.
    if (sharedOwner === undefined) await reservation.durable
    if (shared !== undefined) await assertNotClosed(cut)
  } catch (error) {
    sharedOwner?.release()
    throw error
  }
  let notReserved: { readonly error: unknown } | undefined
  const job = startJob({
    worker,
    storage: owner,
    shared: sharedOwner,
    request: { kind: 'write', name, role, codec: codec.name, source, maxSizeBytes, limits },
    signal,
    transferList: shared?.transferList ?? [],
    onTold: (step) => {
      if (step === 'committed') committed = true
      if (step === 'sourceRead') closing = cut.snapshot.close()
      closing?.catch(() => {})
    },
  })
  reservation.durable.then(
    () => job.allowCommit(),
    (error: unknown) => {
      notReserved = { error }
      job.abort()
    },
  )
  // Ends with the job, which it may not keep from ending: the blocks may be those of a backend that gives no more.
  if (shared === undefined) void feed(job, cut, kind)
  try {
    const result = await job.ended
    await closing
    return result
  } catch (error) {
    for (const leftover of job.leftovers) logLeftover(logger, leftover)
    const failure = notReserved === undefined ? errorOf(error, signal, OPERATION) : notReserved.error
    if (committed) await removeAfterFailure(owner, [name], failure, logger)
    throw failure
  }
}

/** Rejects with the snapshot's own `CLOSED` where it was closed: what it shares cannot be given to a thread any more. */
async function assertNotClosed({ snapshot }: StateCut): Promise<void> {
  await snapshot.contains(SCHEMA_KEY)
}

/** Sends the blocks of a snapshot to a job. Never rejects: where they cannot be read, the job fails with that error. */
async function feed(job: WorkerJob, { snapshot }: StateCut, kind: SegmentKind): Promise<void> {
  const options = { targetBytes: TARGET_BLOCK_BYTES }
  try {
    const blocks = kind === 'delta' ? snapshot.changes(options) : snapshot.blocks(options)
    for await (const block of blocks) await job.send(block)
    job.endBlocks()
  } catch (error) {
    job.failBlocks(error)
  }
}

async function publishManifest(
  request: CheckpointRequest,
  bytes: Uint8Array,
  segment: string,
): Promise<void> {
  const { owner, signal, settings } = request
  const { sequence } = request.reservation
  const name = manifestName(sequence)
  let output: ObjectWriter | undefined
  let attempted = false
  try {
    output = await owner.create(name)
    await output.write(bytes)
    throwIfAborted(signal, OPERATION)
    attempted = true
    await output.commit()
    const published = await owner.storage.read(name, MAX_MANIFEST_BYTES)
    if (published === undefined || !equalBytes(published, bytes)) {
      const reason = 'it does not read back as it was written'
      throw new StateError('CORRUPTION', { what: `manifest of ${checkpointId(sequence)}`, reason })
    }
  } catch (error) {
    await output?.abort().catch((failure: unknown) => {
      const what = 'discard an uncommitted file'
      logLeftover(settings.logger, { what, failure: reasonOf(failure), after: reasonOf(error) })
    })
    // A commit that failed may have published all the same. This checkpoint failed: take it back if it is there.
    // Only when the manifest is gone for certain may its segment go. FENCED means that the name is somebody else's.
    const names = attempted ? [name, segment] : [segment]
    await removeAfterFailure(owner, names, error, settings.logger)
    throw error
  }
}
