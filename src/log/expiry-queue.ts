// When to look at which entries: key hashes in buckets by time, outside the JS heap where they are many.
//
//   bucket start = deadline rounded down to the bucket's width
//   bucket width = the largest power of two, in ms, of at most 1/256 of the time left (at least 1)
//
// (1) Every entry that expires has its key's hash in some bucket that starts at or before its deadline, and has that
//     bucket's id. An item in any other bucket is of no use any more: whoever looks at it drops it.
// (2) A bucket is looked at once its start has come. An entry that is not due yet then goes into a narrower bucket,
//     so each entry is looked at two to four times in its life, however long that is.
// (3) The queue holds hashes, not addresses: entries may move, be rewritten or be deleted without telling it.
// (4) Items of no use are not kept until their time: where there are too many, buckets are looked at early, oldest first.
//     What is still of use goes into a new bucket, with a new id.
// (Hierarchical timing wheels: Varghese and Lauck, SOSP 1987.)

import { assert } from '../base/assert.js'
import { type ListImage, Uint32List } from './uint32-list.js'

const WIDTHS_PER_REST = 256
const FIRST_ITEMS = 4
/** About what a bucket costs beside its items: map entries, heap place, objects. */
const BUCKET_OVERHEAD_BYTES = 300
/** In the place of a bucket's id: none. */
export const NO_BUCKET = 0
const LAST_ID = 2 ** 32 - 1

/** Looks at the entries of a hash that name the bucket. */
export type LookAt = (hash: number, bucket: number) => void

class Bucket {
  items: Uint32List
  readonly id: number
  readonly startMs: number

  constructor(id: number, startMs: number, items: Uint32List = new Uint32List(FIRST_ITEMS)) {
    this.id = id
    this.startMs = startMs
    this.items = items
  }
}

/** A queue on its way to another thread. */
export interface QueueImage {
  readonly lastId: number
  /** Oldest first. */
  readonly buckets: readonly { readonly id: number; readonly startMs: number; readonly items: ListImage }[]
}

export class ExpiryQueue {
  /** Those that items are added to, by their starts. */
  readonly #open = new Map<number, Bucket>()
  /** All, oldest first. */
  readonly #buckets = new Map<number, Bucket>()
  /** All, and some that have become empty, as a binary heap with the earliest start at the top. */
  readonly #heap: Bucket[] = []
  /** The bucket that was added to last: the next item often belongs to the same one. */
  #last: Bucket | undefined
  #lastId = NO_BUCKET
  #items = 0
  #itemBytes = 0

  /** How many hashes wait, those of no use included. */
  get length(): number {
    return this.#items
  }

  get byteLength(): number {
    return this.#itemBytes + this.#buckets.size * BUCKET_OVERHEAD_BYTES
  }

  /** Start of the earliest bucket: nothing needs a look before. `Infinity` when the queue is empty. */
  get nextAtMs(): number {
    return this.#heap[0]?.startMs ?? Infinity
  }

  /** Start of the bucket with this id; `Infinity` where it is gone. */
  startOf(bucket: number): number {
    return this.#buckets.get(bucket)?.startMs ?? Infinity
  }

  /** Sees to it that `hash` comes up at or before `deadlineMs`, a whole number; returns the id of its bucket. */
  schedule(hash: number, deadlineMs: number, nowMs: number): number {
    const startMs = bucketStart(deadlineMs, nowMs)
    let bucket = this.#last
    if (bucket?.startMs !== startMs) {
      bucket = this.#open.get(startMs) ?? this.#add(startMs)
      this.#last = bucket
    }
    const { items } = bucket
    const before = items.byteLength
    items.push(hash)
    this.#itemBytes += items.byteLength - before
    this.#items++
    return bucket.id
  }

