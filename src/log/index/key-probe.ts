// The key that is being looked for, as words: loading it pads and hashes it. Often it is the one before, because a value was read
// and is written next: words that have not changed have their hash already, which is most of what a second search would cost.

import { MAX_KEY_BYTES } from '../../base/limits.js'
import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from '../layout.js'
import type { SegmentTable } from '../segment-table.js'
import { BufferView } from './buffer-view.js'
import type { SoughtKey } from './hash-index.js'
import { type HashKey, hashWords } from './key-hash.js'

// See layout.ts for why these have names here as well.
const NUMBER_SHIFT = OFFSET_BITS
const UNIT_MASK = OFFSET_MASK
const WORD_SHIFT = UNIT_WORDS_SHIFT
const LENGTH_MASK = KEY_LENGTH_MASK
/** In the place of a length. */
const NO_KEY = -1

export class KeyProbe implements SoughtKey {
  /** The key, padded with zeros to whole words. */
  readonly words: Int32Array = new Int32Array(MAX_KEY_BYTES / 4 + 1)
  length = 0
  /** Of the loaded key; signed, because most unsigned ones would be doubles to JavaScript. */
  hash: number
  place = 0
  at = 0
  readonly #key: HashKey
  readonly #segments: SegmentTable
  readonly #known = new BufferView()

  constructor(segments: SegmentTable, key: HashKey) {
    this.#segments = segments
    this.#key = key
    this.hash = hashWords(this.words, 0, key)
  }

  /** Loads a stretch of bytes; returns whether it is the key that was loaded before. */
  load(bytes: Uint8Array, start: number, length: number): boolean {
    const known = this.#known
    const lengthBefore = this.length
    // Until all of it is loaded, there is no key.
    this.length = NO_KEY
    let difference: number
    if (bytes === known.bytes) {
      difference = loadViewed(this.words, known.view, start, length)
    } else {
      known.met(bytes)
      difference = loadBytes(this.words, bytes, start, length)
    }
    this.length = length
    if (difference === 0 && length === lengthBefore) return true
    this.hash = hashWords(this.words, length, this.#key)
    return false
  }

  /** Whatever comes next is another key. */
  unload(): void {
    this.length = NO_KEY
  }

  /** Whether the entry at `address` has the key in this stretch; no, too, where its buffer is not the one that keys come in. */
  isKeyOf(address: number, bytes: Uint8Array, start: number, length: number): boolean {
    const { bytes: known, view } = this.#known
    const end = start + length
    if (bytes !== known || start < 0 || end > bytes.length) return false
    const segment = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const entry = (address & UNIT_MASK) << WORD_SHIFT
    const meta = segment[entry] as number
    if ((meta & LENGTH_MASK) !== length) return false
    let at = entry + headerWords(meta)
    let from = start
    for (; from + 4 <= end; from += 4) if (segment[at++] !== view.getInt32(from, true)) return false
    return from === end || segment[at] === lastViewed(view, from, end - from)
  }

  /** Loads a stretch of memory that can be viewed, which is hardly the key of before. */
  loadFrom(view: DataView, start: number, length: number): void {
    loadViewed(this.words, view, start, length)
    this.length = length
    this.hash = hashWords(this.words, length, this.#key)
  }

  /** Loads the key of the entry at `address`. */
  loadEntry(address: number): void {
    const segment = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const start = (address & UNIT_MASK) << WORD_SHIFT
    const meta = segment[start] as number
    const keyStart = start + headerWords(meta)
    const { words } = this
    const length = meta & LENGTH_MASK
    const count = (length + 3) >> 2
    for (let i = 0; i < count; i++) words[i] = segment[keyStart + i] as number
    this.length = length
    this.hash = hashWords(words, length, this.#key)
  }

  /** Whether the entry at `address` has the loaded key. */
  matches(address: number): boolean {
    const segment = this.#segments.words[address >>> NUMBER_SHIFT] as Int32Array
    const start = (address & UNIT_MASK) << WORD_SHIFT
    const meta = segment[start] as number
    if ((meta & LENGTH_MASK) !== this.length) return false
    const { words } = this
    let at = start + headerWords(meta)
    const count = (this.length + 3) >> 2
    for (let i = 0; i < count; i++) if (segment[at++] !== words[i]) return false
    return true
  }
}

/** Stores bytes as little-endian words, the last one padded with zeros. Returns 0 where these words were there already. */
export function loadBytes(words: Int32Array, bytes: Uint8Array, start: number, length: number): number {
  const wholeWords = length >> 2
  let difference = 0
  let at = start
  for (let i = 0; i < wholeWords; i++, at += 4) {
    const word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    difference |= (words[i] as number) ^ word
    words[i] = word
  }
  if ((length & 3) !== 0) {
    const word = lastWord(bytes, at, length & 3)
    difference |= (words[wholeWords] as number) ^ word
    words[wholeWords] = word
  }
  return difference
}

/** The same by a view of the bytes: a third of the instructions. */
export function loadViewed(words: Int32Array, view: DataView, start: number, length: number): number {
  const wholeWords = length >> 2
  let difference = 0
  let at = start
  for (let i = 0; i < wholeWords; i++, at += 4) {
    const word = view.getInt32(at, true)
    difference |= (words[i] as number) ^ word
    words[i] = word
  }
  if ((length & 3) !== 0) {
    const word = lastViewed(view, at, length & 3)
    difference |= (words[wholeWords] as number) ^ word
    words[wholeWords] = word
  }
  return difference
}

/** One to three bytes as a word. */
function lastWord(bytes: Uint8Array, at: number, count: number): number {
  let word = bytes[at] as number
  if (count > 1) word |= (bytes[at + 1] as number) << 8
  if (count > 2) word |= (bytes[at + 2] as number) << 16
  return word
}

function lastViewed(view: DataView, at: number, count: number): number {
  if (count === 1) return view.getUint8(at)
  const word = view.getUint16(at, true)
  return count === 2 ? word : word | (view.getUint8(at + 2) << 16)
}
