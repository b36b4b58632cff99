// What is due up to a time, one key after the other, while more becomes due.

import { compareBytes } from '../../base/bytes.js'
import type { SlicedWork } from '../../base/slices.js'
import type { Stretch } from '../../base/slot.js'
import type { DueBatch, DueKeys } from './due-keys.js'

interface Added {
  readonly dueMs: number
  readonly group: number
  readonly key: Uint8Array
  /** Whether it is new; otherwise it was given out before, and put back. */
  readonly isNew: boolean
}

/** A key that was given out, to be put back. */
export type KeptDueKey = Added

/** A key and the time at which it is due. */
export interface DueKey {
  dueMs: number
  group: number
  /** Whether it was added on the way. */
  wasAdded: boolean
  /** Valid until the next one. */
  readonly key: { bytes: Uint8Array; offset: number; length: number }
}

/** Everything that is due up to a time, in the order of times, then of key bytes: each key once for each time. */
export class DueRun {
  readonly untilMs: number
  readonly current: DueKey = {
    dueMs: -Infinity,
    group: 0,
    wasAdded: false,
    key: { bytes: new Uint8Array(0), offset: 0, length: 0 },
  }
  readonly #due: DueKeys
  readonly #batch: DueBatch
  #next = 0
  /** A heap of what was added on the way. */
  readonly #added: Added[] = []
  readonly #head = { bytes: new Uint8Array(0), offset: 0, length: 0 }

  private constructor(due: DueKeys, untilMs: number, batch: DueBatch) {
    this.untilMs = untilMs
    this.#due = due
    this.#batch = batch
  }

  /** Takes out what is due. Nothing may be added on the way. */
  static *of(due: DueKeys, untilMs: number): SlicedWork<DueRun> {
    return new DueRun(due, untilMs, yield* due.takeUntil(untilMs))
  }

  /** Adds a key: to this run where it is due in it, and otherwise to what is due later. */
  add(dueMs: number, group: number, key: Stretch): void {
    if (dueMs > this.untilMs) {
      this.#due.add(dueMs, group, key)
      return
    }
    const copy = new Uint8Array(key.bytes.subarray(key.offset, key.offset + key.length))
    this.#added.push({ dueMs, group, key: copy, isNew: true })
    this.#rise(this.#added.length - 1)
  }

  /** The key at hand, with memory of its own, to be put back. */
  kept(): KeptDueKey {
    const { dueMs, group, wasAdded } = this.current
    return { dueMs, group, key: new Uint8Array(this.#currentKey()), isNew: wasAdded }
  }

  /** Gives out once more what was given out before, as it was. */
  putBack(kept: KeptDueKey): void {
    this.#added.push(kept)
    this.#rise(this.#added.length - 1)
  }

  /** How many are left; one that was added several times for the same time is counted as often. */
  get left(): number {
    return this.#batch.size - this.#next + this.#added.length
  }

  /** When the next one is due; `undefined` at the end. */
  peekMs(): number | undefined {
    const [added] = this.#added
    const taken = this.#next < this.#batch.size ? this.#batch.dueMs(this.#next) : undefined
    if (added === undefined) return taken
    return taken === undefined ? added.dueMs : Math.min(added.dueMs, taken)
  }

  /** Moves on to the next key; false at the end. */
  next(): boolean {
    if (!this.#step()) return false
    while (this.#nextIsAlike()) this.#step()
    return true
  }

  /** Whether the same key comes once more for the same time. */
  #nextIsAlike(): boolean {
    const { dueMs } = this.current
    if (this.peekMs() !== dueMs) return false
    const key = this.#currentKey()
    const [added] = this.#added
    if (added !== undefined && added.dueMs === dueMs && compareBytes(added.key, key) === 0) return true
    if (this.#next >= this.#batch.size || this.#batch.dueMs(this.#next) !== dueMs) return false
    this.#batch.key(this.#next, this.#head)
    return compareBytes(stretchOf(this.#head), key) === 0
  }

  #currentKey(): Uint8Array {
    return stretchOf(this.current.key)
  }

  #step(): boolean {
    const { current } = this
    const [added] = this.#added
    const hasTaken = this.#next < this.#batch.size
    if (added === undefined && !hasTaken) return false
    if (added !== undefined && (!hasTaken || this.#isBeforeTaken(added))) {
      this.#sinkTop()
      current.dueMs = added.dueMs
      current.group = added.group
      current.wasAdded = added.isNew
      current.key.bytes = added.key
      current.key.offset = 0
      current.key.length = added.key.length
      return true
    }
    current.dueMs = this.#batch.dueMs(this.#next)
    current.group = this.#batch.group(this.#next)
    current.wasAdded = false
    this.#batch.key(this.#next, current.key)
    this.#next++
    return true
  }

  #isBeforeTaken({ dueMs, key }: Added): boolean {
    const difference = dueMs - this.#batch.dueMs(this.#next)
    if (difference !== 0) return difference < 0
    this.#batch.key(this.#next, this.#head)
    return compareBytes(key, stretchOf(this.#head)) < 0
  }

  #rise(from: number): void {
    const heap = this.#added
    let at = from
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(heap[at] as Added, heap[parent] as Added)) return
      swap(heap, at, parent)
      at = parent
    }
  }

  #sinkTop(): void {
    const heap = this.#added
    const last = heap.pop() as Added
    if (heap.length === 0) return
    heap[0] = last
    let at = 0
    for (;;) {
      let least = at
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && isBefore(heap[child] as Added, heap[least] as Added)) least = child
      }
      if (least === at) return
      swap(heap, at, least)
      at = least
    }
  }
}

const stretchOf = ({ bytes, offset, length }: Stretch): Uint8Array => bytes.subarray(offset, offset + length)

function isBefore(left: Added, right: Added): boolean {
  return left.dueMs < right.dueMs || (left.dueMs === right.dueMs && compareBytes(left.key, right.key) < 0)
}

function swap(heap: Added[], left: number, right: number): void {
  const kept = heap[left] as Added
  heap[left] = heap[right] as Added
  heap[right] = kept
}
