// The stages of a job with what they keep for a later time: timers and windows of the first one, and the stages behind it.

import type { Clock, ForwardClock } from '../base/clock.js'
import { invalidArgument } from '../base/options.js'
import type { CurrentKey } from '../state/key/current-key.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { partOf, type StateStore } from '../state/store.js'
import type { WindowResult } from '../window/windowed.js'
import type { FiringStage } from './firing.js'
import { JobTimers, NO_TIMERS } from './job-timers.js'
import { JobWindows, type WindowDefinitions } from './job-windows.js'
import { LaterStage } from './later-stage.js'
import type { JobStats } from './running-job.js'
import { type AnyStage, prefixOf, schemaOfStage } from './stage-definition.js'

export interface JobStagesParts {
  readonly job: string
  readonly store: object
  /** That of the store's bound states. */
  readonly key: CurrentKey<unknown>
  readonly hasTimers: boolean
  readonly windows: WindowDefinitions | undefined
  /** Those behind the first one, in order. */
  readonly later: readonly AnyStage[]
  readonly hasEventTime: boolean
  /** Over an asynchronous engine: the store that whoever runs the job reads by promises, and not from what was fetched. */
  readonly shown: object | undefined
  readonly clock: Clock
  readonly forwardClock: ForwardClock
  /** Takes what windows of the first stage put out. */
  readonly emit: (output: unknown, timestampMs: number) => void
  /** Takes what the last of several stages puts out. */
  readonly emitResult: (output: unknown) => void
  /** A timer of processing time is due. */
  readonly onDue: () => void
}

/** What the stages of a job tell of themselves; `firedTimers` is of those behind the first one. */
export type StagesFigures = Pick<
  JobStats,
  | 'firedTimers'
  | 'lateEvents'
  | 'missedWindows'
  | 'waitingTimers'
  | 'timers'
  | 'openWindows'
  | 'windows'
  | 'stages'
>

export class JobStages {
  /** Of the first stage. */
  readonly firstTimers: JobTimers | undefined
  readonly firstWindows: JobWindows | undefined
  /** Behind it, in order. */
  readonly later: readonly LaterStage[]
  /** All of them, in order. */
  readonly firing: readonly FiringStage[]
  readonly timers: readonly JobTimers[]
  readonly windows: readonly JobWindows[]
  readonly #parts: JobStagesParts

  constructor(parts: JobStagesParts) {
    this.#parts = parts
    const { job, store, key, clock, forwardClock, windows, emit, onDue } = parts
    this.firstTimers = parts.hasTimers ? new JobTimers({ store, key, clock, forwardClock, onDue }) : undefined
    this.firstWindows =
      windows === undefined
        ? undefined
        : new JobWindows({ job, store, windows, emit, nowMs: () => forwardClock.now() })
    this.later = laterStages(parts)
    this.firing = [
      { timers: this.firstTimers, windows: this.firstWindows, stage: undefined },
      ...this.later.map((stage) => ({ timers: stage.timers, windows: stage.windows, stage })),
    ]
    this.timers = this.firing.flatMap((each) => each.timers ?? [])
    this.windows = this.firing.flatMap((each) => each.windows ?? [])
  }

  /** The states of later stages, by the names of these, as whoever runs the job sees them. */
  shown(): { readonly [stage: string]: StateStore<StateSchema> } {
    const { shown, later } = this.#parts
    const stores = this.later.map(({ name, store }, i) => {
      const own = schemaOfStage(later[i] as AnyStage)
      return [name, shown === undefined ? store : partOf(shown, prefixOf(name), own)]
    })
    return Object.freeze(Object.fromEntries(stores))
  }

  peek<Key>(windows: string, key: Key): readonly WindowResult<Key, unknown>[] {
    // A name of the first stage's may begin as that of another stage does.
    const isFirst = this.firstWindows?.has(windows) === true
    const later = isFirst ? undefined : this.later.find(({ name }) => windows.startsWith(`${name}.`))
    const found = later === undefined ? this.firstWindows : later.windows
    const name = later === undefined ? windows : windows.slice(later.name.length + 1)
    if (found?.has(name) !== true) {
      throw invalidArgument('windows', 'must be the name of windows of this job')
    }
    return found.peek(name, key) as readonly WindowResult<Key, unknown>[]
  }

  stats(watermarkMs: number): StagesFigures {
    const late = this.windows.map((each) => each.late)
    const timers = this.firstTimers?.stats(watermarkMs) ?? NO_TIMERS
    const stages = this.later.map((stage) => [stage.name, stage.stats()] as const)
    const windows = [
      ...(this.firstWindows?.stats() ?? []),
      ...this.later.flatMap(({ name, windows: of }) =>
        (of?.stats() ?? []).map(([own, stats]) => [prefixOf(name) + own, stats] as const),
      ),
    ]
    return {
      firedTimers: sum(this.later, ({ firedTimers }) => firedTimers),
      lateEvents: sum(late, ({ lostEvents }) => lostEvents),
      missedWindows: sum(late, ({ missedWindows }) => missedWindows),
      waitingTimers: sum(
        [timers, ...stages.map(([, stage]) => stage.timers)],
        ({ event, processing }) => event.waiting + processing.waiting,
      ),
      timers,
      openWindows: sum(windows, ([, { open }]) => open),
      windows: Object.fromEntries(windows),
      stages: Object.fromEntries(stages),
    }
  }
}

function laterStages(parts: JobStagesParts): LaterStage[] {
  const { job, store, clock, forwardClock, hasEventTime, emitResult, onDue } = parts
  const made: LaterStage[] = []
  // Each gives its outputs to the next one, so the last one is made first.
  for (const definition of [...parts.later].reverse()) {
    const [next] = made
    const emit = (output: unknown, timestampMs: number) => {
      if (next === undefined) {
        emitResult(output)
      } else {
        next.accept(output, timestampMs)
        next.passOn()
      }
    }
    made.unshift(new LaterStage({ job, store, clock, forwardClock, hasEventTime, definition, emit, onDue }))
  }
  return made
}

function sum<Item>(items: readonly Item[], of: (item: Item) => number): number {
  let total = 0
  for (const item of items) total += of(item)
  return total
}
