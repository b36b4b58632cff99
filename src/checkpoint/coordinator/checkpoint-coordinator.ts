// Who does what when:
//
// (1) One at a time: checkpoints, savepoints, restores and deletions wait for each other, in the order of the calls.
// (2) The coordinator becomes the owner of its storage when it first has to write there, and stays it until `shutdown`.
//     Once another owner has taken over, nothing is written any more (FENCED) until `start` succeeds again.
// (3) A checkpoint that fails is counted, logged and emitted; the next one does not know of it.
// (4) No wait is without an end: a call ends by its signal, and all of them by `shutdown`, also where the storage or the worker
//     does not answer any more.
// (5) What goes to a mirror goes behind all of this: no call but `shutdown` waits for it, and none fails by it.
// (6) `shutdown` never publishes a state that is empty or unrestored by accident over one that was saved before.

import { type KeyStretch, keyInterval } from '../../backend/scan-range.js'
import type { StateBackend } from '../../backend/state-backend.js'
import type { KeyRange } from '../../backend/types.js'
import { present } from '../../base/assert.js'
import { isStateError, type SkippedCheckpoint, StateError } from '../../base/errors.js'
import type { Unsubscribe } from '../../base/events.js'
import { Mutex } from '../../base/mutex.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { CheckpointCatalog, checkStorage } from '../archive/checkpoint-catalog.js'
import { asTemporaryOwner, type LeasedStorage } from '../archive/leased-storage.js'
import { contentOf, metadataOf } from '../format/manifest.js'
import { checkedSequence, checkpointId } from '../format/object-names.js'
import type {
  CheckpointEvents,
  CheckpointMetadata,
  CheckpointOptions,
  CheckpointStats,
  OwnershipOptions,
  RestoreOptions,
  VerificationReport,
} from '../types.js'
import { CheckpointWorker, type JobStarter } from '../worker/checkpoint-worker.js'
import { verifyContent } from '../worker/restore-stream.js'
import { asCheckpointFailure } from './checkpoint-failure.js'
import { CheckpointMaker } from './checkpoint-maker.js'
import { CheckpointMirror } from './checkpoint-mirror.js'
import { CheckpointReports } from './checkpoint-reports.js'
import { CheckpointRetention } from './checkpoint-retention.js'
import { CheckpointSchedule, type ScheduledRun } from './checkpoint-schedule.js'
import type { CheckpointCoordinatorOptions } from './coordinator-options.js'
import {
  type CheckpointedBackend,
  type CoordinatorSettings,
  checkCallOptions,
  checkOwnershipOptions,
  checkRestoreOptions,
  coordinatorSettings,
} from './coordinator-settings.js'
import { LeaseKeeper } from './lease-keeper.js'
import { OpenCalls } from './open-calls.js'
import {
  type RestoredCheckpoint,
  type RestoreRequest,
  restoreNewest,
  restoreOne,
} from './restore-checkpoint.js'
import { notedStorage, SilenceWatch } from './silence-watch.js'

const COMPONENT = 'checkpoint coordinator'

/**
 * Saves the state of a backend to a storage, again and again, and brings it back.
 *
 * A checkpoint is published only after its files were written, made durable, read back and verified. A restore
 * replaces the backend's content in one step, with what verified whole, or not at all. Restore first, then `start`:
 *
 * @example
 * const coordinator = new CheckpointCoordinator(backend, { storage, source: () => ({ offset: reader.offset }) })
 * const restored = await coordinator.restoreLatest()   // undefined: the very first run
 * await reader.seek(restored?.source ?? 0)
 * await coordinator.start()
 * // … process …
 * await coordinator.shutdown()                          // takes a final checkpoint
 */
