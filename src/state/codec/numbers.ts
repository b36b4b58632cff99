// Codecs of one number each. As values they are little-endian; as keys big-endian, changed so that bytes sort as numbers do.

import type { JsonValue } from '../../base/json.js'
import { invalidArgument } from '../../base/options.js'
import { isDate } from '../../base/shapes.js'
import type { Slot } from '../../base/slot.js'
import type { ByteReader, ByteWriter } from './bytes.js'
import type { FixedCodec, KeyCodec, Property } from './codec.js'
import { CodecError, describeValue } from './codec-error.js'

/** A codec that can be a field of a struct and a key. */
export interface NumberCodec<Value> extends FixedCodec<Value>, KeyCodec<Value> {
  readonly fixedBytes: number
}

interface Layout<Value> {
  readonly descriptor: JsonValue
  readonly fixedBytes: number
  readonly load: (view: DataView, at: number) => Value
  readonly store: (view: DataView, at: number, value: Value) => void
  readonly loadKey: (view: DataView, at: number) => Value
  readonly storeKey: (view: DataView, at: number, value: Value) => void
  /** In place of one that calls `storeKey`: all codecs share that one, so that the compiler does not know what it calls. */
  readonly writeKey?: (value: Value, to: ByteWriter) => void
  readonly property?: (slot: Slot, at: number, path: string) => Property<Value>
}

function numberCodec<Value>(layout: Layout<Value>): NumberCodec<Value> {
  const { fixedBytes, load, store, loadKey, storeKey } = layout
  return Object.freeze({
    ...layout,
    isOpenEnded: false,
    write: (value: Value, to: ByteWriter) => {
      const at = to.reserve(fixedBytes)
      store(to.view, at, value)
    },
    read: (from: ByteReader) => load(from.view, from.take(fixedBytes)),
    writeKey:
      layout.writeKey ??
      ((value: Value, to: ByteWriter) => {
        const at = to.reserve(fixedBytes)
        storeKey(to.view, at, value)
      }),
    readKey: (from: ByteReader) => loadKey(from.view, from.take(fixedBytes)),
  })
}

const SIGN = 0x80000000
const TWO_32 = 2 ** 32

const refuse = (value: unknown, wanted: string, path?: string): never => {
  throw new CodecError(`${describeValue(value)} is not ${wanted}`, path, undefined, 'write')
}

const damaged = (reason: string, path?: string): never => {
  throw new CodecError(reason, path, undefined, 'read')
}

/** `true` or `false`, in one byte. */
export const bool: NumberCodec<boolean> = numberCodec({
  descriptor: 'bool',
  fixedBytes: 1,
  load: loadBool,
  store: storeBool,
  loadKey: loadBool,
  storeKey: storeBool,
})

function loadBool(view: DataView, at: number): boolean {
  const byte = view.getUint8(at)
  if (byte > 1) throw new CodecError(`the byte ${byte} is not a boolean`)
  return byte === 1
}

function storeBool(view: DataView, at: number, value: boolean): void {
  if (typeof value !== 'boolean') refuse(value, 'a boolean')
  view.setUint8(at, value ? 1 : 0)
}

const checkUint32 = (value: number, path?: string): void => {
  if (typeof value !== 'number' || value >>> 0 !== value) {
    refuse(value, 'a whole number from 0 to 4294967295', path)
  }
}

/** A whole number from 0 to 2^32 - 1, in four bytes. Anything else is refused, never wrapped (W20). */
export const uint32: NumberCodec<number> = numberCodec({
  descriptor: 'uint32',
  fixedBytes: 4,
  load: (view, at) => view.getUint32(at, true),
  store: (view, at, value) => {
    checkUint32(value)
    view.setUint32(at, value, true)
  },
  property: (slot, at, path) => ({
    get: () => slot.view.getUint32(slot.offset + at, true),
    set: (value) => {
      checkUint32(value, path)
      slot.view.setUint32(slot.offset + at, value, true)
    },
  }),
  loadKey: (view, at) => view.getUint32(at),
  storeKey: (view, at, value) => {
    checkUint32(value)
    view.setUint32(at, value)
  },
  writeKey: (value, to) => {
    checkUint32(value)
    const at = to.reserve(4)
    to.view.setUint32(at, value)
  },
})

const checkInt32 = (value: number, path?: string): void => {
  if (typeof value !== 'number' || (value | 0) !== value) {
    refuse(value, 'a whole number from -2147483648 to 2147483647', path)
  }
}

