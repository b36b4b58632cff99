// How the watermark of one partition of a source follows from its events.

import { invalidArgument, rules } from '../../base/options.js'

/** Before anything was seen. */
export const NOTHING_SEEN: number = -Infinity

/** What one partition has told so far, and the watermark that follows from it. */
export interface WatermarkGenerator {
  /** An event was read. `timestampMs` is a whole number. */
  onEvent(timestampMs: number): void
  /** The source itself has said how far it is. */
  onSourceWatermark(watermarkMs: number): void
  /** No event with a timestamp up to this is expected any more; `-Infinity` before the first one. */
  readonly watermarkMs: number
}

/** Makes a generator for each partition. Pass one of {@link boundedDisorder}, {@link ascending}, {@link watermarksBy}, {@link sourceWatermarks}. */
export interface WatermarkStrategy {
  readonly name: string
  /** For a partition that is new, or that goes on after `highestMs`, the highest timestamp that was seen of it. */
  generator(highestMs: number): WatermarkGenerator
}

/** The watermark is the highest timestamp so far, less something. */
class HighestLess implements WatermarkGenerator {
  readonly #lessMs: number
  #highestMs: number

  constructor(lessMs: number, highestMs: number) {
    this.#lessMs = lessMs
    this.#highestMs = highestMs
  }

  onEvent(timestampMs: number): void {
    if (timestampMs > this.#highestMs) this.#highestMs = timestampMs
  }

  onSourceWatermark(): void {}

  get watermarkMs(): number {
    return this.#highestMs - this.#lessMs
  }
}

/**
 * Events come at most `maxDisorderMs` later than one with a higher timestamp: the watermark is the highest timestamp less that
 * less 1 (T2). What comes later yet is late. `INVALID_ARGUMENT` unless it is a whole number, 0 or more.
 */
export function boundedDisorder(maxDisorderMs: number): WatermarkStrategy {
  const reason = rules.nonNegativeInteger(maxDisorderMs)
  if (reason !== undefined) throw invalidArgument('maxDisorderMs', reason)
  return Object.freeze({
    name: `boundedDisorder(${maxDisorderMs})`,
    generator: (highestMs: number) => new HighestLess(maxDisorderMs + 1, highestMs),
  })
}

/** Timestamps of a partition never decrease: the watermark is the highest one less 1, so that equal ones are on time. */
export function ascending(): WatermarkStrategy {
  return Object.freeze({
    name: 'ascending',
    generator: (highestMs: number) => new HighestLess(1, highestMs),
  })
}

/** What {@link watermarksBy} is asked with. */
export interface SeenEvent {
  readonly timestampMs: number
  /** The highest timestamp of the partition, this one included. */
  readonly highestMs: number
}

class ByFunction implements WatermarkGenerator {
  readonly #of: (seen: SeenEvent) => number | undefined
  readonly #seen: { timestampMs: number; highestMs: number }
  watermarkMs = NOTHING_SEEN

  constructor(of: (seen: SeenEvent) => number | undefined, highestMs: number) {
    this.#of = of
    this.#seen = { timestampMs: highestMs, highestMs }
  }

  onEvent(timestampMs: number): void {
    const seen = this.#seen
    seen.timestampMs = timestampMs
    if (timestampMs > seen.highestMs) seen.highestMs = timestampMs
    const watermarkMs = this.#of(seen)
    if (watermarkMs === undefined) return
    if (!Number.isSafeInteger(watermarkMs)) {
      throw invalidArgument('watermark', 'must be a whole number of milliseconds, or undefined')
    }
    if (watermarkMs > this.watermarkMs) this.watermarkMs = watermarkMs
  }

  onSourceWatermark(): void {}
}

/**
 * A function of each event says how far the partition is: a whole number of milliseconds, or `undefined` for "as before". The
 * object that it is given is used again for the next event.
 */
export function watermarksBy(watermarkOf: (seen: SeenEvent) => number | undefined): WatermarkStrategy {
  if (typeof watermarkOf !== 'function') throw invalidArgument('watermarkOf', 'must be a function')
  return Object.freeze({
    name: 'watermarksBy',
    generator: (highestMs: number) => new ByFunction(watermarkOf, highestMs),
  })
}

class BySource implements WatermarkGenerator {
  watermarkMs = NOTHING_SEEN
  onEvent(): void {}

  onSourceWatermark(watermarkMs: number): void {
    if (watermarkMs > this.watermarkMs) this.watermarkMs = watermarkMs
  }
}

/** Only the source says how far it is. */
export function sourceWatermarks(): WatermarkStrategy {
  return Object.freeze({ name: 'sourceWatermarks', generator: () => new BySource() })
}
