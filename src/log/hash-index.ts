// Where the latest entry of a key lies: an extendible hash table of (hash, address) pairs outside the JS heap.
// (Fagin et al., "Extendible Hashing", TODS 1979; open addressing with linear probing inside a table.)
//
//   directory := table[2^depth], chosen by the low bits of the hash; several places may share one table
//   table     := (hash u32 · address u32)[2^k], k <= 16, probed from the hash's high bits on; address 0 is an empty slot
//
// (1) Growing is bounded: a table doubles until it has 2^16 slots and then splits in two, so one insert never moves
//     more than 2^16 slots, however large the index is.
// (2) The whole hash is kept, so moving slots reads no keys, and a wrong match is as rare as equal hashes are.
// (3) Removing shifts followers back; there are no markers for removed slots.

import { assert } from '../base/assert.js'

/** Decides whether the entry at an address has the key that is looked for. */
export interface KeyMatcher {
  matches(address: number): boolean
}

const FIRST_SLOTS = 16
const MAX_SLOTS = 1 << 16
/** A table grows when more than 7/8 of it is full. */
const LOAD_NUMERATOR = 7
const LOAD_SHIFT = 3
const SLOT_BYTES = 8

class Table {
  readonly slots: Uint32Array
  /** Number of slots less one. */
  readonly mask: number
  /** How many low bits of the hash all entries of this table share. */
  readonly depth: number
  count = 0

  constructor(slotCount: number, depth: number) {
    this.slots = new Uint32Array(slotCount * 2)
    this.mask = slotCount - 1
    this.depth = depth
  }

  /** How many more entries it takes before it grows. */
  get room(): number {
    return (((this.mask + 1) * LOAD_NUMERATOR) >>> LOAD_SHIFT) - this.count
  }
}

export class HashIndex {
  #directory: Table[] = [new Table(FIRST_SLOTS, 0)]
  #directoryMask = 0
  #count = 0
  #bytes: number = FIRST_SLOTS * SLOT_BYTES

  // Where the last `find` ended: the found slot, or the empty one at which the hash belongs.
  #table: Table = this.#directory[0] as Table
  #slot = 0

  get count(): number {
    return this.#count
  }

  get byteLength(): number {
    return this.#bytes
  }

  /** Bytes that the next insert of a hash may allocate; the table of the last `find` decides. */
  get growthBytes(): number {
    return this.#table.room <= 0 ? (this.#table.mask + 1) * SLOT_BYTES * 2 : 0
  }

  /** An upper bound of what `count` inserts of any hashes may allocate. */
  growthBytesFor(count: number): number {
    return this.#directory.some((table) => table.room < count) ? this.#bytes + count * SLOT_BYTES * 4 : 0
  }

  /**
   * The address of the entry with this hash that `matcher` accepts, or 0. The place is remembered:
   * `replace`, `remove` and `insert` refer to it and must follow before the next `find`.
   */
  find(hash: number, matcher: KeyMatcher): number {
    const table = this.#directory[hash & this.#directoryMask] as Table
    const { slots, mask } = table
    let slot = (hash >>> 16) & mask
    for (;;) {
      const address = slots[slot * 2 + 1] as number
      if (address === 0 || (slots[slot * 2] === hash && matcher.matches(address))) {
        this.#table = table
        this.#slot = slot
        return address
      }
      slot = (slot + 1) & mask
    }
  }

  /** Points the found slot to another address. */
  replace(address: number): void {
    this.#table.slots[this.#slot * 2 + 1] = address
  }

