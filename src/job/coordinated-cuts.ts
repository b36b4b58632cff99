import type { StateBackend } from '../backend/state-backend.js'
import { throwIfAborted } from '../base/abort.js'
import { pauseUnless } from '../base/clock.js'
import { isStateError, type StateError } from '../base/errors.js'
import { waitForOwner } from '../base/wait-for-owner.js'
import { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from '../checkpoint/coordinator/coordinator-options.js'
import type { CheckpointMetadata } from '../checkpoint/types.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { cutFromJson, cutToJson, type JobCut } from './cut.js'
import type { CutSubject, Cuts, RestoreCutOptions, RestoredCut } from './cuts.js'
import type { JobOptions } from './job-options.js'
import { cutBeforeCheckpoints, noteCheckpoints, noteRead, requireUnread } from './recorded-cut.js'

type StartOptions = Pick<JobOptions<never, StateSchema, never>, 'restoreFrom' | 'waitForOwnerMs'>

/** Cuts are checkpoints. */
export class CoordinatedCuts implements Cuts {
  readonly coordinator: CheckpointCoordinator
  readonly #backend: StateBackend
  readonly #jobName: string
  readonly #start: StartOptions
  /** Nothing was restored. */
  #isFirstRun = false
  #subject: CutSubject | undefined
  #failure: StateError | undefined
  /** What follows from cuts that are safe, one after the other. */
  #afterwards: Promise<void> = Promise.resolve()

  constructor(
    backend: StateBackend,
    jobName: string,
    options: Omit<CheckpointCoordinatorOptions, 'source' | 'hold' | 'beforeRelease'>,
    start: StartOptions,
  ) {
    this.#backend = backend
    this.#jobName = jobName
    this.#start = start
    this.coordinator = new CheckpointCoordinator(backend, {
      ...options,
      source: () => cutToJson(this.#requireSubject().capture()),
      hold: () => this.#hold(),
      // Who comes next puts out what the last cut names as well, and one of the two would fence the other in the middle.
      beforeRelease: () => this.#afterwards,
    })
  }

  async acquire(signal: AbortSignal | undefined): Promise<void> {
    const { waitForOwnerMs = 0 } = this.#start
    if (signal === undefined) {
      await this.coordinator.acquire({ waitForOwnerMs })
      return
    }
    const wait = async (ms: number) => {
      await pauseUnless(ms, signal)
      throwIfAborted(signal, 'wait for the owner')
    }
    await waitForOwner(() => this.coordinator.acquire(), waitForOwnerMs, wait)
  }

  checkOwner(): Promise<void> {
    return this.coordinator.checkOwnership()
  }

  async restore(_jobName: string, ahead?: RestoreCutOptions): Promise<RestoredCut> {
    const { coordinator } = this
    const { restoreFrom } = this.#start
    let skipped = 0
    const stop = coordinator.on('skipped', () => skipped++)
    const options = ahead === undefined ? {} : { signal: ahead.signal, onBegin: this.#tellTo(ahead) }
    try {
      const restored =
        restoreFrom === undefined
          ? await coordinator.restoreLatest(options)
          : await coordinator.restore(restoreFrom, options)
      this.#isFirstRun = restored === undefined
      if (restored === undefined) {
        // An engine that persists has what an earlier run has left.
        if (this.#backend.supports.durable)
          return { cut: await cutBeforeCheckpoints(this.#backend, this.#jobName), isNewest: true }
        await requireUnread(this.#backend, this.#jobName)
        return { cut: undefined, isNewest: true }
      }
      // Nobody else has published one since: this is the owner of the storage.
      const isNewest =
        skipped === 0 &&
        (restoreFrom === undefined || (await coordinator.listCheckpoints())[0]?.id === restored.id)
      const cut = cutFromJson(restored.source, this.#jobName)
      noteRead(this.#backend, this.#jobName)
      return { cut, isNewest }
    } finally {
      stop()
    }
  }

  async begin(subject: CutSubject): Promise<void> {
    this.#subject = subject
    this.coordinator.on('completed', ({ checkpoint }) => {
      const cut = cutFromJson(checkpoint.source, this.#jobName)
      subject.noteCut()
      this.#afterwards = this.#afterwards
        .then(() => subject.onSafe(cut))
        .catch((error) => subject.onFailure(error))
    })
    // Another process goes on with the job: whatever this one still put out would be there twice.
    this.coordinator.on('failed', ({ error }) => {
      if (isStateError(error, 'FENCED')) subject.onFailure(error)
      else subject.onCutFailed(error)
    })
    await this.coordinator.start()
    // An engine that persists keeps what is written from now on: without a cut from before that, whoever starts after a crash would
    // read the same events again on top of it.
    if (!this.#backend.supports.durable) return
    if (this.#isFirstRun) await this.coordinator.createCheckpoint()
    await noteCheckpoints(this.#backend, this.#jobName)
  }

  async finish(): Promise<void> {
    await this.coordinator.shutdown()
    await this.#afterwards
  }

  async abandon(reason: StateError): Promise<void> {
    this.#failure = reason
    await this.coordinator.shutdown().catch(() => {})
    await this.#afterwards
  }

  /** What is no cut of this job is left to be told once it was restored. */
  #tellTo({ onCut }: RestoreCutOptions): (checkpoint: CheckpointMetadata) => void {
    return ({ source }) => {
      let cut: JobCut
      try {
        cut = cutFromJson(source, this.#jobName)
      } catch {
        return
      }
      onCut(cut)
    }
  }

  async #hold(): Promise<() => void> {
    const subject = this.#requireSubject()
    const unlock = await subject.mutex.lock()
    try {
      if (this.#failure !== undefined) throw this.#failure
      await subject.prepare()
      return unlock
    } catch (error) {
      unlock()
      throw error
    }
  }

  #requireSubject(): CutSubject {
    if (this.#subject === undefined) throw this.#failure ?? new Error('the job has not begun')
    return this.#subject
  }
}
