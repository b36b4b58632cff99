// The different values that the events of a window have: all of them are kept, each once.
//
//   accumulator := count u32 · (end u32)* · (value in key form)* · (length u32 · value in key form)*
//
// (1) The ends count from the first value. Up to the last end values strictly increase as bytes.
// (2) Behind it are those that came last, in the order in which they came: none of them is among the others. Most values so are added
//     behind all that is there, which is not copied; once they are many they are put in order with the others.

import { compareStretches } from '../../base/bytes.js'
import { hasMethods, invalidArgument, rules } from '../../base/options.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { AnyKeyCodec, InputOf, KeyCodec, ValueOf } from '../../state/codec/codec.js'
import { CodecError, within } from '../../state/codec/codec-error.js'
import { Appended, type BytesAggregate, bytesAggregate, viewOf } from './bytes-aggregate.js'

/**
 * How many different values the events have. Each value is kept once, so the accumulator grows with them; where there are many, and
 * an estimate will do, `approximateDistinctCount` takes a fixed size. An event without a value (`undefined`) is not counted.
 *
 * @example distinctCount(utf8, (view: PageView) => view.user)
 */
export function distinctCount<Event, C extends AnyKeyCodec>(
  codec: C,
  of: (event: Event) => InputOf<C> | undefined,
): BytesAggregate<Event, number> {
  return distinct(codec, of, countOf)
}

/**
 * The different values that the events have, in the order of their key form: of numbers and strings (by code points) their own.
 * An event without a value (`undefined`) has none.
 *
 * @example distinctValues(utf8, (view: PageView) => view.country)
 */
export function distinctValues<Event, C extends AnyKeyCodec>(
  codec: C,
  of: (event: Event) => InputOf<C> | undefined,
): BytesAggregate<Event, readonly ValueOf<C>[]> {
  return distinct(codec, of, (bytes) => valuesOf(bytes, codec as unknown as KeyCodec<ValueOf<C>>))
}

/** Checks the arguments of an aggregate of what different values events have. */
export function checkDistinct(codec: AnyKeyCodec, of: unknown): void {
  const wrongCodec = hasMethods('readKey', 'writeKey')(codec)
  if (wrongCodec !== undefined) throw invalidArgument('codec', wrongCodec)
  const wrongFunction = rules.function(of)
  if (wrongFunction !== undefined) throw invalidArgument('of', wrongFunction)
}

function distinct<Event, C extends AnyKeyCodec, Result>(
  codec: C,
  of: (event: Event) => InputOf<C> | undefined,
  result: (bytes: Uint8Array) => Result,
): BytesAggregate<Event, Result> {
  checkDistinct(codec, of)
  const keyCodec = codec as unknown as KeyCodec<ValueOf<C>, InputOf<C>>
  const written = new ByteWriter()
  return bytesAggregate<Event, Result>({
    descriptor: { distinct: keyCodec.descriptor },
    leavesBytes: true,
    add: (bytes = NONE, event) => {
      const value = of(event)
      if (value === undefined) return bytes
      written.length = 0
      try {
        keyCodec.writeKey(value, written)
      } catch (error) {
        throw within('distinct', error, 'write')
      }
      return including(bytes, written)
    },
    merge: union,
    result,
    check: (bytes) => {
      checkForm(bytes)
      valuesOf(bytes, keyCodec)
    },
  })
}

/** No value. */
const NONE = new Uint8Array(4)

/** From so many values in order on, others are added behind them. */
const ORDERED_FROM = 64

function countOf(bytes: Uint8Array): number {
  const view = viewOf(bytes)
  let count = orderedCount(bytes)
  for (let at = endOfOrdered(view); at < bytes.length; at = behind(view, at)) count++
  return count
}

function orderedCount(bytes: Uint8Array): number {
  return viewOf(bytes).getUint32(0, true)
}

/** Where a value ends, from the first one; that of the one before is where it begins. */
function endOf(view: DataView, i: number): number {
  return i < 0 ? 0 : view.getUint32(4 + 4 * i, true)
}

