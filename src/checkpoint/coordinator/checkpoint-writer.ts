// Makes one checkpoint out of a cut through the state. The order of steps is the promise:
//
// (0) The number is reserved, durably, beside (1): whatever bears it is committed only after that.
// (1) The segment is written whole, and committed (durable) before anything names it; in the worker.
// (2) It is read back from the storage and verified, to its last byte; in the worker.
// (3) The manifest is committed under the lease, which the storage checks: only now there is a checkpoint. It is read back too.
//     It may be written beside (1) and (2), from where all bytes of the segment are known, without a name; so may the note behind it.
// (4) Whatever fails leaves no checkpoint: a manifest whose commit failed is taken back, segments are removed or left to
//     the sweep.

import { SCHEMA_KEY } from '../../backend/schema-entry.js'
import type { SharedSnapshot } from '../../backend/shared-snapshot.js'
import { throwIfAborted } from '../../base/abort.js'
import { assert, present } from '../../base/assert.js'
import type { LeasedStorage, PreparedNote, Reservation } from '../archive/leased-storage.js'
import { HOLDFAST_VERSION } from '../format/holdfast-version.js'
import { parseJsonText } from '../format/json-value.js'
import {
  formatManifest,
  type Manifest,
  type ManifestSegment,
  type StoredManifest,
} from '../format/manifest.js'
import { checkpointId, type SegmentKind, segmentName } from '../format/object-names.js'
import { TARGET_BLOCK_BYTES } from '../format/segment-format.js'
import type { JobStarter } from '../worker/checkpoint-worker.js'
import { errorOf, startJob } from '../worker/start-job.js'
import type { WorkerJob } from '../worker/worker-job.js'
import type { JobResult } from '../worker/worker-protocol.js'
import { logLeftover, removeAfterFailure } from './checkpoint-failure.js'
import type { CoordinatorSettings } from './coordinator-settings.js'
import { type IsHeardUntil, ManifestPublication } from './manifest-publication.js'
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
  readonly isHeardUntil: IsHeardUntil
  readonly settings: Pick<CoordinatorSettings, 'codec' | 'limits' | 'logger'>
}

interface WrittenManifest extends StoredManifest {
  readonly bytes: Uint8Array
}

export interface WrittenCheckpoint {
  readonly stored: StoredManifest
  /** For who notes the publication, where it was written ahead. */
  readonly preparedNote: Promise<PreparedNote | undefined> | undefined
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
  const { settings } = request
  const { sequence } = request.reservation
  const publication = new ManifestPublication(request.owner, sequence, settings.logger, request.isHeardUntil)
  let content: JobResult
  try {
    content = await writeContent(request, (written) =>
      publication.begin(() => manifestOf(request, written).bytes),
    )
  } catch (error) {
    await publication.discard(error)
    throw error
  }
  const { segment, isLate } = content
  if (segment === undefined) return isLate ? 'late' : 'outgrown'
  let stored: WrittenManifest
  try {
    throwIfAborted(request.signal, OPERATION)
    stored = manifestOf(request, content)
  } catch (error) {
    await publication.discard(error)
    // No manifest was attempted, so nothing can need the segment.
    await removeAfterFailure(request.owner, [segment.name], error, settings.logger)
    throw error
  }
  await publication.publish(stored.bytes, segment.name, request.signal)
  const { preparedNote } = publication
  return { stored, preparedNote, writtenBytes: segment.sizeBytes + stored.manifestBytes }
}

/** The manifest of what a job has written; it has written something. */
function manifestOf(request: CheckpointRequest, { segment, entryCount }: JobResult): WrittenManifest {
  const { cut, preceding, settings } = request
  const { sequence } = request.reservation
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
    segments: [...preceding, present(segment, 'a segment was written')],
    holdfast: HOLDFAST_VERSION,
    ...(cut.schema === undefined ? {} : { schema: cut.schema }),
    ...(cut.sourceText === undefined ? {} : { source: parseJsonText(cut.sourceText) }),
  }
  const { bytes, checksum } = formatManifest(manifest)
  return { manifest, manifestBytes: bytes.length, checksum, bytes }
}

/** The changes since the preceding segments, unless they are larger than the base; all of the state where there are none. */
async function writeContent(request: CheckpointRequest, onWritten: OnWritten): Promise<JobResult> {
  const { cut, preceding, savepoint } = request
  const [base] = preceding
  if (base !== undefined) {
    assert(cut.snapshot.tellsChanges, 'what comes after other segments is changes')
    // What is sent block by block does not tell how many entries there are besides.
    const counted = cut.changes === undefined ? await cut.snapshot.count() : undefined
    const { changes: shared } = cut
    const result = await runJob(request, { kind: 'delta', shared, maxSizeBytes: base.sizeBytes, onWritten })
    return { ...result, entryCount: counted ?? result.entryCount }
  }
  const kind = savepoint ? 'savepoint' : 'base'
  const result = await runJob(request, { kind, shared: cut.all, maxSizeBytes: Infinity, onWritten })
  const isWhole = result.isLate === true || result.segment?.entryCount === result.entryCount
  assert(isWhole, `a full segment has ${result.entryCount} entries`)
  return result
}

/** Told what the job will come to, while what it wrote is committed and read back. */
type OnWritten = (result: JobResult) => void

interface SegmentContent {
  readonly kind: SegmentKind
  /** `undefined`: the blocks are read on this thread. */
  readonly shared: SharedSnapshot | undefined
  readonly maxSizeBytes: number
  readonly onWritten: OnWritten
}

async function runJob(
  request: CheckpointRequest,
  { kind, shared, maxSizeBytes, onWritten }: SegmentContent,
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
    },
    onWritten: (result) => {
      closing = cut.snapshot.close()
      closing.catch(() => {})
      // What another storage makes of an object before it is committed is not known, and blocks that are sent do not tell how many entries there are.
      if (sharedOwner === undefined || shared === undefined) return
      // It bears the number, so that comes first; where it fails, so does the job.
      reservation.durable.then(
        () => onWritten(result),
        () => {},
      )
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
    const cause = notReserved === undefined ? errorOf(error, signal, OPERATION) : notReserved.error
    const failure = await owner.reasonFor(cause)
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
