// The timers of a job: which ones fire, and when.
//
// (1) Timers of event time fire at an advance of the watermark, all that are due and what those set that is due as well (R4).
// (2) Timers of processing time fire when the clock has come to them; what those set that is due fires in the next turn (R3).

import { type CancelTimer, type Clock, type ForwardClock, setLongTimer } from '../base/clock.js'
import type { SlicedWork } from '../base/slices.js'
import { nameOf } from '../state/entries/overlay.js'
import type { CurrentKey } from '../state/key/current-key.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { openStateOf } from '../state/store.js'
import type { DueRun, KeptDueKey } from '../window/due/due-run.js'
import { KeptTimers } from '../window/timers/kept-timers.js'
import { type TimerTime, timerStates, withTimers } from '../window/timers/timer-states.js'
import type { KeyTimers, Timer } from './job-options.js'
import { type WindowDefinitions, withWindows } from './job-windows.js'
import type { JobTimerStats, TimerStats } from './running-job.js'

/** So many timers of one key that were set by timers may fire in one advance of the watermark (R4). */
const MOST_IN_A_ROW = 10_000

/** The schema that a job opens its store with. */
export function schemaOf<Schema extends StateSchema>(
  schema: Schema,
  hasTimers: boolean,
  windows: WindowDefinitions | undefined,
): Schema {
  const withAll = windows === undefined ? schema : withWindows(schema, windows)
  return hasTimers ? withTimers(withAll) : withAll
}

/** How many timers are set. */
export type TimerSizes = { readonly [Time in TimerTime]: number }

export interface JobTimersOptions {
  readonly store: object
  readonly key: CurrentKey<unknown>
  readonly clock: Clock
  /** The same clock, which never goes back. */
  readonly forwardClock: ForwardClock
  /** Timers of processing time are due. */
  readonly onDue: () => void
}

export class JobTimers {
  readonly event: KeyTimers
  readonly processing: KeyTimers
  readonly #kept: { readonly [Time in TimerTime]: KeptTimers }
  readonly #options: JobTimersOptions
  /** When the clock is to call, and how to tell it not to. */
  #armedMs = Infinity
  #cancel: CancelTimer = () => {}
  #isArmable = false

