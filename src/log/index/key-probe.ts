// The key that is being looked for, as words: loading it pads it, and hashes it on the way (after MurmurHash3 by
// Austin Appleby: the same word mixing, with a seed of the log's own so that colliding keys cannot be prepared).

import { MAX_KEY_BYTES } from '../../base/limits.js'
import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from '../layout.js'
import type { SegmentTable } from '../segment-table.js'
import type { KeyMatcher } from './hash-index.js'

export class KeyProbe implements KeyMatcher {
  /** The key, padded with zeros to whole words. */
  readonly words: Int32Array = new Int32Array(MAX_KEY_BYTES / 4 + 1)
  length = 0
  /** Of the loaded key; unsigned. */
  hash = 0
  readonly #seed: number
  readonly #segments: SegmentTable

  constructor(segments: SegmentTable, seed: number) {
    this.#segments = segments
    this.#seed = seed
  }

  /** Loads a stretch of bytes. */
  load(bytes: Uint8Array, start: number, length: number): void {
    const { words } = this
    const wholeWords = length >> 2
    let hash = this.#seed
    let at = start
    for (let i = 0; i < wholeWords; i++, at += 4) {
      const word =
        (bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24)
      words[i] = word
      hash = mix(hash, word)
    }
    const rest = length & 3
    if (rest > 0) {
      let word = bytes[at] as number
      if (rest > 1) word |= (bytes[at + 1] as number) << 8
      if (rest > 2) word |= (bytes[at + 2] as number) << 16
      words[wholeWords] = word
      hash = mix(hash, word)
    }
    this.length = length
    this.hash = finish(hash ^ length)
  }

  /** Loads the key of the entry at `address`. */
  loadEntry(address: number): void {
    const segment = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
    const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const meta = segment[start] as number
    const length = meta & KEY_LENGTH_MASK
    const keyStart = start + headerWords(meta)
    const { words } = this
    const count = (length + 3) >> 2
    let hash = this.#seed
    for (let i = 0; i < count; i++) {
      const word = segment[keyStart + i] as number
      words[i] = word
      hash = mix(hash, word)
    }
    this.length = length
    this.hash = finish(hash ^ length)
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

function mix(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e2d51)
  mixed = (mixed << 15) | (mixed >>> 17)
  const next = hash ^ Math.imul(mixed, 0x1b873593)
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe6546b64) | 0
}

function finish(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}
