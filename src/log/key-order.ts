// Sorting addresses by the keys behind them. The keys lie scattered in the log, so every look at one is likely a cache
// miss: a multikey quicksort that carries the next four key bytes beside each address looks at a key once per four
// bytes of depth, not once per comparison. (Bentley and Sedgewick, SODA 1997; the cached variant is Rantala's.)

import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from './layout.js'
import type { SegmentTable } from './segment-table.js'

/** Below this many, insertion sort by whole keys. */
const SMALL = 12

export class KeyOrder {
  readonly #segments: SegmentTable

  constructor(segments: SegmentTable) {
    this.#segments = segments
  }

  /** Compares the keys of two entries as unsigned bytes. */
  compare(left: number, right: number): number {
    return this.#compareFrom(left, right, 0)
  }

  /** Compares the key of an entry with a key. */
  compareToKey(address: number, key: Uint8Array): number {
    const bytes = this.#bytes(address)
    const start = this.#keyStart(address)
    const length = this.#keyLength(address)
    const shared = Math.min(length, key.length)
    for (let i = 0; i < shared; i++) {
      const difference = (bytes[start + i] as number) - (key[i] as number)
      if (difference !== 0) return difference
    }
    return length - key.length
  }

  /** Sorts addresses of entries with different keys, in place. */
  sort(addresses: Uint32Array): void {
    this.#sortRange(addresses, new Uint32Array(addresses.length), 0, addresses.length, 0)
  }

  #sortRange(addresses: Uint32Array, cache: Uint32Array, from: number, until: number, depth: number): void {
    if (until - from <= SMALL) {
      this.#insertionSort(addresses, from, until, depth)
      return
    }
    for (let i = from; i < until; i++) cache[i] = this.#keyBytesAt(addresses[i] as number, depth)
    this.#partition(addresses, cache, from, until, depth)
  }

  /** The cache of the range is filled for `depth`. */
  #partition(addresses: Uint32Array, cache: Uint32Array, from: number, until: number, depth: number): void {
    while (until - from > SMALL) {
      const pivot = medianOfThree(
        cache[from] as number,
        cache[(from + until) >>> 1] as number,
        cache[until - 1] as number,
      )
      let low = from
      let high = until
      let i = from
      while (i < high) {
        const word = cache[i] as number
        if (word < pivot) swap(addresses, cache, low++, i++)
        else if (word > pivot) swap(addresses, cache, i, --high)
        else i++
      }
      this.#sortEqual(addresses, cache, low, high, depth)
      // Recurse into the smaller side and go on with the larger one: the stack stays logarithmic.
      if (low - from < until - high) {
        this.#partition(addresses, cache, from, low, depth)
        from = high
      } else {
        this.#partition(addresses, cache, high, until, depth)
        until = low
      }
    }
    this.#insertionSort(addresses, from, until, depth)
  }

  /** A range whose keys share four more bytes, where those that end within them count as padded with zeros. */
  #sortEqual(addresses: Uint32Array, cache: Uint32Array, from: number, until: number, depth: number): void {
    // Keys that end here are prefixes of those that go on, so they come first; at most five can be that alike.
    let ended = from
    for (let i = from; i < until; i++) {
      if (this.#keyLength(addresses[i] as number) <= depth + 4) swap(addresses, cache, ended++, i)
    }
    this.#insertionSort(addresses, from, ended, depth)
    if (until - ended > 1) this.#sortRange(addresses, cache, ended, until, depth + 4)
  }

  #insertionSort(addresses: Uint32Array, from: number, until: number, depth: number): void {
    for (let i = from + 1; i < until; i++) {
      const address = addresses[i] as number
      let place = i
      while (place > from && this.#compareFrom(addresses[place - 1] as number, address, depth) > 0) {
        addresses[place] = addresses[place - 1] as number
        place--
      }
      addresses[place] = address
    }
  }

  #compareFrom(left: number, right: number, depth: number): number {
    const leftBytes = this.#bytes(left)
    const rightBytes = this.#bytes(right)
    const leftStart = this.#keyStart(left)
    const rightStart = this.#keyStart(right)
    const leftLength = this.#keyLength(left)
    const rightLength = this.#keyLength(right)
    const shared = Math.min(leftLength, rightLength)
    for (let i = depth; i < shared; i++) {
      const difference = (leftBytes[leftStart + i] as number) - (rightBytes[rightStart + i] as number)
      if (difference !== 0) return difference
    }
    return leftLength - rightLength
  }

  /** Four bytes of a key as one number that sorts like them; zeros past its end. Keys are padded to whole words. */
  #keyBytesAt(address: number, depth: number): number {
    const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
    const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
    const meta = words[start] as number
    if ((meta & KEY_LENGTH_MASK) <= depth) return 0
    const word = words[start + headerWords(meta) + (depth >> 2)] as number
    return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0
  }

  #bytes(address: number): Uint8Array {
    return this.#segments.bytes[address >>> OFFSET_BITS] as Uint8Array
  }

  #keyLength(address: number): number {
    const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
    return (words[(address & OFFSET_MASK) << UNIT_WORDS_SHIFT] as number) & KEY_LENGTH_MASK
  }

  #keyStart(address: number): number {
    const words = this.#segments.words[address >>> OFFSET_BITS] as Int32Array
    const start = (address & OFFSET_MASK) << UNIT_WORDS_SHIFT
    return (start + headerWords(words[start] as number)) << 2
  }
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
}

function swap(addresses: Uint32Array, cache: Uint32Array, left: number, right: number): void {
  const address = addresses[left] as number
  addresses[left] = addresses[right] as number
  addresses[right] = address
  const word = cache[left] as number
  cache[left] = cache[right] as number
  cache[right] = word
}
