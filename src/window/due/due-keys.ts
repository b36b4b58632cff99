// Which keys are due at which time: those of timers, and of windows that close. It is memory only, outside of the JavaScript heap;
// what it holds follows from the state, and is made again from that when a store is opened.
//
//   bucket := record*         record := due f64 · group u16 · length u16 · key        little-endian
//
// (1) A hierarchical timing wheel: a level has 64 buckets, and a bucket of one level is as long as the whole level before it. A key that is
//     due late lies in a long bucket, and moves into a shorter one when its time comes near: five times at most.
// (2) A key may be there several times, also at one time.

import { compareStretches } from '../../base/bytes.js'
import type { SlicedWork } from '../../base/slices.js'
import type { Stretch } from '../../base/slot.js'
import { sortedByKey, sortedByTime } from './key-order.js'

const FIRST_WIDTH_MS = 256
const BUCKETS = 64
const LEVELS = 5
const HEADER_BYTES = 12
const INITIAL_BYTES = 256
/** So many records are looked at in one step. */
const STEP_RECORDS = 8_192
/** So many records are looked at one by one to count those that are due. */
const COUNTED_RECORDS = 65_536

/** Keys under the times at which they are due. */
export class DueKeys {
  readonly #levels: Level[] = []
  /** Before the first time is known, and further away than the last level reaches. */
  #far = new Bucket()
  #timeMs = -Infinity
  #size = 0

  constructor() {
    for (let i = 0, widthMs = FIRST_WIDTH_MS; i < LEVELS; i++, widthMs *= BUCKETS) {
      this.#levels.push({ widthMs, buckets: new Map() })
    }
  }

  /** How many there are. */
  get size(): number {
    return this.#size
  }

  /** Nothing is due before this; `Infinity` where there is nothing. */
  get nextMs(): number {
    let nextMs = this.#far.firstMs
    for (const { buckets } of this.#levels) {
      for (const { firstMs } of buckets.values()) if (firstMs < nextMs) nextMs = firstMs
    }
    return nextMs
  }

  /**
   * How many are due up to a time. Buckets of which all is due are counted as a whole; where more than 65,536 records lie in others, it is
   * fewer than there are.
   */
  countUntil(timeMs: number): number {
    let count = 0
    let left = COUNTED_RECORDS
    const add = (bucket: Bucket) => {
      if (bucket.firstMs > timeMs) return
      if (bucket.lastMs <= timeMs) {
        count += bucket.count
        return
      }
      for (let at = 0; at < bucket.length && left > 0; at = bucket.behind(at), left--)
        if (bucket.dueAt(at) <= timeMs) count++
    }
    for (const { buckets } of this.#levels) for (const bucket of buckets.values()) add(bucket)
    add(this.#far)
    return count
  }

  /** Adds a key, of which the bytes are copied. One that is due already comes with the next `takeUntil`. */
  add(dueMs: number, group: number, key: Stretch): void {
    this.#bucketOf(dueMs).append(dueMs, group, key.bytes, key.offset, key.length)
    this.#size++
  }

  /** Takes out what is due up to a time, which must not be before that of the last call. Nothing may be added on the way. */
  *takeUntil(timeMs: number): SlicedWork<DueBatch> {
    const batch = yield* this.takeUnsorted(timeMs)
    yield* batch.sort()
    return batch
  }

  /** The same, in no order: only the records of what is returned may be used. */
  *takeUnsorted(timeMs: number): SlicedWork<DueBatch> {
    const batch = new DueBatch()
    const open: Bucket[] = []
    this.#timeMs = Math.max(this.#timeMs, timeMs)
    for (const { buckets } of this.#levels) {
      for (const [number, bucket] of buckets) {
        if (bucket.firstMs > timeMs) continue
        buckets.delete(number)
        if (bucket.lastMs > timeMs) {
          open.push(bucket)
          continue
        }
        batch.addAll(bucket)
        yield
      }
    }
    // Those of the far bucket may belong to a level now.
    if (this.#far.firstMs <= timeMs || this.#far.firstMs - this.#timeMs < this.#reachMs()) {
      open.push(this.#far)
      this.#far = new Bucket()
    }
    for (const bucket of open) yield* this.#divide(bucket, timeMs, batch)
    this.#size -= batch.size
    return batch
  }

  /** What is due goes into the batch, the rest where it now belongs. */
  *#divide(bucket: Bucket, timeMs: number, batch: DueBatch): SlicedWork<void> {
    let count = 0
    for (let at = 0; at < bucket.length; at = bucket.behind(at)) {
      const dueMs = bucket.dueAt(at)
      const to = dueMs <= timeMs ? batch.records : this.#bucketOf(dueMs)
      to.append(dueMs, bucket.groupAt(at), bucket.bytes, at + HEADER_BYTES, bucket.keyLengthAt(at))
      if (++count % STEP_RECORDS === 0) yield
    }
  }

  #bucketOf(dueMs: number): Bucket {
    const distanceMs = dueMs - this.#timeMs
    for (const { widthMs, buckets } of this.#levels) {
      if (distanceMs >= widthMs * BUCKETS) continue
      const number = Math.floor(dueMs / widthMs)
      let bucket = buckets.get(number)
      if (bucket === undefined) {
        bucket = new Bucket()
        buckets.set(number, bucket)
      }
      return bucket
    }
    return this.#far
  }

  #reachMs(): number {
    return FIRST_WIDTH_MS * BUCKETS ** LEVELS
  }
}

