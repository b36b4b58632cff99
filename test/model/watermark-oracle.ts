// The watermark of a job's source by its partitions, as docs/semantics.md has it (T1 to T11), by lists and loops.

export type WatermarkRule =
  | { readonly kind: 'ascending' }
  | { readonly kind: 'bounded'; readonly disorderMs: number }
  /** Some events tell it, others nothing. */
  | { readonly kind: 'punctuated' }

export interface EventTime {
  readonly rule: WatermarkRule
  readonly idleAfterMs?: number
  readonly onAllIdle?: 'hold' | 'advance'
  readonly maxAheadMs?: number
}

/** What `watermarksBy` is given for the rule `punctuated`. */
export const punctuated = (seen: { readonly timestampMs: number; readonly highestMs: number }) =>
  seen.timestampMs % 3 === 0 ? seen.highestMs - 2 : undefined

const HOUR_MS = 3_600_000

interface Partition {
  highestMs: number
  watermarkMs: number
  /** Since when it has been polled in vain. */
  vainSinceMs: number | undefined
  isIdle: boolean
  /** It was idle, and what it says is older than the watermark (T6). */
  isBehind: boolean
  hasEnded: boolean
}

export class WatermarkOracle {
  watermarkMs = -Infinity
  readonly #time: EventTime
  readonly #partitions = new Map<string, Partition>()

  constructor(time: EventTime, partitions: readonly string[]) {
    this.#time = time
    for (const name of partitions) this.#partition(name)
  }

  /** False of a bad event. */
  event(name: string, timestampMs: number, nowMs: number): boolean {
    const partition = this.#partition(name)
    partition.vainSinceMs = undefined // T5
    if (timestampMs > nowMs + (this.#time.maxAheadMs ?? HOUR_MS)) return false // T11
    partition.highestMs = Math.max(partition.highestMs, timestampMs)
    partition.watermarkMs = Math.max(partition.watermarkMs, this.#told(partition, timestampMs)) // T3
    if (partition.isIdle) partition.isBehind = true
    partition.isIdle = false
    this.#advance()
    return true
  }

  /** From now on the source is polled in vain. */
  polledInVain(nowMs: number): void {
    for (const partition of this.#partitions.values()) partition.vainSinceMs ??= nowMs
  }

  /** One partition after the other becomes idle (T5): each step may bring the watermark on. */
  *becomeIdle(nowMs: number): Generator<undefined, void> {
    const { idleAfterMs = Infinity } = this.#time
    for (const partition of this.#partitions.values()) {
      const { vainSinceMs = Infinity, isIdle } = partition
      if (isIdle || nowMs < vainSinceMs + idleAfterMs) continue
      partition.isIdle = true
      this.#advance()
      yield
    }
  }

  /** The same of their ends (T8). */
  *end(): Generator<undefined, void> {
    if (this.#partitions.size === 0) this.#partition('0')
    for (const partition of this.#partitions.values()) {
      partition.hasEnded = true
      this.#advance()
      yield
    }
  }

  /** A cut has the watermarks (T9), and not who is idle: one that was not polled is not (T5). */
  restart(): void {
    for (const partition of this.#partitions.values()) {
      partition.vainSinceMs = undefined
      partition.isIdle = false
      partition.isBehind = false
    }
  }

  #partition(name: string): Partition {
    const known = this.#partitions.get(name)
    if (known !== undefined) return known
    const nothing = { highestMs: -Infinity, watermarkMs: -Infinity, vainSinceMs: undefined }
    const made: Partition = { ...nothing, isIdle: false, isBehind: false, hasEnded: false }
    this.#partitions.set(name, made)
    return made
  }

  #told({ highestMs }: Partition, timestampMs: number): number {
    const { rule } = this.#time
    if (rule.kind === 'punctuated') return punctuated({ timestampMs, highestMs }) ?? -Infinity
    return highestMs - (rule.kind === 'bounded' ? rule.disorderMs : 0) - 1 // T2
  }

  #advance(): void {
    const all = [...this.#partitions.values()]
    const live = all.filter(({ hasEnded }) => !hasEnded)
    for (const partition of live) if (partition.watermarkMs >= this.watermarkMs) partition.isBehind = false // T6
    const counting = live.filter(({ isIdle, isBehind }) => !isIdle && !isBehind)
    const least = Math.min(...counting.map(({ watermarkMs }) => watermarkMs)) // T4
    const furthest = Math.max(...all.map(({ watermarkMs }) => watermarkMs))
    const areAllIdle = live.every(({ isIdle }) => isIdle)
    if (live.length === 0)
      this.watermarkMs = Infinity // T8
    else if (counting.length > 0) this.watermarkMs = Math.max(this.watermarkMs, least)
    else if (areAllIdle && this.#time.onAllIdle === 'advance')
      this.watermarkMs = Math.max(this.watermarkMs, furthest) // T7
  }
}
