// Sorting addresses by the keys behind them. The keys lie scattered in the log, so every look at one is likely a cache
// miss: both sorts here carry the next four key bytes, as one word, beside each address, and look at a key once per four
// bytes of depth, not once per comparison. Long ranges are sorted by the bytes of the words, one after the other, which
// takes no comparisons (a radix sort; bytes that are all the same are passed over); short ones by a multikey quicksort.
// (Bentley and Sedgewick, SODA 1997; the cached variant is Rantala's.)

import type { SlicedWork } from '../../base/slices.js'
import { headerWords, KEY_LENGTH_MASK, OFFSET_BITS, OFFSET_MASK, UNIT_WORDS_SHIFT } from '../layout.js'
import type { SegmentTable } from '../segment-table.js'

/** Below this many, insertion sort by whole keys. */
const SMALL = 12
/** Up to this many are sorted by a multikey quicksort. */
const SHORT = 64
/** Up to this many are looked at, moved, or sorted without a pause: a millisecond or two. */
const SLICE = 4 * 1024

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

  /** Sorts addresses in place, by keys; pauses come at most a few {@link SLICE} addresses of work apart. */
  *sort(addresses: Uint32Array): SlicedWork<void> {
    const words = new Uint32Array(addresses.length)
    if (addresses.length <= SHORT) {
      this.#sortRange(addresses, words, 0, addresses.length, 0)
      return
    }
    const columns = { addresses, words }
    const spare = { addresses: new Uint32Array(addresses.length), words: new Uint32Array(addresses.length) }
    yield* this.#sortLong(columns, spare, 0, addresses.length, 0)
  }

  /** Sorts a long range whose keys share their first `depth` bytes. */
  *#sortLong(columns: Columns, spare: Columns, from: number, until: number, depth: number): SlicedWork<void> {
    const { addresses, words } = columns
    const seen = { differing: 0, shortest: Infinity }
    let wordAt = depth
    for (; ; wordAt += 4) {
      for (let start = from; start < until; start += SLICE) {
        this.#loadWords(columns, start, Math.min(start + SLICE, until), wordAt, from, seen)
        if (until - from > SLICE) yield
      }
      if (seen.differing !== 0 || seen.shortest <= wordAt + 4) break
    }
    const allGoOn = seen.shortest > wordAt + 4
    yield* sortByWords(columns, spare, from, until, seen.differing)
    // What has the same word is next to each other now, and goes on with the next word.
    let sinceYield = 0
    for (let start = from; start < until; ) {
      const word = words[start] as number
      let end = start + 1
      while (end < until && words[end] === word) end++
      if (end - start > 1) {
        const goOn = allGoOn ? start : this.#endedFirst(addresses, words, start, end, wordAt)
        if (end - goOn > SHORT) yield* this.#sortLong(columns, spare, goOn, end, wordAt + 4)
        else if (end - goOn > 1) this.#sortRange(addresses, words, goOn, end, wordAt + 4)
      }
      sinceYield += end - start
      if (sinceYield >= SLICE) {
        yield
        sinceYield = 0
      }
      start = end
    }
  }

  /** Fills in the words of a part of a range, and notes in which bits they differ from the first one of the range. */
  #loadWords(
    { addresses, words }: Columns,
    start: number,
    end: number,
    depth: number,
    from: number,
    seen: { differing: number; shortest: number },
  ): void {
    let { differing, shortest } = seen
    for (let i = start; i < end; i++) {
      const address = addresses[i] as number
      const word = this.#keyBytesAt(address, depth)
      const length = this.#keyLength(address)
      words[i] = word
      differing |= word ^ (words[from] as number)
      if (length < shortest) shortest = length
    }
    seen.differing = differing
    seen.shortest = shortest
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
      const goOn = this.#endedFirst(addresses, words, low, high, depth)
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
   * In a range whose keys share four more bytes, where those that end within them count as padded with zeros: brings the
   * keys that end there to the front, in order, and returns where the others begin. They are prefixes of the others.
   */
  #endedFirst(
    addresses: Uint32Array,
    words: Uint32Array,
    from: number,
    until: number,
    depth: number,
  ): number {
    let ended = from
    for (let i = from; i < until; i++) {
      if (this.#keyLength(addresses[i] as number) <= depth + 4) swap(addresses, words, ended++, i)
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

/** Addresses, and beside each the word of its key that is being sorted by. */
interface Columns {
  readonly addresses: Uint32Array
  readonly words: Uint32Array
}

/** Sorts a range by its words: stably by one byte of them after the other, from the lowest, passing over equal ones. */
function* sortByWords(
  columns: Columns,
  spare: Columns,
  from: number,
  until: number,
  differing: number,
): SlicedWork<void> {
  const places = new Uint32Array(256)
  let [source, target] = [columns, spare]
  for (let shift = 0; shift < 32; shift += 8) {
    if (((differing >>> shift) & 0xff) === 0) continue
    places.fill(0)
    for (let start = from; start < until; start += SLICE) {
      countBytes(source.words, start, Math.min(start + SLICE, until), shift, places)
      if (until - from > SLICE) yield
    }
    let place = from
    for (let byte = 0; byte < 256; byte++) {
      const count = places[byte] as number
      places[byte] = place
      place += count
    }
    for (let start = from; start < until; start += SLICE) {
      moveByBytes(source, target, start, Math.min(start + SLICE, until), shift, places)
      if (until - from > SLICE) yield
    }
    ;[source, target] = [target, source]
  }
  if (source === columns) return
  for (let start = from; start < until; start += SLICE) {
    const end = Math.min(start + SLICE, until)
    columns.addresses.set(spare.addresses.subarray(start, end), start)
    columns.words.set(spare.words.subarray(start, end), start)
    if (until - from > SLICE) yield
  }
}

function countBytes(
  words: Uint32Array,
  start: number,
  end: number,
  shift: number,
  counts: Uint32Array,
): void {
  for (let i = start; i < end; i++) {
    const byte = ((words[i] as number) >>> shift) & 0xff
    counts[byte] = (counts[byte] as number) + 1
  }
}

/** Moves a part of a range to where its bytes belong. */
function moveByBytes(
  source: Columns,
  target: Columns,
  start: number,
  end: number,
  shift: number,
  places: Uint32Array,
): void {
  const { addresses, words } = source
  const { addresses: toAddresses, words: toWords } = target
  for (let i = start; i < end; i++) {
    const word = words[i] as number
    const byte = (word >>> shift) & 0xff
    const place = places[byte] as number
    places[byte] = place + 1
    toAddresses[place] = addresses[i] as number
    toWords[place] = word
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
