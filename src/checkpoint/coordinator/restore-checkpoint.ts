// How a checkpoint comes back, and which one.
//
// (1) The backend swaps its content only at the end of the stream, and the stream ends only when all of it verified.
// (2) `restoreNewest` tries the checkpoints from the newest down. It passes over one only for a fault of that
//     checkpoint or of reading it, never for a fault of the backend, nor where this process or machine has run out of
//     something, which tells nothing of the checkpoint and passes. It reports each.
// (3) It finds nothing (`undefined`) only where there has never been a checkpoint, as far as anything tells.

import type { BuiltBlocks } from '../../backend/built-state.js'
import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import type { PreparableBlocks } from '../../backend/prepared-blocks.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { isSyncBackend, type Replaceable, type StateBackend } from '../../backend/state-backend.js'
import type { ChangeBase } from '../../backend/state-snapshot.js'
import type { BackendStats, KeyRange } from '../../backend/types.js'
import { throwIfAborted } from '../../base/abort.js'
import { assert } from '../../base/assert.js'
import { isStateError, reasonOf, type SkippedCheckpoint, StateError } from '../../base/errors.js'
import { isErrorLike } from '../../base/shapes.js'
import { nextTurn } from '../../base/slices.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { CheckpointCatalog, missingManifest, type StorageListing } from '../archive/checkpoint-catalog.js'
import { contentOf, metadataOf, type StoredManifest } from '../format/manifest.js'
import { checkpointId } from '../format/object-names.js'
import type { SequenceState } from '../format/sequence-file.js'
import type { CheckpointId, CheckpointMetadata, RestoreProgress } from '../types.js'
import { BuilderThread } from '../worker/builder-thread-host.js'
import type { JobStarter } from '../worker/checkpoint-worker.js'
import { RestoreStream } from '../worker/restore-stream.js'
import type { BuildCall, PrepareCall } from '../worker/worker-protocol.js'
import { requireSameStates } from './range-schema.js'

/** Fewer entries are put into the engine before the worker has loaded what puts them together. */
const MIN_BUILT_ENTRIES = 10_000

const RUN_OUT = new Set<unknown>(['EMFILE', 'ENFILE', 'ENOMEM'])
/** What V8 says, without a code, where there is no memory for an array. */
const NO_MEMORY_FOR_ARRAY = 'Array buffer allocation failed'

export interface RestoreRequest {
  readonly backend: StateBackend & Replaceable
  readonly storage: CheckpointStorage
  readonly worker: JobStarter
  /** All of a checkpoint has been read and the backend goes on with it; what this returns is called when that is done. */
  readonly onRead: () => () => void
  /** Whether what is restored is to be the base of an incremental checkpoint. */
  readonly trackChanges: boolean
  /** Only this stretch of keys; `undefined`: everything. */
  readonly stretch: KeyStretch | undefined
  /** The time to which the times to live are carried on, as if none had passed since the cut; `undefined`: it has passed. */
  readonly pausedUntilMs: number | undefined
  readonly signal: AbortSignal | undefined
  readonly onBegin: ((checkpoint: CheckpointMetadata) => void) | undefined
  readonly onProgress: ((progress: RestoreProgress) => void) | undefined
  readonly onSkipped: (skipped: SkippedCheckpoint, sequence: number) => void
  /** The sequence cannot be read, so it cannot tell whether a newer checkpoint was lost without a trace. */
  readonly onSequenceUnknown: (error: StateError) => void
}

/** What was restored, and the instant from which on changes to it are known, where there is one. */
export interface RestoredCheckpoint {
  readonly stored: StoredManifest
  readonly base: ChangeBase | undefined
}

