// Keys and what is kept for each, outside of the JavaScript heap: what an operator works on between two cuts. At a cut it writes what
// has changed into the store.
//
//   entry := hash · flags · key length · capacity · length · key · payload      in words of 32 bits
//
// (1) An entry is known by where it begins. That stays until it is resized beyond its capacity, or the table is cleared.
// (2) Places are never given back one by one: an entry that is dead keeps its place, for its own key to come again. Where most are
//     dead the table is made anew, by `compact`.

import { compareStretches } from '../../base/bytes.js'
import { copyViewed, type Stretch } from '../../base/slot.js'
import { hashWords, randomHashKey } from '../../log/index/key-hash.js'
import { ByteWriter } from '../../state/codec/bytes.js'
import type { KeyedRecords } from '../due/key-order.js'
import type { AccumulatorMemory } from './accumulator.js'

const HEADER_WORDS = 5
const INITIAL_WORDS = 1_024
const INITIAL_PLACES = 256
/** The first entry does not begin at 0: that means none. */
const FIRST_ENTRY = 1

/** The store has something else than the table, or nothing. */
export const IS_DIRTY = 1
/** The store has an entry for it. */
export const IS_STORED = 2
/** Nothing is kept for the key. */
export const IS_DEAD = 8

const hashKey = randomHashKey()

/** A key on its way into tables: its bytes as words, and their hash. */
export class TableKey {
  /** What a codec writes the key to; `hashWritten` then makes it the key. */
  readonly writer: ByteWriter = new ByteWriter()
  words: Int32Array = new Int32Array(0)
  length = 0
  hash = 0
  /** The memory that `words` shows. */
  #shown: Uint8Array | undefined

  get bytes(): Uint8Array {
    return this.writer.bytes
  }

  set(bytes: Uint8Array, offset: number, length: number): this {
    const { writer } = this
    writer.length = 0
    writer.reserve(length)
    if (length <= 64) for (let i = 0; i < length; i++) writer.bytes[i] = bytes[offset + i] as number
    else writer.bytes.set(bytes.subarray(offset, offset + length))
    return this.hashWritten()
  }

  /** The key is what was written. */
  hashWritten(): this {
    const { writer } = this
    const { length } = writer
    const last = length >> 2
    if (last >= this.words.length || writer.bytes !== this.#shown) this.#fit()
    // Behind the end of a key are zeros up to the next word.
    this.words[last] = (this.words[last] as number) & ((1 << ((length & 3) * 8)) - 1)
    this.length = length
    this.hash = hashWords(this.words, length, hashKey)
    return this
  }

  /** The same of a key that is in a table. */
  load(words: Int32Array, from: number, length: number, hash: number): void {
    const { writer } = this
    writer.length = 0
    writer.reserve((length + 3) & ~3)
    writer.length = length
    if (writer.bytes !== this.#shown) this.#fit()
    for (let i = 0; i < (length + 3) >> 2; i++) this.words[i] = words[from + i] as number
    this.length = length
    this.hash = hash
  }

  /** Shows the writer's memory as words, with one behind the key. */
  #fit(): void {
    const { writer } = this
    const { length } = writer
    writer.reserve(8)
    writer.length = length
    const { bytes } = writer
    this.words = new Int32Array(bytes.buffer, 0, bytes.length >> 2)
    this.#shown = bytes
  }
}

export class KeyTable implements KeyedRecords, AccumulatorMemory {
  bytes: Uint8Array = new Uint8Array(INITIAL_WORDS * 4)
  view: DataView = new DataView(this.bytes.buffer)
  #words = new Int32Array(this.bytes.buffer)
  #end = FIRST_ENTRY
  #places = new Int32Array(INITIAL_PLACES)
  #count = 0
  #dead = 0

  /** How many keys there are, dead ones included. */
  get count(): number {
    return this.#count
  }

  /** How many of them are dead. */
  get dead(): number {
    return this.#dead
  }

