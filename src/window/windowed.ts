// How windows are described.

import type { Violation } from '../base/errors.js'
import {
  hasMethods,
  oneOf,
  type Rule,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../base/options.js'
import type { AnyCodec, Codec } from '../state/codec/codec.js'
import type { AnyAggregate } from './aggregate/aggregate.js'
import type { TimeWindow, WindowAssigner } from './assign/assigner.js'
import type { CountWindows, GlobalWindows, SessionWindows, SlidingWindows } from './assign/by-key.js'

/** Which windows there are. */
export type Windows = WindowAssigner | SessionWindows | SlidingWindows | CountWindows | GlobalWindows

/** Which of a window's results one is (W12). */
export interface Pane {
  /** From 0; a merged session begins anew. */
  readonly index: number
  /** Before the watermark has come to the end of the window, when it does, or after. */
  readonly kind: 'early' | 'onTime' | 'late'
  /** No later result of this window can come. */
  readonly isFinal: boolean
}

/** What a window has come to. */
export interface WindowResult<Key, Value> {
  readonly key: Key
  readonly window: TimeWindow
  readonly value: Value
  /** The last instant of the window (W17). */
  readonly timestampMs: number
  readonly pane: Pane
  /** Sessions whose results this one takes the place of, because they have become one (W14). */
  readonly replaces?: readonly TimeWindow[]
  /** Of windows by count: whether it has as many events as it should (W19). */
  readonly isFull?: boolean
}

/** An event that has come too late for windows of its own (W11). */
export interface LateEvent<Event> {
  readonly event: Event
  readonly timestampMs: number
  readonly watermarkMs: number
  /** The windows that it has missed. It may have entered others (W9). */
  readonly missed: readonly TimeWindow[]
  /** It has entered no window. */
  readonly isLost: boolean
}

/** What the windows are of: the timestamps of the events, or the clock of the job when it processes them. */
export type WindowTime = 'event' | 'processing'

/** Which windows there are, what becomes of their events, and when results come. Numbers such as W8 are rows of docs/semantics.md. */
export interface WindowOptions<Event, Key, Value, Output> {
  /** Which windows an event is in: made by `tumbling`, `hopping`, `cumulative`, `calendar`, `session`, `sliding`, `countWindows` or `globalWindows`. */
  readonly windows: Windows
  /**
   * Windows of `'processing'` time need no timestamps: an event is in those of the moment at which it is processed, and they fire by the
   * clock of the job, which never goes back (T13). No event is late for them. Default `'event'`.
   */
  readonly time?: WindowTime
  /** What becomes of a window's events. This, or `events` and `process`. */
  readonly aggregate?: AnyAggregate<Event, Value>
  /** Keeps the events of each window, in this form, each as an entry of its own. Windows that slide with the events need it. */
  readonly events?: Codec<Event, Event>
  /** Makes a window's value of its events, which come in the order of their timestamps, then as they came in. */
  readonly process?: (events: Iterable<Event>, window: TimeWindow) => Value
  /** For how long after its end, in the time of the watermark, a window still takes events (W8, W12). Default 0. */
  readonly allowedLatenessMs?: number
  /** Late events make a fired window fire again so long after the first of them, by the processing clock, and so at most so often. Default: each does at once. */
  readonly refireMs?: number
  /** Results before the end of a window (W18): after so many events, or so long by the processing clock after the first one. Default: none. */
  readonly early?: { readonly everyEvents?: number; readonly everyMs?: number }
  /** Whether each result of a window is of all its events, or of those since the last one (W13), which goes without `events`. Default `'accumulating'`. */
  readonly panes?: 'accumulating' | 'discarding'
  /** What is given to the sink for a result; `undefined`: nothing. Default: the result. */
  readonly output?: (result: WindowResult<Key, Value>) => Output | undefined
  /**
   * Where a result may be several outputs, in the place of `output`: as many as it likes, for they are asked for step by step while other work
   * goes on between. `undefined` is none.
   */
  readonly outputs?: (result: WindowResult<Key, Value>) => Iterable<Output | undefined>
  /** What is given to the sink for an event that missed windows. Default: nothing; it is counted. */
  readonly onLate?: (late: LateEvent<Event>) => Output | undefined
}

declare const outputType: unique symbol

/** Windows as they were described, checked. */
export interface WindowDefinition<Event, Key, Output> {
  readonly windows: Windows
  readonly time?: WindowTime
  readonly aggregate?: AnyAggregate<Event, unknown>
  readonly events?: AnyCodec
  readonly process?: (events: Iterable<Event>, window: TimeWindow) => unknown
  readonly output?: (result: WindowResult<Key, never>) => Output | undefined
  readonly outputs?: (result: WindowResult<Key, never>) => Iterable<Output | undefined>
  readonly onLate?: (late: LateEvent<Event>) => Output | undefined
  /** What the compiler knows of what comes out. */
  readonly [outputType]?: Output
}

const wholeMs: Rule = (value) =>
  value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0)
    ? undefined
    : 'must be a whole number of milliseconds, 0 or more'

