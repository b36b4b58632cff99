// The entries of several tables in the order of their keys: what overlapping windows come to where hardly a key comes again from pane to
// pane. Nothing is looked up, and no table is made: the entries of one key stand next to each other, and are merged when its turn comes.
//
//   record := number of the table · number of the entry      in 32 bits
//
// (1) Entries of one key stand in the order of their tables, which is that of time.
// (2) They are merged as combined-panes.ts has it: those of `earlier` from the last one on, and then what `last` has.

import { compareStretches } from '../../base/bytes.js'
import type { SlicedWork } from '../../base/slices.js'
import { copyViewed, Slot, type ViewedBytes } from '../../base/slot.js'
import type { RawAggregate } from '../aggregate/raw-aggregate.js'
import { type KeyedRecords, sortedByKey } from '../due/key-order.js'
import { HAS_VALUE } from './accumulator.js'
import { KeyTable, NEAR_KEYS, TablePlace } from './key-table.js'
import type { MergedEntries } from './shared-entries.js'

/** So many entries are looked at in one step. */
const STEP_LOOKS = 4_096
/** Numbers of entries are signed where they lie. */
const MAX_ENTRY_BITS = 31

/** An accumulator that is in no table. */
class Merged implements ViewedBytes {
  readonly bytes: Uint8Array
  readonly view: DataView

  constructor(length: number) {
    this.bytes = new Uint8Array(length)
    this.view = new DataView(this.bytes.buffer)
  }
}

export class EntriesByKey implements KeyedRecords, MergedEntries {
  readonly #none = new KeyTable()
  /** An entry of the key at hand. */
  #table: KeyTable = this.#none
  #entry = 0
  /** What all entries of this key come to, until the next one. */
  view: DataView
  payloadAt = 0
  readonly #raw: RawAggregate<unknown, unknown>
  readonly #length: number
  #tables: readonly KeyTable[] = []
  /** How many bits of a record are the number of its entry, and these bits. */
  #entryBits = 0
  #entryMask = 0
  #order = new Uint32Array(0)
  /** The place in the order that comes next, and up to where entries were brought near. */
  #next = 0
  #nearUntil = 0
  /** What was read to bring entries near: what comes to nothing the compiler would not read. */
  seen = 0
  readonly #place = new TablePlace()
  #merged: Merged
  #later: Merged
  readonly #left = new Slot()
  readonly #right = new Slot()

  /** @param length of an accumulator, in bytes. */
  constructor(raw: RawAggregate<unknown, unknown>, length: number) {
    this.#raw = raw
    this.#length = length
    this.#merged = new Merged(length)
    this.#later = new Merged(length)
    this.view = this.#merged.view
  }

  /**
   * Sorts the entries of these tables, in which nothing may change until the last key was passed. False: there are too many tables, or too
   * large ones, for a record to name an entry.
   */
  *sort(earlier: readonly KeyTable[], last: KeyTable): SlicedWork<boolean> {
    const tables = [...earlier, last]
    const entryBits = Math.min(Math.clz32(tables.length - 1), MAX_ENTRY_BITS)
    if (tables.some((table) => table.entriesEnd > 2 ** entryBits)) return false
    this.#tables = tables
    this.#entryBits = entryBits
    this.#entryMask = 2 ** entryBits - 1
    const order = new Uint32Array(tables.reduce((sum, { count }) => sum + count, 0))
    let count = 0
    let looked = 0
    for (const [number, table] of tables.entries()) {
      const first = number * 2 ** entryBits
      for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
        if (++looked % STEP_LOOKS === 0) yield
        if (table.has(entry, HAS_VALUE)) order[count++] = first + entry
      }
    }
    this.#order = yield* sortedByKey(this, count < order.length ? order.slice(0, count) : order)
    this.#next = 0
    this.#nearUntil = 0
    return true
  }

  key(read: (table: KeyTable, entry: number) => unknown): unknown {
    return read(this.#table, this.#entry)
  }

  next(): boolean {
    const order = this.#order
    const start = this.#next
    if (start === order.length) {
      this.#letGo()
      return false
    }
    if (start >= this.#nearUntil) this.#bringNear(start)
    const record = order[start] as number
    let end = start + 1
    while (end < order.length && this.#areOfOneKey(record, order[end] as number)) end++
    this.#next = end
    this.#table = this.#tableAt(record)
    this.#entry = record & this.#entryMask
    if (end > start + 1) this.#merge(start, end)
    this.#show(record)
    const { view, payloadAt } = this.#place
    this.view = end > start + 1 ? this.#merged.view : view
    this.payloadAt = end > start + 1 ? 0 : payloadAt
    return true
  }

  /** Panes are in no window any more before the next one is sorted, which may be never. */
  #letGo(): void {
    this.#table = this.#none
    this.#tables = []
    this.#order = new Uint32Array(0)
    this.#next = 0
    this.#nearUntil = 0
  }

  keyLengthAt(record: number): number {
    return this.#tableAt(record).keyLengthAt(record & this.#entryMask)
  }

  keyWordAt(record: number, skip: number): number {
    return this.#tableAt(record).keyWordAt(record & this.#entryMask, skip)
  }

  compareKeys(left: number, right: number): number {
    const one = this.#tableAt(left).keyOf(left & this.#entryMask, this.#left)
    const other = this.#tableAt(right).keyOf(right & this.#entryMask, this.#right)
    const difference = compareStretches(
      one.bytes,
      one.offset,
      one.length,
      other.bytes,
      other.offset,
      other.length,
    )
    return difference === 0 ? left - right : difference
  }

  /** Reads the entries that come next: none of these reads waits for the one before. */
  #bringNear(from: number): void {
    const until = Math.min(this.#order.length, from + NEAR_KEYS)
    let seen = 0
    for (let i = from; i < until; i++) {
      const record = this.#order[i] as number
      seen |= this.#tableAt(record).touch(record & this.#entryMask)
    }
    this.seen = seen
    this.#nearUntil = until
  }

  #areOfOneKey(left: number, right: number): boolean {
    const leftHash = this.#tableAt(left).hashAt(left & this.#entryMask)
    if (leftHash !== this.#tableAt(right).hashAt(right & this.#entryMask)) return false
    return this.compareKeys(left, right) === left - right
  }

  /** Merges the entries of one key, of which there are several. */
  #merge(start: number, end: number): void {
    const order = this.#order
    const length = this.#length
    const raw = this.#raw
    const place = this.#place
    const last = order[end - 1] as number
    const hasLast = last >>> this.#entryBits === this.#tables.length - 1
    const lastEarlier = hasLast ? end - 2 : end - 1
    for (let i = lastEarlier; i >= start; i--) {
      const later = this.#merged
      this.#merged = this.#later
      this.#later = later
      this.#show(order[i] as number)
      copyViewed(place, place.payloadAt, length, this.#merged, 0)
      if (i < lastEarlier) raw.merge(this.#merged.view, 0, later.view, 0)
    }
    if (!hasLast) return
    this.#show(last)
    raw.merge(this.#merged.view, 0, place.view, place.payloadAt)
  }

  #show(record: number): void {
    this.#tableAt(record).show(record & this.#entryMask, this.#place)
  }

  #tableAt(record: number): KeyTable {
    return this.#tables[record >>> this.#entryBits] as KeyTable
  }
}
