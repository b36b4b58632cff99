// Where the latest entry of a key lies: an extendible hash table of (hash, address) pairs outside the JS heap.
// (Fagin et al., "Extendible Hashing", TODS 1979; open addressing with linear probing inside a table.)
//
//   directory := table[2^depth], chosen by the low bits of the hash; several places may share one table
//   table     := (hash u32 · address u32)[n], n <= 2^16, probed from where the hash's high bits point; address 0 is empty
//
// (1) Growing is bounded: a table grows until it has 2^16 slots and then splits into two of two thirds of that, so one
//     insert never moves more than 2^16 slots, however large the index is, and tables are at least four tenths full.
//     Where a split would leave nearly all entries on one side, because their hashes are equal, the table grows instead.
// (2) The whole hash is kept, so moving slots reads no keys, and a wrong match is as rare as equal hashes are.
// (3) Removing shifts followers back; there are no markers for removed slots.
// (4) Every table has an empty slot, so that each search ends.
// (5) Inside, hashes and addresses are signed: 32 bits that are unsigned are a double to JavaScript where they pass from
//     function to function. Addresses leave as they came, unsigned.

import { assert } from '../../base/assert.js'
import { refill } from '../../base/refill.js'
import type { SlicedWork } from '../../base/slices.js'
import type { IndexPairs } from './index-pairs.js'

/** A key that is looked for, and where its place is, which `find` writes here: it holds until something of the index changes. */
export interface SoughtKey {
  /** Signed. */
  readonly hash: number
  /** The place of its table in the directory. A number, since to keep the table costs each search a write barrier. */
  place: number
  /** In the table: its slot, or the empty one where it belongs. */
  at: number
  /** Whether the entry at an address has this key. */
  matches(address: number): boolean
}

const FIRST_SLOTS = 16
const MAX_SLOTS = 1 << 16
/** A table grows when more than 7/8 of it is full. */
const LOAD_NUMERATOR = 7
const LOAD_SHIFT = 3
/** A full table becomes two of this share of its slots each … */
const SPLIT_SHARE = 2 / 3
/** … or of this many slots for each of their entries, where one of them gets far more than the other. */
const SPLIT_ROOM = 4 / 3
/** A table is not split where that would leave a larger share of its entries on one side. */
const LARGEST_HALF = 15 / 16
/** The high half of a hash chooses the place in a table; the low half is what directories may use. */
const MAX_DEPTH = 16
/** How full an index is that was sized in advance: room for the spread between its tables. */
const RESERVED_LOAD = 0.75
const SLOT_BYTES = 8
/** A number that V8 keeps without an object; the next one is 0. */
const MAX_CHANGES = 2 ** 30 - 1
/** Entries added between two points where the work may pause. */
const STEP = 1_024

/** An index on its way to another thread. */
export interface IndexImage {
  readonly tables: readonly {
    readonly slots: Int32Array
    readonly depth: number
    readonly count: number
  }[]
  /** For each place of the directory, which of the tables it shows. */
  readonly directory: Uint32Array
}

class Table {
  readonly slots: Int32Array
  readonly slotCount: number
  /** How many low bits of the hash all entries of this table share. */
  readonly depth: number
  count = 0

  constructor(slotCount: number, depth: number, slots: Int32Array = new Int32Array(slotCount * 2)) {
    this.slots = slots
    this.slotCount = slotCount
    this.depth = depth
  }

  /** How many more entries it takes before it grows. */
  get room(): number {
    return ((this.slotCount * LOAD_NUMERATOR) >>> LOAD_SHIFT) - this.count
  }
}

export class HashIndex {
  /** Always the same array, which `refill` fills. */
  readonly #directory: Table[] = [new Table(FIRST_SLOTS, 0)]
  #count = 0
  #bytes: number = FIRST_SLOTS * SLOT_BYTES
  readonly #maxSlots: number
  /** Goes on with each change: what was found before it may be elsewhere. */
  changes = 0
  /** Goes on with each entry that is at another address from then on, or at none. */
  moves = 0

  /** @param maxSlots slots of a table that is split rather than doubled; given only by tests. */
  constructor(maxSlots: number = MAX_SLOTS) {
    this.#maxSlots = maxSlots
  }

