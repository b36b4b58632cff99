// Sorting many keys by their bytes: by two words behind what all have in common, digit by digit, and what is alike so far by comparing.
// The words are taken out of the keys once, in the order in which these lie, and move with their records from then on.

import { runThrough, type SlicedWork } from '../../base/slices.js'

/** Records that have keys, by where they lie. */
export interface KeyedRecords {
  keyLengthAt(at: number): number
  /** The four bytes of a key behind the first `skip` ones, as an unsigned number whose order is theirs; behind its end there are zeros. */
  keyWordAt(at: number, skip: number): number
  compareKeys(left: number, right: number): number
}

/** From here on words are sorted by counting. */
const COUNTED_FROM = 256
/** So many records are looked at in one step. */
const STEP_RECORDS = 16_384
const DIGIT_BITS = 11
const DIGITS = 1 << DIGIT_BITS
const DIGIT_MASK = DIGITS - 1

/** Records, and two words of the key of each. */
interface Columns {
  readonly records: Uint32Array<ArrayBuffer>
  readonly high: Uint32Array
  readonly low: Uint32Array
}

/** Sorts records by their keys, step by step. */
export function* sortedByKey(
  records: KeyedRecords,
  order: Uint32Array<ArrayBuffer>,
): SlicedWork<Uint32Array<ArrayBuffer>> {
  if (order.length < COUNTED_FROM) return order.sort((left, right) => records.compareKeys(left, right))
  const skip = yield* sharedLength(records, order)
  const { length } = order
  let from: Columns = { records: order, high: new Uint32Array(length), low: new Uint32Array(length) }
  let to = emptyColumns(length)
  // Bits in which some keys differ: digits in which none does need no pass.
  const firstHigh = records.keyWordAt(order[0] as number, skip)
  const firstLow = records.keyWordAt(order[0] as number, skip + 4)
  const differing = { high: 0, low: 0 }
  for (let i = 0; i < length; i++) {
    const high = records.keyWordAt(order[i] as number, skip)
    const low = records.keyWordAt(order[i] as number, skip + 4)
    from.high[i] = high
    from.low[i] = low
    differing.high |= high ^ firstHigh
    differing.low |= low ^ firstLow
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  for (const word of ['low', 'high'] as const) {
    for (let shift = 0; shift < 32; shift += DIGIT_BITS) {
      if (((differing[word] >>> shift) & DIGIT_MASK) === 0) continue
      yield* countingPass(from, to, word, shift)
      const spare = from
      from = to
      to = spare
    }
  }
  yield* orderAlike(records, from)
  return from.records
}

/** The same in one step. */
export function sortByKey(records: KeyedRecords, order: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  return runThrough(sortedByKey(records, order))
}

const emptyColumns = (length: number): Columns => ({
  records: new Uint32Array(length),
  high: new Uint32Array(length),
  low: new Uint32Array(length),
})

/** Sorts by one digit of a word. */
function* countingPass(from: Columns, to: Columns, word: 'high' | 'low', shift: number): SlicedWork<void> {
  const digits = from[word]
  const { length } = digits
  const places = new Uint32Array(DIGITS)
  for (let i = 0; i < length; i++) {
    const digit = ((digits[i] as number) >>> shift) & DIGIT_MASK
    places[digit] = (places[digit] as number) + 1
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  for (let digit = 0, place = 0; digit < DIGITS; digit++) {
    const count = places[digit] as number
    places[digit] = place
    place += count
  }
  for (let i = 0; i < length; i++) {
    const digit = ((digits[i] as number) >>> shift) & DIGIT_MASK
    const place = places[digit] as number
    places[digit] = place + 1
    to.records[place] = from.records[i] as number
    to.high[place] = from.high[i] as number
    to.low[place] = from.low[i] as number
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
}

/** Keys whose words are the same may differ behind them, or in their lengths. */
function* orderAlike(records: KeyedRecords, { records: order, high, low }: Columns): SlicedWork<void> {
  let steps = 0
  for (let start = 0; start < order.length; ) {
    let end = start + 1
    while (end < order.length && high[end] === high[start] && low[end] === low[start]) end++
    if (end - start > 1) order.subarray(start, end).sort((left, right) => records.compareKeys(left, right))
    steps += end - start
    if (steps >= STEP_RECORDS) {
      steps = 0
      yield
    }
    start = end
  }
}

/** How many first bytes, in whole words, all keys have in common. */
function* sharedLength(records: KeyedRecords, order: Uint32Array): SlicedWork<number> {
  const first = order[0] as number
  let shared = records.keyLengthAt(first) & ~3
  for (let i = 0; i < order.length && shared > 0; i++) {
    const at = order[i] as number
    shared = Math.min(shared, records.keyLengthAt(at) & ~3)
    for (let skip = 0; skip < shared; skip += 4) {
      if (records.keyWordAt(at, skip) !== records.keyWordAt(first, skip)) shared = skip
    }
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  return shared
}
