// Keys and what is kept for each, outside of the JavaScript heap: what an operator works on between two cuts. At a cut it writes what
// has changed into the store.
//
//   entry := hash · flags · key length · capacity · length · key · payload      in words of 32 bits
//   shard := (hash · entry)* · count · depth
//
// (1) An entry is known by a number: that of its chunk, and where it begins there. It stays until the entry is resized beyond its
//     capacity, or the table is cleared.
// (2) Places are never given back one by one: an entry that is dead keeps its place, for its own key to come again. Where most are
//     dead the table is made anew, by `compact`.
// (3) Tables that were copied from one whose keys are shared (`shareKeys`) have each of these keys at the same place, so that one of another table
//     needs no search.
// (4) No step grows with the table: memory is taken by chunks, and of the index one shard is split at a time. The first bits of a hash
//     choose the shard (extendible hashing: Fagin and others, ACM TODS 4, 1979), the last ones the place in it.

import { compareStretches } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import { refill } from '../../base/refill.js'
import type { SlicedWork } from '../../base/slices.js'
import { copyViewed, type Slot, type ViewedBytes } from '../../base/slot.js'
import { hashWords, randomHashKey } from '../../log/index/key-hash.js'
import { ByteWriter } from '../../state/codec/bytes.js'
import type { KeyedRecords } from '../due/key-order.js'
import type { AccumulatorMemory } from './accumulator.js'

const HEADER_WORDS = 5
/** The first chunk grows up to the size of the others. */
const FIRST_CHUNK_WORDS = 1_024
const CHUNK_BITS = 16
const CHUNK_WORDS = 1 << CHUNK_BITS
const OFFSET_MASK = CHUNK_WORDS - 1
/** The number of an entry has no more room. */
const MAX_CHUNKS = 1 << (31 - CHUNK_BITS)
/** The first entry does not begin at 0: that means none. */
const FIRST_ENTRY = 1

/** So many keys are brought near at once: a processor waits for about as many places of memory at the same time. */
export const NEAR_KEYS = 32
/** Tables of fewer keys are near enough: to tell keys in advance costs more there than it spares (decision 55). */
const NEAR_FROM = 262_144
/** A word of the payload of most entries that is in another cache line than their header. */
const PAYLOAD_WORD = 10

/** The dead are left out from so many keys on. */
const COMPACTED_FROM = 1_024

const FIRST_PLACES = 64
/** A shard with more is split. */
const SHARD_PLACES = 4_096
/** Words behind the places of a shard. */
const COUNT = 2
const DEPTH = 1
const TAIL_WORDS = 2
/** From here on a shard grows instead: hashes that are alike in so many bits. */
const MAX_DEPTH = 24

/** The store has something else than the table, or nothing. */
export const IS_DIRTY = 1
/** The store has an entry for it. */
export const IS_STORED = 2
/** Nothing is kept for the key. */
export const IS_DEAD = 8
/** Its payload is the number of a list that lies elsewhere. */
export const IS_LARGE = 32

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

/** A piece of a table's memory, as words and as bytes. */
class Chunk implements ViewedBytes {
  readonly words: Int32Array
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Behind the last entry. */
  end = 0

  constructor(words: number) {
    this.words = new Int32Array(words)
    this.bytes = new Uint8Array(this.words.buffer)
    this.view = new DataView(this.words.buffer)
  }
}

/** Where an entry lies: filled anew by `KeyTable.open` and `KeyTable.show`, and valid until the table next takes in a key or resizes an entry. */
export class TablePlace implements ViewedBytes {
  entry = 0
  words: Int32Array = new Int32Array(0)
  bytes: Uint8Array = new Uint8Array(0)
  view: DataView = new DataView(this.bytes.buffer)
  /** The place of its flags in `words`. */
  flagsAt = 0
  /** Where its payload begins, in bytes. */
  payloadAt = 0
}

