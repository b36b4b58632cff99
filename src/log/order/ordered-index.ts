// The keys in order, on demand: addresses sorted by the keys behind them.
//
// (1) Nothing is kept until the first ordered read; it sorts all keys. From then on new keys are collected, sorted
//     and merged in before the next ordered read. When they outgrow the others unread, all are dropped again.
// (2) An address here stands for its key, not for the key's latest version: that is found through the hash index.
//     So overwriting costs nothing here; keys that are gone are skipped by readers, and dropped when the segment that
//     their entry lay in is given back.
// (3) Every living key is in order or among the new ones, and no address leads into a released segment: a segment
//     in which nothing lives waits until all chunks were written anew without it. That is done chunk by chunk, paid for
//     by writes, so no write waits for a walk through all keys; new keys are merged in meanwhile.

import { assert } from '../../base/assert.js'
import { nextTurn, runSliced, runThrough, type SlicedWork } from '../../base/slices.js'
import { OFFSET_BITS } from '../layout.js'
import { Uint32List } from '../uint32-list.js'
import { byPlace } from './by-place.js'
import { mergeKeys } from './key-merge.js'
import type { KeyOrder } from './key-order.js'
import { ChunkWriter, joinSmall, SortedKeys } from './sorted-keys.js'

/** What the ordered index asks of its log. */
export interface KeyDirectory {
  /** The hash index's tables; see `HashIndex.tables`. */
  tables(): Uint32Array[]
  /** The address of the latest version of the key at `address`, or 0 when it is gone. */
  latest(address: number): number
  /** No address here leads into this segment any more, in which nothing lives. */
  released(segment: number): void
}

/** Segments that wait, and how far the order was written anew without them. */
class Cleaning {
  readonly segments: ReadonlySet<number>
  /** So many of the first chunks lead into none of them. */
  chunks = 0
  /** Of the new keys, those that were looked at. */
  pendingRead = 0
  /** Looks that are paid for and not taken: a chunk is cleaned at once. */
  looks = 0

  constructor(segments: ReadonlySet<number>) {
    this.segments = segments
  }
}

/** Places looked at, or addresses cut into chunks, between two points where the work may pause. */
const LOOKED_AT_STEP = 4_096
const CUT_STEP = 64 * 1024
/** New keys are collected unread up to this many, or as many as there are old ones. */
const MIN_PENDING = 64 * 1024
/**
 * `between` merges the new keys after so many looks at them, as the next calls would take them again: to merge one takes as long as some hundred looks.
 * More of them than `MAX_MERGED` it leaves alone: that call would take far longer than those before it.
 */
const LOOKS_BEFORE_MERGE = 128 * 1024
const MAX_MERGED = 64 * 1024

const NOTHING = SortedKeys.over([])
const NO_SEGMENTS: ReadonlySet<number> = new Set()