  /** Looks at what is due, at most `most` items; returns how many that were. */
  lookAtDue(nowMs: number, most: number, lookAt: LookAt): number {
    let looked = 0
    while (looked < most) {
      const [bucket] = this.#heap
      if (bucket === undefined || bucket.startMs > nowMs) break
      looked += this.#lookInto(bucket, most - looked, lookAt)
      if (bucket.items.length === 0 && this.#heap[0] === bucket) popHeap(this.#heap)
    }
    return looked
  }

  /** Looks at items early, at most `most`, from the oldest bucket on: those of no use are gone then. */
  lookAtOldest(most: number, lookAt: LookAt): void {
    for (let looked = 0; looked < most; ) {
      const bucket = this.#oldest()
      if (bucket === undefined) return
      looked += this.#lookInto(bucket, most - looked, lookAt)
    }
  }

  #oldest(): Bucket | undefined {
    for (const bucket of this.#buckets.values()) return bucket
    return undefined
  }

  #lookInto(bucket: Bucket, most: number, lookAt: LookAt): number {
    // What is still of use must not come back to the same bucket.
    if (this.#open.get(bucket.startMs) === bucket) this.#open.delete(bucket.startMs)
    if (this.#last === bucket) this.#last = undefined
    const { items, id } = bucket
    const before = items.byteLength
    let looked = 0
    for (; looked < most && items.length > 0; looked++) {
      this.#items--
      lookAt(items.pop(), id)
    }
    this.#itemBytes -= before - items.byteLength
    if (items.length === 0 && this.#buckets.delete(id)) {
      this.#itemBytes -= items.byteLength
      // It may stay in the heap until its start comes.
      bucket.items = new Uint32List(0)
    }
    return looked
  }

  /** The queue as another thread can be given it; it must not be used any more. Only of one that nobody has looked into. */
  image(): QueueImage {
    assert(this.#open.size === this.#buckets.size, 'every bucket is open')
    const buckets = Array.from(this.#buckets.values(), ({ id, startMs, items }) => ({
      id,
      startMs,
      items: items.image(),
    }))
    return { lastId: this.#lastId, buckets }
  }

  /** Takes the place of the queue that another thread has filled. Only of one that is as it was made. */
  adopt({ lastId, buckets }: QueueImage): void {
    assert(this.#lastId === NO_BUCKET, 'a queue that was used')
    this.#lastId = lastId
    for (const { id, startMs, items } of buckets) {
      const bucket = new Bucket(id, startMs, Uint32List.adopt(items))
      this.#enter(bucket)
      this.#items += bucket.items.length
    }
  }

  #add(startMs: number): Bucket {
    do {
      this.#lastId = this.#lastId === LAST_ID ? NO_BUCKET + 1 : this.#lastId + 1
    } while (this.#buckets.has(this.#lastId))
    const bucket = new Bucket(this.#lastId, startMs)
    this.#enter(bucket)
    return bucket
  }

  #enter(bucket: Bucket): void {
    this.#open.set(bucket.startMs, bucket)
    this.#buckets.set(bucket.id, bucket)
    pushHeap(this.#heap, bucket)
    this.#itemBytes += bucket.items.byteLength
  }
}

function bucketStart(deadlineMs: number, nowMs: number): number {
  const share = (deadlineMs - nowMs) / WIDTHS_PER_REST
  if (share < 2) return deadlineMs
  const width = share < 2 ** 31 ? 1 << (31 - Math.clz32(share)) : 2 ** Math.floor(Math.log2(share))
  return Math.floor(deadlineMs / width) * width
}

function pushHeap(heap: Bucket[], bucket: Bucket): void {
  let place = heap.length
  while (place > 0) {
    const parent = (place - 1) >> 1
    if ((heap[parent] as Bucket).startMs <= bucket.startMs) break
    heap[place] = heap[parent] as Bucket
    place = parent
  }
  heap[place] = bucket
}

function popHeap(heap: Bucket[]): void {
  const bucket = heap.pop()
  if (bucket === undefined || heap.length === 0) return
  let place = 0
  for (;;) {
    let child = place * 2 + 1
    if (child >= heap.length) break
    const right = heap[child + 1]
    if (right !== undefined && right.startMs < (heap[child] as Bucket).startMs) child++
    if ((heap[child] as Bucket).startMs >= bucket.startMs) break
    heap[place] = heap[child] as Bucket
    place = child
  }
  heap[place] = bucket
}
