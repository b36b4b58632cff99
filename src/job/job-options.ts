import type { StateBackend, SyncStateBackend } from '../backend/state-backend.js'
import type { Clock } from '../base/clock.js'
import type { CheckpointCoordinatorOptions } from '../checkpoint/coordinator/coordinator-options.js'
import type { Logger } from '../checkpoint/types.js'
import type { StateSchema } from '../state/schema/define-state.js'
import type { BoundStates, OpenOptions, StateStore } from '../state/store.js'
import type { SourceTimeOptions } from '../window/time/source-time.js'
import type { WindowDefinition } from '../window/windowed.js'
import type { Sink } from './sink/sink.js'
import type { Position, Source } from './source/source.js'

/** Timers of the key at hand that wait for one kind of time. A timer is named by its time and its name. */
export interface KeyTimers {
  /**
   * `onTimer` will be called when the time has come: at the next advance of the watermark, resp. in the next turn, where it has come
   * already (R3). Setting a timer that is set changes nothing (R1). The time is a whole number of milliseconds since the epoch, the
   * name has 256 characters at most; default `''`.
   */
  set(timestampMs: number, name?: string): void
  /** Deleting a timer that is not set changes nothing (R1). */
  delete(timestampMs: number, name?: string): void
}

/** A timer that fires. */
export interface Timer {
  /** Whether it has waited for the watermark, or for the clock of the machine. */
  readonly time: 'event' | 'processing'
  readonly timestampMs: number
  readonly name: string
}

/** What `process` is given beside the event: it is the same object for every event. */
export interface ProcessContext<Key, Schema, Output> {
  /** The states of the key at hand: `state.totals.add(request)` is `store.totals.add(key, request)`, with the key encoded once. */
  readonly state: BoundStates<Schema>
  /** The states of all keys. */
  readonly store: StateStore<Schema>
  readonly key: Key
  /** The event's timestamp; without `timestamp` in the options, the time of processing. In `onTimer`, that of the timer. */
  readonly timestampMs: number
  /** No event with a timestamp up to this is expected any more; `-Infinity` without event time. */
  readonly watermarkMs: number
  /** Of the event; `''` in `onTimer`. */
  readonly partition: string
  /** Timers of the key: `onTimer` is called when their time has come. Without `onTimer` they throw. */
  readonly timers: { readonly event: KeyTimers; readonly processing: KeyTimers }
  /** The time of the machine, or of the test; it never goes back (T13). For timers of processing time. */
  now(): number
  /** Gives an output to the sink. */
  emit(output: Output): void
}

/** An event that cannot be processed (J7). */
export interface BadEvent<Event> {
  readonly reason: 'undecodable' | 'noKey' | 'badTimestamp' | 'badValue'
  readonly error: Error
  /** Nothing useful where it is undecodable. */
  readonly event: Event
  /** `''` where it is an output of another stage. */
  readonly partition: string
  /** Behind it; `null` where it is an output of another stage. */
  readonly position: Position
  /** The stage that cannot process it, where that is a later one. */
  readonly stage?: string
}

/** What a job reads, does, keeps and puts out, and on what it runs. Numbers such as J7 are rows of docs/semantics.md. */
export interface JobOptions<
  Event,
  Schema extends StateSchema,
  Output,
  Backend extends StateBackend = SyncStateBackend,
