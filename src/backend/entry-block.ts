// Entries on their way between a backend and a checkpoint travel in blocks: packed bytes, so that a million of
// them cost no objects. A block is also, byte for byte, what a checkpoint compresses (docs/format/segment.md).
//
//   block := entry*
//   entry := keyLength u16 · flags u8 · reserved u8 (0) · valueLength u32 · [expiresAtMs f64] · key · value
//
// Numbers are little-endian.
// (1) flags bit 0: expiresAtMs is there. Bit 1: a tombstone, the key was deleted; it has no value.
// (2) Keys strictly increase within a block and from one block of a stream to the next.
// (3) A block holds at least one entry, and ends with the entry that reaches its target size.

import { assert } from '../base/assert.js'
import { StateError } from '../base/errors.js'
import { MAX_KEY_BYTES, MAX_VALUE_BYTES } from '../base/limits.js'
import { copyViewed, type ViewedBytes } from '../base/slot.js'

const EntryFlag = { EXPIRES: 1, TOMBSTONE: 2 } as const

const HEADER_BYTES = 8
const EXPIRY_BYTES = 8

/** Sorted entries as packed bytes. */
export interface EntryBlock {
  readonly bytes: Uint8Array
  readonly entryCount: number
}

/** Where an entry lies: key and value are stretches of the same bytes. A cursor over entries is one, for the entry at hand. */
export interface PlacedEntry {
  readonly bytes: Uint8Array
  /** The same memory; where it is there, short keys and values are copied by words. */
  readonly view?: DataView
  readonly keyStart: number
  readonly keyLength: number
  readonly valueStart: number
  readonly valueLength: number
  /** Infinity: never. */
  readonly expiresAtMs: number
}

/** An entry in memory that is seen as words as well: its key and its value begin at whole ones, and the words that they end in are theirs. */
export interface AlignedEntry extends PlacedEntry {
  readonly words: Int32Array
}

export interface PlacedKey extends ViewedBytes {
  readonly keyStart: number
  readonly keyLength: number
}

export interface PlacedValue extends ViewedBytes {
  readonly offset: number
  readonly length: number
}

/** Up to this many bytes a key or a value of an {@link AlignedEntry} is copied word by word. */
const LOOP_COPY_WORDS_BYTES = 128
/** What is copied by words may write so many bytes too many. */
const SPARE_BYTES = 3

/** Packs entries into a block. The caller adds them in key order. */
export class EntryBlockBuilder {
  readonly targetBytes: number
  #buffer: ViewedBytes
  #end = 0
  #count = 0
  /** Given back, for the blocks to come. */
  readonly #spare: ViewedBytes[] = []

  /** @param targetBytes how large a block gets before it is `full`; the memory is reused from block to block. */
  constructor(targetBytes: number) {
    this.targetBytes = targetBytes
    this.#buffer = newBuffer(this.#usualBytes)
  }

