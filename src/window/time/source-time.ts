// How far a source has come in the time of its events, over all its partitions.
//
// (1) The watermark is the least of those of the partitions that count (T4). It never goes back (T3).
// (2) A partition does not count while it is idle (T5), and after that until it has caught up with the watermark (T6).
// (3) A partition that has ended is at +Infinity: where all have ended, so is the watermark (T8). That holds for the run: the next one goes
//     on from what was before the end, for the source may have more by then.

import { type Clock, ForwardClock, systemClock } from '../../base/clock.js'
import { hasMethods, oneOf, type Rule, rejectViolations, rules, violationsOf } from '../../base/options.js'
import { NOTHING_SEEN, type WatermarkGenerator, type WatermarkStrategy } from './watermark-strategy.js'

const HOUR_MS = 3_600_000

/** How the watermark of a job follows from the timestamps of its partitions. Numbers such as T5 are rows of docs/semantics.md. */
export interface SourceTimeOptions {
  /** How far the time of a partition is, by its timestamps: made by `boundedDisorder` and its like. */
  readonly watermarks: WatermarkStrategy
  /** A partition that was polled in vain for so long no longer holds the others back (T5). Default: never. */
  readonly idleAfterMs?: number
  /** Where every partition is idle: the watermark stays, or goes to the furthest of them (T7). Default `'hold'`. */
  readonly onAllIdle?: 'hold' | 'advance'
  /** A timestamp that is further ahead of the processing clock is a bad event (T11). Default 1 hour; `Infinity`: none is. */
  readonly maxAheadMs?: number
  /** A partition whose timestamps are further ahead of the slowest one that counts is to be paused. Default: none is. */
  readonly maxDriftMs?: number
  /**
   * Events of all partitions come in the order of their timestamps: the next one is the earliest of those that are next in their partitions,
   * for which a partition that has nothing is waited for until it is idle or has ended. Not with `maxDriftMs`. Default false: each comes when it
   * was read.
   */
  readonly inOrder?: boolean
}

/** What is kept of a partition in a cut (T9). A type, not an interface, so that it is JSON to the compiler. */
export type SavedPartition = {
  /** `undefined` before the first event. */
  readonly highestMs?: number
  readonly watermarkMs?: number
  /** For whoever reads the cut. Whether it has ended is asked anew: a file may have grown since. */
  readonly hasEnded?: true
}

/** What is kept of a source's time in a cut, as JSON. */
export type SavedSourceTime = {
  /** Where all partitions have ended: what it was before that. */
  readonly watermarkMs?: number
  readonly partitions: { readonly [partition: string]: SavedPartition }
}

/** How far a partition is in the time of its events. */
export interface PartitionProgress {
  /** The highest timestamp so far; `-Infinity` before the first event. */
  readonly highestMs: number
  readonly watermarkMs: number
  /** It had nothing for `idleAfterMs`, and is not waited for. */
  readonly isIdle: boolean
  readonly hasEnded: boolean
}

/** Why a timestamp makes an event a bad one. */
export type BadTimestamp = 'notWholeMs' | 'tooFarAhead'

const optionRules: { readonly [name: string]: Rule } = {
  watermarks: hasMethods('generator'),
  idleAfterMs: rules.positiveMs,
  onAllIdle: oneOf('hold', 'advance'),
  maxAheadMs: rules.positiveMs,
  maxDriftMs: rules.positiveMs,
  inOrder: rules.boolean,
}

/** One partition of a source. */
export class PartitionTime {
  readonly id: string
  readonly #source: SourceTime
  readonly #generator: WatermarkGenerator
  /** What it was at when it was saved: its generator may have to hear some events again before it says as much. */
  readonly #resumedMs: number
  #highestMs: number
  /** When polling began to be in vain; `undefined` while events come. */
  #quietSinceMs: number | undefined
  #isIdle = false
  /** It was idle, and has not caught up since (T6). */
  #isBehind = false
  #hasEnded = false

  constructor(id: string, source: SourceTime, generator: WatermarkGenerator, saved: SavedPartition) {
    this.id = id
    this.#source = source
    this.#generator = generator
    this.#resumedMs = saved.watermarkMs ?? NOTHING_SEEN
    this.#highestMs = saved.highestMs ?? NOTHING_SEEN
  }