interface Level {
  readonly widthMs: number
  readonly buckets: Map<number, Bucket>
}

/** Records, one behind the other. */
class Bucket {
  bytes: Buffer<ArrayBuffer> = Buffer.allocUnsafeSlow(INITIAL_BYTES)
  length = 0
  count = 0
  /** The earliest and the latest time of a record. */
  firstMs: number = Infinity
  lastMs: number = -Infinity
  #view = new DataView(this.bytes.buffer)

  append(dueMs: number, group: number, from: Uint8Array, offset: number, length: number): void {
    const at = this.length
    this.#reserve(HEADER_BYTES + length)
    const { bytes } = this
    const view = this.#view
    view.setFloat64(at, dueMs, true)
    view.setUint16(at + 8, group, true)
    view.setUint16(at + 10, length, true)
    for (let i = 0; i < length; i++) bytes[at + HEADER_BYTES + i] = from[offset + i] as number
    this.count++
    if (dueMs < this.firstMs) this.firstMs = dueMs
    if (dueMs > this.lastMs) this.lastMs = dueMs
  }

  appendAll(other: Bucket): void {
    const at = this.length
    this.#reserve(other.length)
    other.bytes.copy(this.bytes, at, 0, other.length)
    this.count += other.count
    this.firstMs = Math.min(this.firstMs, other.firstMs)
    this.lastMs = Math.max(this.lastMs, other.lastMs)
  }

  dueAt(at: number): number {
    return this.#view.getFloat64(at, true)
  }

  groupAt(at: number): number {
    return this.#view.getUint16(at + 8, true)
  }

  /** A key of four bytes as a number. */
  numberAt(at: number): number {
    return this.#view.getUint32(at + HEADER_BYTES, true)
  }

  keyLengthAt(at: number): number {
    return this.#view.getUint16(at + 10, true)
  }

  /** Where the next record begins. */
  behind(at: number): number {
    return at + HEADER_BYTES + this.keyLengthAt(at)
  }

  /** Four bytes of a key, as a number whose order is theirs; behind its end there are zeros. */
  keyWordAt(at: number, skip: number): number {
    const length = this.keyLengthAt(at)
    const start = at + HEADER_BYTES + skip
    if (skip + 4 <= length) return this.#view.getUint32(start)
    let word = 0
    for (let i = 0; i < 4; i++)
      word = word * 256 + (skip + i < length ? (this.bytes[start + i] as number) : 0)
    return word
  }

  compareKeys(left: number, right: number): number {
    return compareStretches(
      this.bytes,
      left + HEADER_BYTES,
      this.keyLengthAt(left),
      this.bytes,
      right + HEADER_BYTES,
      this.keyLengthAt(right),
    )
  }

  #reserve(count: number): void {
    const end = this.length + count
    if (end > this.bytes.length) {
      const bytes = Buffer.allocUnsafeSlow(Math.max(end, this.bytes.length * 2))
      this.bytes.copy(bytes, 0, 0, this.length)
      this.bytes = bytes
      this.#view = new DataView(bytes.buffer)
    }
    this.length = end
  }
}

/** Keys that are due, in the order of their times, then of their bytes. */
export class DueBatch {
  /** In no order. */
  records: Bucket = new Bucket()
  #order = new Uint32Array(0)

  get size(): number {
    return this.records.count
  }

  dueMs(i: number): number {
    return this.records.dueAt(this.#order[i] as number)
  }

  group(i: number): number {
    return this.records.groupAt(this.#order[i] as number)
  }

  /** Shows a key where it lies; the batch does not change any more. */
  key(i: number, stretch: { bytes: Uint8Array; offset: number; length: number }): void {
    const at = this.#order[i] as number
    stretch.bytes = this.records.bytes
    stretch.offset = at + HEADER_BYTES
    stretch.length = this.records.keyLengthAt(at)
  }

  /** Only for `DueKeys`. */
  addAll(bucket: Bucket): void {
    if (this.records.count === 0) this.records = bucket
    else this.records.appendAll(bucket)
  }

  /** Only for `DueKeys`. */
  *sort(): SlicedWork<void> {
    const { records } = this
    const order = new Uint32Array(records.count)
    for (let at = 0, i = 0; at < records.length; at = records.behind(at)) {
      order[i++] = at
      if (i % STEP_RECORDS === 0) yield
    }
    const byKey = yield* sortedByKey(records, order)
    this.#order = records.firstMs === records.lastMs ? byKey : yield* sortedByTime(records, byKey)
  }
}
