// The keys in order, on demand: an array of addresses sorted by the keys behind them.
//
// (1) Nothing is kept until the first ordered read; it builds the array. From then on new keys are collected, sorted
//     and merged in before the next ordered read. When they outgrow the array unread, it is dropped again.
// (2) An address here stands for its key, not for the key's latest version: that is found through the hash index.
//     So overwriting costs nothing here; keys that are gone are skipped by readers, and dropped when the segment that
//     their entry lay in is given back.
// (3) Every living key is in the array or among the new ones, and no address leads into a released segment: a segment
//     in which nothing lives waits until the array was written anew without it. That is done step by step, paid for
//     by writes, so no write waits for a walk through all keys.
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
  /** No address here leads into this segment any more, in which nothing lives. */
  released(segment: number): void
}

/** Segments that wait, and how far the array was written anew without them. */
class Cleaning {
  readonly segments: ReadonlySet<number>
  readonly sorted: Uint32Array
  /** Places of the old array that were looked at, and of the new one that are filled. */
  read = 0
  kept = 0
  /** Of the new keys, those that were looked at. */
  pendingRead = 0

  constructor(segments: ReadonlySet<number>, length: number) {
    this.segments = segments
    this.sorted = new Uint32Array(length)
  }
}

/** New keys merged between two points where the work may pause. */
const MERGE_STEP = 256
/** Places looked at between two points where the work may pause. */
const CLEANING_STEP = 4_096
/** New keys are collected unread up to this many, or as many as there are old ones. */
const MIN_PENDING = 64 * 1024

/** The stretches of the log that `byPlace` tells apart, as a number of bits. */
const STRETCH_BITS = 12
/** Addresses that it looks at between two points where the work may pause. */
const PLACE_STEP = 16 * 1024

const NONE = new Uint32Array(0)

export class OrderedIndex {
  readonly #order: KeyOrder
  readonly #directory: KeyDirectory
  #sorted: Uint32Array = NONE
  /** New keys since the last merge; undefined: nobody has asked for order. */
  #pending: Uint32List | undefined
  /** A build or merge is under way, in slices. */
  #building = false
  /** Segments in which nothing lives and that nobody cleans away yet. */
  #dead = new Set<number>()
  #cleaning: Cleaning | undefined

  constructor(order: KeyOrder, directory: KeyDirectory) {
    this.#order = order
    this.#directory = directory
  }

  get byteLength(): number {
    const cleaningBytes = this.#cleaning?.sorted.byteLength ?? 0
    return this.#sorted.byteLength + cleaningBytes + (this.#pending?.byteLength ?? 0)
  }

  /** A key has appeared that was not there before. */
  added(address: number): void {
    const pending = this.#pending
    if (pending === undefined) return
    pending.push(address)
    if (pending.length > MIN_PENDING && pending.length > this.#sorted.length && !this.#building) {
      this.#reset()
    }
  }