/** Behind the values that are in order. */
function endOfOrdered(view: DataView): number {
  const count = view.getUint32(0, true)
  return 4 + 4 * count + endOf(view, count - 1)
}

/** Behind one of those that came last. */
const behind = (view: DataView, at: number): number => at + 4 + view.getUint32(at, true)

function including(bytes: Uint8Array, value: ByteWriter): Uint8Array | Appended {
  const view = viewOf(bytes)
  const place = placeOf(bytes, value)
  if (place === undefined) return bytes
  let added = 0
  for (let at = endOfOrdered(view); at < bytes.length; at = behind(view, at)) {
    const length = view.getUint32(at, true)
    if (compareStretches(bytes, at + 4, length, value.bytes, 0, value.length) === 0) return bytes
    added++
  }
  const count = orderedCount(bytes)
  if (count < ORDERED_FROM && added === 0) return inserted(bytes, place, value)
  if (added >= Math.max(ORDERED_FROM, Math.sqrt(count))) return included(ordered(bytes), value)
  const tail = new Uint8Array(4 + value.length)
  viewOf(tail).setUint32(0, value.length, true)
  tail.set(value.bytes.subarray(0, value.length), 4)
  return new Appended(tail)
}

/** The same of values that are all in order. */
function included(bytes: Uint8Array, value: ByteWriter): Uint8Array {
  const place = placeOf(bytes, value)
  return place === undefined ? bytes : inserted(bytes, place, value)
}

/** The place of a value among those that are in order; `undefined` where it is one of them. */
function placeOf(bytes: Uint8Array, value: ByteWriter): number | undefined {
  const place = search(bytes, value.bytes, value.length)
  return place < 0 ? undefined : place
}

/** Where a value that is not among them belongs. */
const placeAmong = (bytes: Uint8Array, value: Uint8Array): number => search(bytes, value, value.length)

/** The place where bytes belong among the values that are in order; -1 where they are one of them. */
function search(bytes: Uint8Array, value: Uint8Array, valueLength: number): number {
  const view = viewOf(bytes)
  const count = orderedCount(bytes)
  const values = 4 + 4 * count
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >> 1
    const start = endOf(view, middle - 1)
    const length = endOf(view, middle) - start
    const order = compareStretches(bytes, values + start, length, value, 0, valueLength)
    if (order === 0) return -1
    if (order < 0) low = middle + 1
    else high = middle
  }
  return low
}

function inserted(bytes: Uint8Array, place: number, value: ByteWriter): Uint8Array {
  const view = viewOf(bytes)
  const count = orderedCount(bytes)
  const values = 4 + 4 * count
  const whole = new Uint8Array(bytes.length + 4 + value.length)
  const wholeView = viewOf(whole)
  const at = endOf(view, place - 1)
  wholeView.setUint32(0, count + 1, true)
  whole.set(bytes.subarray(4, 4 + 4 * place), 4)
  for (let i = place; i <= count; i++) {
    wholeView.setUint32(4 + 4 * i, endOf(view, i - 1) + value.length, true)
  }
  whole.set(bytes.subarray(values, values + at), values + 4)
  whole.set(value.bytes.subarray(0, value.length), values + 4 + at)
  whole.set(bytes.subarray(values + at), values + 4 + at + value.length)
  return whole
}

/** The same values, all of them in order: what lies between two places of those that came last is copied at once. */
function ordered(bytes: Uint8Array): Uint8Array {
  const last = lastStretches(bytes).sort(Buffer.compare)
  if (last.length === 0) return bytes
  const view = viewOf(bytes)
  const count = orderedCount(bytes)
  const values = 4 + 4 * count
  // Each of the last ones has a length in front, which becomes its end.
  const whole = new Uint8Array(bytes.length)
  const wholeView = viewOf(whole)
  const newValues = values + 4 * last.length
  wholeView.setUint32(0, count + last.length, true)
  let from = 0
  let shift = 0
  for (const [i, stretch] of [...last, undefined].entries()) {
    const until = stretch === undefined ? count : placeAmong(bytes, stretch)
    for (let each = from; each < until; each++) {
      wholeView.setUint32(4 + 4 * (each + i), endOf(view, each) + shift, true)
    }
    const start = endOf(view, from - 1)
    const end = endOf(view, until - 1)
    whole.set(bytes.subarray(values + start, values + end), newValues + start + shift)
    if (stretch === undefined) break
    whole.set(stretch, newValues + end + shift)
    shift += stretch.length
    wholeView.setUint32(4 + 4 * (until + i), end + shift, true)
    from = until
  }
  return whole
}