/** The newest checkpoint that verifies, restored; `undefined` where there has never been one. */
export async function restoreNewest(request: RestoreRequest): Promise<RestoredCheckpoint | undefined> {
  const catalog = new CheckpointCatalog(request.storage)
  const skipped: SkippedCheckpoint[] = []
  const skip = (sequence: number, error: StateError) => {
    const entry = { id: checkpointId(sequence), code: error.code, reason: error.message }
    skipped.push(entry)
    request.onSkipped(entry, sequence)
  }
  const [listing, history] = await Promise.all([listingOf(catalog), sequenceOf(catalog)])
  if (isStateError(history)) {
    request.onSequenceUnknown(history)
  } else if (history !== undefined && history.newest > listing.largestManifest) {
    skip(history.newest, missingManifest(history.newest))
  }
  if (listing.manifests.length > 0) await startThread(request)
  for (const sequence of listing.manifests) {
    throwIfAborted(request.signal, 'restore')
    const stored = await catalog.tryManifest(sequence)
    const outcome = isStateError(stored) ? stored : await restoreContent(request, stored)
    if (!isStateError(outcome)) return outcome
    if (hasRunOut(outcome)) throw restoreFailed(checkpointId(sequence), outcome.message, skipped, outcome)
    skip(sequence, outcome)
  }
  if (skipped.length === 0 && hadNone(history, listing)) return undefined
  const cause = isStateError(history) ? history : undefined
  const reason = reasonForNothing(skipped.length, cause)
  throw restoreFailed(undefined, reason, skipped, cause)
}

/** Whether the operating system had no file or memory to give, and not what was to be read is at fault. */
function hasRunOut(error: unknown): boolean {
  for (let at = error; isErrorLike(at); at = at.cause) {
    if (('code' in at && RUN_OUT.has(at.code)) || at.message === NO_MEMORY_FOR_ARRAY) return true
  }
  return false
}

/** One checkpoint, restored. `RESTORE_FAILED` where it is missing or does not verify. */
export async function restoreOne(request: RestoreRequest, sequence: number): Promise<RestoredCheckpoint> {
  const id = checkpointId(sequence)
  await startThread(request)
  const stored = await new CheckpointCatalog(request.storage).tryManifest(sequence)
  const outcome = isStateError(stored) ? stored : await restoreContent(request, stored)
  if (isStateError(outcome)) throw restoreFailed(id, outcome.message, [], outcome)
  return outcome
}

/** The worker's thread starts while the manifest is read, in a turn of its own: nothing in a restore keeps the event loop for longer. */
async function startThread({ worker, stretch }: RestoreRequest): Promise<void> {
  // A stretch may be read without it.
  if (stretch !== undefined || worker.isReadyFor(undefined)) return
  await nextTurn()
  // Where it cannot start, the job says so.
  worker.ready().catch(() => {})
  await nextTurn()
}

/**
 * Restores the content of a checkpoint. Returns the error where the checkpoint is at fault, or could not be read;
 * throws where going on with an older one would be wrong: `ABORTED`, `RESTORE_FAILED` for faults of the backend, and `INCOMPATIBLE` for a stretch
 * that the backend would read as something else.
 */