  /**
   * All keys in order, those that are gone included; kept up to date from then on. `taken` is called before anything that
   * they are of can be given back. Only while not `busy`.
   */
  *build(taken: () => void = () => {}): SlicedWork<Uint32Array> {
    assert(!this.#building, 'one build at a time')
    this.#building = true
    const added = this.#pending
    this.#pending = new Uint32List()
    // What the build begins with is cleaned on the way; segments that die meanwhile wait.
    const dead = this.#takeDead()
    let finished = false
    try {
      if (added === undefined) {
        this.#sorted = yield* this.#collect()
      } else {
        const incoming = yield* this.#without(dead, added.toArray())
        yield* this.#order.sort(incoming)
        // Only among the new keys cleaning leaves empty places.
        const sorted = dead.size === 0 ? this.#sorted : yield* this.#without(dead, this.#sorted)
        this.#sorted = yield* this.#merge(sorted, this.#withoutRepeats(incoming))
      }
      finished = true
      taken()
      return this.#sorted
    } finally {
      this.#building = false
      // Abandoned half-way, the new keys are in neither array: begin from nothing next time.
      if (!finished) this.#reset()
      for (const segment of dead) this.#directory.released(segment)
    }
  }

  /** All keys in order, for this one reader: what there is to do while a build is under way and cannot be awaited. */
  buildAside(): SlicedWork<Uint32Array> {
    return this.#collect()
  }

  /**
   * All keys as they lie, those that are gone included: nothing is sorted, and nothing kept. `taken` is called at the moment that they are of, in the
   * first step: what is there then must not be given back as long as it is read.
   */
  *unsorted(taken: () => void): SlicedWork<Uint32Array> {
    const tables = this.#directory.tables()
    const addresses = new Uint32Array(tables.reduce((places, slots) => places + (slots.length >> 1), 0))
    let count = 0
    for (const slots of tables) {
      for (let i = 1; i < slots.length; i += 2) {
        const address = slots[i] as number
        if (address !== 0) addresses[count++] = address
      }
    }
    taken()
    return yield* byPlace(addresses.subarray(0, count))
  }

  /** A build or merge is under way, in slices. */
  get busy(): boolean {
    return this.#building
  }

  /** Segments wait, and `clean` can do something about it. */
  get needsCleaning(): boolean {
    return !this.#building && (this.#cleaning !== undefined || this.#dead.size > 0)
  }

  /** The keys in order if no build is needed. */
  get ready(): Uint32Array | undefined {
    return this.#pending?.length === 0 && !this.busy ? this.#sorted : undefined
  }

  /** All keys in order, at once. */
  sortedNow(): Uint32Array {
    return this.ready ?? runThrough(this.busy ? this.buildAside() : this.build())
  }

  /**
   * All keys in order, built in slices where they are not there yet; `check` may throw to give up. `taken` is called at the
   * moment that the order is of: what is there then must not be given back as long as it is read.
   */
  async sorted(check: () => void, taken: () => void = () => {}): Promise<Uint32Array> {
    for (;;) {
      check()
      const { ready } = this
      if (ready !== undefined) {
        taken()
        return ready
      }
      if (this.busy) await nextTurn()
      else return await runSliced(this.build(taken), check)
    }
  }

  /** Whether `between` knows, without anything having to be sorted. */
  get knowsBetween(): boolean {
    return this.#pending !== undefined && !this.#building
  }

  /**
   * Addresses of the keys of `[from, until)`, those that are gone included, in no order and some of them twice; `undefined` where
   * nobody has asked for order yet, or it is being built.
   */
  between(from: Uint8Array, until: Uint8Array | undefined): Uint32List | undefined {
    const pending = this.#pending
    if (pending === undefined || this.#building) return undefined
    const addresses = new Uint32List()
    const [first, end] = this.range(this.#sorted, from, until)
    for (let i = first; i < end; i++) addresses.push(this.#sorted[i] as number)
    for (let i = 0; i < pending.length; i++) {
      const address = pending.at(i)
      if (address !== 0 && this.isBetween(address, from, until)) addresses.push(address)
    }
    return addresses
  }

  /** Whether the key of the entry at `address` is in `[from, until)`. */
  isBetween(address: number, from: Uint8Array, until: Uint8Array | undefined): boolean {
    if (this.#order.compareToKey(address, from) < 0) return false
    return until === undefined || this.#order.compareToKey(address, until) < 0
  }

  /** The places in `sorted` between which the keys of `[from, until)` lie. */
  range(sorted: Uint32Array, from: Uint8Array, until: Uint8Array | undefined): [first: number, end: number] {
    const first = this.#lowerBound(sorted, from)
    return [first, until === undefined ? sorted.length : Math.max(first, this.#lowerBound(sorted, until))]
  }

  /** Nothing lives in a segment any more: it is released now, or as soon as no address here leads into it. */
  segmentDied(number: number): void {
    if (this.#pending === undefined) this.#directory.released(number)
    else this.#dead.add(number)
  }

  /** Looks through this many places for addresses in dead segments. */
  clean(places: number): void {
    const pending = this.#pending
    if (!this.needsCleaning || pending === undefined) return
    this.#cleaning ??= new Cleaning(this.#takeDead(), this.#sorted.length)
    const cleaning = this.#cleaning
    const { segments, sorted } = cleaning
    const end = Math.min(this.#sorted.length, cleaning.read + places)
    for (; cleaning.read < end; cleaning.read++) {
      const address = this.#alive(segments, this.#sorted[cleaning.read] as number)
      if (address !== 0) sorted[cleaning.kept++] = address
    }
    if (cleaning.read < this.#sorted.length) return
    const pendingEnd = Math.min(pending.length, cleaning.pendingRead + places)
    for (; cleaning.pendingRead < pendingEnd; cleaning.pendingRead++) {
      const place = cleaning.pendingRead
      pending.set(place, this.#alive(segments, pending.at(place)))
    }
    if (cleaning.pendingRead < pending.length) return
    this.#cleaning = undefined
    this.#sorted = sorted.subarray(0, cleaning.kept)
    for (const segment of segments) this.#directory.released(segment)
  }

  /** Gives the order up where segments wait for it, so that they are released now; returns whether any did. */
  giveUp(): boolean {
    if (!this.needsCleaning) return false
    this.#reset()
    return true
  }

  #reset(): void {
    const dead = this.#takeDead()
    this.#sorted = NONE
    this.#pending = undefined
    for (const segment of dead) this.#directory.released(segment)
  }

  /** The dead segments, for someone else to see to. */
  #takeDead(): ReadonlySet<number> {
    const dead = new Set([...(this.#cleaning?.segments ?? []), ...this.#dead])
    this.#cleaning = undefined
    this.#dead = new Set()
    return dead
  }

  /** An address of the same key that is in none of the dead segments; 0: the key is gone. */
  #alive(dead: ReadonlySet<number>, address: number): number {
    return dead.has(address >>> OFFSET_BITS) && address !== 0 ? this.#directory.latest(address) : address
  }

  /** The same addresses without those that lead into dead segments, and without places that cleaning has emptied. */
  *#without(dead: ReadonlySet<number>, addresses: Uint32Array): SlicedWork<Uint32Array> {
    const kept = new Uint32Array(addresses.length)
    let length = 0
    for (let i = 0; i < addresses.length; i++) {
      const address = this.#alive(dead, addresses[i] as number)
      if (address !== 0) kept[length++] = address
      if ((i + 1) % CLEANING_STEP === 0) yield
    }
    return kept.subarray(0, length)
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
    const sorted = yield* byPlace(addresses.toArray())
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

/**
 * Addresses by where they lead: a hash table has them in no order, and whoever goes to and fro in the log waits for memory each time. What was put in
 * the order of its keys, as by a restore, is in order then.
 */
function* byPlace(addresses: Uint32Array): SlicedWork<Uint32Array> {
  const slices = Array.from({ length: Math.ceil(addresses.length / PLACE_STEP) }, (_, i) =>
    addresses.subarray(i * PLACE_STEP, (i + 1) * PLACE_STEP),
  )
  let most = 0
  for (const slice of slices) {
    for (const address of slice) if (address > most) most = address
    yield
  }
  const shift = Math.max(0, 32 - Math.clz32(most) - STRETCH_BITS)
  // Of each stretch of the log: how many lead there, then where the next of them goes, at last where they end.
  const places = new Uint32Array(1 << STRETCH_BITS)
  for (const slice of slices) {
    for (let i = 0; i < slice.length; i++) {
      const stretch = (slice[i] as number) >>> shift
      places[stretch] = (places[stretch] as number) + 1
    }
    yield
  }
  let sum = 0
  for (let stretch = 0; stretch < places.length; stretch++) {
    const count = places[stretch] as number
    places[stretch] = sum
    sum += count
  }
  const placed = new Uint32Array(addresses.length)
  for (const slice of slices) {
    for (let i = 0; i < slice.length; i++) {
      const address = slice[i] as number
      const stretch = address >>> shift
      const place = places[stretch] as number
      places[stretch] = place + 1
      placed[place] = address
    }
    yield
  }
  let sorted = 0
  let from = 0
  for (const end of places) {
    if (end - from > 1) placed.subarray(from, end).sort()
    sorted += end - from
    from = end
    if (sorted < PLACE_STEP) continue
    sorted = 0
    yield
  }
  return placed
}