  constructor(options: JobTimersOptions) {
    const { store, key } = options
    this.#options = options
    this.#kept = {
      event: new KeptTimers({ state: openStateOf(store, timerStates.event), key }),
      processing: new KeptTimers({
        state: openStateOf(store, timerStates.processing),
        key,
        onSet: (timestampMs) => {
          if (timestampMs < this.#armedMs) this.#arm(timestampMs)
        },
      }),
    }
    this.event = keyTimers(this.#kept.event)
    this.processing = keyTimers(this.#kept.processing)
  }

  /** How many are set, for `undo`. */
  sizes(): TimerSizes {
    const { event, processing } = this.#kept
    return { event: event.size, processing: processing.size }
  }

  /** Goes back to how many there were before a step that is undone. */
  undo(sizes: TimerSizes): void {
    this.#kept.event.undo(sizes.event)
    this.#kept.processing.undo(sizes.processing)
  }

  /** What there is when the watermark of the stage has come to here. */
  stats(watermarkMs: number): JobTimerStats {
    const { event, processing } = this.#kept
    return {
      event: timerStats(event, watermarkMs),
      processing: timerStats(processing, this.#options.forwardClock.now()),
    }
  }

  /** Finds the timers that the store has. */
  async load(): Promise<void> {
    await this.#kept.event.load()
    await this.#kept.processing.load()
  }

  /** Whether `tidy` reads all timers of the store. */
  get wantsLoad(): boolean {
    const { event, processing } = this.#kept
    return event.wantsLoad || processing.wantsLoad
  }

  /** What is in memory is made again from the store, where too much of it may be gone. */
  async tidy(): Promise<void> {
    const { event, processing } = this.#kept
    if (event.wantsLoad) await event.load()
    if (processing.wantsLoad) await processing.load()
  }

  /** Timers of event time that are due up to the watermark; `highestMs` is the latest time of an event. */
  *atWatermark(watermarkMs: number, highestMs: number): SlicedWork<FiringTimers> {
    const due = { untilMs: watermarkMs, isOpen: true, endlessFromMs: Math.min(watermarkMs, highestMs) }
    return yield* FiringTimers.of('event', this.#kept.event, this.#options.key, due)
  }

  /** Timers of processing time that are due now. */
  *atClock(): SlicedWork<FiringTimers> {
    const { key, forwardClock } = this.#options
    const untilMs = forwardClock.now()
    const due = { untilMs, isOpen: false, endlessFromMs: untilMs }
    return yield* FiringTimers.of('processing', this.#kept.processing, key, due)
  }

  /** The clock calls when the next timer of processing time is due, from now on. */
  start(): void {
    this.#isArmable = true
    this.#arm(this.#kept.processing.nextMs)
  }

  stop(): void {
    this.#isArmable = false
    this.#cancel()
  }

  #arm(timestampMs: number): void {
    this.#cancel()
    this.#armedMs = timestampMs
    if (!this.#isArmable || timestampMs === Infinity) return
    const { clock, forwardClock, onDue } = this.#options
    const delayMs = Math.max(0, timestampMs - forwardClock.now())
    this.#cancel = setLongTimer(clock, onDue, delayMs)
  }
}

/** What is due in one advance. */
interface DueTimers {
  readonly untilMs: number
  /** Whether what is set meanwhile is due as well. */
  readonly isOpen: boolean
  /** Timers that set each other later and later come to an end up to here; beyond it they may not. */
  readonly endlessFromMs: number
}

/** What is due, taken out. */
interface FiringRun {
  readonly due: DueRun
  readonly endlessFromMs: number
}

/** How many timers of a key were set by others, and have fired; and how far the key has come. */
interface TimersInARow {
  count: number
  lastMs: number
}

/** A timer that was taken, and how its row was before. */
interface TakenTimer {
  readonly due: KeptDueKey
  row: TimersInARow | undefined
  before: TimersInARow | undefined
}

/** Timers of one advance that are due, one after the other. */
export class FiringTimers {
  readonly #time: TimerTime
  readonly #kept: KeptTimers
  readonly #key: CurrentKey<unknown>
  readonly #due: DueRun
  readonly #endlessFromMs: number
  /** How many were set by timers of the same key, and have fired, that are not known to come to an end; and how far the key has come. */
  readonly #inARow = new Map<string, TimersInARow>()
  /** What was taken since `begin`, where that may be undone. */
  #taken: TakenTimer[] | undefined

  private constructor(time: TimerTime, kept: KeptTimers, key: CurrentKey<unknown>, run: FiringRun) {
    this.#key = key
    this.#time = time
    this.#kept = kept
    this.#endlessFromMs = run.endlessFromMs
    this.#due = run.due
  }

  /** Takes out those that are due, however many: step by step. */
  static *of(
    time: TimerTime,
    kept: KeptTimers,
    key: CurrentKey<unknown>,
    { untilMs, isOpen, endlessFromMs }: DueTimers,
  ): SlicedWork<FiringTimers> {
    const due = yield* kept.fire(untilMs, isOpen)
    return new FiringTimers(time, kept, key, { due, endlessFromMs })
  }

  /** What is taken from now on may be undone. */
  begin(): void {
    this.#taken = []
  }

  /** Undoes what was taken since `begin`: it comes again. What was written of it is the caller's to undo. */
  undo(): void {
    const taken = this.#taken ?? []
    this.#taken = []
    this.#kept.goOn(this.#due)
    for (const { due, row, before } of taken.reverse()) {
      if (row !== undefined) Object.assign(row, before)
      this.#due.putBack(due)
    }
  }

  /** The next one, which is removed from the store; its key is then the key at hand. `undefined` where none is left. */
  take(): Timer | undefined {
    while (this.#due.next()) {
      const { current } = this.#due
      const id = this.#kept.show(current)
      const taken = this.#taken === undefined ? undefined : this.#note()
      if (this.#kept.take(id) !== true) continue
      const [timestampMs, name] = id
      if (current.wasAdded) this.#count(timestampMs, taken)
      return { time: this.#time, timestampMs, name }
    }
    this.#kept.fired()
    return undefined
  }

  #note(): TakenTimer {
    const taken: TakenTimer = { due: this.#due.kept(), row: undefined, before: undefined }
    this.#taken?.push(taken)
    return taken
  }

  #count(timestampMs: number, taken: TakenTimer | undefined): void {
    const name = nameOf(this.#key.encoded().bytes)
    const row = this.#inARow.get(name) ?? { count: 0, lastMs: -Infinity }
    this.#inARow.set(name, row)
    if (taken !== undefined) {
      taken.row = row
      taken.before = { ...row }
    }
    const isOnItsWay = timestampMs > row.lastMs && timestampMs <= this.#endlessFromMs
    row.lastMs = Math.max(row.lastMs, timestampMs)
    if (!isOnItsWay) row.count++
    if (row.count <= MOST_IN_A_ROW) return
    throw new Error(
      `timers of a key have set more than ${MOST_IN_A_ROW} others that were due at once: onTimer must set the next one beyond the watermark`,
    )
  }
}

/** Of a stage without `onTimer`. */
export const NO_TIMERS: JobTimerStats = Object.freeze({
  event: Object.freeze({ waiting: 0, due: 0, nextMs: Infinity }),
  processing: Object.freeze({ waiting: 0, due: 0, nextMs: Infinity }),
})

function timerStats(kept: KeptTimers, nowMs: number): TimerStats {
  return { waiting: kept.size, due: kept.dueUntil(nowMs), nextMs: kept.size === 0 ? Infinity : kept.nextMs }
}

const noOnTimer = (): never => {
  throw new Error('a timer was set or deleted, and the job has no onTimer')
}

/** Of a job, or a stage, without `onTimer`. */
export const noTimers: { readonly event: KeyTimers; readonly processing: KeyTimers } = {
  event: { set: noOnTimer, delete: noOnTimer },
  processing: { set: noOnTimer, delete: noOnTimer },
}

function keyTimers(kept: KeptTimers): KeyTimers {
  return Object.freeze({
    set: (timestampMs: number, name = '') => void kept.set(timestampMs, name),
    delete: (timestampMs: number, name = '') => void kept.delete(timestampMs, name),
  })
}
