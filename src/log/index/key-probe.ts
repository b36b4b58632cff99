// The key that is being looked for, as words: loading it pads and hashes it.

import { MAX_KEY_BYTES } from '../../base/limits.js'
import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from '../layout.js'
import type { SegmentTable } from '../segment-table.js'
import type { KeyMatcher } from './hash-index.js'
import { type HashKey, hashInto } from './key-hash.js'

export class KeyProbe implements KeyMatcher {
  /** The key, padded with zeros to whole words. */
  readonly words: Int32Array = new Int32Array(MAX_KEY_BYTES / 4 + 1)
  length = 0
  /** Of the loaded key; signed, because most unsigned ones would be doubles to JavaScript. */
  hash = 0
  readonly #key: HashKey
  readonly #segments: SegmentTable

  constructor(segments: SegmentTable, key: HashKey) {
    this.#segments = segments
    this.#key = key
  }

  /** Loads a stretch of bytes. */
  load(bytes: Uint8Array, start: number, length: number): void {
    this.hash = hashInto(this.words, bytes, start, length, this.#key)
    this.length = length
  }

  /** Loads the key of the entry at `address`. */
  loadEntry(address: number): void {
    const number = address >>> OFFSET_BITS
    const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const meta = (this.#segments.words[number] as Int32Array)[start] as number
    const keyStart = (start + headerWords(meta)) << 2
    this.load(this.#segments.bytes[number] as Uint8Array, keyStart, meta & KEY_LENGTH_MASK)
  }

  /** Whether the entry at `address` has the loaded key. */
  matches(address: number): boolean {
    const segment = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
    const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const meta = segment[start] as number
    const { words, length } = this
    if ((meta & KEY_LENGTH_MASK) !== length) return false
    const keyStart = start + headerWords(meta)
    const count = (length + 3) >> 2
    for (let i = 0; i < count; i++) if (segment[keyStart + i] !== words[i]) return false
    return true
  }
}
