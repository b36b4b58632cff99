// Quantiles of a number of each event, of a bounded size: DDSketch (Masson, Rim, Lee, 2019).
//
// A positive number x is in bucket ⌈log x / log γ⌉ with γ = (1 + a) / (1 - a), so that every number of a bucket is within the relative
// accuracy a of 2 γ^bucket / (γ + 1). Buckets of negative numbers and zero are put in the same order.
//
//   accumulator := min f64 · max f64 · count f64 · (place i32 · count f64)*
//   place       := 2^24 + bucket of a positive number | 0 of zero | -(2^24 + bucket of -x) of a negative one
//
// (1) The count in front is the sum of the others.
// (2) Places strictly increase, at most `maxBuckets` of them. Where there would be more, the lowest two become one.

import { invalidArgument } from '../../base/options.js'
import { CodecError } from '../../state/codec/codec-error.js'
import { checkedNumber } from './aggregate.js'
import { type BytesAggregate, bytesAggregate, viewOf } from './bytes-aggregate.js'

const HEAD_BYTES = 24
const BUCKET_BYTES = 12
/** Beyond every bucket of a double at the best accuracy. */
const MIDDLE = 2 ** 24
/** Smaller numbers are zero. */
const SMALLEST = 2 ** -1022
const BEST_ACCURACY = 0.0001
const DEFAULT_ACCURACY = 0.01
const DEFAULT_BUCKETS = 2_048

export interface QuantilesOptions {
  /** How far a quantile may be from the event's number, relative to that: 0.0001 to 0.5. Default 0.01. */
  readonly relativeAccuracy?: number
  /**
   * How many different buckets are kept, 12 bytes each: at 1 % a factor of ten takes 115. Where there are more, the lowest numbers are taken
   * together, and low quantiles are less accurate. Default 2,048.
   */
  readonly maxBuckets?: number
}

/** A number for each quantile that was asked for. */
export type Quantiles<At extends readonly number[]> = { readonly [Place in keyof At]: number }

/**
 * Quantiles of a number of each event, in the order in which they are asked for: the number of rank ⌊q · (count - 1)⌋ from below, within
 * the relative accuracy. 0 and 1 are the least and the greatest number as they are.
 *
 * @example quantiles((request: LlmRequest) => request.latencyMs, [0.5, 0.99])
 */
export function quantiles<Event, const At extends readonly number[]>(
  of: (event: Event) => number,
  at: At,
  options: QuantilesOptions = {},
): BytesAggregate<Event, Quantiles<At>> {
  const { relativeAccuracy = DEFAULT_ACCURACY, maxBuckets = DEFAULT_BUCKETS } = options
  if (!Array.isArray(at) || at.length === 0 || !at.every((q) => q >= 0 && q <= 1)) {
    throw invalidArgument('at', 'must be numbers from 0 to 1')
  }
  if (!(relativeAccuracy >= BEST_ACCURACY && relativeAccuracy <= 0.5)) {
    throw invalidArgument('options.relativeAccuracy', `must be a number from ${BEST_ACCURACY} to 0.5`)
  }
  if (!Number.isSafeInteger(maxBuckets) || maxBuckets < 2 || maxBuckets > 1_000_000) {
    throw invalidArgument('options.maxBuckets', 'must be a whole number from 2 to 1,000,000')
  }
  const gamma = (1 + relativeAccuracy) / (1 - relativeAccuracy)
  const logGamma = Math.log(gamma)
  const placeOf = (value: number): number => {
    const size = Math.abs(value)
    if (size < SMALLEST) return 0
    const bucket = MIDDLE + Math.ceil(Math.log(size) / logGamma)
    return value < 0 ? -bucket : bucket
  }
  const valueOf = (place: number): number => {
    if (place === 0) return 0
    // The factor first: twice the end of the highest bucket may be beyond all numbers.
    const size = (2 / (gamma + 1)) * Math.exp((Math.abs(place) - MIDDLE) * logGamma)
    return place < 0 ? -size : size
  }
  return bytesAggregate<Event, Quantiles<At>>({
    descriptor: { ddSketch: relativeAccuracy, maxBuckets },
    add: (bytes, event) => {
      const value = checkedNumber(of(event), 'quantiles')
      return counted(bytes ?? empty(), placeOf(value), value, maxBuckets)
    },
    merge: (bytes, later) => merged(bytes, later, maxBuckets),
    result: (bytes) => {
      const view = viewOf(bytes)
      const least = view.getFloat64(0, true)
      const greatest = view.getFloat64(8, true)
      const total = view.getFloat64(16, true)
      return at.map((q) => {
        if (q === 0) return least
        if (q === 1) return greatest
        const value = valueOf(placeAt(view, Math.floor(q * (total - 1))))
        return Math.min(greatest, Math.max(least, value))
      }) as Quantiles<At>
    },
    check: (bytes) => checkForm(bytes, maxBuckets),
  })
}

function empty(): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES)
  const view = viewOf(bytes)
  view.setFloat64(0, Infinity, true)
  view.setFloat64(8, -Infinity, true)
  return bytes
}

