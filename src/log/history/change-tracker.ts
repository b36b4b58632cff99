// What has changed since certain instants, the *bases*: addresses, in one list for each segment and interval.
//
//   intervals := (base · list of addresses for each segment)*, oldest first; an interval ends where the next one begins
//
// (1) A key that was written or removed after a base has, in the lists from that base on, the address of its latest
//     version. So what is listed there, is not buried and has a later epoch than the base, is what has changed.
// (2) An address is pushed when an entry is appended, and when it is written in place for the first time since the newest
//     base: its epoch tells. A moved entry is pushed again if it has changed since the oldest base.
// (3) Lists belong to segments: when a segment is given up, its addresses go as well, because its number comes again.
// (4) Lists are bounded. From half the bound on they are looked through in turn, as they grow, and rid of addresses of
//     versions that were replaced since. Before they would pass the bound, tracking is abandoned: no base is known.
// (5) A list that was handed out is never changed below its length at that time.

import { OFFSET_BITS } from '../layout.js'
import { type SharedPart, SharedUint32List } from '../share/shared-list.js'
import { Uint32List } from '../uint32-list.js'

/** An instant from which on changes are tracked. */
export interface ChangeMark {
  /** What was written up to this epoch has not changed since. */
  readonly epoch: number
}

export interface ChangeTrackerHost {
  /** Whether memory allows the lists to grow by this much. */
  hasRoomForList(bytes: number): boolean
  isBuried(address: number): boolean
  /** Keys of the log, which bound the lists. */
  keys(): number
}

interface Interval {
  readonly base: ChangeMark
  /** By segment number. */
  readonly lists: (SharedUint32List | undefined)[]
}

/** Addresses that lists may take, for each key. Where more has changed, reading all is less work than merging it later. */
const TRACKED_SHARE = 1 / 2
/** That many addresses however few keys there are. */
export const MIN_TRACKED_ITEMS: number = 64 * 1024
/** From this share of it on, lists are looked through for addresses that are of no use any more. */
const CROWDED = 1 / 2
/** Addresses looked at, for each that a list grows by: all of them before the bound is reached. */
const PRUNED_PER_ITEM = 2
const WORTH_KEEPING = 3 / 4
const NOTHING_TRACKED = -1

export class ChangeTracker {
  /** Epoch of the newest base; -1: there is none. */
  newest: number = NOTHING_TRACKED
  /** Epoch of the oldest base; Infinity: there is none. */
  oldest: number = Infinity
  readonly #host: ChangeTrackerHost
  #intervals: Interval[] = []
  #bytes = 0
  /** The list to be looked through next. */
  #pruning = { interval: 0, number: 0 }
  /** Addresses that may be looked at; below 0: as many were looked at in advance. */
  #credit = 0

  constructor(host: ChangeTrackerHost) {
    this.#host = host
  }

  get isActive(): boolean {
    return this.newest !== NOTHING_TRACKED
  }

  get byteLength(): number {
    return this.#bytes
  }

  /** Begins an interval: everything that is there now has at most this epoch, everything later a larger one. */
  addBase(epoch: number): ChangeMark {
    const base = { epoch }
    this.#intervals.push({ base, lists: [] })
    this.#update()
    return base
  }

  /** Nobody will ask for changes since this base. Does nothing where it is not known. */
  releaseBase(base: ChangeMark): void {
    const place = this.#placeOf(base)
    if (place < 0) return
    const [released] = this.#intervals.splice(place, 1)
    const before = this.#intervals[place - 1]
    for (const [number, list] of released?.lists.entries() ?? []) {
      if (list === undefined) continue
      const earlier = before?.lists[number]
      if (before === undefined) this.#bytes -= list.byteLength
      else if (earlier === undefined) before.lists[number] = list
      else earlier.absorb(list)
    }
    this.#update()
  }

  /** Gives up: no base is known any more. Returns whether one was. */
  abandon(): boolean {
    const { isActive } = this
    this.#intervals = []
    this.#bytes = 0
    this.#update()
    return isActive
  }

