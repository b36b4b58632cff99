import {
  headerWords,
  KEY_LENGTH_MASK,
  keyWords,
  OFFSET_BITS,
  OFFSET_MASK,
  UNIT_WORDS_SHIFT,
} from '../layout.js'
import type { SegmentTable } from '../segment-table.js'

/** Words of the keys that are looked at together: most keys are shorter than that. */
const WINDOW_WORDS = 8
const WINDOW_BYTES: number = WINDOW_WORDS * 4
/** Keys that are brought near before they are read: there are about as many misses of the cache at a time. */
const NEAR_KEYS = 32
/** A word of most keys that is in another cache line than the first one of their entry. */
const NEAR_WORD = 10
/** Bits of one of the two numbers. */
const NUMBER_BITS = 32

/**
 * Of many keys the few bits in which they differ, as numbers that sort as the keys do. What all keys share, a prefix, the upper
 * half of digits, takes no part: to sort by what is left takes a few passes, however long the keys are.
 *
 * (1) Keys are compared from `depth` on, which is a multiple of four; they share what is before it.
 * (2) Keys that have the same numbers are the same up to `coveredDepth`, where those that end before it count as padded with zeros.
 */
export class KeyBits {
  readonly #segments: SegmentTable
  #depth = 0
  /** Words of the first key, and for each which of its bits are others in some key. */
  readonly #first = new Int32Array(WINDOW_WORDS)
  readonly #differing = new Int32Array(WINDOW_WORDS)
  /** Of each byte that differs: its word, and where in it the bits are that are taken. */
  readonly #words: number[] = []
  readonly #shifts: number[] = []
  readonly #widths: number[] = []
  /** So many of them go into the upper number. */
  #upperBytes = 0
  /** Bits of the two numbers. */
  upperBits = 0
  lowerBits = 0
  /** Length of the shortest key that was looked at. */
  shortest: number = Infinity
  coveredDepth = 0
  /**
   * Keys that {@link look} was given have come in their order so far, and so have their addresses: what a restore has put lies like that, and
   * stays so while it is changed in place.
   */
  isInOrder = true
  /** So they have, but that they began anew at a lower address: what was buried lately is found behind all the others. */
  isOfRuns = true
  #lastLooked = 0
  /** What was read only to be near: V8 leaves reads out that come to nothing. */
  seen = 0

  constructor(segments: SegmentTable) {
    this.#segments = segments
  }

  /** Begins with keys like that of this entry. */
  begin(address: number, depth: number): void {
    this.#depth = depth
    this.shortest = Infinity
    this.#differing.fill(0)
    this.#first.fill(0)
    const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
    const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const meta = words[start] as number
    const keyAt = start + headerWords(meta) + (depth >> 2)
    const count = this.#wordsOf(meta)
    for (let i = 0; i < count; i++) this.#first[i] = words[keyAt + i] as number
  }

  /** Looks in which bits some more keys differ, from their first byte on; begins with the first one it is given. */
  look(addresses: Uint32Array, count: number): void {
    if (count === 0) return
    if (this.shortest === Infinity) this.begin(addresses[0] as number, 0)
    this.compare(addresses, 0, count)
    if (!this.isOfRuns) return
    this.isOfRuns = this.#goOnInOrder(addresses, count)
    if (!this.isOfRuns) this.isInOrder = false
  }