export class OrderedIndex {
  readonly #order: KeyOrder
  readonly #directory: KeyDirectory
  #sorted: SortedKeys = NOTHING
  /** Addresses in it. */
  #length = 0
  /** New keys since the last merge; undefined: nobody has asked for order. */
  #pending: Uint32List | undefined
  /** Looks that `between` has taken at new keys since the last merge. */
  #looks = 0
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
    return this.#length * Uint32Array.BYTES_PER_ELEMENT + (this.#pending?.byteLength ?? 0)
  }

  /** A key has appeared that was not there before. */
  added(address: number): void {
    const pending = this.#pending
    if (pending === undefined) return
    pending.push(address)
    if (pending.length > MIN_PENDING && pending.length > this.#length && !this.#building) {
      this.#reset()
    }
  }

  /**
   * All keys in order, those that are gone included; kept up to date from then on. `taken` is called before anything that
   * they are of can be given back. Only while not `busy`.
   */
  *build(taken: () => void = () => {}): SlicedWork<SortedKeys> {
    assert(!this.#building, 'one build at a time')
    this.#building = true
    const added = this.#pending
    this.#pending = new Uint32List()
    this.#looks = 0
    let finished = false
    try {
      if (added === undefined) yield* this.#cut(yield* this.#collect())
      else yield* this.#merge(added)
      finished = true
      taken()
      return this.#sorted
    } finally {
      this.#building = false
      // Abandoned half-way, the new keys are nowhere: begin from nothing next time.
      if (!finished) this.#reset()
    }
  }

  /** All keys in order, for this one reader: what there is to do while a build is under way and cannot be awaited. */
  *buildAside(): SlicedWork<SortedKeys> {
    return SortedKeys.of(yield* this.#collect())
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
  get ready(): SortedKeys | undefined {
    return this.#pending?.length === 0 && !this.busy ? this.#sorted : undefined
  }

  /** All keys in order, at once. */
  sortedNow(): SortedKeys {
    return this.ready ?? runThrough(this.busy ? this.buildAside() : this.build())
  }

  /**
   * All keys in order, built in slices where they are not there yet; `check` may throw to give up. `taken` is called at the
   * moment that the order is of: what is there then must not be given back as long as it is read.
   */
  async sorted(check: () => void, taken: () => void = () => {}): Promise<SortedKeys> {
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
    if (this.#pending === undefined || this.#building) return undefined
    if (this.#looks > LOOKS_BEFORE_MERGE && this.#pending.length <= MAX_MERGED) runThrough(this.build())
    const pending = this.#pending
    this.#looks += pending.length
    const addresses = new Uint32List()
    const walk = this.range(this.#sorted, from, until).walk()
    for (let address = walk.next(); address !== 0; address = walk.next()) addresses.push(address)
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

  /** Of keys in order, those of `[from, until)`. */
  range(sorted: SortedKeys, from: Uint8Array, until: Uint8Array | undefined): SortedKeys {
    const order = this.#order
    return sorted.stretch(
      (address) => order.compareToKey(address, from) < 0,
      until && ((address) => order.compareToKey(address, until) < 0),
    )
  }

  /** Nothing lives in a segment any more: it is released now, or as soon as no address here leads into it. */
  segmentDied(number: number): void {
    if (this.#pending === undefined) this.#directory.released(number)
    else this.#dead.add(number)
  }

  /** Pays for looks at this many places for addresses in dead segments; takes them once they are enough for a chunk. */
  clean(places: number): void {
    const pending = this.#pending
    if (!this.needsCleaning || pending === undefined) return
    this.#cleaning ??= new Cleaning(this.#takeDead())
    const cleaning = this.#cleaning
    cleaning.looks += places
    this.#cleanChunks(cleaning)
    if (cleaning.chunks < this.#sorted.chunks.length) return
    const pendingEnd = Math.min(pending.length, cleaning.pendingRead + places)
    for (; cleaning.pendingRead < pendingEnd; cleaning.pendingRead++) {
      const place = cleaning.pendingRead
      pending.set(place, this.#alive(cleaning.segments, pending.at(place)))
    }
    if (cleaning.pendingRead < pending.length) return
    this.#cleaning = undefined
    for (const segment of cleaning.segments) this.#directory.released(segment)
  }

  /** Writes as many of the next chunks anew as are paid for. */
  #cleanChunks(cleaning: Cleaning): void {
    const old = this.#sorted.chunks
    const cleaned: Uint32Array[] = []
    let { chunks: next } = cleaning
    for (; next < old.length; next++) {
      const chunk = old[next] as Uint32Array
      if (chunk.length > cleaning.looks) break
      cleaning.looks -= chunk.length
      const kept = this.#aliveOf(cleaning.segments, chunk)
      this.#length += kept.length - chunk.length
      if (kept.length > 0) cleaned.push(kept)
    }
    if (next === cleaning.chunks) return
    // Chunks of which little is left become one: also with the last one before them.
    const start = Math.max(0, cleaning.chunks - 1)
    const joined = joinSmall(old.slice(start, cleaning.chunks).concat(cleaned))
    this.#sorted = SortedKeys.over(old.slice(0, start).concat(joined, old.slice(next)))
    cleaning.chunks = start + joined.length
  }

  /** Gives the order up where segments wait for it, so that they are released now; returns whether any did. */
  giveUp(): boolean {
    if (!this.needsCleaning) return false
    this.#reset()
    return true
  }

  #reset(): void {
    const dead = this.#takeDead()
    this.#sorted = NOTHING
    this.#length = 0
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

  /** The same addresses without those that lead into dead segments. */
  #aliveOf(dead: ReadonlySet<number>, addresses: Uint32Array): Uint32Array {
    let length = 0
    const kept = new Uint32Array(addresses.length)
    for (let i = 0; i < addresses.length; i++) {
      const address = this.#alive(dead, addresses[i] as number)
      if (address !== 0) kept[length++] = address
    }
    return length === kept.length ? kept : kept.slice(0, length)
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

  /** Takes sorted addresses for the order. */
  *#cut(sorted: Uint32Array): SlicedWork<void> {
    const writer = new ChunkWriter(sorted.length)
    for (let from = 0; from < sorted.length; from += CUT_STEP) {
      writer.pushAll(sorted, from, Math.min(from + CUT_STEP, sorted.length))
      yield
    }
    this.#sorted = SortedKeys.over(writer.finish())
    this.#length = sorted.length
  }

  /** Takes new keys into the order. */
  *#merge(added: Uint32List): SlicedWork<void> {
    // Cleaning goes on where it was, and looks at none of these any more.
    const incoming = yield* this.#withoutDead(added, this.#cleaning?.segments ?? NO_SEGMENTS)
    yield* this.#order.sort(incoming)
    const merged = yield* mergeKeys(this.#order, this.#sorted.chunks, this.#withoutRepeats(incoming))
    this.#sorted = SortedKeys.over(merged.chunks)
    this.#length += merged.grown
  }

  /** What was added, without addresses that lead into these segments, and without places that cleaning has emptied. */
  *#withoutDead(added: Uint32List, dead: ReadonlySet<number>): SlicedWork<Uint32Array> {
    const kept = new Uint32Array(added.length)
    let length = 0
    for (let i = 0; i < added.length; i++) {
      const address = this.#alive(dead, added.at(i))
      if (address !== 0) kept[length++] = address
      if ((i + 1) % LOOKED_AT_STEP === 0) yield
    }
    return kept.subarray(0, length)
  }
}
