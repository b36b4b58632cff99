// A stage of a job behind its first one.
//
// (1) It is given what the stage before it has put out of a slice when that is done: between two slices all stages have the same events.
// (2) Its watermark follows that of the stage before it, once everything that this has fired was processed here.
// (3) An event that it refuses is a bad event of this stage alone: what it came from stays in the stages before.

import type { Clock, ForwardClock } from '../base/clock.js'
import { isStateError, reasonOf, StateError } from '../base/errors.js'
import { isErrorLike } from '../base/shapes.js'
import { describeValue } from '../state/codec/codec-error.js'
import type { CurrentKey } from '../state/key/current-key.js'
import { shownKey } from '../state/kinds/state-context.js'
import { boundStatesOf, partOf } from '../state/store.js'
import { requireDone } from './at-once.js'
import type { BadEvent, Timer } from './job-options.js'
import { type FiringTimers, JobTimers, NO_TIMERS, noTimers, type TimerSizes } from './job-timers.js'
import { JobWindows, type WindowDefinitions } from './job-windows.js'
import type { StageStats } from './running-job.js'
import { type AnyStage, prefixOf, schemaOfStage } from './stage-definition.js'
import { TimerCalls } from './timer-calls.js'

export type EmitAt = (output: unknown, timestampMs: number) => void

/** What a stage counts. */
export interface StageFigures {
  readonly events: number
  readonly badEvents: number
  readonly fired: number
  readonly timers: TimerSizes | undefined
}

export interface LaterStageOptions {
  readonly job: string
  readonly definition: AnyStage
  /** That of the whole job. */
  readonly store: object
  readonly clock: Clock
  readonly forwardClock: ForwardClock
  readonly hasEventTime: boolean
  /** Where its outputs go. */
  readonly emit: EmitAt
  readonly onDue: () => void
}

interface Context {
  readonly state: object
  readonly store: object
  key: unknown
  timestampMs: number
  watermarkMs: number
  partition: string
  readonly timers: typeof noTimers
  readonly now: () => number
  readonly emit: (output: unknown) => void
}

interface Batching {
  batch(body: () => void): void
  at(timestampMs: number): void
}

export class LaterStage {
  readonly name: string
  /** Its states. */
  readonly store: object
  readonly timers: JobTimers | undefined
  readonly windows: JobWindows | undefined
  events = 0
  badEvents = 0
  readonly #options: LaterStageOptions
  readonly #key: CurrentKey<unknown>
  readonly #context: Context
  readonly #calls: TimerCalls<Context>
  readonly #failsOnBadEvents: boolean
  #watermarkMs = -Infinity
  /** What it has put out and not passed on yet, with the times of that. */
  #outputs: unknown[] = []
  #timestamps: number[] = []