  /** The entry at `address` has changed after the newest base. */
  push(address: number): void {
    const current = this.#intervals.at(-1)
    if (current === undefined) return
    const number = address >>> OFFSET_BITS
    let list = current.lists[number]
    if (list === undefined || list.isFull) {
      list = this.#listWithRoom(current, number)
      if (list === undefined) return
    }
    list.push(address)
  }

  /** Nothing in the segment lives any more. */
  segmentRetired(number: number): void {
    for (const { lists } of this.#intervals) {
      this.#bytes -= lists[number]?.byteLength ?? 0
      lists[number] = undefined
    }
  }

  /** The lists from a base on, as they are now; `undefined` where the base is not known any more. */
  since(base: ChangeMark): SharedPart[] | undefined {
    const place = this.#placeOf(base)
    if (place < 0) return undefined
    const parts: SharedPart[] = []
    for (let i = place; i < this.#intervals.length; i++) {
      for (const list of (this.#intervals[i] as Interval).lists) list?.addParts(parts)
    }
    return parts
  }

  #placeOf(base: ChangeMark): number {
    return this.#intervals.findIndex((interval) => interval.base === base)
  }

  #update(): void {
    this.newest = this.#intervals.at(-1)?.base.epoch ?? NOTHING_TRACKED
    this.oldest = this.#intervals[0]?.base.epoch ?? Infinity
  }

  /** The list of a segment, not full; `undefined`, with tracking abandoned, where it may not grow. */
  #listWithRoom({ lists }: Interval, number: number): SharedUint32List | undefined {
    const mostItems = Math.max(MIN_TRACKED_ITEMS, this.#host.keys() * TRACKED_SHARE)
    const mostBytes = mostItems * Uint32Array.BYTES_PER_ELEMENT
    if (this.#bytes > mostBytes * CROWDED) {
      this.#prune((lists[number]?.growthBytes ?? 0) / Uint32Array.BYTES_PER_ELEMENT)
    }
    const list = lists[number] ?? new SharedUint32List()
    if (list.isFull) {
      const bytes = list.growthBytes
      const wanted = this.#bytes + bytes
      if (wanted > mostBytes || !this.#host.hasRoomForList(bytes)) {
        this.abandon()
        return undefined
      }
      this.#bytes = wanted
    }
    lists[number] = list
    return list
  }

  /**
   * A list grows by this many items: that pays for looking through others, one after the other. A list is looked through
   * as a whole; what that costs more than was paid is paid off by what grows next.
   */
  #prune(growthItems: number): void {
    this.#credit += growthItems * PRUNED_PER_ITEM
    for (let steps = this.#listCount(); steps > 0 && this.#credit > 0; steps--) {
      const lists = this.#intervals[this.#pruning.interval]?.lists ?? []
      if (this.#pruning.number >= lists.length) {
        this.#pruning = { interval: (this.#pruning.interval + 1) % this.#intervals.length, number: 0 }
        continue
      }
      const number = this.#pruning.number++
      const list = lists[number]
      if (list === undefined) continue
      this.#credit -= list.length
      const kept = this.#unburied(list)
      // To be worth it a list must get much shorter: its room for growth goes as well.
      if (kept.length > list.length * WORTH_KEEPING) continue
      const pruned = new SharedUint32List(kept)
      this.#bytes += pruned.byteLength - list.byteLength
      lists[number] = pruned
    }
    this.#credit = Math.min(0, this.#credit)
  }

  #listCount(): number {
    return this.#intervals.reduce((sum, { lists }) => sum + lists.length + 1, 0)
  }

  /** Without versions that were buried: no snapshot to come sees them. */
  #unburied(list: SharedUint32List): Uint32Array {
    const kept = new Uint32List(Math.max(1, list.length))
    for (const { buffer, count } of list.parts()) {
      for (const address of new Uint32Array(buffer, 0, count)) {
        if (!this.#host.isBuried(address)) kept.push(address)
      }
    }
    return kept.toArray()
  }
}