  get count(): number {
    return this.#count
  }

  get byteLength(): number {
    return this.#bytes
  }

  /** Bytes that the insert of a key that was sought may allocate. */
  growthBytes({ place }: SoughtKey): number {
    const table = this.#directory[place] as Table
    return table.room <= 0 ? table.slotCount * SLOT_BYTES * 2 : 0
  }

  /** An upper bound of what `count` inserts of any hashes may allocate. */
  growthBytesFor(count: number): number {
    return this.#directory.some((table) => table.room < count) ? this.#bytes + count * SLOT_BYTES * 4 : 0
  }

  /** The address of the entry with the key, or 0; notes its place in `sought`, for `replace`, `remove` and `insert`. */
  find(sought: SoughtKey): number {
    const { hash } = sought
    const directory = this.#directory
    const place = hash & (directory.length - 1)
    const { slots } = directory[place] as Table
    const wanted = hash | 0
    let at = homeOf(wanted, slots)
    for (;;) {
      const address = slots[at + 1] as number
      if (address === 0 || (slots[at] === wanted && sought.matches(address))) {
        sought.place = place
        sought.at = at
        return address >>> 0
      }
      at += 2
      if (at === slots.length) at = 0
    }
  }

  /**
   * Reads what `find` will read for each of these hashes, `count` of them, a multiple of eight: no read waits for the one before, so that memory
   * answers all of them in the time of one. Gives, for each, an address that most often is what `find` will return, and returns what was read,
   * of which something must be made: otherwise the compiler leaves the reading out.
   *
   * Eight are read in one expression. V8 looks at what leads to a table anew in each turn of a loop, and all that takes the places of reads
   * that the processor could wait for (decision 123).
   */
  bringNear(hashes: Int32Array, count: number, addresses: Int32Array, from: number): number {
    const directory = this.#directory
    const mask = directory.length - 1
    let seen = 0
    for (let i = 0; i < count; i += 8) {
      seen |=
        firstRead(directory, mask, hashes[i] as number) |
        firstRead(directory, mask, hashes[i + 1] as number) |
        firstRead(directory, mask, hashes[i + 2] as number) |
        firstRead(directory, mask, hashes[i + 3] as number) |
        firstRead(directory, mask, hashes[i + 4] as number) |
        firstRead(directory, mask, hashes[i + 5] as number) |
        firstRead(directory, mask, hashes[i + 6] as number) |
        firstRead(directory, mask, hashes[i + 7] as number)
    }
    for (let i = 0; i < count; i++) {
      const hash = hashes[i] as number
      const { slots } = directory[hash & mask] as Table
      let at = homeOf(hash, slots)
      while (slots[at + 1] !== 0 && slots[at] !== hash) {
        at += 2
        if (at === slots.length) at = 0
      }
      addresses[from + i] = slots[at + 1] as number
    }
    return seen
  }

