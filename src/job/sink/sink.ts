// What a job writes to. Outputs between two cuts are an epoch: it is prepared before its cut is made, and committed once the cut is safe.

import type { JsonValue } from '../../base/json.js'

/**
 * Names an epoch (J2). The lineage is new for every restore from anything but the newest cut, so that after going back to an old
 * savepoint no sink takes new epochs for old ones. A type, not an interface, so that it is JSON to the compiler.
 */
export type EpochId = {
  readonly lineage: string
  /** 0, 1, 2, … in its lineage. */
  readonly number: number
}

/** What a sink has prepared, as a cut names it. `token` is JSON whose meaning only the sink knows. */
export type PreparedEpoch = {
  readonly epoch: EpochId
  readonly token: JsonValue
}

/** What a sink is told when it is opened: what the last cut knew of it. */
export interface OpenSinkOptions {
  /**
   * What the cut names that the job goes on from, the oldest first and always with the newest: it counts, and is to be committed,
   * whether or not that has happened before. Whatever else was prepared or written is to be undone (J3). Empty: no cut names
   * anything, and nothing counts.
   */
  readonly prepared: readonly PreparedEpoch[]
  /**
   * The lineage of the epochs that follow. Where it is that of the newest one in `prepared`, no cut of it is newer, and so no later epoch was committed by this job. `runJob` gives it.
   */
  readonly lineage?: string
  /** What the sink may keep in the state of the job, which is in the same cuts. `runJob` gives it. */
  readonly state?: SinkState
  /**
   * Rejects with `FENCED` where another process owns the job by now. A sink that belongs to whoever opened it last reads who that is, then asks this, and
   * takes it over only from whom it has read: so no process that was overtaken takes it from its successor. `runJob` gives it.
   */
  readonly checkOwner?: () => Promise<void>
  /** Gives up opening. */
  readonly signal?: AbortSignal
}

/** What a sink is told when it is claimed, before anything of the cut is known. */
export interface ClaimSinkOptions {
  /** As that of {@link OpenSinkOptions}. */
  readonly checkOwner?: () => Promise<void>
  /** Gives up: the call rejects soon, and leaves nothing open. */
  readonly signal?: AbortSignal
}

/**
 * Numbered outputs in the state of a job: what is put before `prepare` resolves is in the cut that names the epoch. After a crash it is as it was in
 * the cut, or, on an engine that keeps its state itself, newer.
 */
export interface SinkState {
  /** `SERIALIZATION_FAILED` for what is no JSON. */
  put(number: number, output: JsonValue): void
  /** Those from `from` up to, and without, `until`, in order, of what a cut has. */
  read(
    from: number,
    until: number,
  ):
    | Iterable<readonly [number: number, output: JsonValue]>
    | AsyncIterable<readonly [number: number, output: JsonValue]>
  removeFrom(from: number, until: number): void
}

/** Outputs go to it. */
export interface Sink<Output> {
  /** For messages and figures. */
  readonly name: string
  /**
   * What is promised of outputs after a crash: of a `'transactional'` sink each is there exactly once; an `'idempotent'` one may be
   * given an output again, under the same id (J4).
   */
  readonly guarantee: 'transactional' | 'idempotent'
  /** `RESTORE_FAILED` where what counts is not there any more. */
  open(options: OpenSinkOptions): Promise<SinkWriter<Output>>
  /**
   * The part of `open` that needs neither a cut nor the state, where there is one: whoever has opened the sink before can write nothing more. A job
   * makes this call while it restores its state, and then opens what it resolves instead of the sink. Default: all of it is done by `open`.
   */
  claim?(options: ClaimSinkOptions): Promise<ClaimedSink<Output>>
}

/** A sink that nobody else writes to any more. */
export interface ClaimedSink<Output> {
  /** As `open` of the sink. Called once at most; where it fails everything is closed. */
  open(options: OpenSinkOptions): Promise<SinkWriter<Output>>
  /** Idempotent. Lets go of it, also of what was opened. */
  close(): Promise<void>
}

/** An open sink. One call at a time; `deliver` may have others beside it. */
export interface SinkWriter<Output> {
  /**
   * Takes outputs of the epoch at hand, of which the first one is the `firstIndex`th: lineage, number and index name an output.
   * Resolves when there is room for more.
   */
  write(outputs: readonly Output[], epoch: EpochId, firstIndex: number): Promise<void>
  /**
   * Makes everything that was written of this epoch durable, without committing it, and returns the token that the cut is to name.
   * An epoch without outputs is prepared too (J5). `null` says that nothing is left to commit: whatever sink takes the place of this one passes over it.
   */
  prepare(epoch: EpochId): Promise<JsonValue>
  /**
   * The part of `commit` that takes long and changes nothing in the state of the job, where there is one. A job whose state is in a synchronous engine
   * makes this call first, once the cut that names the outputs is safe, for one epoch after the other, and goes on with its events meanwhile: `write`
   * may be called before it is over; `prepare` and `commit` are not. Default: all of it is done by `commit`.
   */
  deliver?(prepared: PreparedEpoch): Promise<void>
  /** The cut that names them is safe: these outputs count now. Doing it again changes nothing. */
  commit(prepared: PreparedEpoch): Promise<void>
  /** Idempotent. What was prepared and not committed is left for the next `open` to decide. */
  close(): Promise<void>
}