/** A whole number from -2^31 to 2^31 - 1, in four bytes. */
export const int32: NumberCodec<number> = numberCodec({
  descriptor: 'int32',
  fixedBytes: 4,
  load: (view, at) => view.getInt32(at, true),
  store: (view, at, value) => {
    checkInt32(value)
    view.setInt32(at, value, true)
  },
  property: (slot, at, path) => ({
    get: () => slot.view.getInt32(slot.offset + at, true),
    set: (value) => {
      checkInt32(value, path)
      slot.view.setInt32(slot.offset + at, value, true)
    },
  }),
  loadKey: (view, at) => view.getUint32(at) ^ SIGN,
  storeKey: (view, at, value) => {
    checkInt32(value)
    view.setUint32(at, value ^ SIGN)
  },
})

const checkSafe = (value: number, path?: string): void => {
  if (!Number.isSafeInteger(value)) refuse(value, 'a whole number within 2^53 - 1 of zero', path)
}

/** Two halves as a number; beyond 2^53 - 1 it would be another one. */
const joinHalves = (high: number, low: number, path?: string): number => {
  const value = high * TWO_32 + low
  if (!Number.isSafeInteger(value)) damaged('an integer beyond 2^53 - 1; bigint64 reads it as a bigint', path)
  return value
}

/**
 * A whole number from -(2^53 - 1) to 2^53 - 1 as a `number`, in the eight bytes of a signed 64-bit integer: sums of integers
 * that must not lose one. Beyond is refused, when written (W20) and when read. The same bytes as {@link bigint64}.
 */
export const int64: NumberCodec<number> = numberCodec({
  descriptor: 'int64',
  fixedBytes: 8,
  load: (view, at) => joinHalves(view.getInt32(at + 4, true), view.getUint32(at, true)),
  store: (view, at, value) => {
    checkSafe(value)
    view.setUint32(at, value >>> 0, true)
    view.setInt32(at + 4, Math.floor(value / TWO_32), true)
  },
  property: (slot, at, path) => ({
    get: () => {
      const { view, offset } = slot
      return joinHalves(view.getInt32(offset + at + 4, true), view.getUint32(offset + at, true), path)
    },
    set: (value) => {
      checkSafe(value, path)
      const { view, offset } = slot
      view.setUint32(offset + at, value >>> 0, true)
      view.setInt32(offset + at + 4, Math.floor(value / TWO_32), true)
    },
  }),
  loadKey: loadInt64Key,
  storeKey: storeInt64Key,
})

function loadInt64Key(view: DataView, at: number): number {
  return joinHalves(view.getUint32(at) ^ SIGN, view.getUint32(at + 4))
}

function storeInt64Key(view: DataView, at: number, value: number): void {
  checkSafe(value)
  view.setUint32(at, Math.floor(value / TWO_32) ^ SIGN)
  view.setUint32(at + 4, value >>> 0)
}

const checkBigInt64 = (value: bigint): void => {
  if (typeof value !== 'bigint') refuse(value, 'a bigint')
  if (BigInt.asIntN(64, value) !== value) refuse(value, 'within 64 bits')
}

/** A `bigint` from -2^63 to 2^63 - 1, in eight bytes: the same ones as {@link int64}. */
export const bigint64: NumberCodec<bigint> = numberCodec({
  descriptor: 'int64',
  fixedBytes: 8,
  load: (view, at) => view.getBigInt64(at, true),
  store: (view, at, value) => {
    checkBigInt64(value)
    view.setBigInt64(at, value, true)
  },
  loadKey: (view, at) => BigInt.asIntN(64, view.getBigUint64(at) ^ (1n << 63n)),
  storeKey: (view, at, value) => {
    checkBigInt64(value)
    view.setBigUint64(at, BigInt.asUintN(64, value) ^ (1n << 63n))
  },
})

/**
 * A double, in eight bytes. As a value it is any number but NaN, which is refused when written: a sum that has become NaN is a
 * mistake that must not be stored (W20). As a key, NaN is one key behind all others, and -0 is 0 (K1).
 */
