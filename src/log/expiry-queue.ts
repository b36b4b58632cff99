// When to look at which entries: key hashes in buckets by time, outside the JS heap where they are many.
//
//   bucket start = deadline rounded down to the bucket's width
//   bucket width = the largest power of two, in ms, of at most 1/256 of the time left (at least 1)
//
// (1) Every entry that expires has its key's hash in some bucket that starts at or before its deadline.
// (2) A bucket is looked at once its start has come. An entry that is not due yet then goes into a narrower bucket,
//     so each entry is looked at three or four times in its life, however long that is.
// (3) The queue holds hashes, not addresses: entries may move, be rewritten or be deleted without telling it.
// (Hierarchical timing wheels: Varghese and Lauck, SOSP 1987.)

import { Uint32List } from './uint32-list.js'

const WIDTHS_PER_REST = 256
const FIRST_ITEMS = 4
/** About what a bucket costs beside its items: map entry, heap place, list object. */
const BUCKET_OVERHEAD_BYTES = 200

/** Hashes handled between two looks at the time. */
const HANDLED_BETWEEN_LOOKS = 64

export class ExpiryQueue {
  readonly #buckets = new Map<number, Uint32List>()
  /** The starts of all buckets, as a binary heap with the earliest at the top. */
  readonly #starts: number[] = []
  #items = 0
  #itemBytes = 0

  /** How many hashes wait, duplicates included. */
  get length(): number {
    return this.#items
  }

  get byteLength(): number {
    return this.#itemBytes + this.#buckets.size * BUCKET_OVERHEAD_BYTES
  }

  /** Start of the earliest bucket: nothing needs a look before. `Infinity` when the queue is empty. */
  get nextAtMs(): number {
    return this.#starts[0] ?? Infinity
  }

  /** Sees to it that `hash` comes up at or before `deadlineMs`, a whole number. */
  schedule(hash: number, deadlineMs: number, nowMs: number): void {
    const start = bucketStart(deadlineMs, nowMs)
    let bucket = this.#buckets.get(start)
    if (bucket === undefined) {
      bucket = new Uint32List(FIRST_ITEMS)
      this.#buckets.set(start, bucket)
      pushHeap(this.#starts, start)
      this.#itemBytes += bucket.byteLength
    }
    const before = bucket.byteLength
    bucket.push(hash)
    this.#itemBytes += bucket.byteLength - before
    this.#items++
  }

  /**
   * Takes what is due until nothing is left or `performance.now()` passes `untilMs`; returns whether nothing is. `handle` is
   * given each hash, and returns when its entries are due next; Infinity: never.
   */
  handleDue(nowMs: number, untilMs: number, handle: (hash: number) => number): boolean {
    for (let handled = 1; ; handled++) {
      const hash = this.takeDue(nowMs)
      if (hash === undefined) return true
      const nextAtMs = handle(hash)
      if (nextAtMs !== Infinity) this.schedule(hash, nextAtMs, nowMs)
      if (handled % HANDLED_BETWEEN_LOOKS === 0 && performance.now() >= untilMs) return false
    }
  }

  /** Takes a hash out of the earliest bucket if that has begun at `nowMs`; otherwise `undefined`. */
  takeDue(nowMs: number): number | undefined {
    while (this.#starts.length > 0 && this.nextAtMs <= nowMs) {
      const start = this.nextAtMs
      const bucket = this.#buckets.get(start)
      if (bucket !== undefined && bucket.length > 0) {
        this.#items--
        return bucket.pop()
      }
      if (bucket !== undefined) this.#itemBytes -= bucket.byteLength
      this.#buckets.delete(start)
      popHeap(this.#starts)
    }
    return undefined
  }
}

function bucketStart(deadlineMs: number, nowMs: number): number {
  const share = (deadlineMs - nowMs) / WIDTHS_PER_REST
  if (share < 2) return deadlineMs
  const width = 2 ** Math.floor(Math.log2(share))
  return Math.floor(deadlineMs / width) * width
}

function pushHeap(heap: number[], item: number): void {
  let place = heap.length
  while (place > 0) {
    const parent = (place - 1) >> 1
    if ((heap[parent] as number) <= item) break
    heap[place] = heap[parent] as number
    place = parent
  }
  heap[place] = item
}

function popHeap(heap: number[]): void {
  const item = heap.pop()
  if (item === undefined || heap.length === 0) return
  let place = 0
  for (;;) {
    let child = place * 2 + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++
    if ((heap[child] as number) >= item) break
    heap[place] = heap[child] as number
    place = child
  }
  heap[place] = item
}