export class KeyTable implements KeyedRecords, AccumulatorMemory {
  /** Always the same array, as that of the shards, which `refill` fills. */
  readonly #chunks: Chunk[] = [firstChunk()]
  /** The chunk that new entries go to. */
  #tail = 0
  /** Shards by the first `#depth` bits of the hashes in them; one with fewer bits of its own is there several times. */
  readonly #shards: Int32Array[] = [newShard(FIRST_PLACES, 0)]
  #count = 0
  #dead = 0
  /** From so many dead keys on it is worth it to leave them out. */
  #compactFrom = 0
  /** The table whose keys are at the same places here, and the number behind the last of them. */
  #keysOf: KeyTable | undefined
  #sharedEnd = 0
  /** Entries that are brought near, and last, what was read of them: what comes to nothing the compiler would not read. */
  readonly #near = new Int32Array(NEAR_KEYS + 1)

  /** How many keys there are, dead ones included. */
  get count(): number {
    return this.#count
  }

  /** How many of them are dead. */
  get dead(): number {
    return this.#dead
  }

  /** Whether there are many keys, and more than this share of them is dead: `compact` keeps memory in proportion to what is alive. */
  isMostlyDead(share: number): boolean {
    return this.#count > COMPACTED_FROM && this.#dead > this.#count * share && this.#dead >= this.#compactFrom
  }

  /** The entry of a key, or 0. */
  find(key: TableKey): number {
    const { hash } = key
    const shard = this.#shardOf(hash)
    const mask = (shard.length >> 1) - 2
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const entry = shard[place * 2 + 1] as number
      if (entry === 0) return 0
      if (shard[place * 2] === hash && this.#isOf(entry, key)) return entry
    }
  }

