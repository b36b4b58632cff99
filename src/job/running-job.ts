// What a job that was started shows of itself.

import type { StateError } from '../base/errors.js'
import type { CheckpointCoordinator } from '../checkpoint/coordinator/checkpoint-coordinator.js'
import type { Mode } from '../state/kinds/outcome.js'
import type { StateStore } from '../state/store.js'
import type { PartitionProgress } from '../window/time/source-time.js'
import type { WindowResult } from '../window/windowed.js'
import type { KeyOf } from './job-options.js'
import type { Position } from './source/source.js'

/** What a job has done since it was started, and how it stands now. */
export interface JobStats {
  /** Events that were processed, in this process. */
  readonly events: number
  /** Bad events that were not processed (J7). */
  readonly badEvents: number
  /** Timers that have fired. */
  readonly firedTimers: number
  /** Outputs that were given to the sink. */
  readonly outputs: number
  /** Events that entered no window because they came too late (W8). */
  readonly lateEvents: number
  /** Windows that events have missed, which may have entered others (W9). */
  readonly missedWindows: number
  /** `-Infinity` before the first one, and without event time. */
  readonly watermarkMs: number
  /**
   * How far the newest event, by its timestamp, is behind the clock: a job that reads faster than events come is as far behind as they take
   * to arrive. `NaN` before the first event, and without event time.
   */
  readonly behindMs: number
  /** Timers that are set and have not fired, of all stages. */
  readonly waitingTimers: number
  /** Those of the first stage, by the time that they wait for. */
  readonly timers: JobTimerStats
  /** Windows that are open, of all stages: the sum of `windows`. */
  readonly openWindows: number
  /** Windows by the names that `peek` takes: those of later stages as `stage.name`. */
  readonly windows: { readonly [name: string]: WindowStats }
  /** Cuts that were safe, in this process: checkpoints, or flushes of an engine that keeps its state itself. */
  readonly cuts: number
  /** How long ago the last one was, or the beginning. */
  readonly sinceCutMs: number
  /** Where each partition goes on: behind the last event that was processed. */
  readonly positions: { readonly [partition: string]: Position }
  /** How far each partition is in the time of its events; empty without event time. */
  readonly partitions: { readonly [partition: string]: PartitionProgress }
  /** Of the stages behind the first one, by their names. What is told of late events above is of all stages. */
  readonly stages: { readonly [stage: string]: StageStats }
}

/** The figures of one stage behind the first. */
export interface StageStats {
  /** Outputs of the stage before that it has processed, in this process. */
  readonly events: number
  /** Those that it could not (J7). */
  readonly badEvents: number
  readonly timers: JobTimerStats
}

/** Timers of a stage: those of event time wait for its watermark, those of processing time for the clock. */
export interface JobTimerStats {
  readonly event: TimerStats
  readonly processing: TimerStats
}

/** Timers that wait for one kind of time. */
export interface TimerStats {
  /** Timers that are set and have not fired. Found in the state when a job begins. */
  readonly waiting: number
  /**
   * Those whose time has come and that have not fired yet: they fire one after the other. One of event time that was set in the past is among
   * them until the watermark goes on, one that was deleted until its turn comes. Of more than 65,536 it may be fewer than there are.
   */
  readonly due: number
  /** Nothing is due before this time; one that was set for it may have been deleted since. `Infinity` where none is set. */
  readonly nextMs: number
}

/** The open windows of one definition. */
export interface WindowStats {
  /**
   * How many are open: each key's windows counted by themselves, from the first event in a window until nothing of it is kept, which is at
   * its end or when its allowed lateness is over (of sliding windows, `sizeMs` behind their end). Windows by time that overlap and each fire
   * once are kept as panes that they share: of these, the panes of each key are counted. Found in the state when a job begins.
   */
  readonly open: number
  /**
   * Nothing of them fires at the end of a window, or is let go of, before the watermark (of windows of processing time: the clock) is here.
   * A session may have gone on since, and end later. `Infinity` where nothing waits for that time.
   */
  readonly nextMs: number
}

/** How a job is: what probes and alerts ask. */
export interface JobHealth {
  readonly state: 'running' | 'stopping' | 'stopped' | 'failed'
  /** It reads events: its state was restored, and what was overdue is done. */
  readonly isReady: boolean
  /** It runs, waits for nobody for longer than `stallAfterMs`, and no two cuts (checkpoints) have failed since the last one that did not. */
  readonly isHealthy: boolean
  /** A call of the source, the sink or an engine that is waited for that takes longer than `stallAfterMs`, and for how long it has. */
  readonly stalled: { readonly call: string; readonly forMs: number } | undefined
  /** Cuts that have failed since the last one that did not, and the newest reason: while they fail, a crash undoes more and more. */
  readonly failedCuts: { readonly count: number; readonly error: Error } | undefined
  /** Why it failed. */
  readonly error: StateError | undefined
}

/** How a job is stopped. */
export interface StopOptions {
  /** Treat what was read as all that comes: the watermark goes to +Infinity first (T8). Default false: the job can be resumed. */
  readonly drain?: boolean
  /**
   * How long calls of the source, the sink and the engine are waited for at most, all of them together, in milliseconds. Default: each for
   * `stopTimeoutMs` of the job. Where one does not end in time the job ends with `JOB_FAILED`, which names it.
   */
  readonly timeoutMs?: number
}

/** What the coordinator of a job's checkpoints tells; the checkpoints themselves are the job's to make. */
export type JobCheckpoints = Pick<CheckpointCoordinator, 'stats' | 'on'>

/** A job that was started. */
export interface RunningJob<Schema, M extends Mode = 'sync'> extends AsyncDisposable {
  /** The states of the job, to be read beside it: over an asynchronous engine by promises, as of the last events that were read at once. */
  readonly store: StateStore<Schema, M>
  /**
   * Resolves once the job has ended, by the end of its source or by `stop`. Rejects with what made it fail: an error with a code as it is, such as
   * the `STORAGE_ERROR` of a sink's full disk or `FENCED`, and anything else as the `cause` of `JOB_FAILED`.
   */
  readonly finished: Promise<JobStats>
  /** The checkpoints that the job makes: how they are doing. `undefined` where the engine keeps the state itself. */
  readonly checkpoints: JobCheckpoints | undefined
  stats(): JobStats
  health(): JobHealth
  /** What the open windows of a key have at the moment, as early results (W18). Nothing is changed by it. */
  peek(windows: string, key: KeyOf<Schema>): readonly WindowResult<KeyOf<Schema>, unknown>[]
  /**
   * Finishes the events at hand, makes the last cut, commits, closes (J9). The same promise as `finished`. Another call may hurry it
   * (`timeoutMs`).
   */
  stop(options?: StopOptions): Promise<JobStats>
  /**
   * Ends without another cut, as a crash would, but in order: nothing more is put out or acknowledged, and everything is closed. For a job
   * whose events are somebody else's already. `finished` rejects with `ABORTED`, unless it had settled before. Never rejects.
   */
  abandon(): Promise<void>
}

/** A job of several stages that was started. */
export interface RunningPipedJob<Schema, Stages, M extends Mode = 'sync'> extends RunningJob<Schema, M> {
  /** The states of the stages behind the first one, by the names of these. */
  readonly stages: { readonly [Name in keyof Stages]: StateStore<Stages[Name], M> }
}
