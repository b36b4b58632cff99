// A job: events of a source change typed state and make outputs, and nobody can tell from these that the process was killed.
//
// (1) Between two slices of events the mutex may be taken, and a cut be made (J1).
// (2) Positions, time and outputs of a slice belong to the cut after it, never to the one before.
// (3) What fails ends the job, and no cut is made after it (J8).

import { isPaced } from '../backend/state-backend.js'
import { ForwardClock, systemClock } from '../base/clock.js'
import { diagnostics } from '../base/diagnostics.js'
import { StateError } from '../base/errors.js'
import { Mutex } from '../base/mutex.js'
import { rejectViolations, rules, violationsOf } from '../base/options.js'
import { nextTurn, runSliced } from '../base/slices.js'
import { isolatedLogger, type Logger } from '../checkpoint/types.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { boundStatesOf, type StateStore } from '../state/store.js'
import type { SourceTime } from '../window/time/source-time.js'
import type { WindowResult } from '../window/windowed.js'
import type { JobCut } from './cut.js'
import type { CutSubject, Cuts } from './cuts.js'
import { EventProcessor } from './event-processor.js'
import type { FetchedBackend } from './fetched-backend.js'
import { Firing } from './firing.js'
import { failureOf } from './job-failure.js'
import type { JobOptions, KeyOf } from './job-options.js'
import { JobStages } from './job-stages.js'
import { type JobParts, letGoOf } from './open-job.js'
import type { Outputs } from './outputs.js'
import { preload } from './preload.js'
import { noteRead } from './recorded-cut.js'
import type { JobCheckpoints, JobHealth, JobStats, RunningPipedJob, StopOptions } from './running-job.js'
import type { EpochId } from './sink/sink.js'
import type { OutputsForCut } from './sink/stored-outputs.js'
import type { PolledEvents, Positions, SourceReader } from './source/source.js'
import { type AnyStage, type StageSchemas } from './stage-definition.js'
import type { StoredCuts } from './stored-cuts.js'
import { DEFAULT_STOP_TIMEOUT_MS, Waiting } from './waiting.js'

const DEFAULT_MAX_POLL_EVENTS = 1_000
const DEFAULT_STALL_AFTER_MS = 30_000
/** One may fail for a reason that passes. */
const FAILED_CUTS_TOLERATED = 1
const POLL_WAIT_MS = 1_000
const NONE: readonly string[] = []