async function restoreContent(
  request: RestoreRequest,
  stored: StoredManifest,
): Promise<RestoredCheckpoint | StateError> {
  const { backend, storage, worker, stretch, pausedUntilMs, signal, onProgress } = request
  const { manifest } = stored
  const { id, entryCount } = manifest
  // An older checkpoint of the same store would be as wrong.
  if (stretch !== undefined) await requireSameStates(backend, stretch, id, manifest.schema)
  tell(request.onBegin, metadataOf(stored))
  let base: ChangeBase | undefined
  const onBlock = (entries: number) => tell(onProgress, { id, entries, totalEntries: entryCount })
  const content = contentOf(manifest)
  const shiftMs = pausedUntilMs === undefined ? 0 : Math.max(0, pausedUntilMs - manifest.clockMs)
  const build = stretch === undefined ? buildOf(backend, stored, shiftMs) : undefined
  if (build !== undefined) {
    // To begin the job may start another thread, which takes a turn of its own as well.
    BuilderThread.prepareFor(build)
    await nextTurn()
  }
  const prepare =
    stretch === undefined && build === undefined ? prepareOf(backend, stored, shiftMs) : undefined
  const stream = new RestoreStream({ worker, storage, content, stretch, build, prepare, signal }, onBlock)
  try {
    await stream.opened()
  } catch (error) {
    if (stream.lost) throw restoreFailed(id, reasonOf(error), [], error)
    return faultOf(error, storage)
  }
  const tracked = new RestoredBase(backend, entryCount)
  // What is shifted is not what the files hold: nothing is built on them.
  const isWhole = stretch === undefined && pausedUntilMs === undefined
  let backendIsDone: () => void = () => {}
  stream.onFinished = () => {
    backendIsDone = request.onRead()
    if (request.trackChanges && isWhole && !manifest.savepoint) tracked.noteEndOfStream()
  }
  try {
    const { clockMs } = manifest
    await backend.replaceAll(shiftMs === 0 ? stream : postponed(stream, shiftMs), {
      ...(stretch === undefined
        ? { expectedEntries: expectedEntriesOf(stored) }
        : { range: rangeOf(stretch) }),
      clockMs,
      ...(signal === undefined ? {} : { signal }),
    })
    base = tracked.take()
  } catch (error) {
    if (signal?.aborted && isStateError(error, 'ABORTED')) throw error
    if (stream.lost) throw restoreFailed(id, reasonOf(stream.failure ?? error), [], stream.failure ?? error)
    if (stream.failure !== undefined) return faultOf(stream.failure, storage)
    throw restoreFailed(id, `the backend did not take it: ${reasonOf(error)}`, [], error)
  } finally {
    backendIsDone()
    await stream.close()
  }
  assert(stream.finished, `backend '${backend.name}' ended a restore before the end of the checkpoint`)
  return { stored, base }
}

/** How the worker is to put the content together, where the backend goes on with that and there is enough for it to be worth it. */
function buildOf(
  backend: RestoreRequest['backend'],
  stored: StoredManifest,
  laterMs: number,
): BuildCall | undefined {
  if (stored.manifest.entryCount < MIN_BUILT_ENTRIES) return undefined
  const { building } = backend
  return building && { ...building, expectedEntries: expectedEntriesOf(stored), laterMs }
}

/** How the worker is to make the blocks ready, where the backend takes them so and there are enough for it to be worth it. */
function prepareOf(
  backend: RestoreRequest['backend'],
  stored: StoredManifest,
  laterMs: number,
): PrepareCall | undefined {
  if (stored.manifest.entryCount < MIN_BUILT_ENTRIES) return undefined
  const { preparing } = backend
  return preparing && { ...preparing, laterMs }
}

/** The blocks of a stream, with everything in them that expires expiring so much later. */
function postponed(stream: RestoreStream, shiftMs: number): BuiltBlocks & PreparableBlocks {
  return {
    [Symbol.asyncIterator]: () => postponedBlocks(stream, shiftMs),
    // Whoever builds them, or makes them ready, was told by how much.
    takeBuilt: stream.takeBuilt,
    takePrepared: stream.takePrepared,
  }
}

async function* postponedBlocks(
  stream: AsyncIterable<EntryBlock>,
  shiftMs: number,
): AsyncGenerator<EntryBlock> {
  for await (const block of stream) {
    const bytes = block.bytes.slice()
    const cursor = new EntryBlockCursor(bytes)
    while (cursor.next()) cursor.setExpiry(cursor.expiresAtMs + shiftMs)
    yield { bytes, entryCount: block.entryCount }
  }
}

function rangeOf({ from, until }: KeyStretch): KeyRange {
  return until === undefined ? { gte: from } : { gte: from, lt: until }
}

