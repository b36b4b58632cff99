// The keys in order, on demand: an array of addresses sorted by the keys behind them.
//
// (1) Nothing is kept until the first ordered read; it builds the array. From then on new keys are collected, sorted
//     and merged in before the next ordered read. When they outgrow the array unread, it is dropped again.
// (2) An address here stands for its key, not for the key's latest version: that is found through the hash index.
//     So overwriting costs nothing here; keys that are gone are skipped by readers, and dropped when the segment that
//     their entry lay in is given back.
// (3) Every living key is in the array or among the new ones, and no address leads into a released segment.
// (4) Arrays are replaced, never changed: a running scan keeps the one it began with.

import { assert } from '../../base/assert.js'
import { nextTurn, runSliced, runThrough, type SlicedWork } from '../../base/slices.js'
import { OFFSET_BITS } from '../layout.js'
import { Uint32List } from '../uint32-list.js'
import type { KeyOrder } from './key-order.js'

/** What the ordered index asks of its log. */
export interface KeyDirectory {
  /** The hash index's tables; see `HashIndex.tables`. */
  tables(): Uint32Array[]
  /** The address of the latest version of the key at `address`, or 0 when it is gone. */
  latest(address: number): number
}

/** New keys merged between two points where the work may pause. */
const MERGE_STEP = 256
/** New keys are collected unread up to this many, or as many as there are old ones. */
const MIN_PENDING = 64 * 1024

const NONE = new Uint32Array(0)

export class OrderedIndex {
  readonly #order: KeyOrder
  readonly #directory: KeyDirectory
  #sorted: Uint32Array = NONE
  /** New keys since the last merge; undefined: nobody has asked for order. */
  #pending: Uint32List | undefined
  /** Segments that were retired while a build or merge held addresses outside `#sorted`. */
  #retiredMeanwhile: number[] | undefined

  constructor(order: KeyOrder, directory: KeyDirectory) {
    this.#order = order
    this.#directory = directory
  }

  get byteLength(): number {
    return this.#sorted.byteLength + (this.#pending?.byteLength ?? 0)
  }

  /** A key has appeared that was not there before. */
  added(address: number): void {
    const pending = this.#pending
    if (pending === undefined) return
    pending.push(address)
    if (
      pending.length > MIN_PENDING &&
      pending.length > this.#sorted.length &&
      this.#retiredMeanwhile === undefined
    ) {
      this.#reset()
    }
  }

