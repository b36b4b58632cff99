// Sorting many keys by their bytes: by two words behind what all have in common, digit by digit, and what is alike so far by comparing.
// The words are taken out of the keys once, in the order in which these lie, and move with their records from then on.

import type { SlicedWork } from '../../base/slices.js'

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
/** So many records whose words are the same are sorted by comparing them. */
const SORTED_AT_ONCE = 1_024
/** So few are put in their places one by one. */
const INSERTED_AT_ONCE = 16
const DIGIT_BITS = 11
const DIGITS = 1 << DIGIT_BITS
/** Fewer records have digits of their own size: to walk all places of a wide one would take longer than to walk the records. */
const WIDE_FROM = 2_048
const NARROW_BITS = 8

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
  const digitBits = length < WIDE_FROM ? NARROW_BITS : DIGIT_BITS
  const places = new Uint32Array(1 << digitBits)
  for (const word of ['low', 'high'] as const) {
    for (let shift = 0; shift < 32; shift += digitBits) {
      if (((differing[word] >>> shift) & (places.length - 1)) === 0) continue
      yield* countingPass(from, to, from[word], shift, places)
      const spare = from
      from = to
      to = spare
    }
  }
  yield* orderAlike(records, from)
  return from.records
}

/** Records that are due at some time. */
export interface TimedRecords {
  dueAt(at: number): number
}

/** Sorts records by their times, step by step; of equal times, those that came first stay so. */
export function* sortedByTime(
  records: TimedRecords,
  order: Uint32Array<ArrayBuffer>,
): SlicedWork<Uint32Array<ArrayBuffer>> {
  const { length } = order
  const byTime = (left: number, right: number) => compareTimes(records.dueAt(left), records.dueAt(right))
  if (length < COUNTED_FROM) return order.sort(byTime)
  let leastMs = Infinity
  let mostMs = -Infinity
  for (let i = 0; i < length; i++) {
    const dueMs = records.dueAt(order[i] as number)
    if (dueMs < leastMs) leastMs = dueMs
    if (dueMs > mostMs && dueMs < Infinity) mostMs = dueMs
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  // Further apart than numbers can tell: times at both ends of all time.
  if (mostMs - leastMs >= Number.MAX_SAFE_INTEGER) return order.sort(byTime)
  const endMs = Math.max(mostMs - leastMs, 0) + 1
  let from = { records: order, times: new Float64Array(length) }
  let to = { records: new Uint32Array(length), times: new Float64Array(length) }
  for (let i = 0; i < length; i++) {
    from.times[i] = Math.min(records.dueAt(order[i] as number) - leastMs, endMs)
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  for (let unit = 1; unit <= endMs; unit *= DIGITS) {
    const places = new Uint32Array(DIGITS)
    for (let i = 0; i < length; i++) {
      const digit = Math.floor((from.times[i] as number) / unit) % DIGITS
      places[digit] = (places[digit] as number) + 1
      if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
    }
    placesOf(places)
    for (let i = 0; i < length; i++) {
      const digit = Math.floor((from.times[i] as number) / unit) % DIGITS
      const place = places[digit] as number
      places[digit] = place + 1
      to.records[place] = from.records[i] as number
      to.times[place] = from.times[i] as number
      if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
    }
    const spare = from
    from = to
    to = spare
  }
  return from.records
}

const compareTimes = (left: number, right: number): number => (left === right ? 0 : left < right ? -1 : 1)

/** Makes of how many there are of each digit where the first one of each belongs. */
function placesOf(counts: Uint32Array): void {
  for (let digit = 0, place = 0; digit < counts.length; digit++) {
    const count = counts[digit] as number
    counts[digit] = place
    place += count
  }
}

const emptyColumns = (length: number): Columns => ({
  records: new Uint32Array(length),
  high: new Uint32Array(length),
  low: new Uint32Array(length),
})

/** Sorts by one digit of a word; `places` has one for each value of a digit. */
function* countingPass(
  from: Columns,
  to: Columns,
  digits: Uint32Array,
  shift: number,
  places: Uint32Array,
): SlicedWork<void> {
  const { length } = digits
  const mask = places.length - 1
  places.fill(0)
  for (let i = 0; i < length; i++) {
    const digit = ((digits[i] as number) >>> shift) & mask
    places[digit] = (places[digit] as number) + 1
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  placesOf(places)
  for (let i = 0; i < length; i++) {
    const digit = ((digits[i] as number) >>> shift) & mask
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
    // Most often a key stands alone, or all of these are one key's: a view is made only where something moves.
    if (end - start >= SORTED_AT_ONCE && end - start < order.length) {
      // What these have in common is more than what all have: the next words tell them apart.
      const alike = order.subarray(start, end)
      alike.set(yield* sortedByKey(records, alike.slice()))
    } else if (end - start <= INSERTED_AT_ONCE) {
      insertionSort(records, order, start, end)
    } else if (!areInOrder(records, order, start, end)) {
      order.subarray(start, end).sort((left, right) => records.compareKeys(left, right))
    }
    steps += end - start
    if (steps >= STEP_RECORDS) {
      steps = 0
      yield
    }
    start = end
  }
}

/** Without a view and a call of `sort`, which take longer than to move a few records. */
function insertionSort(records: KeyedRecords, order: Uint32Array, start: number, end: number): void {
  for (let i = start + 1; i < end; i++) {
    const record = order[i] as number
    let place = i
    while (place > start && records.compareKeys(order[place - 1] as number, record) > 0) {
      order[place] = order[place - 1] as number
      place--
    }
    order[place] = record
  }
}

function areInOrder(records: KeyedRecords, order: Uint32Array, start: number, end: number): boolean {
  for (let i = start + 1; i < end; i++) {
    if (records.compareKeys(order[i - 1] as number, order[i] as number) > 0) return false
  }
  return true
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