  /** Adds an entry at the empty slot that `find` ended at. */
  insert(hash: number, address: number): void {
    if (this.#table.room <= 0) {
      this.#grow(hash)
      this.#seekEmpty(hash)
    }
    const { slots } = this.#table
    slots[this.#slot * 2] = hash
    slots[this.#slot * 2 + 1] = address
    this.#table.count++
    this.#count++
  }

  /** Empties the found slot and closes the gap behind it. */
  remove(): void {
    const { slots, mask } = this.#table
    let gap = this.#slot
    let slot = gap
    for (;;) {
      slot = (slot + 1) & mask
      const address = slots[slot * 2 + 1] as number
      if (address === 0) break
      const hash = slots[slot * 2] as number
      const home = (hash >>> 16) & mask
      // The follower may move back only if its home is not between the gap and itself.
      if (((slot - home) & mask) >= ((slot - gap) & mask)) {
        slots[gap * 2] = hash
        slots[gap * 2 + 1] = address
        gap = slot
      }
    }
    slots[gap * 2 + 1] = 0
    this.#table.count--
    this.#count--
  }

  /** The addresses of every entry with this hash: usually one. */
  collect(hash: number): number[] {
    const { slots, mask } = this.#directory[hash & this.#directoryMask] as Table
    const addresses: number[] = []
    let slot = (hash >>> 16) & mask
    for (;;) {
      const address = slots[slot * 2 + 1] as number
      if (address === 0) return addresses
      if (slots[slot * 2] === hash) addresses.push(address)
      slot = (slot + 1) & mask
    }
  }

  /**
   * The slots as they are, one array per table of alternating hash and address (0: empty slot). An array stays
   * readable when its table grows meanwhile, but is then no longer kept up to date.
   */
  tables(): Uint32Array[] {
    return Array.from(new Set(this.#directory), (table) => table.slots)
  }

  /** Makes room for `count` entries at once. Only for an empty index. */
  reserve(count: number): void {
    assert(this.#count === 0, 'only an empty index can be sized')
    const slots =
      2 ** Math.ceil(Math.log2(Math.max(FIRST_SLOTS, Math.ceil((count * 8) / (LOAD_NUMERATOR - 1)))))
    const depth = Math.max(0, Math.log2(slots / MAX_SLOTS))
    this.#directory = Array.from({ length: 2 ** depth }, () => new Table(Math.min(slots, MAX_SLOTS), depth))
    this.#directoryMask = this.#directory.length - 1
    this.#table = this.#directory[0] as Table
    this.#bytes = slots * SLOT_BYTES
  }

  #seekEmpty(hash: number): void {
    const table = this.#directory[hash & this.#directoryMask] as Table
    this.#table = table
    this.#slot = emptySlot(table, hash)
  }

  #grow(hash: number): void {
    const table = this.#directory[hash & this.#directoryMask] as Table
    const slotCount = table.mask + 1
    if (slotCount < MAX_SLOTS) {
      const larger = new Table(slotCount * 2, table.depth)
      moveAll(table, () => larger)
      this.#point(table, () => larger)
      this.#bytes += slotCount * SLOT_BYTES
      return
    }
    assert(table.depth < 16, 'the index has as many tables as its hash can tell apart')
    if (table.depth === Math.log2(this.#directory.length)) {
      this.#directory = this.#directory.concat(this.#directory)
      this.#directoryMask = this.#directory.length - 1
    }
    const bit = 1 << table.depth
    const low = new Table(slotCount, table.depth + 1)
    const high = new Table(slotCount, table.depth + 1)
    moveAll(table, (moved) => ((moved & bit) === 0 ? low : high))
    this.#point(table, (place) => ((place & bit) === 0 ? low : high))
    this.#bytes += slotCount * SLOT_BYTES
  }

  /** Redirects every place of the directory that shows `table`. */
  #point(table: Table, choose: (place: number) => Table): void {
    for (let place = 0; place < this.#directory.length; place++) {
      if (this.#directory[place] === table) this.#directory[place] = choose(place)
    }
  }
}

function moveAll(from: Table, choose: (hash: number) => Table): void {
  const { slots } = from
  for (let i = 0; i < slots.length; i += 2) {
    const address = slots[i + 1] as number
    if (address === 0) continue
    const hash = slots[i] as number
    const table = choose(hash)
    const slot = emptySlot(table, hash)
    table.slots[slot * 2] = hash
    table.slots[slot * 2 + 1] = address
    table.count++
  }
}

function emptySlot(table: Table, hash: number): number {
  const { slots, mask } = table
  let slot = (hash >>> 16) & mask
  while (slots[slot * 2 + 1] !== 0) slot = (slot + 1) & mask
  return slot
}