export class CheckpointCoordinator implements AsyncDisposable {
  readonly #backend: CheckpointedBackend
  readonly #settings: CoordinatorSettings
  readonly #catalog: CheckpointCatalog
  readonly #queue = new Mutex()
  readonly #watch: SilenceWatch
  readonly #calls: OpenCalls
  readonly #schedule: CheckpointSchedule
  readonly #retention: CheckpointRetention
  readonly #reports: CheckpointReports
  readonly #ownership: LeaseKeeper
  readonly #worker: JobStarter
  /** Ended with this coordinator; `undefined`: the worker is somebody else's. */
  readonly #ownWorker: CheckpointWorker | undefined
  readonly #maker: CheckpointMaker
  readonly #mirror: CheckpointMirror | undefined
  readonly #knownDamaged = new Set<number>()
  readonly #givenStorage: CheckpointStorage
  #restoreFailed = false
  #restoredAll = false
  #lastEndedAtMs = -Infinity
  #closing: Promise<void> | undefined
  /** `shutdown` waits no longer. */
  #givenUp = false

  /**
   * Touches nothing yet. `INVALID_ARGUMENT` with every violation, unknown options included;
   * `INCOMPATIBLE` for a `compression` that this runtime cannot provide.
   */
  constructor(backend: StateBackend, options: CheckpointCoordinatorOptions) {
    const settings = coordinatorSettings(backend, options)
    this.#backend = settings.backend
    this.#watch = new SilenceWatch(settings.maxSilenceMs)
    this.#calls = new OpenCalls(this.#watch)
    this.#givenStorage = settings.storage
    this.#settings = { ...settings, storage: notedStorage(settings.storage, this.#watch.note) }
    const { storage, clock, intervalMs, minPauseMs, maxCheckpoints, graceMs, logger } = this.#settings
    this.#reports = new CheckpointReports(storage.name, logger)
    this.#catalog = new CheckpointCatalog(storage)
    this.#schedule = new CheckpointSchedule({ clock, intervalMs, minPauseMs, run: () => this.#runPeriodic() })
    const worker = settings.worker ?? new CheckpointWorker()
    this.#ownWorker = settings.worker === undefined ? worker : undefined
    this.#worker = this.#watch.over(worker)
    this.#maker = new CheckpointMaker(this.#backend, this.#settings, this.#worker, {
      onMerged: (merged) => this.#reports.merged(merged),
      onCut: () => this.#watch.hold(),
      isHeardUntil: (work) => this.#watch.isHeardUntil(work),
      onMergeFailed: (error) => this.#reports.mergeFailed(error),
    })
    this.#ownership = new LeaseKeeper(this.#catalog, logger, () => {
      this.#schedule.stop()
      void this.#maker.abortMerge()
      this.#mirror?.stop()
    })
    const onDeleted = (id: CheckpointEvents['deleted']['id']) => this.#reports.emit('deleted', { id })
    this.#retention = new CheckpointRetention({ maxCheckpoints, graceMs, clock, logger, onDeleted })
    this.#mirror = this.#newMirror()
  }

  #newMirror(): CheckpointMirror | undefined {
    const { mirror, graceMs, clock, logger } = this.#settings
    if (mirror === undefined) return undefined
    return new CheckpointMirror({
      // As it was given: that it answers the mirror says nothing about what `shutdown` waits for.
      from: new CheckpointCatalog(this.#givenStorage),
      to: new CheckpointCatalog(mirror.storage),
      maxCheckpoints: mirror.maxCheckpoints,
      drainMs: mirror.drainMs,
      verifyEveryMs: mirror.verifyEveryMs,
      graceMs,
      clock,
      logger,
      onMirrored: (stored, durationMs, writtenBytes) =>
        this.#reports.emit('mirrored', { checkpoint: metadataOf(stored), durationMs, writtenBytes }),
      onFailed: (sequence, error) => {
        const id = sequence === undefined ? undefined : checkpointId(sequence)
        this.#reports.emit('mirrorFailed', { id, error })
      },
    })
  }

  /**
   * Becomes the owner of the storage, as `start` does, without beginning anything: what is restored after it is the last that
   * anybody published. Where a process takes the place of another one, that is the order: `acquire`, `restoreLatest`, `start`.
   * `FENCED` while another coordinator owns it and does not let go in time.
   */
  async acquire(options?: OwnershipOptions): Promise<void> {
    this.#requireOpen()
    checkOwnershipOptions(options)
    await this.#inTurn(() => this.#own(options), undefined, 'acquire')
  }

  /**
   * Resolves where this coordinator owns its storage, as the storage says now; `FENCED` where another one does, or none has acquired it yet. For whoever takes
   * over something else that belongs to the owner. `CLOSED` once `shutdown` has let go of it.
   */
  async checkOwnership(): Promise<void> {
    // What waits for the release of the storage is still the owner's, also while this closes.
    if (!this.#ownership.holds) this.#requireOpen()
    await this.#calls.run(() => this.#ownership.check(), undefined, 'check the ownership')
  }

  /**
   * Becomes the owner of the storage and begins with periodic checkpoints, the first one after `intervalMs`.
   * `FENCED` while another coordinator owns it, `STORAGE_ERROR` where it cannot be used. Starting twice is starting once.
   */
  async start(options?: OwnershipOptions): Promise<void> {
    this.#requireOpen()
    checkOwnershipOptions(options)
    const run = async () => {
      // So that the first checkpoint does not wait for its thread. Where that cannot start, the checkpoint says so.
      void this.#worker.ready(this.#backend.sharedModule).catch(() => {})
      await this.#own(options)
      this.#restoreFailed = false
      this.#schedule.start()
    }
    await this.#inTurn(run, undefined, 'start')
  }

  async #own(options: OwnershipOptions | undefined): Promise<void> {
    await this.#ownership.acquireAgain(options)
    this.#mirror?.begin(options?.takeOver === true)
  }

  /**
   * Makes a checkpoint now. The state is that of an instant after the call: while another checkpoint or a restore is
   * running, this one waits its turn and then takes a snapshot of its own. Where the changes turn out to be larger than what
   * they are built on, or the worker comes too late to read that snapshot, a later one is taken, and `source` is called
   * again: state and position are of one instant all the same. It resolves when the checkpoint is published, durable, and
   * retention has run.
   *
   * `CHECKPOINT_FAILED` with the cause; `SERIALIZATION_FAILED` where `source` did not return JSON; `FENCED` when another
   * coordinator owns the storage; `ABORTED`. Nothing of a failed checkpoint is visible, and earlier ones are intact.
   */
  async createCheckpoint(options?: CheckpointOptions): Promise<CheckpointMetadata> {
    this.#requireOpen()
    checkCallOptions(options)
    const signal = options?.signal
    return await this.#inTurn(() => this.#checkpoint(signal), signal, 'checkpoint')
  }

  /**
   * Makes a self-contained full checkpoint in a storage of the user's (it may be this coordinator's own). No retention
   * ever removes it; a coordinator on that storage restores and deletes it like any other. Errors are those of
   * `createCheckpoint`. It is not counted in `stats()` and emits no events: it is no part of the periodic chain.
   */
  async createSavepoint(
    storage: CheckpointStorage,
    options?: CheckpointOptions,
  ): Promise<CheckpointMetadata> {
    this.#requireOpen()
    checkStorage(storage)
    checkCallOptions(options)
    const signal = options?.signal
    return await this.#inTurn(() => this.#savepoint(storage, signal), signal, 'savepoint')
  }

  /**
   * The checkpoints in the storage, newest first. Those whose manifest is damaged, cannot be read or was written by a
   * newer version are not listed; a warning is logged for each. That a checkpoint is listed does not say that its
   * segments are intact: `verify` does.
   */
  async listCheckpoints(): Promise<CheckpointMetadata[]> {
    this.#requireOpen()
    return await this.#calls.run(() => this.#list(), undefined, 'list checkpoints')
  }

  async #list(): Promise<CheckpointMetadata[]> {
    const { manifests } = await this.#catalog.listing()
    const listed: CheckpointMetadata[] = []
    for (const sequence of manifests) {
      const stored = await this.#catalog.tryManifest(sequence)
      if (isStateError(stored)) {
        this.#reports.notListed(checkpointId(sequence), stored)
      } else {
        listed.push(metadataOf(stored))
      }
    }
    return listed
  }

  /**
   * Replaces the backend's content by the newest checkpoint that verifies, in one step, and returns it.
   *
   * A newer one that is damaged, missing, unreadable or `INCOMPATIBLE` (written by a newer version of holdfast: think
   * of a roll-back) is passed over for the next older one; each is reported by the event `skipped`, and logged as an
   * error. The returned `source` is that of the checkpoint restored, so a source that can go back replays the rest.
   *
   * With `range`, only that stretch of keys is replaced, and only what is read of a checkpoint is verified.
   *
   * `undefined` only where there has never been a checkpoint. `RESTORE_FAILED` (`details.skipped` says why for each)
   * where there has been one and none can be used, `FENCED` where this coordinator owned the storage and another one has taken it over
   * meanwhile, who may have removed them; the backend then holds what it held before.
   */
  async restoreLatest(options?: RestoreOptions): Promise<CheckpointMetadata | undefined> {
    this.#requireOpen()
    checkRestoreOptions(options)
    return await this.#restore(options, (request) => restoreNewest(request))
  }

  /**
   * Replaces the backend's content by that checkpoint, or a range of it (`options.range`), in one step. `RESTORE_FAILED` with the cause where it is missing
   * or does not verify, `INCOMPATIBLE` where the typed states of the backend would read the range as something else; the backend then holds what it held before.
   */
  async restore(id: string, options?: RestoreOptions): Promise<CheckpointMetadata> {
    this.#requireOpen()
    const sequence = checkedSequence(id)
    checkRestoreOptions(options)
    const restored = await this.#restore(options, (request) => restoreOne(request, sequence))
    return present(restored, 'a restore by id restores or throws')
  }

  /**
   * Reads all of a checkpoint, as a restore would, and changes nothing. `CORRUPTION` says what is damaged or missing;
   * `INCOMPATIBLE`; `INVALID_ARGUMENT` where there is no such checkpoint.
   */
  async verify(id: string, options?: CheckpointOptions): Promise<VerificationReport> {
    this.#requireOpen()
    const sequence = checkedSequence(id)
    checkCallOptions(options)
    const signal = options?.signal
    return await this.#calls.run(() => this.#verify(sequence, signal), signal, 'verify')
  }

  async #verify(sequence: number, signal: AbortSignal | undefined): Promise<VerificationReport> {
    const stored = await this.#catalog.requiredManifest(sequence)
    const { segments } = stored.manifest
    try {
      const content = contentOf(stored.manifest)
      const { storage } = this.#settings
      await verifyContent({ worker: this.#worker, storage, content, signal })
      const checkpoint = metadataOf(stored)
      const { entryCount, sizeBytes } = checkpoint
      return { checkpoint, segments: segments.length, entryCount, bytesRead: sizeBytes }
    } catch (error) {
      if (!isStateError(error, 'CORRUPTION')) throw error
      // Retention may have removed it while it was being read.
      if (await this.#catalog.isGone(sequence)) throw this.#catalog.noSuchCheckpoint(error)
      this.#noteDamaged(sequence)
      throw error
    }
  }

  /** What is damaged is not built on: the chain may share its segments. */
  #noteDamaged(sequence: number): void {
    this.#knownDamaged.add(sequence)
    this.#ownership.held?.distrustContents()
    this.#maker.breakOff()
  }

  /**
   * Removes a checkpoint or savepoint, also a damaged one, and the segments that no other one needs.
   * Resolves to false where there is none.
   */
  async deleteCheckpoint(id: string): Promise<boolean> {
    this.#requireOpen()
    const sequence = checkedSequence(id)
    const remove = async () => {
      const owner = await this.#ownership.acquire()
      return await this.#ownership.guard(owner, () => this.#retention.remove(owner, sequence, this.#maker))
    }
    return await this.#inTurn(remove, undefined, 'delete a checkpoint')
  }

  stats(): CheckpointStats {
    return this.#reports.stats({
      chainDeltas: this.#maker.deltas,
      merging: this.#maker.merging,
      mirror: this.#mirror?.stats(),
    })
  }

  on<Name extends keyof CheckpointEvents>(
    event: Name,
    listener: (event: CheckpointEvents[Name]) => void,
  ): Unsubscribe {
    return this.#reports.on(event, listener)
  }

  /**
   * Stops the periodic checkpoints, waits for what is running, takes a final checkpoint (also where `start` was never
   * called), and lets the next owner in. It rejects if the final checkpoint failed, and is closed all the same.
   * That is so where this coordinator has only restored, and another one owns the storage: nothing else tells that what was changed since then is
   * saved nowhere (`FENCED`). Whoever just looks at checkpoints takes a `CheckpointArchive`.
   * A second call returns the first one's promise.
   *
   * Where neither the storage nor the worker gives a sign of life for `maxSilenceMs`, it waits no longer: it and every other
   * call that has not settled reject with `CHECKPOINT_FAILED`, and the lease is let go if that is still possible.
   *
   * There is no final checkpoint, and a warning in the log, where it could only do harm: when the storage belongs to
   * another coordinator that never let this one in; when the last restore failed and nothing was decided since (by
   * `start` or `createCheckpoint`); and when the backend is empty though the storage has a checkpoint that this
   * coordinator neither restored nor followed by one of its own.
   */
  shutdown(): Promise<void> {
    if (this.#closing === undefined) {
      this.#schedule.stop()
      this.#closing = this.#worker.awaited(this.#shutDown())
    }
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown()
  }

  /** Runs work in its turn; it ends also where the storage does not answer any more, by its signal or by `shutdown`. */
  async #inTurn<T>(work: () => Promise<T>, signal: AbortSignal | undefined, operation: string): Promise<T> {
    const unlessGivenUp = () => {
      // Its caller was told so; the storage may have another owner by now.
      if (this.#givenUp) throw new StateError('CLOSED', { component: COMPONENT })
      return work()
    }
    return await this.#calls.run(() => this.#queue.run(unlessGivenUp, signal, operation), signal, operation)
  }

  async #shutDown(): Promise<void> {
    const closed = this.#queue.run(() => this.#close(), undefined, 'shutdown')
    if (await this.#watch.isHeardUntil(closed)) return await closed
    closed.catch(() => {})
    const { name } = this.#settings.storage
    const reason = `${name} and the worker gave no sign of life for ${this.#watch.maxSilenceMs} ms`
    const error = new StateError('CHECKPOINT_FAILED', { checkpointId: undefined, reason })
    this.#givenUp = true
    this.#calls.giveUp(error)
    this.#mirror?.giveUp()
    await this.#watch.isHeardUntil(Promise.allSettled([this.#ownership.release(), this.#ownWorker?.close()]))
    throw error
  }

  async #close(): Promise<void> {
    // A `start` that was waiting when shutdown was called has set it going again.
    this.#schedule.stop()
    const failures: { readonly error: unknown }[] = []
    const attempt = async (step: () => Promise<void> | undefined) => {
      try {
        await step()
      } catch (error) {
        failures.push({ error })
      }
    }
    // Each of them, whatever becomes of those before it: what is not let go of keeps the next owner out.
    await attempt(() => this.#maker.abortMerge())
    if (!this.#givenUp) await attempt(() => this.#finalCheckpoint())
    await attempt(() => this.#maker.close())
    await attempt(() => this.#waitBeforeRelease())
    await attempt(() => this.#ownership.release())
    await attempt(() => this.#drainMirror())
    await attempt(() => this.#ownWorker?.close())
    const [first] = failures
    if (first !== undefined) throw first.error
  }

  /** The next owner of the coordinator's own storage is in already. How long it takes is bounded by itself. */
  async #drainMirror(): Promise<void> {
    await this.#mirror?.close().finally(this.#watch.hold())
  }

  /** How long it takes is the caller's affair: that the storage and the worker are silent meanwhile says nothing. */
  async #waitBeforeRelease(): Promise<void> {
    const release = this.#watch.hold()
    try {
      await this.#settings.beforeRelease?.()
    } catch (error) {
      this.#reports.waitBeforeReleaseFailed(error)
    } finally {
      release()
    }
  }

  async #finalCheckpoint(): Promise<void> {
    if (this.#ownership.refused) {
      this.#reports.noFinalCheckpoint('the storage belongs to another coordinator')
    } else if (this.#restoreFailed) {
      this.#reports.noFinalCheckpoint('the last restore failed')
    } else if (await this.#wouldHideSavedState()) {
      this.#reports.noFinalCheckpoint(
        'the backend is empty, and the checkpoint in the storage was not restored',
      )
    } else {
      await this.#checkpoint(undefined)
    }
  }

  async #wouldHideSavedState(): Promise<boolean> {
    if (this.#reports.created > 0 || this.#restoredAll) return false
    try {
      const owner = await this.#ownership.acquire()
      if (!owner.everPublished) return false
      const release = this.#watch.hold()
      return await this.#backend
        .count()
        .then((entries) => entries === 0)
        .finally(release)
    } catch {
      // The attempt at the checkpoint meets the same failure and reports it.
      return false
    }
  }

  /** One checkpoint in the coordinator's own storage. Runs in its turn of the queue. */
  async #checkpoint(signal: AbortSignal | undefined): Promise<CheckpointMetadata> {
    const { clock } = this.#settings
    const startedAtMs = clock.now()
    let sequence: number | undefined
    this.#reports.running = true
    try {
      // No await before the snapshot where the storage is owned already: the state is then that of the call.
      const owner = this.#ownership.held ?? (await this.#ownership.acquire())
      const onReserved = (reserved: number) => {
        sequence = reserved
        this.#reports.emit('started', { id: checkpointId(reserved) })
      }
      const make = () => this.#maker.make({ owner, savepoint: false, signal, onReserved })
      const { stored, writtenBytes, cutMs } = await this.#ownership.guard(owner, make)
      const checkpoint = metadataOf(stored)
      this.#restoreFailed = false
      const endedAtMs = clock.now()
      const durationMs = Math.max(0, endedAtMs - startedAtMs)
      this.#reports.completed(checkpoint, { durationMs, atMs: endedAtMs, writtenBytes, cutMs })
      this.#mirror?.note(checkpoint.sequence)
      if (this.#closing === undefined) this.#maker.mergeIfDue(owner)
      await this.#retain(owner)
      return checkpoint
    } catch (error) {
      this.#ownership.held?.distrustContents()
      const failure = asCheckpointFailure(error, sequence)
      const id = sequence === undefined ? undefined : checkpointId(sequence)
      this.#reports.failed(id, failure, Math.max(0, clock.now() - startedAtMs))
      throw failure
    } finally {
      this.#reports.running = false
      this.#lastEndedAtMs = clock.now()
    }
  }

  async #savepoint(storage: CheckpointStorage, signal: AbortSignal | undefined): Promise<CheckpointMetadata> {
    let sequence: number | undefined
    const onReserved = (reserved: number) => {
      sequence = reserved
    }
    const make = async (owner: LeasedStorage) =>
      metadataOf((await this.#maker.make({ owner, savepoint: true, signal, onReserved })).stored)
    try {
      if (storage === this.#givenStorage) {
        const owner = await this.#ownership.acquire()
        return await this.#ownership.guard(owner, () => make(owner))
      }
      return await asTemporaryOwner(notedStorage(storage, this.#watch.note), this.#settings.logger, make)
    } catch (error) {
      this.#ownership.held?.distrustContents()
      throw asCheckpointFailure(error, sequence)
    }
  }

  /** Retention never fails the checkpoint that it follows. */
  async #retain(owner: LeasedStorage): Promise<void> {
    try {
      await this.#ownership.guard(owner, () => this.#retention.run(owner, this.#knownDamaged, this.#maker))
    } catch (error) {
      this.#reports.retentionFailed(error)
    }
  }

  async #restore(
    options: RestoreOptions | undefined,
    restore: (request: RestoreRequest) => Promise<RestoredCheckpoint | undefined>,
  ): Promise<CheckpointMetadata | undefined> {
    const stretch = stretchIn(options?.range)
    const run = async () => {
      const { clock } = this.#settings
      const startedAtMs = clock.now()
      try {
        const request = this.#restoreRequest(options, stretch)
        const owner = this.#ownership.held
        const restored = await (owner === undefined
          ? restore(request)
          : this.#ownership.guard(owner, () => restore(request)))
        this.#restoreFailed = false
        if (restored === undefined) return undefined
        if (request.stretch === undefined) this.#restoredAll = true
        if (request.stretch === undefined && request.pausedUntilMs === undefined) {
          await this.#maker.restored(restored.stored, restored.base)
        } else {
          // What the backend holds now is the state of no checkpoint.
          this.#maker.breakOff()
        }
        const checkpoint = metadataOf(restored.stored)
        this.#reports.restored(checkpoint, Math.max(0, clock.now() - startedAtMs))
        return checkpoint
      } catch (error) {
        this.#restoreFailed = true
        this.#reports.restoreFailed(error, Math.max(0, clock.now() - startedAtMs))
        throw error
      }
    }
    return await this.#inTurn(run, options?.signal, 'restore')
  }

  #restoreRequest(options: RestoreOptions | undefined, stretch: KeyStretch | undefined): RestoreRequest {
    const { clock } = this.#settings
    return {
      stretch,
      pausedUntilMs: options?.downtime === 'pauses' ? clock.now() : undefined,
      backend: this.#backend,
      storage: this.#settings.storage,
      worker: this.#worker,
      trackChanges: this.#settings.incremental,
      onRead: () => this.#watch.hold(),
      signal: options?.signal,
      onBegin: options?.onBegin,
      onProgress: options?.onProgress,
      onSkipped: (skipped, sequence) => this.#noteSkipped(skipped, sequence),
      onSequenceUnknown: (error) => this.#reports.sequenceUnknown(error),
    }
  }

  #noteSkipped(skipped: SkippedCheckpoint, sequence: number): void {
    if (skipped.code === 'CORRUPTION') this.#noteDamaged(sequence)
    this.#reports.skipped(skipped)
  }

  async #runPeriodic(): Promise<ScheduledRun> {
    const { clock, minPauseMs } = this.#settings
    const run = async (): Promise<ScheduledRun> => {
      if (this.#closing !== undefined || this.#ownership.lost) return undefined
      const waitMs = this.#lastEndedAtMs + minPauseMs - clock.now()
      if (waitMs > 0) return { waitMs }
      await this.#checkpoint(undefined)
      return undefined
    }
    try {
      return await this.#queue.run(run, undefined, 'checkpoint')
    } catch {
      // Reported by `#checkpoint`.
      return undefined
    }
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) throw new StateError('CLOSED', { component: COMPONENT })
  }
}

/** The stretch of keys that a range stands for, as it is now; `undefined` where that is everything. */
function stretchIn(range: KeyRange | undefined): KeyStretch | undefined {
  const { from, until } = keyInterval(range)
  return from.length === 0 && until === undefined ? undefined : { from, until }
}