/** A job that runs from the moment it is made. */
export class Job<Event, Schema extends StateSchema, Output>
  implements RunningPipedJob<Schema, StageSchemas>, CutSubject
{
  readonly mutex: Mutex = new Mutex()
  readonly store: StateStore<Schema>
  readonly #store: StateStore<Schema>
  readonly #fetched: FetchedBackend | undefined
  readonly stages: { readonly [stage: string]: StateStore<StateSchema> }
  readonly finished: Promise<JobStats>
  readonly checkpoints: JobCheckpoints | undefined
  readonly #options: JobOptions<Event, Schema, Output>
  readonly #cuts: Cuts
  /** Where the engine keeps its state itself. */
  readonly #stored: StoredCuts<Output> | undefined
  readonly #time: SourceTime | undefined
  readonly #reader: SourceReader<Event>
  readonly #outputs: Outputs<Output> | undefined
  readonly #forCut: OutputsForCut | undefined
  readonly #epoch: EpochId
  readonly #processor: EventProcessor<Event, Schema, Output>
  readonly #firing: Firing
  readonly #stages: JobStages
  readonly #clock: ForwardClock
  readonly #waiting: Waiting
  readonly #wake = new AbortController()
  #state: JobHealth['state'] = 'running'
  #error: StateError | undefined
  #drains = false
  #isAbandoned = false
  #failedCuts: JobHealth['failedCuts']
  #reads = false
  /** Nothing more is processed: what comes now is the last cut. */
  #hasReadAll = false
  #cutCount = 0
  /** Outputs that are on their way beside events. */
  #delivering: Promise<void> | undefined
  /** Partitions that are read here, and those that were and are not any more (J10). */
  readonly #owned = new Set<string>()
  readonly #lost = new Set<string>()
  #lastCutMs: number
  readonly #logger: Logger

  constructor(parts: JobParts<Event, Schema, Output>) {
    this.#options = parts.options
    this.#cuts = parts.cuts
    this.checkpoints = checkpointsOf(parts.cuts)
    this.#stored = parts.stored
    this.store = parts.shown
    this.#store = parts.store
    this.#fetched = parts.fetched
    this.#time = parts.time
    this.#reader = parts.reader
    this.#outputs = parts.outputs
    this.#forCut = parts.forCut
    this.#epoch = parts.epoch
    const {
      stallAfterMs = DEFAULT_STALL_AFTER_MS,
      stopTimeoutMs = DEFAULT_STOP_TIMEOUT_MS,
      clock = systemClock,
    } = parts.options
    const { options, store, stored, time } = parts
    const { key, states } = boundStatesOf<Schema, 'sync'>(store)
    const forwardClock = new ForwardClock(clock)
    this.#clock = forwardClock
    this.#lastCutMs = forwardClock.now()
    // A store may be behind the clock that windows have fired by.
    if (parts.cut?.clockMs !== undefined) forwardClock.advanceTo(parts.cut.clockMs)
    const positions = parts.cut?.positions ?? {}
    const stages = new JobStages({
      job: options.name,
      store: store as object,
      key,
      hasTimers: options.onTimer !== undefined,
      windows: options.windows,
      later: (options.stages ?? []) as readonly AnyStage[],
      hasEventTime: options.time !== undefined,
      shown: parts.fetched === undefined ? undefined : (parts.shown as object),
      clock,
      forwardClock,
      emit: (output, timestampMs) => this.#processor.emit(output as Output, timestampMs),
      emitResult: (output) => this.#processor.emitResult(output as Output),
      onDue: () => this.#firing.onDue(),
    })
    this.#stages = stages
    this.stages = stages.shown()
    const shared = {
      key,
      states,
      timers: stages.firstTimers,
      windows: stages.firstWindows,
      clock: forwardClock,
      fetched: parts.fetched,
      later: stages.later,
      next: stages.later[0],
    }
    this.#processor = new EventProcessor({ options, store, stored, time, positions, ...shared })
    this.#firing = new Firing({
      stages: stages.firing,
      processor: this.#processor,
      fetched: parts.fetched,
      time,
      store,
      clock,
      forwardClock,
      mutex: this.mutex,
      clockMs: parts.cut?.clockMs,
      deliver: () => this.#deliver(),
      end: (error) => this.#end(error),
      isOver: () => this.#hasReadAll || this.#wake.signal.aborted,
    })
    this.#logger = isolatedLogger(parts.options.logger)
    this.#waiting = new Waiting({
      clock,
      logger: this.#logger,
      stallAfterMs,
      stopTimeoutMs,
      job: parts.options.name,
    })
    parts.fetched?.waitBy((call, begin) => this.waitFor(call, begin))
    this.finished = this.#run()
    // Whoever never asks for it hears of it by `health()` and the log.
    this.finished.catch(() => {})
  }

  peek(windows: string, key: KeyOf<Schema>): readonly WindowResult<KeyOf<Schema>, unknown>[] {
    return this.#stages.peek(windows, key)
  }

  stats(): JobStats {
    const watermarkMs = this.#time?.watermarkMs ?? -Infinity
    const { firedTimers, ...stages } = this.#stages.stats(watermarkMs)
    // In the order that they are shown in: docs/job.md prints the first ones.
    return {
      events: this.#processor.events,
      badEvents: this.#processor.badEvents,
      firedTimers: this.#processor.firedTimers + firedTimers,
      outputs: this.#outputs?.total ?? 0,
      ...stages,
      watermarkMs,
      behindMs: this.#behindMs(),
      cuts: this.#cutCount,
      sinceCutMs: this.#clock.now() - this.#lastCutMs,
      positions: Object.fromEntries(this.#processor.positions),
      partitions: this.#time?.progress() ?? {},
    }
  }

  #behindMs(): number {
    const highestMs = this.#time?.highestMs ?? -Infinity
    return highestMs === -Infinity ? Number.NaN : this.#clock.now() - highestMs
  }

  health(): JobHealth {
    const stalled = this.#waiting.stalled()
    const failedCuts = this.#failedCuts
    const makesCuts = (failedCuts?.count ?? 0) <= FAILED_CUTS_TOLERATED
    const isHealthy = this.#state !== 'failed' && stalled === undefined && makesCuts
    const isReady = this.#state === 'running' && this.#reads
    return { state: this.#state, isReady, isHealthy, stalled, failedCuts, error: this.#error }
  }

  stop(options: StopOptions = {}): Promise<JobStats> {
    rejectViolations(violationsOf(options, { drain: rules.boolean, timeoutMs: rules.nonNegativeMs }, 'stop'))
    if (this.#state === 'running') {
      this.#state = 'stopping'
      this.#drains = options.drain ?? false
      this.#wake.abort()
    }
    if (this.#state === 'stopping') this.#waiting.hurry(options.timeoutMs)
    return this.finished
  }

  async abandon(): Promise<void> {
    if (this.#state === 'running' || this.#state === 'stopping') {
      this.#isAbandoned = true
      this.onFailure(new StateError('ABORTED', { operation: `job '${this.#options.name}'` }))
    }
    await this.finished.catch(() => {})
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  capture(): JobCut {
    return {
      name: this.#options.name,
      epoch: this.#outputs?.epoch ?? this.#epoch,
      positions: Object.fromEntries(this.#processor.positions),
      time: this.#time?.save(),
      clockMs: this.#firing.clockMs,
      prepared: this.#outputs?.prepared ?? [],
      outbox: this.#stored?.outbox ?? { first: 0, next: 0 },
    }
  }

  async record({ outputsFirst = false }: { readonly outputsFirst?: boolean } = {}): Promise<void> {
    this.#throwIfFailed()
    if (this.#stages.windows.length > 0 && this.#stored !== undefined) {
      // What windows begin with where the job goes on from this record: at the end of the source that is not where they are now.
      const savedMs = this.#time?.save().watermarkMs ?? -Infinity
      await this.#processor.recordWindows(this.#stages.windows, outputsFirst ? savedMs : -Infinity)
    }
    await this.#fetched?.commit()
  }

  async prepare(): Promise<void> {
    this.#throwIfFailed()
    try {
      // Outputs are one epoch behind at most: a job that is faster than its sink waits for it here.
      await this.#delivering
      // An engine that keeps its state itself has them already, with the record of the job.
      if (this.#stored === undefined) {
        for (const windows of this.#stages.windows) await runSliced(windows.flush())
      }
      const positions = Object.fromEntries(this.#processor.positions)
      await this.#waiting.for('the source to prepare a cut', async () => this.#reader.prepareCut?.(positions))
      await this.#waiting.for('the sink to prepare outputs', async () => this.#outputs?.prepare())
      this.#forCut?.prepare()
      // Where the engine keeps its state itself, it is written with the record that names what was prepared.
      if (this.#stored === undefined) await this.#fetched?.commit()
    } catch (error) {
      // There will be no other cut.
      if (this.#state === 'stopping') this.onFailure(error)
      throw error
    }
  }

  onCutFailed(error: Error): void {
    this.#failedCuts = { count: (this.#failedCuts?.count ?? 0) + 1, error }
    const heard = diagnostics['holdfast:job.cutFailed']
    if (heard.hasSubscribers) heard.publish({ job: this.#options.name, error })
  }

  waitFor<Result>(call: string, begin: () => Promise<Result>): Promise<Result> {
    return this.#waiting.for(call, begin)
  }

  async deliver(outputs: readonly unknown[]): Promise<void> {
    await this.#waiting.for('the sink to take outputs', async () =>
      this.#outputs?.write(outputs as readonly Output[]),
    )
  }

  noteCut(): void {
    this.#cutCount++
    const heard = diagnostics['holdfast:job.cut']
    if (heard.hasSubscribers) {
      const sinceCutMs = this.#clock.now() - this.#lastCutMs
      heard.publish({ job: this.#options.name, cuts: this.#cutCount, sinceCutMs })
    }
    this.#lastCutMs = this.#clock.now()
  }

  async onSafe({ prepared, positions }: JobCut): Promise<void> {
    this.#failedCuts = undefined
    // An engine that keeps its state itself, or that is asked by promises, is written to in steps of its own.
    const outputs = this.#outputs
    if (outputs?.delivers === true && this.#stored === undefined && this.#fetched === undefined) {
      this.#delivering = this.#waiting.for('the sink to deliver outputs', () => outputs.deliver(prepared))
      await this.#delivering
    }
    // Given up within the mutex, so that it is let go of.
    await this.mutex.run(async () => {
      await this.#waiting.for('the sink to commit outputs', async () => this.#outputs?.commit(prepared))
      // What was acknowledged goes from an asynchronous engine now: it may be the last cut.
      await this.#fetched?.commit()
    })
    await this.tellSource(positions)
  }

  async tellSource(positions: Positions): Promise<void> {
    if (this.#isAbandoned) return
    // What was taken away since the cut was made is not ours to acknowledge (J10).
    const owned = Object.entries(positions).filter(([partition]) => !this.#lost.has(partition))
    await this.#waiting.for('the source to take note of a cut', async () =>
      this.#reader.checkpointCompleted?.(Object.fromEntries(owned)),
    )
  }

  onFailure(error: unknown): void {
    this.#error ??= failureOf(this.#options.name, error)
    this.#wake.abort()
    this.#waiting.hurry()
  }

  async #run(): Promise<JobStats> {
    const beganAtMs = performance.now()
    try {
      await preload('all', this.#options, this.#store, this.#fetched)
      for (const timers of this.#stages.timers) await timers.load()
      const watermarkMs = this.#time?.watermarkMs ?? -Infinity
      const { clockMs } = this.#firing
      for (const windows of this.#stages.windows) await runSliced(windows.restore(watermarkMs, clockMs))
      // Each step of the begin runs code for the first time, and most of them wait for nothing: together they would hold the event loop.
      await nextTurn()
      // As far as all stages have come: the watermark may have been on its way through them.
      for (const stage of this.#stages.later) stage.onWatermark(storeOf(this.#store).watermark)
      this.#fetched?.forgetRanges()
      // It may make a checkpoint, which takes as long as there is much: only where the job is to end that is too long.
      await this.#waiting.for('the checkpoints to begin', () => this.#cuts.begin(this), Infinity)
      await nextTurn()
      await this.#firing.fireOverdue()
      this.#reads = true
      if (diagnostics['holdfast:job.ready'].hasSubscribers)
        diagnostics['holdfast:job.ready'].publish({
          job: this.#options.name,
          durationMs: performance.now() - beganAtMs,
        })
      await this.#readAll()
      this.#firing.stop()
      this.#throwIfFailed()
      await this.#cuts.finish()
      await this.#close()
      this.#throwIfFailed()
      this.#state = 'stopped'
      return this.stats()
    } catch (error) {
      const failure = this.#error ?? failureOf(this.#options.name, error)
      this.#error = failure
      this.#state = 'failed'
      this.#firing.stop()
      if (!this.#isAbandoned)
        this.#logger.error({ job: this.#options.name, reason: failure.message }, 'job failed')
      this.#waiting.hurry()
      await this.#cuts.abandon(failure)
      await this.#close().catch(() => {})
      throw failure
    } finally {
      letGoOf(this.#options.backend)
      const heard = diagnostics['holdfast:job.ended']
      if (heard.hasSubscribers) heard.publish({ job: this.#options.name, error: this.#error })
    }
  }

  async #readAll(): Promise<void> {
    const { maxPollEvents = DEFAULT_MAX_POLL_EVENTS } = this.#options
    const { signal } = this.#wake
    const ended = new Set<string>()
    while (!signal.aborted) {
      const paused = this.#paused()
      const request = { maxEvents: maxPollEvents, waitMs: POLL_WAIT_MS, paused, signal }
      const polled = await this.#waiting.for('the source', () => this.#reader.poll(request), POLL_WAIT_MS)
      const lost = this.#noteOwned()
      if (lost.length > 0) await this.#letGoOf(lost, ended)
      for (const each of polled) {
        const room = isPaced(this.#options.backend) ? this.#options.backend.room() : undefined
        // A write would wait as well, and hold the event loop meanwhile.
        if (room !== undefined) await this.#waiting.for('the disk', () => room)
        if (signal.aborted) break
        if (this.#lost.has(each.partition)) continue
        await this.mutex.run(() => this.#processAll(each).catch((error) => this.#end(error)))
        if (each.hasEnded === true) ended.add(each.partition)
      }
      const partitions = this.#reader.partitions()
      if (partitions.length > 0 && partitions.every((partition) => ended.has(partition))) break
      // A source that answers at once, with or without events, leaves the event loop its turns.
      await nextTurn()
    }
    const isEnd = this.#drains || !signal.aborted
    const advance = async () => {
      if (isEnd) await this.#firing.fireDue()
      if (this.#drains)
        for (const partition of this.#reader.partitions()) this.#time?.partition(partition).onEnd()
      await this.#advance()
      if (isEnd && this.#time === undefined) await this.#firing.endWithoutTime()
    }
    await this.mutex.run(() => advance().catch((error) => this.#end(error)))
    this.#hasReadAll = true
  }

  /** Takes note of the partitions that are read here; returns those that were and are not any more. */
  #noteOwned(): readonly string[] {
    const owned = new Set(this.#reader.partitions())
    for (const partition of owned) {
      this.#owned.add(partition)
      this.#lost.delete(partition)
    }
    if (this.#owned.size === owned.size) return NONE
    return [...this.#owned].filter((partition) => !owned.has(partition))
  }

  /** Partitions that were taken away count no more, and are in no cut of ours: whoever has them now goes on with them (J10). */
  async #letGoOf(lost: readonly string[], ended: Set<string>): Promise<void> {
    const forget = async () => {
      for (const partition of lost) {
        this.#owned.delete(partition)
        this.#lost.add(partition)
        ended.delete(partition)
        this.#processor.positions.delete(partition)
        this.#time?.forget(partition)
      }
      await this.#advance()
    }
    await this.mutex.run(() => forget().catch((error) => this.#end(error)))
  }

  /** The job has failed: known before the mutex is let go of, so that no cut is made of what is half done. */
  #end(error: unknown): never {
    this.onFailure(error)
    throw error
  }

  /** Partitions that run ahead of the others. */
  #paused(): ReadonlySet<string> {
    const paused = new Set<string>()
    const time = this.#time
    if (time === undefined) return paused
    // All of them count from the beginning, also those that have not given anything yet.
    for (const partition of this.#reader.partitions()) time.partition(partition)
    for (const partition of time.ahead()) {
      partition.onPause()
      paused.add(partition.id)
    }
    return paused
  }

  async #processAll(polled: PolledEvents<Event>): Promise<void> {
    const partition = this.#time?.partition(polled.partition)
    if (polled.events.length > 0) noteRead(this.#options.backend, this.#options.name)
    for (let from = 0; from < polled.events.length; ) {
      if (from > 0) await nextTurn()
      const fetched = this.#fetched
      from =
        fetched === undefined
          ? this.#processor.slice(polled, from, partition)
          : await this.#processor.sliceLater(polled, from, partition, fetched)
      await this.#deliver()
      if (fetched?.hasWrittenMuch === true) await fetched.commit()
    }
    if (polled.position !== undefined) this.#processor.positions.set(polled.partition, polled.position)
    if (polled.watermarkMs !== undefined) partition?.onWatermark(polled.watermarkMs)
    const hadNothing = polled.events.length === 0 && polled.position === undefined
    if (hadNothing && polled.hasEnded !== true) partition?.onEmptyPoll()
    await this.#advance()
    if (polled.hasEnded === true) {
      // Before the end of all time, behind which what they put out would be late.
      await this.#firing.fireDue()
      partition?.onEnd()
      await this.#advance()
    }
    for (const timers of this.#stages.timers) {
      if (timers.wantsLoad) await preload('timers', this.#options, this.#store, this.#fetched)
      await timers.tidy()
    }
    await this.#fetched?.commit()
    this.#firing.armWindows()
  }

  /** Gives outputs to the sink, which may take its time: nothing is read meanwhile. */
  async #deliver(): Promise<void> {
    // Where the engine keeps the state, outputs go with the record of the job.
    if (this.#stored !== undefined) return
    const emitted = this.#processor.takeEmitted()
    if (emitted.length === 0) return
    await this.deliver(emitted)
  }

  /** What follows from a watermark that is further than before. */
  async #advance(): Promise<void> {
    const time = this.#time
    if (time?.advance() === true) await this.#firing.passWatermark(time.watermarkMs)
  }

  async #close(): Promise<void> {
    const results = await Promise.allSettled([
      this.#waiting.for('the source to close', () => this.#reader.close()),
      this.#waiting.for('the sink to close', async () => this.#outputs?.close()),
    ])
    this.#waiting.end()
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  #throwIfFailed(): void {
    if (this.#error !== undefined) throw this.#error
  }
}

function checkpointsOf({ coordinator }: Cuts): JobCheckpoints | undefined {
  if (coordinator === undefined) return undefined
  return Object.freeze({
    stats: () => coordinator.stats(),
    on: ((event, listener) => coordinator.on(event, listener)) as JobCheckpoints['on'],
  })
}

const storeOf = (store: unknown) => store as { readonly watermark: number }
