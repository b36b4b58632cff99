// Sorting addresses by the keys behind them. The keys lie scattered in the log, so every look at one is likely a cache
// miss. Long ranges are looked at twice, mostly as they lie: once for the bits in which their keys differ (key-bits.ts), once to take these
// beside the addresses, as numbers. They are sorted by these (number-sort.ts); what has the same numbers goes on behind them. Short ranges are sorted by a multikey quicksort that carries the
// next four key bytes as one word. (Bentley and Sedgewick, SODA 1997; the cached variant is Rantala's.)

import type { SlicedWork } from '../../base/slices.js'
import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from '../layout.js'
import type { SegmentTable } from '../segment-table.js'
import { KEY_WINDOW_BYTES, KeyBits, type KeyColumns } from './key-bits.js'
import { NumberSort } from './number-sort.js'

/** Below this many, insertion sort by whole keys. */
const SMALL = 12
/** Up to this many are sorted by a multikey quicksort. */
const SHORT = 64
/** Up to this many are looked at, moved, or sorted without a pause: a millisecond or two. */
const SLICE = 4 * 1024

/** A range of addresses whose keys share their first `depth` bytes. */
interface KeyRange {
  readonly from: number
  readonly until: number
  readonly depth: number
}

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

  /** What `sort` may be given that has looked at keys while they were being found. */
  looks(): KeyBits {
    return new KeyBits(this.#segments)
  }

  /**
   * Sorts addresses in place, by keys; pauses come at most a few {@link SLICE} addresses of work apart. `looked` has compared all of their keys,
   * and may have compared others; where it has, the addresses are in their order.
   *
   * What is written beside a snapshot leaves behind what the snapshot sees, which is found after all the rest, and lies among it: where either was
   * in order, so are both together, as a rule.
   */
  *sort(addresses: Uint32Array, looked?: KeyBits): SlicedWork<void> {
    if (looked?.isInOrder) return
    if (looked?.isOfRuns && (yield* this.#areInOrder(addresses, looked))) return
    const { length } = addresses
    if (length <= SHORT) {
      this.#sortRange(addresses, new Uint32Array(length), 0, length, 0)
      return
    }
    const columns = { addresses, upper: new Uint32Array(length), lower: new Uint32Array(length) }
    const spare = {
      addresses: new Uint32Array(length),
      upper: new Uint32Array(length),
      lower: new Uint32Array(length),
    }
    yield* this.#sortLong(columns, spare, { from: 0, until: length, depth: 0 }, looked)
  }

  *#areInOrder(addresses: Uint32Array, bits: KeyBits): SlicedWork<boolean> {
    for (let start = 0; start < addresses.length; start += SLICE) {
      if (!bits.areInOrder(addresses, start, Math.min(start + SLICE, addresses.length))) return false
      yield
    }
    return true
  }

  /** Sorts a long range whose keys share their first `depth` bytes; `looked` has compared them from there on. */
  *#sortLong(columns: KeyColumns, spare: KeyColumns, range: KeyRange, looked?: KeyBits): SlicedWork<void> {
    let { from, depth } = range
    const { until } = range
    const { addresses, upper, lower } = columns
    const bits = looked ?? new KeyBits(this.#segments)
    for (let isLooked = looked !== undefined; ; depth += KEY_WINDOW_BYTES) {
      if (!isLooked) {
        bits.begin(addresses[from] as number, depth)
        for (let start = from; start < until; start += SLICE) {
          bits.compare(addresses, start, Math.min(start + SLICE, until))
          if (until - from > SLICE) yield
        }
      }
      isLooked = false
      if (bits.choose()) break
      if (bits.shortest <= depth + KEY_WINDOW_BYTES) {
        from = this.#endedFirst(addresses, lower, from, until, depth, depth + KEY_WINDOW_BYTES)
        if (until - from < 2) return
      }
    }
    for (let start = from; start < until; start += SLICE) {
      bits.take(columns, start, Math.min(start + SLICE, until))
      if (until - from > SLICE) yield
    }
    const { coveredDepth } = bits
    yield* new NumberSort(columns, spare, bits).sort(from, until)
    // What has the same numbers is next to each other now, and goes on behind them.
    let sinceYield = 0
    for (let start = from; start < until; ) {
      let end = start + 1
      while (end < until && lower[end] === lower[start] && upper[end] === upper[start]) end++
      if (end - start > 1) {
        const goOn =
          bits.shortest > coveredDepth
            ? start
            : this.#endedFirst(addresses, lower, start, end, depth, coveredDepth)
        if (end - goOn > SHORT)
          yield* this.#sortLong(columns, spare, { from: goOn, until: end, depth: coveredDepth })
        else if (end - goOn > 1) this.#sortRange(addresses, lower, goOn, end, coveredDepth)
      }
      sinceYield += end - start
      if (sinceYield >= SLICE) {
        yield
        sinceYield = 0
      }
      start = end
    }
  }

  #sortRange(addresses: Uint32Array, words: Uint32Array, from: number, until: number, depth: number): void {
    if (until - from <= SMALL) {
      this.#insertionSort(addresses, from, until, depth)
      return
    }
    for (let i = from; i < until; i++) words[i] = this.#keyBytesAt(addresses[i] as number, depth)
    this.#partition(addresses, words, from, until, depth)
  }

  /** The words of the range are those at `depth`. */
  #partition(addresses: Uint32Array, words: Uint32Array, from: number, until: number, depth: number): void {
    while (until - from > SMALL) {
      const { low, high } = splitByPivot(addresses, words, from, until)
      const goOn = this.#endedFirst(addresses, words, low, high, depth, depth + 4)
      if (high - goOn > 1) this.#sortRange(addresses, words, goOn, high, depth + 4)
      // Recurse into the smaller side and go on with the larger one: the stack stays logarithmic.
      if (low - from < until - high) {
        this.#partition(addresses, words, from, low, depth)
        from = high
      } else {
        this.#partition(addresses, words, high, until, depth)
        until = low
      }
    }
    this.#insertionSort(addresses, from, until, depth)
  }

  /**
   * In a range whose keys are the same from `depth` up to `covered`, where those that end before it count as padded with zeros: brings
   * the keys that end there to the front, in order, and returns where the others begin. They are prefixes of the others.
   */
  #endedFirst(
    addresses: Uint32Array,
    words: Uint32Array,
    from: number,
    until: number,
    depth: number,
    covered: number,
  ): number {
    let ended = from
    for (let i = from; i < until; i++) {
      if (this.#keyLength(addresses[i] as number) <= covered) swap(addresses, words, ended++, i)
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

/** Brings the words below the pivot to the front of a range and those above it to the end; what is left are equal ones. */
function splitByPivot(
  addresses: Uint32Array,
  words: Uint32Array,
  from: number,
  until: number,
): { readonly low: number; readonly high: number } {
  const pivot = pivotOf(words, from, until)
  let [low, high] = [from, until]
  for (let next = from; next < high; ) {
    const word = words[next] as number
    if (word < pivot) swap(addresses, words, low++, next++)
    else if (word > pivot) swap(addresses, words, next, --high)
    else next++
  }
  return { low, high }
}

function pivotOf(words: Uint32Array, from: number, until: number): number {
  return medianOfThree(
    words[from] as number,
    words[(from + until) >>> 1] as number,
    words[until - 1] as number,
  )
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
}

function swap(addresses: Uint32Array, words: Uint32Array, left: number, right: number): void {
  const address = addresses[left] as number
  addresses[left] = addresses[right] as number
  addresses[right] = address
  const word = words[left] as number
  words[left] = words[right] as number
  words[right] = word
}
