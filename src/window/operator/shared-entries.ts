// The entries of two tables that have the same keys at the same places, in the order of these: what overlapping windows come to where keys
// come again from pane to pane. Nothing is looked up, and what both have of a key is merged when its turn comes.

import type { RawAggregate } from '../aggregate/raw-aggregate.js'
import { HAS_VALUE } from './accumulator.js'
import { KeyTable, TablePlace } from './key-table.js'

/** What a window comes to, key by key, in the order of these. */
export interface MergedEntries {
  /** What there is of the key at hand, until the next one. */
  readonly view: DataView
  readonly payloadAt: number
  /** Goes on to the next key, where there is one; behind the last one nothing of the tables is kept. Where it throws, the key at hand is the one that has failed. */
  next(): boolean
  /** The key at hand, as `read` has it. */
  key(read: (table: KeyTable, entry: number) => unknown): unknown
}

export class SharedEntries implements MergedEntries {
  readonly #none = new KeyTable()
  readonly #raw: RawAggregate<unknown, unknown>
  /** The entries of all keys in the order of these, and the keys that were read before. */
  #order: Uint32Array = new Uint32Array(0)
  #keys: unknown[] = []
  #earlier: KeyTable = this.#none
  #later: KeyTable = this.#none
  #next = 0
  readonly #place = new TablePlace()
  readonly #laterPlace = new TablePlace()
  #shown: TablePlace = this.#place

  constructor(raw: RawAggregate<unknown, unknown>) {
    this.#raw = raw
  }

  /** @param earlier takes in what the later one has: nobody else may need it. */
  begin(order: Uint32Array, earlier: KeyTable, later: KeyTable): this {
    if (order !== this.#order) {
      this.#order = order
      this.#keys = Array.from(order, () => undefined)
    }
    this.#earlier = earlier
    this.#later = later
    this.#next = 0
    return this
  }

  get view(): DataView {
    return this.#shown.view
  }

  get payloadAt(): number {
    return this.#shown.payloadAt
  }

  next(): boolean {
    const order = this.#order
    const earlier = this.#earlier
    const place = this.#place
    const laterPlace = this.#laterPlace
    while (this.#next < order.length) {
      earlier.show(order[this.#next++] as number, place)
      const { entry, flagsAt, payloadAt } = place
      laterPlace.entry = entry
      this.#later.showMemory(laterPlace)
      const has = ((place.words[flagsAt] as number) & HAS_VALUE) !== 0
      const hasLater = ((laterPlace.words[flagsAt] as number) & HAS_VALUE) !== 0
      if (!has && !hasLater) continue
      laterPlace.payloadAt = payloadAt
      // Before they are merged: where that fails, it is asked which key it is.
      this.#shown = has ? place : laterPlace
      if (has && hasLater) this.#raw.merge(place.view, payloadAt, laterPlace.view, payloadAt)
      return true
    }
    this.#earlier = this.#none
    this.#later = this.#none
    return false
  }

  /** One that nobody can change is read once for all windows. */
  key(read: (table: KeyTable, entry: number) => unknown): unknown {
    const at = this.#next - 1
    const known = this.#keys[at]
    if (known !== undefined) return known
    const key = read(this.#earlier, this.#shown.entry)
    if (typeof key === 'number' || typeof key === 'string') this.#keys[at] = key
    return key
  }
}
