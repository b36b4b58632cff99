// The different values that the events of a window have: all of them are kept, each once.
//
//   accumulator := count u32 · (end u32)* · (value in key form)*     the ends count from the first value
//
// (1) Values strictly increase as bytes.

import { compareStretches } from '../../base/bytes.js'
import { hasMethods, invalidArgument, rules } from '../../base/options.js'
import { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { AnyKeyCodec, InputOf, KeyCodec, ValueOf } from '../../state/codec/codec.js'
import { CodecError, within } from '../../state/codec/codec-error.js'
import { type BytesAggregate, bytesAggregate, viewOf } from './bytes-aggregate.js'

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

function countOf(bytes: Uint8Array): number {
  return viewOf(bytes).getUint32(0, true)
}

/** Where a value ends, from the first one; that of the one before is where it begins. */
function endOf(view: DataView, i: number): number {
  return i < 0 ? 0 : view.getUint32(4 + 4 * i, true)
}

function including(bytes: Uint8Array, value: ByteWriter): Uint8Array {
  const view = viewOf(bytes)
  const count = countOf(bytes)
  const values = 4 + 4 * count
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >> 1
    const start = endOf(view, middle - 1)
    const length = endOf(view, middle) - start
    const order = compareStretches(bytes, values + start, length, value.bytes, 0, value.length)
    if (order === 0) return bytes
    if (order < 0) low = middle + 1
    else high = middle
  }
  const whole = new Uint8Array(bytes.length + 4 + value.length)
  const wholeView = viewOf(whole)
  const at = endOf(view, low - 1)
  wholeView.setUint32(0, count + 1, true)
  whole.set(bytes.subarray(4, 4 + 4 * low), 4)
  for (let i = low; i <= count; i++) {
    wholeView.setUint32(4 + 4 * i, endOf(view, i - 1) + value.length, true)
  }
  whole.set(bytes.subarray(values, values + at), values + 4)
  whole.set(value.bytes.subarray(0, value.length), values + 4 + at)
  whole.set(bytes.subarray(values + at), values + 4 + at + value.length)
  return whole
}

function union(bytes: Uint8Array, later: Uint8Array): Uint8Array {
  const stretches: Uint8Array[] = []
  const left = stretchesOf(bytes)
  const right = stretchesOf(later)
  for (let i = 0, j = 0; i < left.length || j < right.length; ) {
    const one = left[i]
    const other = right[j]
    const order = one === undefined ? 1 : other === undefined ? -1 : Buffer.compare(one, other)
    stretches.push((order <= 0 ? one : other) as Uint8Array)
    if (order <= 0) i++
    if (order >= 0) j++
  }
  const written = new ByteWriter(bytes.length + later.length)
  written.uint32(stretches.length)
  let end = 0
  for (const { length } of stretches) {
    end += length
    written.uint32(end)
  }
  for (const stretch of stretches) written.append(stretch)
  return written.copy()
}

function stretchesOf(bytes: Uint8Array): Uint8Array[] {
  const view = viewOf(bytes)
  const values = 4 + 4 * countOf(bytes)
  return Array.from({ length: countOf(bytes) }, (_, i) =>
    bytes.subarray(values + endOf(view, i - 1), values + endOf(view, i)),
  )
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
  const count = bytes.length >= 4 ? countOf(bytes) : Infinity
  if (4 + 4 * count > bytes.length) throw new CodecError('bytes that are cut off')
  const view = viewOf(bytes)
  for (let i = 0; i < count; i++) {
    if (endOf(view, i) < endOf(view, i - 1)) throw new CodecError('values that end before they begin')
  }
  if (4 + 4 * count + endOf(view, count - 1) !== bytes.length) {
    throw new CodecError('values that do not end where the bytes end')
  }
  const stretches = stretchesOf(bytes)
  for (let i = 1; i < count; i++) {
    if (Buffer.compare(stretches[i - 1] as Uint8Array, stretches[i] as Uint8Array) >= 0) {
      throw new CodecError('values that are not in order')
    }
  }
}