  constructor(options: LaterStageOptions) {
    const { job, definition, clock, forwardClock } = options
    this.#options = options
    this.name = definition.name
    this.store = partOf(options.store, prefixOf(definition.name), schemaOfStage(definition)) as object
    const { key, states } = boundStatesOf(this.store as never)
    const parts = { store: this.store, key, clock, forwardClock, onDue: options.onDue }
    this.#key = key
    this.timers = definition.onTimer === undefined ? undefined : new JobTimers(parts)
    this.windows =
      definition.windows === undefined
        ? undefined
        : new JobWindows({
            job,
            stage: definition.name,
            store: this.store,
            windows: definition.windows as WindowDefinitions,
            emit: (output, timestampMs) => this.#emit(output, timestampMs),
            nowMs: () => forwardClock.now(),
          })
    this.#failsOnBadEvents = (definition.onBadEvent ?? 'fail') === 'fail'
    const context: Context = {
      state: states,
      store: this.store,
      key: undefined,
      timestampMs: 0,
      watermarkMs: -Infinity,
      partition: '',
      timers: this.timers ?? noTimers,
      now: () => forwardClock.now(),
      emit: (output) => this.#emit(output, this.#calls.outputMs ?? context.timestampMs),
    }
    this.#context = context
    const onTimer = definition.onTimer as ((timer: Timer, context: Context) => void) | undefined
    const store = this.store as Batching
    this.#calls = new TimerCalls({
      job,
      stage: definition.name,
      onTimer,
      context,
      key,
      store,
      clock: forwardClock,
    })
  }

  get firedTimers(): number {
    return this.#calls.fired
  }

  /** From now on nothing with a time up to this is expected; timers and windows are fired by the caller. */
  onWatermark(watermarkMs: number): void {
    this.#watermarkMs = watermarkMs
    this.#context.watermarkMs = watermarkMs
  }

  /** An output of the stage before this one. */
  accept(event: unknown, ofMs: number): void {
    const { definition, hasEventTime } = this.#options
    const context = this.#context
    let step: BadEvent<unknown>['reason'] = 'noKey'
    const emittedBefore = this.#outputs.length
    try {
      const key = definition.key(event)
      if (key === undefined || key === null) throw new Error('it has no key')
      context.key = key
      this.#key.set(key)
      step = 'badTimestamp'
      const given = definition.timestamp === undefined ? ofMs : definition.timestamp(event)
      if (!Number.isSafeInteger(given)) {
        throw new Error(`its timestamp, ${describeValue(given)}, is not a whole number of milliseconds`)
      }
      // A negative zero is zero.
      const timestampMs = given + 0
      context.timestampMs = timestampMs
      if (hasEventTime) (this.store as Batching).at(timestampMs)
      step = 'badValue'
      this.#process(event, key, timestampMs)
    } catch (error) {
      this.#outputs.length = emittedBefore
      this.#timestamps.length = emittedBefore
      this.#refuse(event, step, error, ofMs)
      return
    }
    this.events++
  }

  /** Calls `onTimer` for what is due as long as a slice may take; whether more is left. */
  fireEach(firing: FiringTimers, atMost?: number): boolean {
    return this.#calls.fireEach(firing, this.#watermarkMs, atMost)
  }

  stats(): StageStats {
    const { events, badEvents } = this
    return { events, badEvents, timers: this.timers?.stats(this.#watermarkMs) ?? NO_TIMERS }
  }

  /** What a step may have to undo. */
  figures(): StageFigures {
    const { events, badEvents } = this
    return { events, badEvents, fired: this.#calls.fired, timers: this.timers?.sizes() }
  }

  /** Forgets what a step that is undone has put out and counted. */
  undo({ events, badEvents, fired, timers }: StageFigures): void {
    this.events = events
    this.badEvents = badEvents
    this.#calls.fired = fired
    if (timers !== undefined) this.timers?.undo(timers)
    this.#outputs = []
    this.#timestamps = []
  }

  /** Gives what was put out to the next stage, or to the sink. */
  passOn(): void {
    if (this.#outputs.length === 0) return
    const outputs = this.#outputs
    const timestamps = this.#timestamps
    this.#outputs = []
    this.#timestamps = []
    const { emit } = this.#options
    for (let i = 0; i < outputs.length; i++) emit(outputs[i], timestamps[i] as number)
  }

  #emit(output: unknown, timestampMs: number): void {
    this.#outputs.push(output)
    this.#timestamps.push(timestampMs)
  }

  #process(event: unknown, key: unknown, timestampMs: number): void {
    const { definition } = this.#options
    const context = this.#context
    if (this.windows !== undefined) {
      this.windows.add(key, event, timestampMs, this.#watermarkMs)
    } else if (this.#failsOnBadEvents) {
      requireDone(definition.process?.(event, context as never), '`process`')
    } else {
      // What it has written of an event that turns out to be a bad one is taken back.
      const timers = this.timers?.sizes()
      try {
        ;(this.store as Batching).batch(() =>
          requireDone(definition.process?.(event, context as never), '`process`'),
        )
      } catch (error) {
        if (timers !== undefined) this.timers?.undo(timers)
        throw error
      }
    }
  }

  /** Counts a bad event and tells of it; the failure of the job where it may not be one. */
  #refuse(event: unknown, reason: BadEvent<unknown>['reason'], error: unknown, ofMs: number): void {
    const { definition } = this.#options
    const { onBadEvent } = definition
    const isBad = reason !== 'badValue' || isStateError(error, 'SERIALIZATION_FAILED')
    if (!isBad || this.#failsOnBadEvents) throw this.#failure(reason, error)
    this.badEvents++
    if (typeof onBadEvent !== 'function') return
    const told = isErrorLike(error) ? error : new Error(reasonOf(error))
    // Its own time may be what is wrong with it; the context still has that of the event before.
    this.#calls.outputMs = ofMs
    try {
      const bad = { reason, error: told, event, partition: '', position: null, stage: this.name }
      requireDone(onBadEvent(bad, this.#context.emit), '`onBadEvent`')
    } finally {
      this.#calls.outputMs = undefined
    }
  }

  #failure(step: BadEvent<unknown>['reason'], error: unknown): StateError<'JOB_FAILED'> {
    const { key, timestampMs } = this.#context
    const which = step === 'badValue' ? `, key ${shownKey(key)}, time ${timestampMs}` : ''
    const reason = `stage '${this.name}'${which}: ${reasonOf(error)}`
    const details = { job: this.#options.job, partition: undefined, position: undefined, reason }
    return new StateError('JOB_FAILED', details, { cause: error })
  }
}
