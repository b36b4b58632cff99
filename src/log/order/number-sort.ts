// Sorts keys by the numbers beside them (a radix sort from the highest bits down): the first move brings what belongs together next to
// each other, so that all later ones stay within a stretch that the cache holds; and it ends where the keys are told apart,
// which a million of them are by some twenty bits, however many bits their numbers have.

import type { SlicedWork } from '../../base/slices.js'
import type { KeyColumns } from './key-bits.js'

/** Bits that one move goes by, and how many values they have. */
const DIGIT_BITS = 8
const DIGITS: number = 1 << DIGIT_BITS
/** Up to this many are put in order one by one. */
const FEW = 24
/** Up to this many are looked at, moved, or sorted without a pause. */
const SLICE = 4 * 1024

/** How many bits of the two numbers count; where one number is enough, it is the lower one. */
export interface NumberBits {
  readonly upperBits: number
  readonly lowerBits: number
}

/** Which bits of the numbers one move goes by. */
interface Digit {
  readonly by: 'lower' | 'upper'
  readonly shift: number
  readonly mask: number
  /** There are upper numbers to be moved along. */
  readonly hasUpper: boolean
}

export class NumberSort {
  readonly #columns: KeyColumns
  readonly #spare: KeyColumns
  readonly #upperBits: number
  readonly #lowerBits: number
  /** By depth: how many there are with each value of the digit; then where the next of them goes, at last where they end. */
  readonly #places: Uint32Array[] = []

  /** `spare` is as long as `columns`; what is in it is lost. */
  constructor(columns: KeyColumns, spare: KeyColumns, { upperBits, lowerBits }: NumberBits) {
    this.#columns = columns
    this.#spare = spare
    this.#upperBits = upperBits
    this.#lowerBits = lowerBits
  }

  /** Sorts a range in place. Those with the same numbers have no order among them. */
  *sort(from: number, until: number): SlicedWork<void> {
    // What a restore has put lies in order.
    for (let start = from; this.#isAscending(start, Math.min(start + SLICE + 1, until)); start += SLICE) {
      if (start + SLICE >= until) return
      yield
    }
    yield* this.#sortMany(false, from, until, this.#upperBits + this.#lowerBits, 0)
  }