  /** Whether keys in that stretch of ascending addresses increase, that before it taken in. */
  areInOrder(addresses: Uint32Array, from: number, until: number): boolean {
    for (let i = Math.max(1, from); i < until; i++) {
      if ((i - from) % NEAR_KEYS === 0) this.#bringNear(addresses, i, Math.min(i + NEAR_KEYS, until))
      if (!this.#isNotAbove(addresses[i - 1] as number, addresses[i] as number)) return false
    }
    return true
  }

  /** Whether some more keys come behind those before them, each at a higher address, or begin anew. They are near: they were just compared. */
  #goOnInOrder(addresses: Uint32Array, count: number): boolean {
    let last = this.#lastLooked
    for (let i = 0; i < count; i++) {
      const address = addresses[i] as number
      if (address <= last) this.isInOrder = false
      else if (last !== 0 && !this.#isNotAbove(last, address)) return false
      last = address
    }
    this.#lastLooked = last
    return true
  }

  /** Whether the key of an entry is not above that of another one, by words: both are padded with zeros. */
  #isNotAbove(left: number, right: number): boolean {
    const leftWords = this.#segments.words[left >>> OFFSET_BITS] as Int32Array
    const rightWords = this.#segments.words[right >>> OFFSET_BITS] as Int32Array
    const leftStart = (left & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const rightStart = (right & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const leftMeta = leftWords[leftStart] as number
    const rightMeta = rightWords[rightStart] as number
    const leftKey = leftStart + headerWords(leftMeta)
    const rightKey = rightStart + headerWords(rightMeta)
    const leftLength = leftMeta & KEY_LENGTH_MASK
    const rightLength = rightMeta & KEY_LENGTH_MASK
    const count = keyWords(Math.min(leftLength, rightLength))
    for (let i = 0; i < count; i++) {
      const leftWord = leftWords[leftKey + i] as number
      const rightWord = rightWords[rightKey + i] as number
      if (leftWord !== rightWord) return inOrderOfBytes(leftWord) < inOrderOfBytes(rightWord)
    }
    return leftLength <= rightLength
  }

  /** Looks in which bits some more keys differ. */
  compare(addresses: Uint32Array, from: number, until: number): void {
    const first = this.#first
    const differing = this.#differing
    let { shortest } = this
    for (let i = from; i < until; i++) {
      const address = addresses[i] as number
      const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
      const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
      const meta = words[start] as number
      const keyAt = start + headerWords(meta) + (this.#depth >> 2)
      const count = this.#wordsOf(meta)
      let at = 0
      for (; at < count; at++)
        differing[at] = (differing[at] as number) | ((words[keyAt + at] as number) ^ (first[at] as number))
      for (; at < WINDOW_WORDS; at++) differing[at] = (differing[at] as number) | (first[at] as number)
      const length = meta & KEY_LENGTH_MASK
      if (length < shortest) shortest = length
    }
    this.shortest = shortest
  }

  /** Decides which bits are taken: as many whole words as two numbers hold. Returns whether there are any. */
  choose(): boolean {
    this.#words.length = 0
    this.#shifts.length = 0
    this.#widths.length = 0
    let at = 0
    const upper = this.#chooseFrom(at)
    const upperBytes = this.#words.length
    at = upper.nextWord
    const lower = this.#chooseFrom(at)
    this.coveredDepth = this.#depth + lower.nextWord * 4
    // Where one number is enough, it is the lower one.
    const isOne = lower.bits === 0
    this.#upperBytes = isOne ? 0 : upperBytes
    this.upperBits = isOne ? 0 : upper.bits
    this.lowerBits = isOne ? upper.bits : lower.bits
    return this.lowerBits > 0
  }

  /** Fills in the numbers of some keys. */
  take(columns: KeyColumns, from: number, until: number): void {
    const { addresses, upper, lower } = columns
    const [places, shifts, widths] = [this.#words, this.#shifts, this.#widths]
    const upperBytes = this.#upperBytes
    const bytes = places.length
    if (upperBytes === 0) upper.fill(0, from, until)
    for (let i = from; i < until; i++) {
      if ((i - from) % NEAR_KEYS === 0) this.#bringNear(addresses, i, Math.min(i + NEAR_KEYS, until))
      const address = addresses[i] as number
      const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
      const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
      const meta = words[start] as number
      const keyAt = start + headerWords(meta) + (this.#depth >> 2)
      const count = this.#wordsOf(meta)
      let number = 0
      for (let byte = 0; byte < bytes; byte++) {
        if (byte === upperBytes) {
          upper[i] = number
          number = 0
        }
        const place = places[byte] as number
        const width = widths[byte] as number
        const word = place < count ? (words[keyAt + place] as number) : 0
        number = (number << width) | ((word >>> (shifts[byte] as number)) & ((1 << width) - 1))
      }
      lower[i] = number
    }
  }

  #bringNear(addresses: Uint32Array, from: number, until: number): void {
    let seen = 0
    for (let i = from; i < until; i++) {
      const address = addresses[i] as number
      const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
      const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
      seen |= words[start] as number
      if (start + NEAR_WORD < words.length) seen |= words[start + NEAR_WORD] as number
    }
    this.seen = seen
  }

  /** Takes words from one on as long as one number holds their bits. */
  #chooseFrom(firstWord: number): { readonly nextWord: number; readonly bits: number } {
    let bits = 0
    for (let word = firstWord; word < WINDOW_WORDS; word++) {
      const differing = this.#differing[word] as number
      const needed =
        widthOf(differing, 0) + widthOf(differing, 8) + widthOf(differing, 16) + widthOf(differing, 24)
      if (bits + needed > NUMBER_BITS) return { nextWord: word, bits }
      // The machine is little-endian: the first byte of a word is its lowest.
      for (let shift = 0; shift < 32; shift += 8) this.#chooseByte(word, differing, shift)
      bits += needed
    }
    return { nextWord: WINDOW_WORDS, bits }
  }

  #chooseByte(word: number, differing: number, shift: number): void {
    const width = widthOf(differing, shift)
    if (width === 0) return
    this.#words.push(word)
    this.#shifts.push(shift + lowestBit((differing >>> shift) & 0xff))
    this.#widths.push(width)
  }

  /** Words of a key that lie in the window. */
  #wordsOf(meta: number): number {
    return Math.min(WINDOW_WORDS, (((meta & KEY_LENGTH_MASK) + 3) >> 2) - (this.#depth >> 2))
  }
}

/** Addresses, and beside each what its key is sorted by. */
export interface KeyColumns {
  readonly addresses: Uint32Array
  readonly upper: Uint32Array
  readonly lower: Uint32Array
}

/** The machine is little-endian: a word whose first byte is the highest. */
function inOrderOfBytes(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
}

export const KEY_WINDOW_BYTES: number = WINDOW_BYTES

/** Of a byte of a word: from the lowest bit that differs to the highest one. */
function widthOf(differing: number, shift: number): number {
  const byte = (differing >>> shift) & 0xff
  return byte === 0 ? 0 : 32 - Math.clz32(byte) - lowestBit(byte)
}

/** Which bit of a number that is not 0 is the lowest one. */
function lowestBit(number: number): number {
  return 31 - Math.clz32(number & -number)
}
