import type { SlicedWork } from '../../base/slices.js'
import type { KeyLike } from '../../state/key/stored-key.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import type { TimeWindow } from '../assign/assigner.js'
import type { WindowOptions, WindowResult } from '../windowed.js'
import { FiringFailure } from './firing-failure.js'

/** Windows, whatever their types are. */
export type ErasedWindows = WindowOptions<unknown, unknown, unknown, unknown>
export type ErasedAggregate = Aggregate<unknown, unknown, unknown>
export type AnyResult = WindowResult<unknown, unknown>

/** What is recorded of an aggregate beside its form. */
export const kindOf = (kind: string | undefined): { readonly aggregate?: string } =>
  kind === undefined ? {} : { aggregate: kind }

export type EmitResult = (output: unknown, timestampMs: number, result?: AnyResult) => void

export interface WindowOperatorOptions {
  /** The store, which has the states of `statesOfWindows`. */
  readonly store: object
  readonly name: string
  readonly definition: ErasedWindows
  /**
   * Gives an output, and the time that it is of: the last instant of the window, or that of a late event. With the result that it was made of,
   * where there is one.
   */
  readonly emit: EmitResult
  /** The processing clock. */
  readonly nowMs: () => number
}

export interface LateFigures {
  /** Events that entered no window because they came too late. */
  lostEvents: number
  /** How many windows were missed by late events. */
  missedWindows: number
}

/**
 * Windows of the events of a key: events go in, results come out when the watermark has passed the end of their windows.
 *
 * Between two cuts the open windows are in memory, and `flush` writes what has changed into the store: a window that begins and ends between
 * two cuts never comes there. What takes long goes on step by step, and nothing else may be called before its last one.
 */
export interface WindowOperator {
  readonly late: LateFigures
  /**
   * How many windows are open, each key's counted by itself: from the first event in one until nothing of it is kept. Of windows that share
   * panes, the panes of each key are counted.
   */
  readonly open: number
  /**
   * Tells the keys of the next events, strings and numbers only, which some operators look for faster then; others need not have it. It changes
   * nothing, and those events may not come.
   */
  ahead?(keys: readonly unknown[], count: number): void
  /** Whether that is worth it at the moment. */
  readonly isFar?: boolean
  /** An event of a key. What is wrong with it is `SERIALIZATION_FAILED`; nothing of it is kept then. */
  add(key: KeyLike<unknown>, event: unknown, timestampMs: number, watermarkMs: number): void
  /** Takes the last event out again, but for what was put out. Only directly behind `add`. */
  revert(): void
  /** The watermark has come to here: what is due fires, in the order of W16. What fails then is thrown as a `FiringFailure`. */
  advance(watermarkMs: number): SlicedWork<void>
  /** The watermark at which something may be due next: nothing is before it. */
  readonly nextDueMs: number
  /** What waits for the processing clock fires (W12, W18), as `advance` has it. */
  onProcessingTime(nowMs: number): SlicedWork<void>
  /** When that has something to do; `Infinity` where it has not. */
  readonly nextProcessingMs: number
  /** What the windows of a key have at the moment, as early results (W18). Nothing is changed by it. */
  peek(key: KeyLike<unknown>): AnyResult[]
  /**
   * Writes what has changed since the last call into the store. What has fired may stay there until a later call, where its windows end up to
   * `staysUntilMs`: `restore` at that watermark or a later one takes it for fired, too.
   */
  flush(staysUntilMs?: number): SlicedWork<void>
  /** Begins with what is in the store, of a cut that was made at this watermark, and when windows had fired by the clock up to `clockMs`. */
  restore(watermarkMs: number, clockMs?: number): SlicedWork<void>
}

/** So many outputs of one result are given in one step. */
const STEP_OUTPUTS = 256

/** What is put out for a result or a late event. */
export class WindowOutput {
  readonly late: LateFigures = { lostEvents: 0, missedWindows: 0 }
  /** What the last event has added to the figures. */
  readonly #last: LateFigures = { lostEvents: 0, missedWindows: 0 }
  readonly #definition: ErasedWindows
  readonly #emit: EmitResult
  /** Results that have more outputs than one step may give, and those behind them. */
  readonly #waiting: { readonly result: AnyResult; outputs: Iterator<unknown> | undefined }[] = []

  constructor({ definition, emit }: WindowOperatorOptions) {
    this.#definition = definition
    this.#emit = emit
  }

  result(result: AnyResult): void {
    const { output, outputs } = this.#definition
    if (outputs !== undefined) {
      for (const each of outputs(result)) if (each !== undefined) this.#emit(each, result.timestampMs, result)
      return
    }
    const given = output === undefined ? result : output(result)
    if (given !== undefined) this.#emit(given, result.timestampMs, result)
  }

  /** The same where a result may have many outputs: those that `isWaiting` tells of are given by `rest`, which must come next. */
  resultInSteps(result: AnyResult): void {
    if (this.#definition.outputs === undefined) {
      this.result(result)
      return
    }
    this.#waiting.push({ result, outputs: undefined })
    if (this.#waiting.length === 1) this.#step()
  }

  /** Outputs of results are left. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  /** Gives the outputs that are left, step by step. */
  *rest(): SlicedWork<void> {
    while (this.#waiting.length > 0) {
      yield
      this.#step()
    }
  }

  /** So many outputs as one step may give, of the first result that waits. */
  #step(): void {
    const [first] = this.#waiting
    if (first === undefined) return
    const { result } = first
    try {
      first.outputs ??= this.#definition.outputs?.(result)[Symbol.iterator]()
      for (let count = 0; count < STEP_OUTPUTS; count++) {
        const next = first.outputs?.next()
        if (next === undefined || next.done === true) {
          this.#waiting.shift()
          return
        }
        if (next.value !== undefined) this.#emit(next.value, result.timestampMs, result)
      }
    } catch (error) {
      throw FiringFailure.of(error, result.window, () => result.key)
    }
  }

  /** Another event is next: nothing of it has been counted. */
  begin(): void {
    this.#last.missedWindows = 0
    this.#last.lostEvents = 0
  }

  /** Takes the last event out of the figures again. */
  revert(): void {
    this.late.missedWindows -= this.#last.missedWindows
    this.late.lostEvents -= this.#last.lostEvents
    this.begin()
  }

  missed(
    event: unknown,
    times: { readonly timestampMs: number; readonly watermarkMs: number },
    missed: readonly TimeWindow[],
    isLost: boolean,
  ): void {
    this.#last.missedWindows = missed.length
    this.#last.lostEvents = isLost ? 1 : 0
    this.late.missedWindows += missed.length
    this.late.lostEvents += this.#last.lostEvents
    try {
      const output = this.#definition.onLate?.({ event, ...times, missed, isLost })
      if (output !== undefined) this.#emit(output, times.timestampMs)
    } catch (error) {
      this.revert()
      throw error
    }
  }
}