  #isAscending(from: number, until: number): boolean {
    const { upper, lower } = this.#columns
    const hasUpper = this.#upperBits > 0
    for (let i = from + 1; i < until; i++) {
      const isLower = (lower[i] as number) < (lower[i - 1] as number)
      if (!hasUpper) {
        if (isLower) return false
        continue
      }
      const high = upper[i] as number
      const before = upper[i - 1] as number
      if (high < before || (high === before && isLower)) return false
    }
    return true
  }

  /** Sorts a range of the columns, or of the spare ones, by so many of the lowest bits, into the columns. */
  *#sortMany(isSpare: boolean, from: number, until: number, bits: number, depth: number): SlicedWork<void> {
    if (until - from <= SLICE) {
      this.#sortSome(isSpare, from, until, bits, depth)
      return
    }
    const [source, target] = isSpare ? [this.#spare, this.#columns] : [this.#columns, this.#spare]
    if (bits === 0) {
      if (!isSpare) return
      for (let start = from; start < until; start += SLICE) {
        this.#copyBack(start, Math.min(start + SLICE, until))
        yield
      }
      return
    }
    const digit = this.#digitOf(bits)
    const left = bits - widthOf(digit)
    const places = this.#placesAt(depth)
    for (let start = from; start < until; start += SLICE) {
      countDigits(source, start, Math.min(start + SLICE, until), digit, places)
      yield
    }
    if (isOne(places, source, from, until, digit)) {
      yield* this.#sortMany(isSpare, from, until, left, depth)
      return
    }
    sumUp(places, from)
    for (let start = from; start < until; start += SLICE) {
      moveByDigit(source, target, start, Math.min(start + SLICE, until), digit, places)
      yield
    }
    let sinceYield = 0
    for (let value = 0, start = from; start < until; value++) {
      const end = places[value] as number
      if (end === start) continue
      yield* this.#sortMany(!isSpare, start, end, left, depth + 1)
      sinceYield += end - start
      if (sinceYield >= SLICE) {
        yield
        sinceYield = 0
      }
      start = end
    }
  }

  /** The same without a pause. */
  #sortSome(isSpare: boolean, from: number, until: number, bits: number, depth: number): void {
    if (until - from <= FEW) {
      this.#insert(isSpare ? this.#spare : this.#columns, from, until)
      return
    }
    if (bits === 0) {
      if (isSpare) this.#copyBack(from, until)
      return
    }
    const [source, target] = isSpare ? [this.#spare, this.#columns] : [this.#columns, this.#spare]
    const digit = this.#digitOf(bits)
    const left = bits - widthOf(digit)
    const places = this.#placesAt(depth)
    countDigits(source, from, until, digit, places)
    if (isOne(places, source, from, until, digit)) {
      this.#sortSome(isSpare, from, until, left, depth)
      return
    }
    sumUp(places, from)
    moveByDigit(source, target, from, until, digit, places)
    for (let value = 0, start = from; start < until; value++) {
      const end = places[value] as number
      if (end > start) this.#sortSome(!isSpare, start, end, left, depth + 1)
      start = end
    }
  }

  #digitOf(bits: number): Digit {
    const upper = bits - this.#lowerBits
    const ofNumber = upper > 0 ? upper : bits
    const width = Math.min(DIGIT_BITS, ofNumber)
    return {
      by: upper > 0 ? 'upper' : 'lower',
      shift: ofNumber - width,
      mask: (1 << width) - 1,
      hasUpper: this.#upperBits > 0,
    }
  }

  #placesAt(depth: number): Uint32Array {
    const places = this.#places[depth] ?? new Uint32Array(DIGITS)
    this.#places[depth] = places
    places.fill(0)
    return places
  }

  /** Puts a few in order, from where they are into the columns. */
  #insert(source: KeyColumns, from: number, until: number): void {
    const { addresses, upper, lower } = this.#columns
    const hasUpper = this.#upperBits > 0
    for (let i = from; i < until; i++) {
      const address = source.addresses[i] as number
      const low = source.lower[i] as number
      const high = hasUpper ? (source.upper[i] as number) : 0
      let place = i
      for (; place > from; place--) {
        const before = lower[place - 1] as number
        if (hasUpper) {
          const beforeHigh = upper[place - 1] as number
          if (beforeHigh < high || (beforeHigh === high && before <= low)) break
          upper[place] = beforeHigh
        } else if (before <= low) {
          break
        }
        lower[place] = before
        addresses[place] = addresses[place - 1] as number
      }
      addresses[place] = address
      lower[place] = low
      if (hasUpper) upper[place] = high
    }
  }

  #copyBack(from: number, until: number): void {
    const { addresses, upper, lower } = this.#spare
    this.#columns.addresses.set(addresses.subarray(from, until), from)
    this.#columns.lower.set(lower.subarray(from, until), from)
    if (this.#upperBits > 0) this.#columns.upper.set(upper.subarray(from, until), from)
  }
}

function widthOf({ mask }: Digit): number {
  return 32 - Math.clz32(mask)
}

/** Whether all in the range have the same digit: nothing is to be moved then. */
function isOne(places: Uint32Array, source: KeyColumns, from: number, until: number, digit: Digit): boolean {
  const { by, shift, mask } = digit
  return places[((source[by][from] as number) >>> shift) & mask] === until - from
}

/** Makes places, from `from` on, of counts. */
function sumUp(places: Uint32Array, from: number): void {
  let place = from
  for (let value = 0; value < DIGITS; value++) {
    const count = places[value] as number
    places[value] = place
    place += count
  }
}

function countDigits(
  source: KeyColumns,
  start: number,
  end: number,
  { by, shift, mask }: Digit,
  places: Uint32Array,
): void {
  const numbers = source[by]
  for (let i = start; i < end; i++) {
    const value = ((numbers[i] as number) >>> shift) & mask
    places[value] = (places[value] as number) + 1
  }
}

/** Moves a part of a range to where its digits belong. */
function moveByDigit(
  source: KeyColumns,
  target: KeyColumns,
  start: number,
  end: number,
  digit: Digit,
  places: Uint32Array,
): void {
  const { addresses, upper, lower } = source
  const { addresses: toAddresses, upper: toUpper, lower: toLower } = target
  const { by, shift, mask, hasUpper } = digit
  const numbers = source[by]
  for (let i = start; i < end; i++) {
    const value = ((numbers[i] as number) >>> shift) & mask
    const place = places[value] as number
    places[value] = place + 1
    toAddresses[place] = addresses[i] as number
    toLower[place] = lower[i] as number
    if (hasUpper) toUpper[place] = upper[i] as number
  }
}