  /** The entry of the key that another table has at an entry, or 0. */
  findOf(other: KeyTable, entry: number): number {
    if (other.#keysOf === this.#keysOf && this.isShared(entry)) return entry
    const { words } = other.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    const hash = words[at] as number
    const shard = this.#shardOf(hash)
    const mask = (shard.length >> 1) - 2
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const found = shard[place * 2 + 1] as number
      if (found === 0) return 0
      if (shard[place * 2] === hash && this.#isAlike(found, words, at)) return found
    }
  }

  /** From now on copies of this table have its keys at the same places as each other. */
  shareKeys(): void {
    this.#keysOf = this
    const { end } = this.#chunks[this.#tail] as Chunk
    this.#sharedEnd = (this.#tail << CHUNK_BITS) | end
  }

  /** Whether an entry is at the same place in all that have these keys in common. */
  isShared(entry: number): boolean {
    return entry < this.#sharedEnd
  }

  /** Whether it has the keys of a table that shares them at the same places. */
  sharesWith(keys: KeyTable): boolean {
    return this.#keysOf === keys
  }

  /** Whether it may have keys in common with others, of which nothing was kept here yet. */
  get sharesKeys(): boolean {
    return this.#keysOf !== undefined
  }

  /** Whether it is worth it to bring near what lies under keys before each is looked for. */
  get isFar(): boolean {
    return this.#count >= NEAR_FROM
  }

  /**
   * Reads what `find` will read for each of these keys. First the places of all, then the entries: none of these reads waits for the one before,
   * so that memory answers all of them in the time of one.
   */
  bringNear(keys: readonly TableKey[], count: number): void {
    const near = this.#near
    let seen = 0
    for (let i = 0; i < count; i++) {
      const { hash } = keys[i] as TableKey
      const shard = this.#shardOf(hash)
      seen |= shard[(hash & ((shard.length >> 1) - 2)) * 2] as number
    }
    for (let i = 0; i < count; i++) {
      const { hash } = keys[i] as TableKey
      const shard = this.#shardOf(hash)
      const mask = (shard.length >> 1) - 2
      let place = hash & mask
      while (shard[place * 2 + 1] !== 0 && shard[place * 2] !== hash) place = (place + 1) & mask
      near[i] = shard[place * 2 + 1] as number
    }
    near[NEAR_KEYS] = seen
    this.bringEntriesNear(near, 0, count)
  }

  /** Reads entries that are needed next; 0 stands for none. */
  bringEntriesNear(entries: Int32Array | Uint32Array, from: number, until: number): void {
    let seen = 0
    for (let i = from; i < until; i++) {
      const entry = entries[i] as number
      const { words } = this.#chunks[entry >>> CHUNK_BITS] as Chunk
      const at = entry & OFFSET_MASK
      seen |= words[at] as number
      if (at + PAYLOAD_WORD < words.length) seen |= words[at + PAYLOAD_WORD] as number
    }
    this.#near[NEAR_KEYS] = seen
  }

  /** Finds the entry of a key, or makes one as `add` does, and shows where it lies. */
  open(key: TableKey, length: number, place: TablePlace): void {
    const found = this.find(key)
    this.show(found === 0 ? this.add(key, length) : found, place)
  }

  /** Shows where an entry lies. */
  show(entry: number, place: TablePlace): void {
    const at = entry & OFFSET_MASK
    place.entry = entry
    this.showMemory(place)
    place.payloadAt = (at + HEADER_WORDS + (((place.words[at + 2] as number) + 3) >> 2)) * 4
  }

  /** The same where the place has the number of the entry, and where its payload begins: nothing of the entry is read. */
  showMemory(place: TablePlace): void {
    const { entry } = place
    const { words, bytes, view } = this.#chunks[entry >>> CHUNK_BITS] as Chunk
    // Most often it is the chunk of the last one: what is there already need not be written, and the collector not be told.
    if (place.words !== words) {
      place.words = words
      place.bytes = bytes
      place.view = view
    }
    place.flagsAt = (entry & OFFSET_MASK) + 1
  }

  /** An entry for a key that has none, with a payload of so many bytes, which are zeros. */
  add(key: TableKey, length: number): number {
    const keyWords = (key.length + 3) >> 2
    const capacity = (length + 3) >> 2
    const entry = this.#take(HEADER_WORDS + keyWords + capacity)
    const { words } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    words[at] = key.hash
    words[at + 1] = 0
    words[at + 2] = key.length
    words[at + 3] = capacity
    words[at + 4] = length
    for (let i = 0; i < keyWords; i++) words[at + HEADER_WORDS + i] = key.words[i] as number
    const start = at + HEADER_WORDS + keyWords
    for (let i = 0; i < capacity; i++) words[start + i] = 0
    this.#index(key.hash, entry)
    this.#count++
    return entry
  }

  has(entry: number, flag: number): boolean {
    return ((this.#chunkOf(entry).words[(entry & OFFSET_MASK) + 1] as number) & flag) !== 0
  }

  set(entry: number, flag: number, value: boolean): void {
    const { words } = this.#chunkOf(entry)
    const at = (entry & OFFSET_MASK) + 1
    const before = words[at] as number
    words[at] = value ? before | flag : before & ~flag
  }

  setDead(entry: number, isDead: boolean): void {
    if (this.has(entry, IS_DEAD) === isDead) return
    this.set(entry, IS_DEAD, isDead)
    this.#dead += isDead ? 1 : -1
  }

  /** Shows the bytes of a key where they lie. */
  keyOf(entry: number, slot: Slot): Slot {
    const { words, bytes, view } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    slot.bytes = bytes
    slot.view = view
    slot.offset = (at + HEADER_WORDS) * 4
    slot.length = words[at + 2] as number
    return slot
  }

  /** Makes it the key of an entry, to be looked for in another table. */
  loadKey(entry: number, key: TableKey): TableKey {
    const { words } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    key.load(words, at + HEADER_WORDS, words[at + 2] as number, words[at] as number)
    return key
  }

  memoryOf(entry: number): ViewedBytes {
    return this.#chunkOf(entry)
  }

  accumulatorAt(entry: number): number {
    const at = entry & OFFSET_MASK
    return (at + HEADER_WORDS + (((this.#chunkOf(entry).words[at + 2] as number) + 3) >> 2)) * 4
  }

  accumulatorBytes(entry: number): number {
    return this.#chunkOf(entry).words[(entry & OFFSET_MASK) + 4] as number
  }

  resizeAccumulator(entry: number, length: number): number {
    const { words } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    const capacity = (length + 3) >> 2
    if (capacity <= (words[at + 3] as number)) {
      words[at + 4] = length
      return entry
    }
    return this.#move(entry, length, capacity)
  }

  /** The first entry, or 0. */
  first(): number {
    return this.#passOver(0, FIRST_ENTRY)
  }

  /** The one behind, or 0. */
  next(entry: number): number {
    const at = entry & OFFSET_MASK
    return this.#passOver(entry >>> CHUNK_BITS, behind(this.#chunkOf(entry).words, at))
  }

  /** Takes over all of another table, step by step. Only where there is nothing here. */
  *copyFrom(other: KeyTable): SlicedWork<void> {
    const used = other.#chunks.findLastIndex(({ end }, i) => end > 0 || i === other.#tail) + 1
    for (const [i, { words, end }] of other.#chunks.slice(0, used).entries()) {
      let chunk = this.#chunks[i]
      if (chunk?.words.length !== words.length) chunk = new Chunk(words.length)
      chunk.words.set(words.subarray(0, end))
      chunk.end = end
      this.#chunks[i] = chunk
      yield
    }
    const shards: Int32Array[] = []
    for (const [i, shard] of other.#shards.entries()) {
      shards.push(shard === other.#shards[i - 1] ? (shards[i - 1] as Int32Array) : shard.slice())
      if (i % STEP_SHARDS === STEP_SHARDS - 1) yield
    }
    this.#tail = other.#tail
    refill(this.#shards, shards)
    this.#count = other.#count
    this.#dead = other.#dead
    this.#compactFrom = other.#compactFrom
    this.#keysOf = other.#keysOf
    this.#sharedEnd = other.#sharedEnd
  }

  /** Begins anew, step by step; the memory is kept. */
  *clear(): SlicedWork<void> {
    this.#stopSharing()
    refill(
      this.#chunks,
      this.#chunks.filter(({ words }) => words.length <= CHUNK_WORDS),
    )
    for (const [i, chunk] of this.#chunks.entries()) chunk.end = i === 0 ? FIRST_ENTRY : 0
    this.#tail = 0
    this.#count = 0
    this.#dead = 0
    let before: Int32Array | undefined
    let cleared = 0
    for (const shard of this.#shards) {
      if (shard === before) continue
      before = shard
      shard.fill(0, 0, shard.length - DEPTH)
      if (++cleared % STEP_SHARDS === 0) yield
    }
  }

  /** Leaves out what is dead and stored nowhere, step by step. Entries are elsewhere afterwards. */
  *compact(): SlicedWork<void> {
    const key = new TableKey()
    const kept = new KeyTable()
    let looked = 0
    for (let entry = this.first(); entry !== 0; entry = this.next(entry)) {
      if (++looked % STEP_ENTRIES === 0) yield
      const isGone = this.has(entry, IS_DEAD) && !this.has(entry, IS_STORED)
      if (isGone) continue
      const length = this.accumulatorBytes(entry)
      const copy = kept.add(this.loadKey(entry, key), length)
      copyViewed(
        this.#chunkOf(entry),
        this.accumulatorAt(entry),
        length,
        kept.#chunkOf(copy),
        kept.accumulatorAt(copy),
      )
      const flags = this.#chunkOf(entry).words[(entry & OFFSET_MASK) + 1] as number
      kept.#chunkOf(copy).words[(copy & OFFSET_MASK) + 1] = flags
      if (this.has(entry, IS_DEAD)) kept.#dead++
    }
    refill(this.#chunks, kept.#chunks)
    this.#tail = kept.#tail
    refill(this.#shards, kept.#shards)
    this.#count = kept.#count
    this.#dead = kept.#dead
    // What is stored and dead waits for the next cut.
    this.#compactFrom = kept.#dead * 2
    this.#stopSharing()
  }

  /** Above the number of each entry. */
  get entriesEnd(): number {
    return this.#chunks.length << CHUNK_BITS
  }

  /** Reads what is needed of an entry next; returns what was read, of which something must be made. */
  touch(entry: number): number {
    const { words } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    const header = words[at] as number
    return at + PAYLOAD_WORD < words.length ? header | (words[at + PAYLOAD_WORD] as number) : header
  }

  /** The hash of its key: keys of another hash are other keys, whichever table they are in. */
  hashAt(entry: number): number {
    return this.#chunkOf(entry).words[entry & OFFSET_MASK] as number
  }

  keyLengthAt(entry: number): number {
    return this.#chunkOf(entry).words[(entry & OFFSET_MASK) + 2] as number
  }

  keyWordAt(entry: number, skip: number): number {
    const { words, view } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    // Bytes behind the end of a key are zeros up to the next word, and what follows is not a part of it.
    if (skip >= (words[at + 2] as number)) return 0
    return view.getUint32((at + HEADER_WORDS) * 4 + skip)
  }

  compareKeys(left: number, right: number): number {
    return compareStretches(
      this.#chunkOf(left).bytes,
      ((left & OFFSET_MASK) + HEADER_WORDS) * 4,
      this.keyLengthAt(left),
      this.#chunkOf(right).bytes,
      ((right & OFFSET_MASK) + HEADER_WORDS) * 4,
      this.keyLengthAt(right),
    )
  }

  #chunkOf(entry: number): Chunk {
    return this.#chunks[entry >>> CHUNK_BITS] as Chunk
  }

  get #depth(): number {
    return 31 - Math.clz32(this.#shards.length)
  }

  #shardOf(hash: number): Int32Array {
    return this.#shards[(hash >>> 1) >>> (31 - this.#depth)] as Int32Array
  }

  #stopSharing(): void {
    this.#keysOf = undefined
    this.#sharedEnd = 0
  }

  /** Whether an entry has the key of one that lies elsewhere. */
  #isAlike(entry: number, others: Int32Array, from: number): boolean {
    const { words } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    const length = words[at + 2] as number
    if (others[from + 2] !== length) return false
    const end = HEADER_WORDS + ((length + 3) >> 2)
    for (let i = HEADER_WORDS; i < end; i++) if (words[at + i] !== others[from + i]) return false
    return true
  }

  #isOf(entry: number, key: TableKey): boolean {
    const { words } = this.#chunkOf(entry)
    const at = entry & OFFSET_MASK
    if (words[at + 2] !== key.length) return false
    const keyWords = (key.length + 3) >> 2
    for (let i = 0; i < keyWords; i++) if (words[at + HEADER_WORDS + i] !== key.words[i]) return false
    return true
  }

  /** The first entry from there on that was not moved elsewhere: the payload of one that was has a length below zero. */
  #passOver(from: number, fromAt: number): number {
    let at = fromAt
    for (let i = from; i < this.#chunks.length; i++) {
      const { words, end } = this.#chunks[i] as Chunk
      while (at < end && (words[at + 4] as number) < 0) at = behind(words, at)
      if (at < end) return (i << CHUNK_BITS) | at
      at = 0
    }
    return 0
  }

  #move(entry: number, length: number, capacity: number): number {
    this.#stopSharing()
    const from = this.#chunkOf(entry).words
    const at = entry & OFFSET_MASK
    const keyWords = ((from[at + 2] as number) + 3) >> 2
    const moved = this.#take(HEADER_WORDS + keyWords + capacity * 2)
    // The first chunk may have grown.
    const before = this.#chunkOf(entry).words
    const to = this.#chunkOf(moved).words
    const target = moved & OFFSET_MASK
    const used = HEADER_WORDS + keyWords + (((before[at + 4] as number) + 3) >> 2)
    for (let i = 0; i < used; i++) to[target + i] = before[at + i] as number
    to[target + 3] = capacity * 2
    to[target + 4] = length
    before[at + 4] = -1
    const hash = before[at] as number
    const shard = this.#shardOf(hash)
    const mask = (shard.length >> 1) - 2
    let place = hash & mask
    while (shard[place * 2 + 1] !== entry) place = (place + 1) & mask
    shard[place * 2 + 1] = moved
    return moved
  }

  /** Room for an entry of so many words. */
  #take(count: number): number {
    let chunk = this.#chunks[this.#tail] as Chunk
    if (chunk.end + count > chunk.words.length) chunk = this.#room(count)
    const at = chunk.end
    chunk.end = at + count
    return ((chunk === this.#chunks[this.#tail] ? this.#tail : this.#chunks.length - 1) << CHUNK_BITS) | at
  }

  #room(count: number): Chunk {
    const { end, words } = this.#chunks[this.#tail] as Chunk
    if (end + count <= CHUNK_WORDS && words.length < CHUNK_WORDS) {
      const grown = new Chunk(Math.min(CHUNK_WORDS, Math.max(end + count, words.length * 2)))
      grown.words.set(words.subarray(0, end))
      grown.end = end
      this.#chunks[this.#tail] = grown
      return grown
    }
    const next = this.#chunks[this.#tail + 1]
    const isFree = next !== undefined && next.end === 0 && count <= next.words.length
    if (!isFree) {
      if (this.#chunks.length === MAX_CHUNKS) {
        const capacity = MAX_CHUNKS * CHUNK_WORDS * 4
        throw new StateError('BACKEND_FULL', { used: capacity, capacity })
      }
      // What is larger than a chunk has one for itself.
      this.#chunks.push(new Chunk(Math.max(CHUNK_WORDS, count)))
      if (count > CHUNK_WORDS) return this.#chunks.at(-1) as Chunk
      this.#tail = this.#chunks.length - 1
    } else {
      this.#tail++
    }
    return this.#chunks[this.#tail] as Chunk
  }

  #index(hash: number, entry: number): void {
    let shard = this.#shardOf(hash)
    while (isFull(shard)) {
      this.#enlarge(shard, hash)
      shard = this.#shardOf(hash)
    }
    put(shard, hash, entry)
  }

  /** Makes room in a shard: it grows, or is split by the next bit of its hashes. */
  #enlarge(shard: Int32Array, hash: number): void {
    const depth = shard[shard.length - DEPTH] as number
    const places = (shard.length - TAIL_WORDS) >> 1
    const grows = places < SHARD_PLACES || depth === MAX_DEPTH
    if (!grows && depth === this.#depth) {
      refill(
        this.#shards,
        this.#shards.flatMap((each) => [each, each]),
      )
    }
    const low = newShard(grows ? places * 2 : places, grows ? depth : depth + 1)
    const high = grows ? low : newShard(places, depth + 1)
    for (let place = 0; place < places; place++) {
      const entry = shard[place * 2 + 1] as number
      if (entry === 0) continue
      const each = shard[place * 2] as number
      put(((each >>> (31 - depth)) & 1) === 0 ? low : high, each, entry)
    }
    // All shards that begin with the same bits are one behind the other.
    const count = 1 << (this.#depth - depth)
    const first = ((hash >>> 1) >>> (31 - this.#depth)) & ~(count - 1)
    for (let i = 0; i < count; i++) this.#shards[first + i] = i < count / 2 ? low : high
  }
}

/** So many entries are looked at in one step. */
const STEP_ENTRIES = 256
/** So many shards are cleared in one step. */
const STEP_SHARDS = 16

function firstChunk(): Chunk {
  const chunk = new Chunk(FIRST_CHUNK_WORDS)
  chunk.end = FIRST_ENTRY
  return chunk
}

function newShard(places: number, depth: number): Int32Array {
  const shard = new Int32Array(places * 2 + TAIL_WORDS)
  shard[shard.length - DEPTH] = depth
  return shard
}

/** Whether five of eight places are taken. */
const isFull = (shard: Int32Array): boolean =>
  ((shard[shard.length - COUNT] as number) + 1) * 16 > (shard.length - TAIL_WORDS) * 5

function put(shard: Int32Array, hash: number, entry: number): void {
  const mask = (shard.length >> 1) - 2
  let place = hash & mask
  while (shard[place * 2 + 1] !== 0) place = (place + 1) & mask
  shard[place * 2] = hash
  shard[place * 2 + 1] = entry
  shard[shard.length - COUNT] = (shard[shard.length - COUNT] as number) + 1
}

/** Where the entry behind this one begins. */
function behind(words: Int32Array, at: number): number {
  return at + HEADER_WORDS + (((words[at + 2] as number) + 3) >> 2) + (words[at + 3] as number)
}