  /** Notes where a key belongs that is known not to be there: what `insert` needs. */
  seekEmpty(sought: SoughtKey): void {
    sought.place = this.#placeOf(sought.hash)
    sought.at = emptySlot(this.#directory[sought.place] as Table, sought.hash)
  }

  /** Adds entries that are known not to be there, table by table. */
  *insertAll(pairs: IndexPairs): SlicedWork<void> {
    pairs.sortByPlace(this.#directory.length - 1)
    const { length, sortedHashes, sortedAddresses } = pairs
    for (let start = 0; start < length; start += STEP) {
      yield
      this.#changed()
      const end = Math.min(start + STEP, length)
      for (let i = start; i < end; ) i = this.#insertRun(sortedHashes, sortedAddresses, i, end)
    }
  }

  /**
   * Adds entries from `start` on that are known not to be there, at most up to `end`: those behind each other that belong to one table, which
   * is looked up once, and has room for them. Returns where the next ones begin.
   */
  #insertRun(hashes: Int32Array, addresses: Int32Array, start: number, end: number): number {
    const first = hashes[start] as number
    if ((this.#directory[this.#placeOf(first)] as Table).room <= 0) this.#grow(first)
    const mask = this.#directory.length - 1
    const place = first & mask
    const table = this.#directory[place] as Table
    const { slots } = table
    const last = Math.min(start + table.room, end)
    let i = start
    do {
      const hash = hashes[i] as number
      let at = homeOf(hash, slots)
      while (slots[at + 1] !== 0) {
        at += 2
        if (at === slots.length) at = 0
      }
      slots[at] = hash
      slots[at + 1] = addresses[i] as number
      i++
    } while (i < last && ((hashes[i] as number) & mask) === place)
    table.count += i - start
    this.#count += i - start
    return i
  }

  /** Points the slot of a key that was found to another address. */
  replace({ place, at }: SoughtKey, address: number): void {
    this.#changed()
    this.#moved()
    const { slots } = this.#directory[place] as Table
    slots[at + 1] = address
  }

  /** Adds the entry of a key that was sought and is not there. */
  insert(sought: SoughtKey, address: number): void {
    this.#changed()
    const { hash } = sought
    let table = this.#directory[sought.place] as Table
    if (table.room <= 0) {
      this.#grow(hash)
      this.seekEmpty(sought)
      table = this.#directory[sought.place] as Table
    }
    const { slots } = table
    const { at } = sought
    slots[at] = hash
    slots[at + 1] = address
    table.count++
    this.#count++
  }

  /** Empties the slot of a key that was found and closes the gap behind it. */
  remove(sought: SoughtKey): void {
    this.#changed()
    this.#moved()
    const table = this.#directory[sought.place] as Table
    const { slots } = table
    const { length } = slots
    const distance = (from: number, to: number) => (to >= from ? to - from : to - from + length)
    let gap = sought.at
    let at = gap
    for (;;) {
      at = at + 2 === length ? 0 : at + 2
      const address = slots[at + 1] as number
      if (address === 0) break
      const hash = slots[at] as number
      // The follower may move back only if its home is not between the gap and itself.
      if (distance(homeOf(hash, slots), at) >= distance(gap, at)) {
        slots[gap] = hash
        slots[gap + 1] = address
        gap = at
      }
    }
    slots[gap + 1] = 0
    table.count--
    this.#count--
  }

  /** The addresses of every entry with this hash: usually one. */
  collect(hash: number): number[] {
    const { slots } = this.#directory[this.#placeOf(hash)] as Table
    const wanted = hash | 0
    const addresses: number[] = []
    let at = homeOf(wanted, slots)
    for (;;) {
      const address = slots[at + 1] as number
      if (address === 0) return addresses
      if (slots[at] === wanted) addresses.push(address >>> 0)
      at += 2
      if (at === slots.length) at = 0
    }
  }

  /**
   * The slots as they are, one array per table of alternating hash and address (0: empty slot). An array stays
   * readable when its table grows meanwhile, but is then no longer kept up to date.
   */
  tables(): Uint32Array[] {
    return Array.from(new Set(this.#directory), ({ slots }) => new Uint32Array(slots.buffer))
  }

  /** Makes room for `count` entries at once, where there is less and few are there: an index that holds more grows as it goes. */
  reserve(count: number): void {
    const wanted = Math.max(FIRST_SLOTS, Math.ceil(count / RESERVED_LOAD))
    if (this.#count > STEP || wanted * SLOT_BYTES <= this.#bytes) return
    const depth = Math.max(0, Math.ceil(Math.log2(wanted / MAX_SLOTS)))
    const tables = 2 ** depth
    const slotCount = Math.ceil(wanted / tables)
    this.#changed()
    const before = new Set(this.#directory)
    const directory = Array.from({ length: tables }, () => new Table(slotCount, depth))
    refill(this.#directory, directory)
    for (const table of before) moveAll(table, (hash) => directory[hash & (tables - 1)] as Table)
    this.#bytes = slotCount * tables * SLOT_BYTES
  }

  /** The index as another thread can be given it, with the memory of its tables; it must not be used any more. */
  image(): IndexImage {
    const tables = [...new Set(this.#directory)]
    const numbers = new Map(tables.map((table, number) => [table, number]))
    return {
      tables: tables.map(({ slots, depth, count }) => ({ slots, depth, count })),
      directory: Uint32Array.from(this.#directory, (table) => numbers.get(table) as number),
    }
  }

  /** Takes the place of the index that another thread has filled. Only of an empty one. */
  adopt({ tables, directory }: IndexImage): void {
    assert(this.#count === 0, 'an index that was used')
    const made = tables.map(({ slots, depth, count }) => {
      const table = new Table(slots.length / 2, depth, slots)
      table.count = count
      return table
    })
    this.#changed()
    refill(
      this.#directory,
      Array.from(directory, (number) => made[number] as Table),
    )
    this.#count = made.reduce((sum, { count }) => sum + count, 0)
    this.#bytes = made.reduce((sum, { slots }) => sum + slots.byteLength, 0)
  }

  #placeOf(hash: number): number {
    return hash & (this.#directory.length - 1)
  }

  #changed(): void {
    this.changes = (this.changes + 1) & MAX_CHANGES
  }

  #moved(): void {
    this.moves = (this.moves + 1) & MAX_CHANGES
  }

  #grow(hash: number): void {
    const table = this.#directory[this.#placeOf(hash)] as Table
    const ones = table.slotCount < this.#maxSlots || table.depth === MAX_DEPTH ? 0 : countOnes(table)
    if (Math.max(ones, table.count - ones) <= table.count * LARGEST_HALF) this.#split(table, ones)
    else this.#enlarge(table)
  }

  #enlarge(table: Table): void {
    const { slotCount, depth } = table
    const doubled = slotCount * 2
    const larger = new Table(slotCount < this.#maxSlots ? Math.min(this.#maxSlots, doubled) : doubled, depth)
    moveAll(table, () => larger)
    this.#point(table, () => larger)
    this.#bytes += (larger.slotCount - slotCount) * SLOT_BYTES
  }

  /** Splits by the first bit of the hashes that the entries do not share; `ones` of them have it. */
  #split(table: Table, ones: number): void {
    if (table.depth === Math.log2(this.#directory.length)) {
      refill(this.#directory, this.#directory.concat(this.#directory))
    }
    const bit = 1 << table.depth
    const slotsFor = (entries: number) =>
      Math.ceil(Math.max(table.slotCount * SPLIT_SHARE, entries * SPLIT_ROOM))
    const low = new Table(slotsFor(table.count - ones), table.depth + 1)
    const high = new Table(slotsFor(ones), table.depth + 1)
    moveAll(table, (moved) => ((moved & bit) === 0 ? low : high))
    this.#point(table, (place) => ((place & bit) === 0 ? low : high))
    this.#bytes += (low.slotCount + high.slotCount - table.slotCount) * SLOT_BYTES
  }

  /** Redirects every place of the directory that shows `table`. */
  #point(table: Table, choose: (place: number) => Table): void {
    for (let place = 0; place < this.#directory.length; place++) {
      if (this.#directory[place] === table) this.#directory[place] = choose(place)
    }
  }
}

/** How many entries have the first bit of their hashes set that the entries of the table do not share. */
function countOnes({ slots, depth }: Table): number {
  let ones = 0
  for (let i = 0; i < slots.length; i += 2) {
    if (slots[i + 1] !== 0) ones += ((slots[i] as number) >>> depth) & 1
  }
  return ones
}

function moveAll(from: Table, choose: (hash: number) => Table): void {
  const { slots } = from
  for (let i = 0; i < slots.length; i += 2) {
    const address = slots[i + 1] as number
    if (address === 0) continue
    const hash = slots[i] as number
    const table = choose(hash)
    const at = emptySlot(table, hash)
    table.slots[at] = hash
    table.slots[at + 1] = address
    table.count++
  }
}

/** Where the search for a hash begins: its high half, spread over the slots. A place in the array, so even. */
function homeOf(hash: number, slots: Int32Array): number {
  return (Math.imul(hash >>> 16, slots.length >>> 1) >>> 16) << 1
}

/** What the search for a hash reads first. */
function firstRead(directory: readonly Table[], mask: number, hash: number): number {
  const { slots } = directory[hash & mask] as Table
  return slots[homeOf(hash, slots)] as number
}

function emptySlot(table: Table, hash: number): number {
  const { slots } = table
  let at = homeOf(hash, slots)
  while (slots[at + 1] !== 0) {
    at += 2
    if (at === slots.length) at = 0
  }
  return at
}