function union(bytes: Uint8Array, later: Uint8Array): Uint8Array {
  return encoded(merged(stretchesOf(bytes), stretchesOf(later)))
}

/** Values of both, each once, in order as they both are. */
function merged(left: readonly Uint8Array[], right: readonly Uint8Array[]): Uint8Array[] {
  const stretches: Uint8Array[] = []
  for (let i = 0, j = 0; i < left.length || j < right.length; ) {
    const one = left[i]
    const other = right[j]
    const order = one === undefined ? 1 : other === undefined ? -1 : Buffer.compare(one, other)
    stretches.push((order <= 0 ? one : other) as Uint8Array)
    if (order <= 0) i++
    if (order >= 0) j++
  }
  return stretches
}

function encoded(stretches: readonly Uint8Array[]): Uint8Array {
  const written = new ByteWriter()
  written.uint32(stretches.length)
  let end = 0
  for (const { length } of stretches) {
    end += length
    written.uint32(end)
  }
  for (const stretch of stretches) written.append(stretch)
  return written.copy()
}

/** All values, in order. */
function stretchesOf(bytes: Uint8Array): Uint8Array[] {
  const last = lastStretches(bytes)
  const first = orderedStretches(bytes)
  return last.length === 0 ? first : merged(first, last.sort(Buffer.compare))
}

function orderedStretches(bytes: Uint8Array): Uint8Array[] {
  const view = viewOf(bytes)
  const count = orderedCount(bytes)
  const values = 4 + 4 * count
  return Array.from({ length: count }, (_, i) =>
    bytes.subarray(values + endOf(view, i - 1), values + endOf(view, i)),
  )
}

/** Those that came last. */
function lastStretches(bytes: Uint8Array): Uint8Array[] {
  const view = viewOf(bytes)
  const last: Uint8Array[] = []
  for (let at = endOfOrdered(view); at < bytes.length; at = behind(view, at)) {
    last.push(bytes.subarray(at + 4, behind(view, at)))
  }
  return last
}

function valuesOf<Value>(bytes: Uint8Array, codec: KeyCodec<Value, never>): Value[] {
  const reader = new ByteReader()
  return stretchesOf(bytes).map((stretch) => {
    const value = codec.readKey(reader.fromBytes(stretch))
    reader.assertEnd()
    return value
  })
}

function checkForm(bytes: Uint8Array): void {
  const count = bytes.length >= 4 ? orderedCount(bytes) : Infinity
  if (4 + 4 * count > bytes.length) throw new CodecError('bytes that are cut off')
  const view = viewOf(bytes)
  for (let i = 0; i < count; i++) {
    if (endOf(view, i) < endOf(view, i - 1)) throw new CodecError('values that end before they begin')
  }
  let at = endOfOrdered(view)
  while (at + 4 <= bytes.length && behind(view, at) <= bytes.length) at = behind(view, at)
  if (at !== bytes.length) throw new CodecError('values that do not end where the bytes end')
  checkOrder(orderedStretches(bytes), 'values that are not in order')
  if (lastStretches(bytes).length > 0) checkOrder(sorted(bytes), 'a value that is there twice')
}

/** All values as they are there, in order. */
function sorted(bytes: Uint8Array): Uint8Array[] {
  return [...orderedStretches(bytes), ...lastStretches(bytes)].sort(Buffer.compare)
}

function checkOrder(stretches: readonly Uint8Array[], wrong: string): void {
  for (let i = 1; i < stretches.length; i++) {
    if (Buffer.compare(stretches[i - 1] as Uint8Array, stretches[i] as Uint8Array) >= 0)
      throw new CodecError(wrong)
  }
}
