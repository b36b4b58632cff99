// Sorting many keys by their bytes: by two words behind what all have in common, digit by digit, and what is alike so far by comparing.

import { runThrough, type SlicedWork } from '../../base/slices.js'

/** Records that have keys, by where they lie. */
export interface KeyedRecords {
  keyLengthAt(at: number): number
  /** The four bytes of a key behind the first `skip` ones, as an unsigned number whose order is theirs; behind its end there are zeros. */
  keyWordAt(at: number, skip: number): number
  compareKeys(left: number, right: number): number
}

/** From here on words are sorted by counting. */
const COUNTED_FROM = 2_048
/** So many records are looked at in one step. */
const STEP_RECORDS = 32_768

/** Sorts records by their keys, step by step. */
export function* sortedByKey(
  records: KeyedRecords,
  order: Uint32Array<ArrayBuffer>,
): SlicedWork<Uint32Array<ArrayBuffer>> {
  if (order.length < COUNTED_FROM) return order.sort((left, right) => records.compareKeys(left, right))
  const skip = yield* sharedLength(records, order)
  let from = order
  let to = new Uint32Array(order.length)
  for (const word of [skip + 4, skip]) {
    for (const shift of [0, 16]) {
      yield* countingPass(records, { from, to, word, shift })
      const spare = from
      from = to
      to = spare
    }
  }
  let steps = 0
  for (let start = 0; start < from.length; ) {
    let end = start + 1
    const first = from[start] as number
    while (end < from.length && isAlike(records, first, from[end] as number, skip)) end++
    if (end - start > 1) from.subarray(start, end).sort((left, right) => records.compareKeys(left, right))
    steps += end - start
    if (steps >= STEP_RECORDS) {
      steps = 0
      yield
    }
    start = end
  }
  return from
}

/** The same in one step. */
export function sortByKey(records: KeyedRecords, order: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  return runThrough(sortedByKey(records, order))
}

interface Pass {
  readonly from: Uint32Array
  readonly to: Uint32Array
  readonly word: number
  readonly shift: number
}

const DIGITS = 0x10000

function* countingPass(records: KeyedRecords, { from, to, word, shift }: Pass): SlicedWork<void> {
  const places = new Uint32Array(DIGITS + 1)
  for (let i = 0; i < from.length; i++) {
    const digit = ((records.keyWordAt(from[i] as number, word) >>> shift) & 0xffff) + 1
    places[digit] = (places[digit] as number) + 1
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  for (let i = 1; i <= DIGITS; i++) places[i] = (places[i] as number) + (places[i - 1] as number)
  for (let i = 0; i < from.length; i++) {
    const at = from[i] as number
    const digit = (records.keyWordAt(at, word) >>> shift) & 0xffff
    const place = places[digit] as number
    places[digit] = place + 1
    to[place] = at
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
}

function isAlike(records: KeyedRecords, left: number, right: number, skip: number): boolean {
  return (
    records.keyWordAt(left, skip) === records.keyWordAt(right, skip) &&
    records.keyWordAt(left, skip + 4) === records.keyWordAt(right, skip + 4)
  )
}

/** How many first bytes, in whole words, all keys have in common. */
function* sharedLength(records: KeyedRecords, order: Uint32Array): SlicedWork<number> {
  const first = order[0] as number
  let shared = records.keyLengthAt(first) & ~3
  for (let i = 0; i < order.length; i++) {
    const at = order[i] as number
    shared = Math.min(shared, records.keyLengthAt(at) & ~3)
    for (let skip = 0; skip < shared; skip += 4) {
      if (records.keyWordAt(at, skip) !== records.keyWordAt(first, skip)) shared = skip
    }
    if (i % STEP_RECORDS === STEP_RECORDS - 1) yield
  }
  return shared
}