  /**
   * All keys in order, those that are gone included; kept up to date from then on. The caller holds a snapshot until it
   * has read them. Only while not `busy`.
   */
  *build(): SlicedWork<Uint32Array> {
    assert(!this.busy, 'one build at a time')
    this.#retiredMeanwhile = []
    const added = this.#pending
    this.#pending = new Uint32List()
    let finished = false
    try {
      if (added === undefined) {
        this.#sorted = yield* this.#collect()
      } else {
        const incoming = added.toArray()
        yield* this.#order.sort(incoming)
        this.#sorted = yield* this.#merge(this.#sorted, this.#withoutRepeats(incoming))
      }
      for (const number of this.#retiredMeanwhile) this.#repairSorted(number)
      finished = true
      return this.#sorted
    } finally {
      // Abandoned half-way, the new keys are in neither array: begin from nothing next time.
      if (!finished) this.#reset()
      this.#retiredMeanwhile = undefined
    }
  }

  /** All keys in order, for this one reader: what there is to do while a build is under way and cannot be awaited. */
  buildAside(): SlicedWork<Uint32Array> {
    return this.#collect()
  }

  /** A build or merge is under way, in slices. */
  get busy(): boolean {
    return this.#retiredMeanwhile !== undefined
  }

  /** The keys in order if no build is needed. */
  get ready(): Uint32Array | undefined {
    return this.#pending?.length === 0 && !this.busy ? this.#sorted : undefined
  }

  /** All keys in order, at once. */
  sortedNow(): Uint32Array {
    return this.ready ?? runThrough(this.busy ? this.buildAside() : this.build())
  }

  /** All keys in order, built in slices where they are not there yet; `check` may throw to give up. */
  async sorted(check: () => void): Promise<Uint32Array> {
    for (;;) {
      check()
      if (this.ready !== undefined) return this.ready
      if (this.busy) await nextTurn()
      else return await runSliced(this.build(), check)
    }
  }

  /** The places in `sorted` between which the keys of `[from, until)` lie. */
  range(sorted: Uint32Array, from: Uint8Array, until: Uint8Array | undefined): [first: number, end: number] {
    const first = this.#lowerBound(sorted, from)
    return [first, until === undefined ? sorted.length : Math.max(first, this.#lowerBound(sorted, until))]
  }

  #reset(): void {
    this.#sorted = NONE
    this.#pending = undefined
  }

  /** Takes the addresses of a segment out that is about to be released; its bytes can still be read. */
  segmentRetired(number: number): void {
    if (this.#pending === undefined) return
    this.#retiredMeanwhile?.push(number)
    this.#repairSorted(number)
    if (this.#pending.length > 0) {
      const pending = new Uint32List()
      for (const address of this.#pending.view()) {
        const kept = address >>> OFFSET_BITS === number ? this.#directory.latest(address) : address
        if (kept !== 0) pending.push(kept)
      }
      this.#pending = pending
    }
  }

  #repairSorted(number: number): void {
    const { length } = this.#sorted
    let repaired: Uint32Array | undefined
    let kept = 0
    for (let i = 0; i < length; i++) {
      let address = this.#sorted[i] as number
      if (address >>> OFFSET_BITS === number) {
        repaired ??= this.#sorted.slice()
        address = this.#directory.latest(address)
        if (address === 0) continue
      }
      if (repaired !== undefined) repaired[kept] = address
      kept++
    }
    if (repaired !== undefined) this.#sorted = repaired.slice(0, kept)
  }

  *#collect(): SlicedWork<Uint32Array> {
    const addresses = new Uint32List(1024)
    for (const slots of this.#directory.tables()) {
      for (let i = 1; i < slots.length; i += 2) {
        const address = slots[i] as number
        if (address !== 0) addresses.push(address)
      }
      yield
    }
    const sorted = addresses.toArray()
    yield* this.#order.sort(sorted)
    return sorted
  }

  /** A key that went and came again since the last merge is among the new ones twice. */
  #withoutRepeats(sorted: Uint32Array): Uint32Array {
    let kept = Math.min(1, sorted.length)
    for (let i = 1; i < sorted.length; i++) {
      const address = sorted[i] as number
      if (this.#order.compare(sorted[kept - 1] as number, address) !== 0) sorted[kept++] = address
    }
    return sorted.subarray(0, kept)
  }

  /** Merges two sorted arrays; of two addresses with one key, the right one stays. */
  *#merge(left: Uint32Array, right: Uint32Array): SlicedWork<Uint32Array> {
    if (right.length === 0) return left
    const merged = new Uint32Array(left.length + right.length)
    let length = 0
    let l = 0
    for (let r = 0; r < right.length; r++) {
      const address = right[r] as number
      const until = this.#gallop(left, l, address)
      merged.set(left.subarray(l, until), length)
      length += until - l
      l = until
      if (l < left.length && this.#order.compare(left[l] as number, address) === 0) l++
      merged[length++] = address
      if (r % MERGE_STEP === 0) yield
    }
    merged.set(left.subarray(l), length)
    length += left.length - l
    return length === merged.length ? merged : merged.slice(0, length)
  }

  /** The first place from `start` on whose key is not below that of `address`: doubling steps, then bisection. */
  #gallop(sorted: Uint32Array, start: number, address: number): number {
    let step = 1
    let low = start
    let high = start
    while (high < sorted.length && this.#order.compare(sorted[high] as number, address) < 0) {
      low = high + 1
      high += step
      step *= 2
    }
    high = Math.min(high, sorted.length)
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#order.compare(sorted[middle] as number, address) < 0) low = middle + 1
      else high = middle
    }
    return low
  }

  #lowerBound(sorted: Uint32Array, key: Uint8Array): number {
    let low = 0
    let high = sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#order.compareToKey(sorted[middle] as number, key) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