  /** An event was read. What is wrong with its timestamp, where it is a bad one (T1, T11): it then counts for nothing. */
  onEvent(timestampMs: number): BadTimestamp | undefined {
    // The least safe integer stands for "never yet" in stores.
    if (!Number.isSafeInteger(timestampMs) || timestampMs === -Number.MAX_SAFE_INTEGER) return 'notWholeMs'
    if (this.#source.isTooFarAhead(timestampMs)) return 'tooFarAhead'
    if (timestampMs > this.#highestMs) this.#highestMs = timestampMs
    this.#generator.onEvent(timestampMs)
    this.#quietSinceMs = undefined
    this.#isIdle = false
    return undefined
  }

  /** The source has said how far this partition is: for `sourceWatermarks()`. */
  onWatermark(watermarkMs: number): void {
    this.#generator.onSourceWatermark(watermarkMs)
  }

  /** It was polled, and had nothing. Time in which it is not polled does not make it idle (T5). */
  onEmptyPoll(): void {
    const nowMs = this.#source.nowMs()
    this.#quietSinceMs ??= nowMs
    if (nowMs - this.#quietSinceMs < this.#source.idleAfterMs) return
    this.#isIdle = true
    this.#isBehind = true
  }

  /** It is not polled for a while, because it is paused or nobody has room for what it gives. */
  onPause(): void {
    this.#quietSinceMs = undefined
  }

  /** Nothing comes any more (T8). */
  onEnd(): void {
    this.#hasEnded = true
  }

  get isIdle(): boolean {
    return this.#isIdle
  }

  /** Whether the watermark of the whole waits for this one, where that has come to `watermarkMs`. */
  countsAt(watermarkMs: number): boolean {
    if (this.#isIdle || this.#hasEnded) return false
    if (this.#isBehind && this.watermarkMs >= watermarkMs) this.#isBehind = false
    return !this.#isBehind
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** The highest timestamp so far; `-Infinity` before the first event. */
  get highestMs(): number {
    return this.#highestMs
  }

  get watermarkMs(): number {
    return this.#hasEnded ? Infinity : this.reachedMs
  }

  /** How far its events have brought it, also where it has ended since. */
  get reachedMs(): number {
    return Math.max(this.#generator.watermarkMs, this.#resumedMs)
  }

  save(): SavedPartition {
    const watermarkMs = this.reachedMs
    return {
      ...(this.#highestMs !== NOTHING_SEEN && { highestMs: this.#highestMs }),
      ...(watermarkMs !== NOTHING_SEEN && { watermarkMs }),
      ...(this.#hasEnded && { hasEnded: true as const }),
    }
  }
}

export class SourceTime {
  readonly idleAfterMs: number
  readonly #strategy: WatermarkStrategy
  readonly #advancesWhenIdle: boolean
  readonly #maxAheadMs: number
  readonly #maxDriftMs: number
  readonly #clock: ForwardClock
  readonly #partitions = new Map<string, PartitionTime>()
  /** Of partitions that were not asked for yet. */
  readonly #saved: Map<string, SavedPartition>
  /** A timestamp up to this is not too far ahead; beyond it the clock is asked. */
  #knownGoodMs: number
  #watermarkMs: number
  /** The furthest that it has been before the end. */
  #finiteMs: number

  /** Goes on where a saved one was. `INVALID_ARGUMENT` lists every wrong setting. */
  constructor(
    options: SourceTimeOptions,
    saved: SavedSourceTime = { partitions: {} },
    clock: Clock = systemClock,
  ) {
    const violations = violationsOf(options, optionRules)
    if (options.inOrder === true && options.maxDriftMs !== undefined) {
      violations.push({
        argument: 'options.maxDriftMs',
        reason: 'has no meaning where partitions are read in order',
      })
    }
    rejectViolations(violations)
    this.idleAfterMs = options.idleAfterMs ?? Infinity
    this.#strategy = options.watermarks
    this.#advancesWhenIdle = options.onAllIdle === 'advance'
    this.#maxAheadMs = options.maxAheadMs ?? HOUR_MS
    this.#maxDriftMs = options.maxDriftMs ?? Infinity
    this.#clock = new ForwardClock(clock)
    this.#saved = new Map(Object.entries(saved.partitions))
    this.#watermarkMs = saved.watermarkMs ?? NOTHING_SEEN
    this.#finiteMs = this.#watermarkMs
    this.#knownGoodMs = this.#clock.now() + this.#maxAheadMs
  }

  /** A partition of the source: as it was saved, or a new one, of which nothing was seen (T9). */
  partition(id: string): PartitionTime {
    const known = this.#partitions.get(id)
    if (known !== undefined) return known
    const saved = this.#saved.get(id)
    this.#saved.delete(id)
    const generator = this.#strategy.generator(saved?.highestMs ?? NOTHING_SEEN)
    const made = new PartitionTime(id, this, generator, saved ?? {})
    this.#partitions.set(id, made)
    return made
  }

  /** The partition belongs to somebody else from now on. */
  forget(id: string): void {
    this.#saved.delete(id)
    this.#partitions.delete(id)
  }

  /** No event with a timestamp up to this is expected any more; `-Infinity` before the first one, `+Infinity` at the end. */
  get watermarkMs(): number {
    return this.#watermarkMs
  }

  /** Whether the watermark is further than it was: to be asked after events, empty polls and ends. */
  advance(): boolean {
    const nextMs = this.#nextWatermarkMs()
    if (nextMs <= this.#watermarkMs) return false
    this.#watermarkMs = nextMs
    if (nextMs < Infinity) this.#finiteMs = nextMs
    return true
  }

  /** Partitions that run ahead of the slowest one by more than `maxDriftMs`: not to be polled until it comes closer. */
  *ahead(): IterableIterator<PartitionTime> {
    if (this.#maxDriftMs === Infinity) return
    const open = Array.from(this.#partitions.values()).filter(({ hasEnded }) => !hasEnded)
    const counting = open.filter((partition) => partition.countsAt(this.#watermarkMs))
    const slowestMs = Math.min(...counting.map(({ highestMs }) => highestMs))
    yield* open.filter(({ highestMs }) => highestMs - slowestMs > this.#maxDriftMs)
  }

  /** The highest timestamp of all partitions; `-Infinity` before the first event. */
  get highestMs(): number {
    let highestMs = NOTHING_SEEN
    for (const partition of this.#partitions.values()) highestMs = Math.max(highestMs, partition.highestMs)
    return highestMs
  }

  /** How far each partition is. */
  progress(): { readonly [partition: string]: PartitionProgress } {
    const each = Array.from(this.#partitions.values(), ({ id, highestMs, watermarkMs, isIdle, hasEnded }) => {
      return [id, { highestMs, watermarkMs, isIdle, hasEnded }] as const
    })
    return Object.fromEntries(each)
  }

  /** What a cut keeps: every partition that is known here, and those of the saved state that were not asked for yet. */
  save(): SavedSourceTime {
    const known = Array.from(this.#partitions, ([id, partition]) => [id, partition.save()] as const)
    const partitions = Object.fromEntries([...this.#saved, ...known])
    return { ...(this.#finiteMs !== NOTHING_SEEN && { watermarkMs: this.#finiteMs }), partitions }
  }

  /** Only where it may be is the clock asked, whose answer takes longer than all the rest. */
  isTooFarAhead(timestampMs: number): boolean {
    if (timestampMs <= this.#knownGoodMs) return false
    this.#knownGoodMs = this.#clock.now() + this.#maxAheadMs
    return timestampMs > this.#knownGoodMs
  }

  nowMs(): number {
    return this.#clock.now()
  }

  /** The least of those that count; where none does, because all are idle, it stays or goes to the furthest (T7). */
  #nextWatermarkMs(): number {
    let leastMs = Infinity
    let furthestMs = NOTHING_SEEN
    let isOneOpen = false
    let doesOneCount = false
    let areAllIdle = true
    for (const partition of this.#partitions.values()) {
      furthestMs = Math.max(furthestMs, partition.reachedMs)
      if (partition.hasEnded) continue
      isOneOpen = true
      if (!partition.isIdle) areAllIdle = false
      const { watermarkMs } = partition
      if (!partition.countsAt(this.#watermarkMs)) continue
      doesOneCount = true
      leastMs = Math.min(leastMs, watermarkMs)
    }
    if (!isOneOpen) return this.#partitions.size === 0 ? NOTHING_SEEN : Infinity
    if (doesOneCount) return leastMs
    return this.#advancesWhenIdle && areAllIdle ? furthestMs : NOTHING_SEEN
  }
}

/** The time of a source whose partitions were kept in several states: it is only as far as the one that is behind (T10). */
export function mergeSourceTimes(parts: readonly SavedSourceTime[]): SavedSourceTime {
  const watermarkMs = Math.min(...parts.map((part) => part.watermarkMs ?? NOTHING_SEEN))
  const furthest = new Map<string, SavedPartition>()
  for (const part of parts) {
    for (const [id, saved] of Object.entries(part.partitions)) {
      const other = furthest.get(id)
      furthest.set(id, other === undefined ? saved : furtherOf(other, saved))
    }
  }
  const partitions = Object.fromEntries(furthest)
  return { ...(Number.isFinite(watermarkMs) && { watermarkMs }), partitions }
}

/** A partition that two parts have known was moved between them: the later one has seen more of it. */
function furtherOf(left: SavedPartition, right: SavedPartition): SavedPartition {
  return (right.highestMs ?? NOTHING_SEEN) > (left.highestMs ?? NOTHING_SEEN) ? right : left
}