function counted(bytes: Uint8Array, place: number, value: number, maxBuckets: number): Uint8Array {
  const view = viewOf(bytes)
  if (value < view.getFloat64(0, true)) view.setFloat64(0, value, true)
  if (value > view.getFloat64(8, true)) view.setFloat64(8, value, true)
  view.setFloat64(16, view.getFloat64(16, true) + 1, true)
  let low = 0
  let high = (bytes.length - HEAD_BYTES) / BUCKET_BYTES
  while (low < high) {
    const middle = (low + high) >> 1
    if (view.getInt32(HEAD_BYTES + middle * BUCKET_BYTES, true) < place) low = middle + 1
    else high = middle
  }
  const at = HEAD_BYTES + low * BUCKET_BYTES
  if (at < bytes.length && view.getInt32(at, true) === place) {
    view.setFloat64(at + 4, view.getFloat64(at + 4, true) + 1, true)
    return bytes
  }
  const whole = new Uint8Array(bytes.length + BUCKET_BYTES)
  whole.set(bytes.subarray(0, at))
  whole.set(bytes.subarray(at), at + BUCKET_BYTES)
  const wholeView = viewOf(whole)
  wholeView.setInt32(at, place, true)
  wholeView.setFloat64(at + 4, 1, true)
  return collapsed(whole, maxBuckets)
}

function merged(bytes: Uint8Array, later: Uint8Array, maxBuckets: number): Uint8Array {
  const view = viewOf(bytes)
  const laterView = viewOf(later)
  const whole = new Uint8Array(bytes.length + later.length - HEAD_BYTES)
  const wholeView = viewOf(whole)
  wholeView.setFloat64(0, Math.min(view.getFloat64(0, true), laterView.getFloat64(0, true)), true)
  wholeView.setFloat64(8, Math.max(view.getFloat64(8, true), laterView.getFloat64(8, true)), true)
  wholeView.setFloat64(16, view.getFloat64(16, true) + laterView.getFloat64(16, true), true)
  let length = HEAD_BYTES
  let at = HEAD_BYTES
  let laterAt = HEAD_BYTES
  while (at < bytes.length || laterAt < later.length) {
    const place = at < bytes.length ? view.getInt32(at, true) : Infinity
    const laterPlace = laterAt < later.length ? laterView.getInt32(laterAt, true) : Infinity
    let count = 0
    if (place <= laterPlace) {
      count += view.getFloat64(at + 4, true)
      at += BUCKET_BYTES
    }
    if (laterPlace <= place) {
      count += laterView.getFloat64(laterAt + 4, true)
      laterAt += BUCKET_BYTES
    }
    wholeView.setInt32(length, Math.min(place, laterPlace), true)
    wholeView.setFloat64(length + 4, count, true)
    length += BUCKET_BYTES
  }
  return collapsed(whole.subarray(0, length), maxBuckets)
}

/** The lowest buckets become one where there are too many. */
function collapsed(bytes: Uint8Array, maxBuckets: number): Uint8Array {
  const tooMany = (bytes.length - HEAD_BYTES) / BUCKET_BYTES - maxBuckets
  if (tooMany <= 0) return bytes
  const view = viewOf(bytes)
  let count = 0
  for (let i = 0; i <= tooMany; i++) count += view.getFloat64(HEAD_BYTES + i * BUCKET_BYTES + 4, true)
  const lowest = HEAD_BYTES + tooMany * BUCKET_BYTES
  view.setFloat64(lowest + 4, count, true)
  bytes.copyWithin(HEAD_BYTES, lowest)
  return bytes.subarray(0, bytes.length - tooMany * BUCKET_BYTES)
}

function placeAt(view: DataView, rank: number): number {
  let count = 0
  let at = HEAD_BYTES
  for (; at + BUCKET_BYTES < view.byteLength; at += BUCKET_BYTES) {
    count += view.getFloat64(at + 4, true)
    if (count > rank) break
  }
  return view.getInt32(at, true)
}

function checkForm(bytes: Uint8Array, maxBuckets: number): void {
  const buckets = (bytes.length - HEAD_BYTES) / BUCKET_BYTES
  if (!Number.isInteger(buckets) || buckets < 1) throw new CodecError('bytes that are cut off')
  if (buckets > maxBuckets) throw new CodecError(`${buckets} buckets instead of at most ${maxBuckets}`)
  const view = viewOf(bytes)
  const least = view.getFloat64(0, true)
  const greatest = view.getFloat64(8, true)
  if (!(Number.isFinite(least) && Number.isFinite(greatest) && least <= greatest)) {
    throw new CodecError('a least and a greatest number that are none')
  }
  let before = -Infinity
  let total = 0
  for (let at = HEAD_BYTES; at < bytes.length; at += BUCKET_BYTES) {
    const place = view.getInt32(at, true)
    if (place <= before) throw new CodecError('buckets that are not in order')
    const count = view.getFloat64(at + 4, true)
    if (!(Number.isSafeInteger(count) && count > 0)) throw new CodecError('a count that is none')
    before = place
    total += count
  }
  if (total !== view.getFloat64(16, true)) throw new CodecError('counts that are not those of the buckets')
}