> {
  /** Names the job in its state, in messages and figures. */
  readonly name: string
  /** Where events come from. */
  readonly source: Source<Event>
  /**
   * The key of an event, as the schema's key codec takes it. One without a key (`undefined`) is a bad event. It may depend on the event alone:
   * it can be called for up to 32 events before the first of them is processed.
   */
  readonly key: (event: Event) => KeyOf<Schema> | undefined
  /** The event's time, in whole milliseconds since the epoch. Default: there is no event time. */
  readonly timestamp?: (event: Event) => number
  /** How the watermark follows from timestamps; required with `timestamp`. */
  readonly time?: SourceTimeOptions
  /**
   * What becomes of an event: this, or `windows`. It must be done when it returns. What it throws stops the job (J8).
   */
  readonly process?: (event: Event, context: ProcessContext<KeyOf<Schema>, Schema, Output>) => void
  /**
   * Called when the time of a timer has come: first by time, then by the bytes of the key, then by name (R2). The states, the timers and
   * `emit` are those of the timer's key. What it throws stops the job. With it the store has two states more (`withTimers`).
   */
  readonly onTimer?: (timer: Timer, context: ProcessContext<KeyOf<Schema>, Schema, Output>) => void
  /**
   * Windows over the events of each key, under names of their own: made by `windowed()`. Their results are the outputs of the job. They
   * need `timestamp`, but for those of processing time. Between two cuts open windows are in memory; the states that they are kept in have their names.
   */
  readonly windows?: { readonly [name: string]: WindowDefinition<NoInfer<Event>, KeyOf<Schema>, Output> }
  /** The key, and the states that `process` has; made by `defineState`. Those of windows and timers are added to them. */
  readonly schema: Schema
  /** What the outputs go through on their way to the sink: made by `pipe` of `defineJob`. */
  readonly stages?: readonly object[]
  /** How the store is opened. */
  readonly open?: OpenOptions
  /**
   * Where the state is. It belongs to the job while that runs, and stays the caller's to close. Over an asynchronous engine `process` and
   * `onTimer` read and write at once as well: what they ask for is fetched, most of it for many events at once, and where something was not at
   * hand, the call is made again from its beginning, with nothing left of the first one.
   */
  readonly backend: Backend
  /**
   * Where and how checkpoints are made: the state is restored from the newest one before the job begins. Default: the engine
   * keeps its state itself (LMDB), and the job goes on from what it has.
   */
  readonly checkpoints?: Omit<CheckpointCoordinatorOptions, 'source' | 'hold' | 'beforeRelease'>
  /** How often an engine that keeps its state itself makes it durable, and outputs go to the sink, in milliseconds. Default 1,000. */
  readonly flushIntervalMs?: number
  /** The id of a checkpoint to begin with instead of the newest one. */
  readonly restoreFrom?: string
  /**
   * `'new'`: the job goes on from a copy of checkpoints, or from an older state of them, on purpose, and names its outputs anew, as `restoreFrom` does. A sink that keeps
   * account of what it has would refuse that as a mistake (`RESTORE_FAILED`). Outputs that the checkpoint does not have and that were put out by whoever wrote behind it
   * are put out once more, so it is for one start, not for each. Default: the job goes on with the lineage that the newest checkpoint names.
   */
  readonly lineage?: 'new'
  /**
   * How long the start waits for another process that owns the checkpoints to let go of them, or to be known as dead, in milliseconds. Then
   * `FENCED`. Default 0.
   */
  readonly waitForOwnerMs?: number
  /** Where outputs go. Default: there are none, and `emit` throws. */
  readonly sink?: Sink<Output>
  /** What becomes of an event that cannot be processed: the job fails, it is skipped and counted, or the function decides. Default `'fail'`. */
  readonly onBadEvent?: 'fail' | 'skip' | ((bad: BadEvent<Event>, emit: (output: Output) => void) => void)
  /** Most events that are read at once. Default 1,000. */
  readonly maxPollEvents?: number
  /** A call of the source, the sink or an engine that is waited for that takes longer, in milliseconds, is reported: in the log, by `health()`. Default 30,000. */
  readonly stallAfterMs?: number
  /**
   * How long a call of the source, the sink or the engine is waited for once the job is to end, by `stop` or because it has failed, in
   * milliseconds: then the job ends with `JOB_FAILED`, which names the call. Nothing is lost: the next run goes on from the newest
   * cut. Default 60,000.
   */
  readonly stopTimeoutMs?: number
  /** What processing time goes by: timers, windows of it, pauses between cuts. Default: the machine's clock. */
  readonly clock?: Clock
  /** Default: nothing is logged. */
  readonly logger?: Logger
}

/** The type of a schema's keys. */
export type KeyOf<Schema> = Schema extends StateSchema<infer Key, infer _States> ? Key : never

/**
 * What a job is, wherever it runs: the options of `runJob` without those that say where from, where to, and on what.
 */
export type JobDefinition<Event, Schema extends StateSchema, Output> = Omit<
  JobOptions<Event, Schema, Output>,
  WhereItRuns
>

/** The options that say where from, where to, and on what. */
export type WhereItRuns =
  | 'source'
  | 'sink'
  | 'backend'
  | 'open'
  | 'checkpoints'
  | 'flushIntervalMs'
  | 'restoreFrom'
  | 'lineage'
  | 'waitForOwnerMs'
  | 'maxPollEvents'
  | 'stallAfterMs'
  | 'stopTimeoutMs'
  | 'clock'
  | 'logger'