const optionRules: { readonly [name: string]: Rule } = {
  windows: rules.object,
  time: oneOf('event', 'processing'),
  aggregate: hasMethods('add'),
  events: hasMethods('read', 'write'),
  process: rules.function,
  allowedLatenessMs: wholeMs,
  refireMs: rules.positiveMs,
  early: rules.object,
  panes: oneOf('accumulating', 'discarding'),
  output: rules.function,
  outputs: rules.function,
  onLate: rules.function,
}

/**
 * Describes windows over the events of a key: which there are, and what becomes of each. `INVALID_ARGUMENT` lists all that is
 * wrong, or does not go together.
 *
 * @example
 * windowed({
 *   windows: tumbling({ sizeMs: 60_000 }),
 *   aggregate: combined({ requests: count(), tokens: sum((request: LlmRequest) => request.tokens) }),
 * })
 */
export function windowed<Event, Key, Value, Output = WindowResult<Key, Value>>(
  options: WindowOptions<Event, Key, Value, Output>,
): WindowDefinition<Event, Key, Output> {
  requireSettings(options)
  const violations: Violation[] = violationsOf(options, optionRules)
  const wrong = (argument: string, reason: string) =>
    violations.push({ argument: `options.${argument}`, reason })
  const { windows, aggregate, events, process, early, refireMs, panes, allowedLatenessMs = 0 } = options
  const isKept = events !== undefined
  if (windows === undefined) wrong('windows', 'is required')
  if (aggregate === undefined && process === undefined)
    wrong('aggregate', 'is required, or events and process')
  if (aggregate !== undefined && process !== undefined) wrong('process', 'is in place of aggregate')
  if (process !== undefined && !isKept) wrong('process', 'needs events, the form in which they are kept')
  if (windows !== undefined && 'kind' in windows) {
    if (windows.kind === 'session' && !isKept && aggregate?.merge === undefined) {
      wrong('aggregate', 'needs merge: sessions become one')
    }
    if (windows.kind === 'sliding' && !isKept)
      wrong('events', 'is required: each event has a window of those before it')
    if (windows.kind === 'count' && early !== undefined) {
      wrong('early', 'has no meaning: a window by count fires when it is full')
    }
    if ((windows.kind === 'count' || windows.kind === 'global') && allowedLatenessMs > 0) {
      wrong('allowedLatenessMs', 'has no meaning: these windows do not end by time')
    }
  }
  if (options.time === 'processing') {
    for (const name of ['allowedLatenessMs', 'refireMs', 'onLate'] as const) {
      if (options[name] !== undefined && options[name] !== 0) {
        wrong(name, 'has no meaning in processing time: nothing is late')
      }
    }
  }
  for (const name of ['everyEvents', 'everyMs'] as const) {
    if (early?.[name] !== undefined && rules.positiveInteger(early[name]) !== undefined) {
      wrong(`early.${name}`, 'must be a positive whole number')
    }
  }
  if (options.output !== undefined && options.outputs !== undefined) wrong('outputs', 'is in place of output')
  if (panes === 'discarding' && isKept)
    wrong('panes', "must be 'accumulating': the events are kept until the window goes")
  if (refireMs !== undefined && allowedLatenessMs === 0) wrong('refireMs', 'needs allowedLatenessMs')
  rejectViolations(violations)
  return Object.freeze({ ...options })
}

/** Whether it was made by `windowed`, of whichever copy of this package. */
export function isWindowDefinition(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    'windows' in value &&
    ('aggregate' in value || 'process' in value)
  )
}
