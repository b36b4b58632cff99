// Which entries of a table are due at which time: what `DueKeys` does for keys, for numbers. It is memory only, outside of the JavaScript
// heap; what it holds follows from the table, and is made again from that.
//
// (1) A hierarchical timing wheel: a level is a ring of 256 buckets, and a bucket of one level is as long as the whole ring before it. Of a
//     level there is only what lies less than a ring ahead of the time at hand, so each bucket has one stretch of time.
// (2) What is due late lies in a long bucket, and moves into shorter ones when the time at hand comes into that.
// (3) An entry may be there several times, also at one time.

import type { SlicedWork } from '../../base/slices.js'

const FIRST_WIDTH_MS = 256
const BUCKETS = 256
const LEVELS = 4
const INITIAL_RECORDS = 64
/** Memory of so many buckets that became empty waits for the next ones. */
const SPARE_BUCKETS = 16
/** Memory of more records than this is given back. */
const SPARE_RECORDS = 4_096
/** So many records are looked at in one step. */
const STEP_RECORDS = 8_192

/** Entries under the times at which they are due. */
export class DueEntries {
  readonly #levels: readonly Level[]
  /** Before the first time is known, behind the last one, and further away than the last level reaches. */
  readonly #far: Bucket
  readonly #taken: Bucket
  #timeMs = -Infinity

  constructor() {
    const spares: Records[] = []
    this.#far = new Bucket(spares)
    this.#taken = new Bucket(spares)
    this.#levels = Array.from({ length: LEVELS }, (_, i) => new Level(FIRST_WIDTH_MS * BUCKETS ** i, spares))
  }

  /** Nothing is due before this; `Infinity` where there is nothing. */
  get nextMs(): number {
    let nextMs = this.#far.firstMs
    for (const { buckets } of this.#levels) {
      for (const { firstMs } of buckets) if (firstMs < nextMs) nextMs = firstMs
    }
    return nextMs
  }

  /** One that is due already comes with the next `takeUntil`. */
  add(dueMs: number, entry: number): void {
    this.#bucketOf(dueMs).append(dueMs, entry)
  }

  /** Takes out what is due up to a time, which must not be before that of the last call, in no order. Nothing may be added on the way. */
  *takeUntil(timeMs: number): SlicedWork<TakenEntries> {
    const taken = this.#taken
    taken.empty()
    if (timeMs > this.#timeMs) this.#timeMs = timeMs
    // Shorter buckets first: what comes out of a longer one belongs where the time at hand is by then.
    for (const level of this.#levels) {
      const before = level.now
      level.now = Math.floor(this.#timeMs / level.widthMs)
      if (before === -Infinity) continue
      const passed = Math.min(level.now - before, BUCKETS - 1)
      for (let i = 0; i <= passed; i++) yield* this.#takeOut(level.bucketAt(before + i), timeMs)
    }
    yield* this.#takeOut(this.#far, timeMs)
    return taken
  }

  /** What is due of a bucket is taken, and the rest goes where it now belongs. */
  *#takeOut(bucket: Bucket, timeMs: number): SlicedWork<void> {
    if (bucket.count === 0) return
    if (bucket.lastMs <= timeMs) {
      this.#taken.appendAll(bucket)
      bucket.release()
      yield
      return
    }
    if (bucket.firstMs > timeMs && this.#bucketOf(bucket.firstMs) === bucket) return
    const { count, records } = bucket
    const { times, entries } = records
    bucket.reset()
    for (let i = 0; i < count; i++) {
      const dueMs = times[i] as number
      // Where it stays in this bucket, it comes to a place that was looked at.
      const to = dueMs <= timeMs ? this.#taken : this.#bucketOf(dueMs)
      to.append(dueMs, entries[i] as number)
      if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
    }
    if (bucket.count === 0) bucket.release()
  }

  #bucketOf(dueMs: number): Bucket {
    if (Number.isFinite(this.#timeMs)) {
      for (const level of this.#levels) {
        const number = Math.floor(dueMs / level.widthMs)
        if (number - level.now < BUCKETS) return level.bucketAt(Math.max(number, level.now))
      }
    }
    return this.#far
  }
}

/** Entries that are due. */
export interface TakenEntries {
  readonly count: number
  readonly records: { readonly entries: Uint32Array }
}

class Level {
  readonly widthMs: number
  readonly buckets: readonly Bucket[]
  /** The number of the bucket that the time at hand is in. */
  now = -Infinity

  constructor(widthMs: number, spares: Records[]) {
    this.widthMs = widthMs
    this.buckets = Array.from({ length: BUCKETS }, () => new Bucket(spares))
  }

  bucketAt(number: number): Bucket {
    return this.buckets[number & (BUCKETS - 1)] as Bucket
  }
}

/** Times, and the entries that are due then. */
interface Records {
  readonly times: Float64Array
  readonly entries: Uint32Array
}

class Bucket implements TakenEntries {
  records: Records = NO_RECORDS
  count = 0
  /** The earliest and the latest time of a record. */
  firstMs: number = Infinity
  lastMs: number = -Infinity
  readonly #spares: Records[]

  constructor(spares: Records[]) {
    this.#spares = spares
  }

  append(dueMs: number, entry: number): void {
    const { count } = this
    if (count === this.records.entries.length) this.#reserve(count + 1)
    const { times, entries } = this.records
    times[count] = dueMs
    entries[count] = entry
    this.count = count + 1
    if (dueMs < this.firstMs) this.firstMs = dueMs
    if (dueMs > this.lastMs) this.lastMs = dueMs
  }

  appendAll({ records, count, firstMs, lastMs }: Bucket): void {
    this.#reserve(this.count + count)
    this.records.times.set(records.times.subarray(0, count), this.count)
    this.records.entries.set(records.entries.subarray(0, count), this.count)
    this.count += count
    if (firstMs < this.firstMs) this.firstMs = firstMs
    if (lastMs > this.lastMs) this.lastMs = lastMs
  }

  /** Nothing is there; its memory is kept unless it is much. */
  empty(): void {
    if (this.records.entries.length > SPARE_RECORDS) this.records = NO_RECORDS
    this.reset()
  }

  /** Nothing is there, and its memory goes to the next bucket that needs some. */
  release(): void {
    const { length } = this.records.entries
    if (length > 0 && length <= SPARE_RECORDS && this.#spares.length < SPARE_BUCKETS)
      this.#spares.push(this.records)
    this.records = NO_RECORDS
    this.reset()
  }

  reset(): void {
    this.count = 0
    this.firstMs = Infinity
    this.lastMs = -Infinity
  }

  #reserve(count: number): void {
    const before = this.records
    if (count <= before.entries.length) return
    const spare = before === NO_RECORDS ? this.#spares.pop() : undefined
    if (spare !== undefined && count <= spare.entries.length) {
      this.records = spare
      return
    }
    const capacity = Math.max(count, before.entries.length * 2, INITIAL_RECORDS)
    const times = new Float64Array(capacity)
    const entries = new Uint32Array(capacity)
    times.set(before.times.subarray(0, this.count))
    entries.set(before.entries.subarray(0, this.count))
    this.records = { times, entries }
  }
}

const NO_RECORDS: Records = { times: new Float64Array(0), entries: new Uint32Array(0) }