export const float64: NumberCodec<number> = numberCodec({
  descriptor: 'float64',
  fixedBytes: 8,
  load: (view, at) => {
    const value = view.getFloat64(at, true)
    if (Number.isNaN(value)) throw new CodecError('NaN, which is never stored')
    return value
  },
  store: (view, at, value) => {
    if (typeof value !== 'number' || Number.isNaN(value)) refuse(value, 'a number that can be stored')
    view.setFloat64(at, value, true)
  },
  property: (slot, at, path) => ({
    get: () => {
      const value = slot.view.getFloat64(slot.offset + at, true)
      if (Number.isNaN(value)) damaged('NaN, which is never stored', path)
      return value
    },
    set: (value) => {
      if (typeof value !== 'number' || Number.isNaN(value)) refuse(value, 'a number that can be stored', path)
      slot.view.setFloat64(slot.offset + at, value, true)
    },
  }),
  loadKey: (view, at) => {
    const high = view.getUint32(at)
    const low = view.getUint32(at + 4)
    // What was negative has all bits turned, what was not only the sign.
    const isNegative = high < SIGN
    scratch.setUint32(0, isNegative ? ~high : high ^ SIGN)
    scratch.setUint32(4, isNegative ? ~low : low)
    const value = scratch.getFloat64(0)
    if (!(Number.isNaN(value) ? high === NAN_KEY_HIGH && low === 0 : !Object.is(value, -0))) {
      throw new CodecError('a float that no key has: -0, or a NaN of other bits')
    }
    return value
  },
  storeKey: (view, at, value) => {
    if (typeof value !== 'number') refuse(value, 'a number')
    // Adding 0 makes -0 to 0.
    scratch.setFloat64(0, value + 0)
    const isNaN = Number.isNaN(value)
    const high = isNaN ? NAN_HIGH : scratch.getUint32(0)
    const low = isNaN ? 0 : scratch.getUint32(4)
    const isNegative = high >= SIGN
    view.setUint32(at, isNegative ? ~high : high ^ SIGN)
    view.setUint32(at + 4, isNegative ? ~low : low)
  },
})

const scratch = new DataView(new ArrayBuffer(8))
/** The quiet NaN without a sign and without a payload. */
const NAN_HIGH = 0x7ff80000
const NAN_KEY_HIGH = 0xfff80000

const timeOf = (value: Date): number => {
  if (!isDate(value)) refuse(value, 'a Date')
  const timeMs = value.getTime()
  if (Number.isNaN(timeMs)) throw new CodecError('an invalid Date')
  return timeMs
}

const dateAt = (timeMs: number): Date => {
  const value = new Date(timeMs)
  if (Number.isNaN(value.getTime())) throw new CodecError(`${timeMs} ms is beyond what a Date can be`)
  return value
}

/** A `Date`: its milliseconds since the epoch as a 64-bit integer. An invalid one is refused (K6). */
export const date: NumberCodec<Date> = numberCodec({
  descriptor: 'date',
  fixedBytes: 8,
  load: (view, at) => dateAt(int64.load(view, at)),
  store: (view, at, value) => int64.store(view, at, timeOf(value)),
  loadKey: (view, at) => dateAt(loadInt64Key(view, at)),
  storeKey: (view, at, value) => storeInt64Key(view, at, timeOf(value)),
})

/**
 * One of a few strings, in two bytes: its place in the list, which is also its place in the order of keys. Strings may be
 * appended to the list in a later version; to move or remove one is another encoding.
 *
 * @example enumeration('queued', 'running', 'done')
 */
export function enumeration<const Names extends readonly [string, ...string[]]>(
  ...names: Names
): NumberCodec<Names[number]> {
  if (names.length === 0 || names.some((name) => typeof name !== 'string'))
    throw invalidArgument('names', 'must be one or more texts')
  const places = new Map<string, number>(names.map((name, place) => [name, place]))
  if (places.size !== names.length) throw invalidArgument('names', 'must differ from each other')
  if (names.length > 0xffff) throw invalidArgument('names', 'must be 65535 at most')
  const placeOf = (value: string): number => {
    const place = places.get(value)
    return place ?? refuse(value, `one of ${names.join(', ')}`)
  }
  const nameAt = (place: number): Names[number] => {
    const name = names[place]
    if (name === undefined) throw new CodecError(`the place ${place} of an enumeration of ${names.length}`)
    return name
  }
  return numberCodec<Names[number]>({
    descriptor: { enum: [...names] },
    fixedBytes: 2,
    load: (view, at) => nameAt(view.getUint16(at, true)),
    store: (view, at, value) => view.setUint16(at, placeOf(value), true),
    loadKey: (view, at) => nameAt(view.getUint16(at)),
    storeKey: (view, at, value) => view.setUint16(at, placeOf(value)),
  })
}
