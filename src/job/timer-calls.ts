// The calls of `onTimer`: those of one stage, one after the other.

import type { ForwardClock } from '../base/clock.js'
import { reasonOf, StateError } from '../base/errors.js'
import type { CurrentKey } from '../state/key/current-key.js'
import { shownKey } from '../state/kinds/state-context.js'
import { requireDone } from './at-once.js'
import type { Timer } from './job-options.js'
import type { FiringTimers } from './job-timers.js'

/** How long a slice may hold the event loop. */
const SLICE_MS = 4
/** The clock is asked once for so many timers. */
const TIMERS_PER_LOOK = 32

/** What of a context belongs to the call at hand. */
export interface CallContext {
  key: unknown
  timestampMs: number
  watermarkMs: number
  partition: string
}

export interface TimerCallsOptions<Context extends CallContext> {
  /** Whose timers they are, for messages. */
  readonly job: string
  readonly stage: string | undefined
  readonly onTimer: ((timer: Timer, context: Context) => void) | undefined
  readonly context: Context
  readonly key: CurrentKey<unknown>
  readonly store: { at(timestampMs: number): void }
  readonly clock: ForwardClock
}

export class TimerCalls<Context extends CallContext> {
  /** How many there were. */
  fired = 0
  /** The time of what a timer of processing time emits: behind what the watermark has passed. `undefined` in all other calls. */
  outputMs: number | undefined
  readonly #options: TimerCallsOptions<Context>

  constructor(options: TimerCallsOptions<Context>) {
    this.#options = options
  }

  /** Calls for what is due as long as a slice may take, and `atMost` times; whether more may be left. */
  fireEach(firing: FiringTimers, watermarkMs: number, atMost: number = Infinity): boolean {
    const { context } = this.#options
    context.partition = ''
    context.watermarkMs = watermarkMs
    const endMs = performance.now() + SLICE_MS
    for (let count = 1; ; count++) {
      const timer = firing.take()
      if (timer === undefined) return false
      this.#fire(timer)
      if (count === atMost) return true
      if (count % TIMERS_PER_LOOK === 0 && performance.now() >= endMs) return true
    }
  }

  #fire(timer: Timer): void {
    const { key, store, onTimer, context, clock } = this.#options
    context.key = key.key
    context.timestampMs = timer.timestampMs
    // What is written now is of the timer's time; what waits for the machine's time is of no event.
    const writtenAtMs = timer.time === 'event' ? timer.timestampMs : context.watermarkMs
    if (Number.isFinite(writtenAtMs)) store.at(writtenAtMs)
    if (timer.time === 'processing') {
      this.outputMs = Number.isFinite(context.watermarkMs) ? context.watermarkMs + 1 : clock.now()
    }
    try {
      const returned: unknown = onTimer?.(timer, context)
      if (returned !== undefined) requireDone(returned, '`onTimer`')
    } catch (error) {
      throw this.#failure(timer, error)
    } finally {
      this.outputMs = undefined
    }
    this.fired++
  }

  #failure({ time, timestampMs, name }: Timer, error: unknown): StateError<'JOB_FAILED'> {
    const { job, stage, context } = this.#options
    const of = stage === undefined ? '' : `stage '${stage}', `
    const which = `the ${time} timer ${name === '' ? '' : `'${name}' `}at ${timestampMs} of key ${shownKey(context.key)}`
    const details = {
      job,
      partition: undefined,
      position: undefined,
      reason: `${of}${which}: ${reasonOf(error)}`,
    }
    return new StateError('JOB_FAILED', details, { cause: error })
  }
}