  /** The entry of a key, or 0. */
  find(key: TableKey): number {
    const places = this.#places
    const words = this.#words
    const mask = places.length - 1
    for (let place = key.hash & mask; ; place = (place + 1) & mask) {
      const entry = places[place] as number
      if (entry === 0) return 0
      if (words[entry] === key.hash && this.#isOf(entry, key)) return entry
    }
  }

  /** An entry for a key that has none, with a payload of so many bytes, which are zeros. */
  add(key: TableKey, length: number): number {
    if (this.#count * 2 >= this.#places.length) this.#rehash(this.#places.length * 2)
    const keyWords = (key.length + 3) >> 2
    const capacity = (length + 3) >> 2
    const entry = this.#take(HEADER_WORDS + keyWords + capacity)
    const words = this.#words
    words[entry] = key.hash
    words[entry + 1] = 0
    words[entry + 2] = key.length
    words[entry + 3] = capacity
    words[entry + 4] = length
    for (let i = 0; i < keyWords; i++) words[entry + HEADER_WORDS + i] = key.words[i] as number
    const start = entry + HEADER_WORDS + keyWords
    for (let i = 0; i < capacity; i++) words[start + i] = 0
    this.#count++
    this.#put(entry)
    return entry
  }

  has(entry: number, flag: number): boolean {
    return ((this.#words[entry + 1] as number) & flag) !== 0
  }

  set(entry: number, flag: number, value: boolean): void {
    const before = this.#words[entry + 1] as number
    this.#words[entry + 1] = value ? before | flag : before & ~flag
  }

  setDead(entry: number, isDead: boolean): void {
    if (this.has(entry, IS_DEAD) === isDead) return
    this.set(entry, IS_DEAD, isDead)
    this.#dead += isDead ? 1 : -1
  }

  /** Shows the bytes of a key where they lie. */
  keyOf(entry: number, stretch: { bytes: Uint8Array; offset: number; length: number }): Stretch {
    stretch.bytes = this.bytes
    stretch.offset = (entry + HEADER_WORDS) * 4
    stretch.length = this.#words[entry + 2] as number
    return stretch
  }

  /** Makes it the key of an entry, to be looked for in another table. */
  loadKey(entry: number, key: TableKey): TableKey {
    const length = this.#words[entry + 2] as number
    key.load(this.#words, entry + HEADER_WORDS, length, this.#words[entry] as number)
    return key
  }

  accumulatorAt(entry: number): number {
    return (entry + HEADER_WORDS + (((this.#words[entry + 2] as number) + 3) >> 2)) * 4
  }

  accumulatorBytes(entry: number): number {
    return this.#words[entry + 4] as number
  }

  resizeAccumulator(entry: number, length: number): number {
    const capacity = (length + 3) >> 2
    if (capacity <= (this.#words[entry + 3] as number)) {
      this.#words[entry + 4] = length
      return entry
    }
    return this.#move(entry, length, capacity)
  }

  /** The first entry, or 0. */
  first(): number {
    return this.#end > FIRST_ENTRY ? this.#passOver(FIRST_ENTRY) : 0
  }

  /** The one behind, or 0. */
  next(entry: number): number {
    return this.#passOver(this.#behind(entry))
  }

  /** Begins anew; the memory is kept. */
  clear(): void {
    this.#places.fill(0)
    this.#end = FIRST_ENTRY
    this.#count = 0
    this.#dead = 0
  }

  /** Leaves out what is dead and stored nowhere. Entries are elsewhere afterwards. */
  compact(): void {
    const key = new TableKey()
    const kept = new KeyTable()
    for (let entry = this.first(); entry !== 0; entry = this.next(entry)) {
      const isGone = this.has(entry, IS_DEAD) && !this.has(entry, IS_STORED)
      if (isGone) continue
      const length = this.accumulatorBytes(entry)
      const copy = kept.add(this.loadKey(entry, key), length)
      copyViewed(this, this.accumulatorAt(entry), length, kept, kept.accumulatorAt(copy))
      kept.#words[copy + 1] = this.#words[entry + 1] as number
      if (this.has(entry, IS_DEAD)) kept.#dead++
    }
    this.bytes = kept.bytes
    this.view = kept.view
    this.#words = kept.#words
    this.#end = kept.#end
    this.#places = kept.#places
    this.#count = kept.#count
    this.#dead = kept.#dead
  }

  keyLengthAt(entry: number): number {
    return this.#words[entry + 2] as number
  }

  keyWordAt(entry: number, skip: number): number {
    // Bytes behind the end of a key are zeros up to the next word, and what follows is not a part of it.
    if (skip >= (this.#words[entry + 2] as number)) return 0
    return this.view.getUint32((entry + HEADER_WORDS) * 4 + skip)
  }

  compareKeys(left: number, right: number): number {
    return compareStretches(
      this.bytes,
      (left + HEADER_WORDS) * 4,
      this.keyLengthAt(left),
      this.bytes,
      (right + HEADER_WORDS) * 4,
      this.keyLengthAt(right),
    )
  }

  #isOf(entry: number, key: TableKey): boolean {
    const words = this.#words
    if (words[entry + 2] !== key.length) return false
    const keyWords = (key.length + 3) >> 2
    for (let i = 0; i < keyWords; i++) if (words[entry + HEADER_WORDS + i] !== key.words[i]) return false
    return true
  }

  #behind(entry: number): number {
    const words = this.#words
    return entry + HEADER_WORDS + (((words[entry + 2] as number) + 3) >> 2) + (words[entry + 3] as number)
  }

  /** Passes over what was moved elsewhere: its payload has a length below zero. */
  #passOver(from: number): number {
    let entry = from
    while (entry < this.#end && (this.#words[entry + 4] as number) < 0) entry = this.#behind(entry)
    return entry < this.#end ? entry : 0
  }

  #move(entry: number, length: number, capacity: number): number {
    const keyWords = ((this.#words[entry + 2] as number) + 3) >> 2
    const to = this.#take(HEADER_WORDS + keyWords + capacity * 2)
    const words = this.#words
    const before = words[entry + 4] as number
    const used = HEADER_WORDS + keyWords + ((before + 3) >> 2)
    words.copyWithin(to, entry, entry + used)
    words[to + 3] = capacity * 2
    words[to + 4] = length
    words[entry + 4] = -1
    const places = this.#places
    const mask = places.length - 1
    let place = (words[entry] as number) & mask
    while (places[place] !== entry) place = (place + 1) & mask
    places[place] = to
    return to
  }

  #take(count: number): number {
    const entry = this.#end
    const end = entry + count
    if (end > this.#words.length) {
      const words = new Int32Array(Math.max(end, this.#words.length * 2))
      words.set(this.#words.subarray(0, entry))
      this.#words = words
      this.bytes = new Uint8Array(words.buffer)
      this.view = new DataView(words.buffer)
    }
    this.#end = end
    return entry
  }

  #put(entry: number): void {
    const places = this.#places
    const mask = places.length - 1
    let place = (this.#words[entry] as number) & mask
    while (places[place] !== 0) place = (place + 1) & mask
    places[place] = entry
  }

  #rehash(size: number): void {
    this.#places = new Int32Array(size)
    for (let entry = this.first(); entry !== 0; entry = this.next(entry)) this.#put(entry)
  }
}