/** As with listeners, what a callback throws is its own failure, and must not look like damage of the checkpoint. */
function tell<Told>(listener: ((told: Told) => void) | undefined, told: Told): void {
  try {
    listener?.(told)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}

/**
 * The hint that sizes memory once. It is only believed as far as the files could hold so many: at least a stored byte
 * for each entry. A manifest cannot make a backend allocate by lying.
 */
function expectedEntriesOf({ manifest }: StoredManifest): number {
  const storedBytes = manifest.segments.reduce((sum, segment) => sum + segment.sizeBytes, 0)
  return Math.min(manifest.entryCount, storedBytes)
}

/** Failed assertions are bugs and go on; any other failure of reading a checkpoint says why it is passed over. */
function faultOf(error: unknown, storage: CheckpointStorage): StateError {
  if (isStateError(error, 'ABORTED')) throw error
  if (isStateError(error)) return error
  const details = { storage: storage.name, operation: 'read a checkpoint', reason: reasonOf(error) }
  return new StateError('STORAGE_ERROR', details, { cause: error })
}

async function listingOf(catalog: CheckpointCatalog): Promise<StorageListing> {
  try {
    return await catalog.listing()
  } catch (error) {
    throw restoreFailed(undefined, `the storage cannot be listed: ${reasonOf(error)}`, [], error)
  }
}

/** The persisted sequence, `undefined` where there is none, or the error of reading it. */
async function sequenceOf(catalog: CheckpointCatalog): Promise<SequenceState | StateError | undefined> {
  try {
    return await catalog.sequence()
  } catch (error) {
    if (isStateError(error)) return error
    throw restoreFailed(undefined, reasonOf(error), [], error)
  }
}

/** Whether everything there is says that no checkpoint was ever published. In doubt: no. */
function hadNone(history: SequenceState | StateError | undefined, listing: StorageListing): boolean {
  if (isStateError(history)) return false
  return history === undefined ? listing.largest === 0 : history.published === 0
}

function reasonForNothing(skipped: number, historyUnknown: StateError | undefined): string {
  if (skipped > 0) return `none of ${skipped} checkpoints can be used`
  if (historyUnknown === undefined) return 'there is no checkpoint any more, but there has been one'
  return `there is no checkpoint, and whether there has been one cannot be told: ${historyUnknown.message}`
}

function restoreFailed(
  id: CheckpointId | undefined,
  reason: string,
  skipped: readonly SkippedCheckpoint[],
  cause: unknown,
): StateError<'RESTORE_FAILED'> {
  const options = cause === undefined ? undefined : { cause }
  return new StateError('RESTORE_FAILED', { checkpointId: id, reason, skipped }, options)
}

/**
 * Makes what was restored the base of the next checkpoint, where it is certain that nothing was written since.
 *
 * The backend swaps its content after the end of the stream, and whoever waits for `replaceAll` runs a few steps after that:
 * others may write in between. No write can happen before the swap. So the counters at the end of the stream and after
 * the swap tell whether there was one; `clear` is not counted, but leaves nothing behind.
 */
class RestoredBase {
  readonly #backend: StateBackend
  readonly #entryCount: number
  #before: BackendStats | undefined

  /** @param entryCount of the checkpoint. */
  constructor(backend: StateBackend, entryCount: number) {
    this.#backend = backend
    this.#entryCount = entryCount
  }

  /** To be called at the end of the stream, when writes are still refused. */
  noteEndOfStream(): void {
    if (isSyncBackend(this.#backend)) this.#before = this.#backend.stats()
  }

  /** To be called in the very step in which `replaceAll` has resolved. */
  take(): ChangeBase | undefined {
    const backend = this.#backend
    const before = this.#before
    if (before === undefined || !isSyncBackend(backend)) return undefined
    const { puts, deletes, entries } = backend.stats()
    if (puts !== before.puts || deletes !== before.deletes) return undefined
    if (entries === 0 && this.#entryCount > 0) return undefined
    const snapshot = backend.snapshotSync({ track: true })
    snapshot.closeSync()
    return snapshot.base
  }
}