  get #usualBytes(): number {
    return this.targetBytes + (this.targetBytes >>> 3)
  }

  get entryCount(): number {
    return this.#count
  }

  get full(): boolean {
    return this.#end >= this.targetBytes
  }

  /** Bytes that are missing until it is `full`. */
  get roomBytes(): number {
    return this.targetBytes - this.#end
  }

  /** Adds a copy of an entry. `expiresAtMs` Infinity: never. */
  add(key: Uint8Array, value: Uint8Array, expiresAtMs: number): void {
    const keyAt = this.#beginEntry(key.length, value.length, expiresAtMs)
    const { bytes } = this.#buffer
    copy(key, 0, key.length, bytes, keyAt)
    copy(value, 0, value.length, bytes, keyAt + key.length)
  }

  /** The same from where it lies, without a view of its key and one of its value. */
  addPlaced(entry: PlacedEntry): void {
    const { bytes, view, keyStart, keyLength, valueStart, valueLength } = entry
    const keyAt = this.#beginEntry(keyLength, valueLength, entry.expiresAtMs)
    const valueAt = keyAt + keyLength
    const to = this.#buffer
    if (view === undefined) {
      copy(bytes, keyStart, keyLength, to.bytes, keyAt)
      copy(bytes, valueStart, valueLength, to.bytes, valueAt)
    } else {
      copyViewed(entry as ViewedBytes, keyStart, keyLength, to, keyAt)
      copyViewed(entry as ViewedBytes, valueStart, valueLength, to, valueAt)
    }
  }

  /** Adds entries as they lie behind each other in another block, one or more. */
  addRun(bytes: Uint8Array, start: number, end: number, entryCount: number): void {
    const target = this.#end
    const newEnd = target + end - start
    if (newEnd + SPARE_BYTES > this.#buffer.bytes.length) this.#grow(newEnd + SPARE_BYTES)
    copy(bytes, start, end - start, this.#buffer.bytes, target)
    this.#end = newEnd
    this.#count += entryCount
  }

  /** The same from memory that has words of its own for key and value. */
  addAligned(entry: AlignedEntry): void {
    const { words, keyStart, keyLength, valueStart, valueLength } = entry
    if (keyLength > LOOP_COPY_WORDS_BYTES || valueLength > LOOP_COPY_WORDS_BYTES) {
      this.addPlaced(entry)
      return
    }
    const keyAt = this.#beginEntry(keyLength, valueLength, entry.expiresAtMs)
    const { view } = this.#buffer
    // What the last word of the key has too many is overwritten by the value, and that of the value by the next entry.
    copyWords(words, keyStart >> 2, keyLength, view, keyAt)
    copyWords(words, valueStart >> 2, valueLength, view, keyAt + keyLength)
  }

  /** The same where key and value lie in different memory. */
  addApart(key: PlacedKey, value: PlacedValue, expiresAtMs: number): void {
    const { keyStart, keyLength } = key
    const keyAt = this.#beginEntry(keyLength, value.length, expiresAtMs)
    const to = this.#buffer
    copyViewed(key, keyStart, keyLength, to, keyAt)
    copyViewed(value, value.offset, value.length, to, keyAt + keyLength)
  }

  /** Adds a tombstone: the key is no longer there. */
  addTombstone(key: Uint8Array): void {
    const start = this.#begin(EntryFlag.TOMBSTONE, key.length, 0, false)
    this.#buffer.bytes.set(key, start + HEADER_BYTES)
  }

  /** The block so far, as a copy of its own; the builder is then empty. */
  take(): EntryBlock {
    assert(this.#count > 0, 'a block holds at least one entry')
    const block = { bytes: this.#buffer.bytes.slice(0, this.#end), entryCount: this.#count }
    this.#end = 0
    this.#count = 0
    return block
  }

  /**
   * The block so far where it lies, which spares a copy; the builder is then empty, and goes on in memory that was given back, or in new
   * one. The block is the caller's, until it is given back.
   */
  takeWithMemory(): EntryBlock {
    assert(this.#count > 0, 'a block holds at least one entry')
    const block = { bytes: this.#buffer.bytes.subarray(0, this.#end), entryCount: this.#count }
    this.#buffer = this.#spare.pop() ?? newBuffer(this.#usualBytes)
    this.#end = 0
    this.#count = 0
    return block
  }

  /** A block that was taken with its memory, and that nobody looks at any more: another one may lie there. */
  giveBack({ bytes: { buffer } }: EntryBlock): void {
    // What a large entry made larger would only lie about.
    if (buffer.byteLength !== this.#usualBytes) return
    this.#spare.push({ bytes: new Uint8Array(buffer), view: new DataView(buffer) })
  }

  /** Returns where the key goes, with the value behind it. */
  #beginEntry(keyLength: number, valueLength: number, expiresAtMs: number): number {
    if (expiresAtMs === Infinity) return this.#begin(0, keyLength, valueLength, false) + HEADER_BYTES
    const start = this.#begin(EntryFlag.EXPIRES, keyLength, valueLength, true)
    this.#buffer.view.setFloat64(start + HEADER_BYTES, expiresAtMs, true)
    return start + HEADER_BYTES + EXPIRY_BYTES
  }

  #begin(flags: number, keyLength: number, valueLength: number, expires: boolean): number {
    const start = this.#end
    const end = start + HEADER_BYTES + (expires ? EXPIRY_BYTES : 0) + keyLength + valueLength
    if (end + SPARE_BYTES > this.#buffer.bytes.length) this.#grow(end + SPARE_BYTES)
    const { view } = this.#buffer
    view.setInt32(start, keyLength | (flags << 16), true)
    view.setUint32(start + 4, valueLength, true)
    this.#end = end
    this.#count++
    return start
  }

  #grow(neededBytes: number): void {
    const { bytes } = this.#buffer
    this.#buffer = newBuffer(Math.max(neededBytes, bytes.length * 2))
    this.#buffer.bytes.set(bytes.subarray(0, this.#end))
  }
}

/**
 * Walks the entries of a block without making an object for each: `next()` moves on and sets the fields.
 * Lengths are checked against the block's end, so that damaged bytes give `CORRUPTION`, never a read beyond them.
 */
export class EntryBlockCursor implements PlacedEntry {
  readonly bytes: Uint8Array
  readonly view: DataView
  #position = 0

  /** Where the entry at hand begins, with its header. */
  entryStart = 0
  keyStart = 0
  keyLength = 0
  valueStart = 0
  valueLength = 0
  /** When the entry expires, in milliseconds since the epoch; Infinity: never. */
  expiresAtMs: number = Infinity
  tombstone = false

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Lets the entry at hand, if it expires, expire at another time. The bytes must be the caller's own. */
  setExpiry(expiresAtMs: number): void {
    if (this.expiresAtMs === Infinity) return
    assert(Number.isFinite(expiresAtMs), 'what expires goes on expiring')
    this.view.setFloat64(this.keyStart - EXPIRY_BYTES, expiresAtMs, true)
    this.expiresAtMs = expiresAtMs
  }

  /** Moves to the next entry; false at the end. Throws `CORRUPTION` where an entry does not fit the block. */
  next(): boolean {
    const start = this.#position
    const length = this.bytes.length
    if (start === length) return false
    if (start + HEADER_BYTES > length) throw this.#damaged(start, 'an entry header is cut off')
    const { view } = this
    const flags = view.getUint16(start + 2, true)
    const expires = (flags & EntryFlag.EXPIRES) !== 0
    this.keyLength = view.getUint16(start, true)
    this.valueLength = view.getUint32(start + 4, true)
    this.tombstone = (flags & EntryFlag.TOMBSTONE) !== 0
    this.keyStart = start + HEADER_BYTES + (expires ? EXPIRY_BYTES : 0)
    this.valueStart = this.keyStart + this.keyLength
    const end = this.valueStart + this.valueLength
    if (flags > 3) throw this.#damaged(start, `unknown entry flags ${flags}`)
    if (this.keyLength > MAX_KEY_BYTES) throw this.#damaged(start, `a key of ${this.keyLength} bytes`)
    if (this.valueLength > MAX_VALUE_BYTES) throw this.#damaged(start, `a value of ${this.valueLength} bytes`)
    if (end > length) throw this.#damaged(start, 'an entry runs past the end of its block')
    this.expiresAtMs = expires ? view.getFloat64(start + HEADER_BYTES, true) : Infinity
    if (!(this.expiresAtMs > -Infinity)) throw this.#damaged(start, 'an expiry that is not a time')
    this.entryStart = start
    this.#position = end
    return true
  }

  /** Where the entry at hand ends. */
  get entryEnd(): number {
    return this.#position
  }

  /** The current key, as a view of the block. */
  key(): Uint8Array {
    return this.bytes.subarray(this.keyStart, this.valueStart)
  }

  /** The current value, as a view of the block. */
  value(): Uint8Array {
    return this.bytes.subarray(this.valueStart, this.valueStart + this.valueLength)
  }

  #damaged(offset: number, reason: string): StateError {
    return new StateError('CORRUPTION', { what: 'entry block', reason: `${reason} (at byte ${offset})` })
  }
}

/** Compares the keys that two cursors are at, as unsigned bytes: neighbours mostly begin alike, so by words first. */
export function compareKeys(left: EntryBlockCursor, right: EntryBlockCursor): number {
  const shared = Math.min(left.keyLength, right.keyLength)
  const [leftStart, rightStart] = [left.keyStart, right.keyStart]
  const [leftView, rightView] = [left.view, right.view]
  let i = 0
  while (i + 4 <= shared && leftView.getInt32(leftStart + i) === rightView.getInt32(rightStart + i)) i += 4
  for (; i < shared; i++) {
    const difference = leftView.getUint8(leftStart + i) - rightView.getUint8(rightStart + i)
    if (difference !== 0) return difference
  }
  return left.keyLength - right.keyLength
}

function newBuffer(byteLength: number): ViewedBytes {
  const bytes = new Uint8Array(byteLength)
  return { bytes, view: new DataView(bytes.buffer) }
}

/** Copies bytes that begin at a word, with what else is in their last one. */
function copyWords(words: Int32Array, from: number, length: number, to: DataView, at: number): void {
  const end = at + length
  for (let word = from; at < end; at += 4) to.setInt32(at, words[word++] as number, true)
}

/** Below this length a loop beats making a view for the built-in copy. */
const LOOP_COPY_BYTES = 48

function copy(from: Uint8Array, start: number, length: number, to: Uint8Array, at: number): void {
  if (length > LOOP_COPY_BYTES) {
    to.set(from.subarray(start, start + length), at)
  } else {
    for (let i = 0; i < length; i++) to[at + i] = from[start + i] as number
  }
}
