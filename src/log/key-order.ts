// Sorting addresses by the keys behind them. The keys lie scattered in the log, so every look at one is likely a cache
// miss: a multikey quicksort that carries the next four key bytes beside each address looks at a key once per four
// bytes of depth, not once per comparison. (Bentley and Sedgewick, SODA 1997; the cached variant is Rantala's.)

import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from './layout.js'
import type { SegmentTable } from './segment-table.js'
import type { SlicedWork } from './slices.js'

/** Below this many, insertion sort by whole keys. */
const SMALL = 12
/** Up to this many are sorted without a pause: a millisecond or two. */
const SLICE = 8 * 1024

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

  /** Sorts addresses in place, by keys; pauses come at most {@link SLICE} addresses of work apart. */
  sort(addresses: Uint32Array): SlicedWork<void> {
    return this.#sortLarge(addresses, new Uint32Array(addresses.length), 0, addresses.length, 0)
  }

  *#sortLarge(
    addresses: Uint32Array,
    cache: Uint32Array,
    from: number,
    until: number,
    depth: number,
  ): SlicedWork<void> {
    if (until - from <= SLICE) {
      this.#sortRange(addresses, cache, from, until, depth)
      yield
      return
    }
    let shortest = Infinity
    for (let i = from; i < until; i++) {
      const address = addresses[i] as number
      cache[i] = this.#keyBytesAt(address, depth)
      shortest = Math.min(shortest, this.#keyLength(address))
      if (i % SLICE === 0) yield
    }
    yield* this.#partitionLarge(addresses, cache, from, until, depth, shortest > depth + 4)
  }

  /** Like `#partition`, with pauses. `allGoOn`: no key of the range ends within the cached word. */
  *#partitionLarge(
    addresses: Uint32Array,
    cache: Uint32Array,
    start: number,
    end: number,
    depth: number,
    allGoOn: boolean,
  ): SlicedWork<void> {
    let [from, until] = [start, end]
    while (until - from > SLICE) {
      const pivot = pivotOf(cache, from, until)
      const split = { low: from, next: from, high: until }
      while (split.next < split.high) {
        splitByPivot(addresses, cache, pivot, split, SLICE)
        yield
      }
      const { low, high } = split
      const goOn = allGoOn ? low : this.#endedFirst(addresses, cache, low, high, depth)
      if (high - goOn > 1) yield* this.#sortLarge(addresses, cache, goOn, high, depth + 4)
      if (low - from < until - high) {
        yield* this.#partitionLarge(addresses, cache, from, low, depth, allGoOn)
        from = high
      } else {
        yield* this.#partitionLarge(addresses, cache, high, until, depth, allGoOn)
        until = low
      }
    }
    this.#partition(addresses, cache, from, until, depth)
    yield
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
      const split = { low: from, next: from, high: until }
      splitByPivot(addresses, cache, pivotOf(cache, from, until), split, Infinity)
      const { low, high } = split
      const goOn = this.#endedFirst(addresses, cache, low, high, depth)
      if (high - goOn > 1) this.#sortRange(addresses, cache, goOn, high, depth + 4)
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

  /**
   * In a range whose keys share four more bytes, where those that end within them count as padded with zeros: brings the
   * keys that end there to the front, in order, and returns where the others begin. They are prefixes of the others.
   */
  #endedFirst(
    addresses: Uint32Array,
    cache: Uint32Array,
    from: number,
    until: number,
    depth: number,
  ): number {
    let ended = from
    for (let i = from; i < until; i++) {
      if (this.#keyLength(addresses[i] as number) <= depth + 4) swap(addresses, cache, ended++, i)
    }
    this.#insertionSort(addresses, from, ended, depth)
    return ended
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

/** How far a range is split: words below the pivot, then equal ones, then `next` to `high` to be looked at, then above. */
interface Split {
  low: number
  next: number
  high: number
}

/** Goes on with splitting a range around a pivot, for at most `steps` words. */
function splitByPivot(
  addresses: Uint32Array,
  cache: Uint32Array,
  pivot: number,
  split: Split,
  steps: number,
): void {
  let { low, next, high } = split
  for (let left = steps; next < high && left > 0; left--) {
    const word = cache[next] as number
    if (word < pivot) swap(addresses, cache, low++, next++)
    else if (word > pivot) swap(addresses, cache, next, --high)
    else next++
  }
  split.low = low
  split.next = next
  split.high = high
}

function pivotOf(cache: Uint32Array, from: number, until: number): number {
  return medianOfThree(
    cache[from] as number,
    cache[(from + until) >>> 1] as number,
    cache[until - 1] as number,
  )
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
