// Which windows an event belongs to, by its timestamp alone. Windows are [start, end): the end is no part of them (W1).

import { type Rule, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'

/** An interval of event time, in whole milliseconds since the epoch: `startMs` is in it, `endMs` is not. */
export interface TimeWindow {
  readonly startMs: number
  readonly endMs: number
}

/** Assigns events to windows that are the same for every key. */
export interface WindowAssigner {
  /** What it is, with its settings: two of the same description assign alike. It is recorded beside the windows. */
  readonly description: string
  /** The windows of one event, by their start. There may be none (W10). */
  windowsOf(timestampMs: number): readonly TimeWindow[]
}

/**
 * An assigner whose windows are all made of panes of one length: an event belongs to one pane, and a window is the panes in it.
 */
export interface PanedAssigner extends WindowAssigner {
  /** Whether each pane is a window of its own. */
  readonly isTumbling: boolean
  readonly paneMs: number
  readonly offsetMs: number
  /** Time in blocks of this length: a window begins where one begins, or ends less than one length behind the end of the one that it begins in. */
  readonly blockMs: number
  readonly blockOffsetMs: number
  /** Where the window starts that ends there. Only for ends of windows. */
  startOf(endMs: number): number
  /** The end of the last window that a time is in; `undefined` where it is in none. */
  lastEndMs(timestampMs: number): number | undefined
  /** The end of the first window that a time is in and that ends after `afterMs`; `undefined` where there is none. */
  nextEndMs(timestampMs: number, afterMs: number): number | undefined
}

export function isPaned(assigner: object): assigner is PanedAssigner {
  return 'paneMs' in assigner
}

export interface TumblingOptions {
  /** Whole milliseconds. */
  readonly sizeMs: number
  /** Where windows start, from the epoch: 0 or more, less than the size (W2). Default 0. */
  readonly offsetMs?: number
}

/** Windows of one size, one behind the other. `INVALID_ARGUMENT` for sizes that are not whole and positive (W2). */
export function tumbling(options: TumblingOptions): PanedAssigner {
  check(options, ['sizeMs'], 'sizeMs')
  const { sizeMs, offsetMs = 0 } = options
  return Object.freeze({
    description: described('tumbling', { sizeMs, offsetMs }),
    isTumbling: true,
    paneMs: sizeMs,
    offsetMs,
    blockMs: sizeMs,
    blockOffsetMs: offsetMs,
    startOf: (endMs: number) => endMs - sizeMs,
    lastEndMs: (timestampMs: number) => floorTo(timestampMs, sizeMs, offsetMs) + sizeMs,
    nextEndMs(timestampMs: number, afterMs: number) {
      const endMs = floorTo(timestampMs, sizeMs, offsetMs) + sizeMs
      return endMs > afterMs ? endMs : undefined
    },
    windowsOf(timestampMs: number) {
      const startMs = floorTo(timestampMs, sizeMs, offsetMs)
      return [{ startMs, endMs: startMs + sizeMs }]
    },
  })
}

export interface HoppingOptions {
  /** Whole milliseconds. */
  readonly sizeMs: number
  /** From the start of one window to the start of the next. The size need not be a multiple of it (W4). */
  readonly slideMs: number
  /** Where windows start, from the epoch: 0 or more, less than the slide. Default 0. */
  readonly offsetMs?: number
}

/**
 * Windows of one size that start every `slideMs`: they overlap where the slide is smaller than the size. Where it is larger, an
 * event between two windows is in none (W10).
 */
export function hopping(options: HoppingOptions): PanedAssigner {
  check(options, ['sizeMs', 'slideMs'], 'slideMs')
  const { sizeMs, slideMs, offsetMs = 0 } = options
  return Object.freeze({
    description: described('hopping', { sizeMs, slideMs, offsetMs }),
    isTumbling: sizeMs === slideMs,
    paneMs: greatestCommonDivisor(sizeMs, slideMs),
    offsetMs,
    blockMs: sizeMs,
    blockOffsetMs: offsetMs,
    startOf: (endMs: number) => endMs - sizeMs,
    lastEndMs(timestampMs: number) {
      const endMs = floorTo(timestampMs, slideMs, offsetMs) + sizeMs
      return endMs > timestampMs ? endMs : undefined
    },
    nextEndMs(timestampMs: number, afterMs: number) {
      // The first window that a time is in is the first one that ends after it.
      const startMs = floorTo(Math.max(timestampMs, afterMs) - sizeMs, slideMs, offsetMs) + slideMs
      return startMs <= timestampMs ? startMs + sizeMs : undefined
    },
    windowsOf(timestampMs: number) {
      const windows: TimeWindow[] = []
      const lastMs = floorTo(timestampMs, slideMs, offsetMs)
      for (let startMs = lastMs; startMs > timestampMs - sizeMs; startMs -= slideMs) {
        windows.unshift({ startMs, endMs: startMs + sizeMs })
      }
      return windows
    },
  })
}

export interface CumulativeOptions {
  /** The size of the largest window: a multiple of the step. */
  readonly maxMs: number
  /** By how much each window is longer than the one before. */
  readonly stepMs: number
  /** Where windows start, from the epoch: 0 or more, less than `maxMs`. Default 0. */
  readonly offsetMs?: number
}

/** Windows that start together every `maxMs` and end a step apart: the day so far, each hour (W5). */
export function cumulative(options: CumulativeOptions): PanedAssigner {
  check(options, ['maxMs', 'stepMs'], 'maxMs')
  const { maxMs, stepMs, offsetMs = 0 } = options
  if (maxMs % stepMs !== 0) {
    rejectViolations([{ argument: 'options.maxMs', reason: 'must be a multiple of stepMs' }])
  }
  return Object.freeze({
    description: described('cumulative', { maxMs, stepMs, offsetMs }),
    isTumbling: maxMs === stepMs,
    paneMs: stepMs,
    offsetMs: offsetMs % stepMs,
    blockMs: maxMs,
    blockOffsetMs: offsetMs,
    startOf: (endMs: number) => floorTo(endMs - 1, maxMs, offsetMs),
    lastEndMs: (timestampMs: number) => floorTo(timestampMs, maxMs, offsetMs) + maxMs,
    nextEndMs(timestampMs: number, afterMs: number) {
      const endMs = floorTo(Math.max(timestampMs, afterMs), stepMs, offsetMs % stepMs) + stepMs
      return endMs <= floorTo(timestampMs, maxMs, offsetMs) + maxMs ? endMs : undefined
    },
    windowsOf(timestampMs: number) {
      const startMs = floorTo(timestampMs, maxMs, offsetMs)
      const windows: TimeWindow[] = []
      for (
        let endMs = floorTo(timestampMs, stepMs, offsetMs) + stepMs;
        endMs <= startMs + maxMs;
        endMs += stepMs
      ) {
        windows.push({ startMs, endMs })
      }
      return windows
    },
  })
}

/** The last start of a window up to a time, also before the epoch (W2). */
export function floorTo(timestampMs: number, sizeMs: number, offsetMs: number): number {
  const behindMs = (timestampMs - offsetMs) % sizeMs
  return timestampMs - (behindMs < 0 ? behindMs + sizeMs : behindMs)
}

function greatestCommonDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestCommonDivisor(right, left % right)
}

function described(kind: string, settings: { readonly [name: string]: number | string }): string {
  return `${kind}(${Object.values(settings).join(', ')})`
}

const wholeMs: Rule = (size) =>
  rules.positiveInteger(size) === undefined ? undefined : 'must be a positive whole number of milliseconds'

/** All of the named sizes are there, and `offsetMs` is smaller than the one of them that is named for it. */
function check(options: object, sizes: readonly string[], largerThanOffset: string): void {
  requireSettings(options, sizes)
  const limitMs = (options as { readonly [name: string]: unknown })[largerThanOffset] as number
  const offsetMs: Rule = (offset) =>
    rules.nonNegativeInteger(offset) === undefined && (offset as number) < limitMs
      ? undefined
      : `must be a whole number of milliseconds, 0 or more, smaller than ${largerThanOffset}`
  const schema = { ...Object.fromEntries(sizes.map((name) => [name, wholeMs])), offsetMs }
  rejectViolations(violationsOf(options, schema))
}
