// What is due at one advance of time, in the order of timestamps, then of keys, then of names (R2). What is set meanwhile, and is due
// as well, takes its place among the rest (R4).

import { compareBytes } from '../../base/bytes.js'
import type { DueBatch } from '../due/due-keys.js'

export interface DueTimer {
  readonly dueMs: number
  readonly group: number
  /** The key, and the timer's id behind it. */
  readonly bytes: Uint8Array
  /** Whether it was set while timers fired. */
  readonly isNew: boolean
}

const isBefore = (left: DueTimer, right: DueTimer): boolean =>
  left.dueMs < right.dueMs || (left.dueMs === right.dueMs && compareBytes(left.bytes, right.bytes) < 0)

export class DueTimers {
  readonly untilMs: number
  readonly #batch: DueBatch
  readonly #stretch: { bytes: Uint8Array; offset: number; length: number } = {
    bytes: new Uint8Array(0),
    offset: 0,
    length: 0,
  }
  #place = 0
  /** The next one of the batch. */
  #head: DueTimer | undefined
  /** What was set meanwhile: a binary heap, the first one at its root. */
  readonly #set: DueTimer[] = []

  constructor(untilMs: number, batch: DueBatch) {
    this.untilMs = untilMs
    this.#batch = batch
    this.#head = this.#read()
  }

  /** Adds one that was set meanwhile. The bytes are kept. */
  add(dueMs: number, group: number, bytes: Uint8Array): void {
    const heap = this.#set
    const timer = { dueMs, group, bytes, isNew: true }
    let at = heap.push(timer) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!isBefore(timer, heap[above] as DueTimer)) break
      heap[at] = heap[above] as DueTimer
      at = above
    }
    heap[at] = timer
  }

  /** Takes the first one out; `undefined` where none is left. */
  next(): DueTimer | undefined {
    const head = this.#head
    const root = this.#set[0]
    if (root !== undefined && (head === undefined || isBefore(root, head))) return this.#takeRoot(root)
    if (head !== undefined) this.#head = this.#read()
    return head
  }

  #read(): DueTimer | undefined {
    const place = this.#place
    if (place === this.#batch.size) return undefined
    this.#place++
    const stretch = this.#stretch
    this.#batch.key(place, stretch)
    const bytes = stretch.bytes.subarray(stretch.offset, stretch.offset + stretch.length)
    return { dueMs: this.#batch.dueMs(place), group: this.#batch.group(place), bytes, isNew: false }
  }

  #takeRoot(root: DueTimer): DueTimer {
    const heap = this.#set
    const last = heap.pop() as DueTimer
    const { length } = heap
    if (length === 0) return root
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= length) break
      if (below + 1 < length && isBefore(heap[below + 1] as DueTimer, heap[below] as DueTimer)) below++
      if (!isBefore(heap[below] as DueTimer, last)) break
      heap[at] = heap[below] as DueTimer
      at = below
    }
    heap[at] = last
    return root
  }
}
