// How values become bytes. docs/format/state.md specifies what every codec writes.
//
// (1) The bytes that `write` makes are read back by `read` as an equal value, by every version that has the same descriptor.
// (2) Two codecs with equal descriptors write equal bytes: the encoded form decides compatibility, not the type in the program.
// (3) `writeKey` keeps the order of values as the order of bytes, and no key is a prefix of another one.

import type { JsonValue } from '../../base/json.js'
import type { Slot } from '../../base/slot.js'
import type { ByteReader, ByteWriter } from './bytes.js'

/**
 * Turns values into bytes and back. `Value` is what is read; `Input` is what can be written, where that is more or other
 * (a validator with defaults). A codec has no state of its own and can be shared.
 */
export interface Codec<Value, Input = Value> {
  /** The encoded form as a small JSON value. It is recorded in the store; equal descriptors mean equal bytes. */
  readonly descriptor: JsonValue
  /** How many bytes every value takes; `undefined` where that depends on the value. */
  readonly fixedBytes: number | undefined
  /** Whether a value ends where its bytes end. Inside a larger value its length is then written in front of it. */
  readonly isOpenEnded: boolean
  /** Whether `undefined` or `null` is among the values (K3). */
  readonly takesAbsence?: boolean
  /**
   * What would be read of a value once it was written, where that can be told without writing it. A migration uses it.
   */
  through?(value: Input): Value
  /** A codec that reads what an earlier version has written, where the bytes say themselves what they are (JSON). */
  readonly former?: Codec<unknown>
  /** Appends the bytes of a value. Throws for what is not one; the state and the key are added to the error. */
  write(value: Input, to: ByteWriter): void
  /** Reads one value and moves on behind it. Throws for bytes that are none. */
  read(from: ByteReader): Value
}

/** A codec whose values can be keys: it has a second form whose byte order is the order of the values. */
export interface KeyCodec<Value, Input = Value> extends Codec<Value, Input> {
  writeKey(value: Input, to: ByteWriter): void
  readKey(from: ByteReader): Value
}

/** A codec whose values all take the same number of bytes, so that one can be read and changed where it lies. */
export interface FixedCodec<Value, Input = Value> extends Codec<Value, Input> {
  readonly fixedBytes: number
  /** Reads the value at a place. Throws for bytes that are none. */
  load(view: DataView, at: number): Value
  /** Writes the value at a place. Throws for what is not one. */
  store(view: DataView, at: number, value: Input): void
  /**
   * The value at a place of whatever a slot shows, as a property. A codec has its own where numbers would otherwise pass through
   * calls: a double that does is an object each time. `path` is for its errors.
   */
  property?(slot: Slot, at: number, path: string): Property<Value, Input>
}

/** How a property is read and written. */
export interface Property<Value, Input = Value> {
  readonly get: () => Value
  readonly set: (value: Input) => void
}

/** The type that a codec reads. */
export type ValueOf<C> = C extends { read(from: ByteReader): infer Value } ? Value : never
/** The type that a codec writes. */
export type InputOf<C> = C extends { write(value: infer Input, to: ByteWriter): void } ? Input : never

/** Any codec, whatever its values are. */
export type AnyCodec = Codec<unknown, never>
/** A codec of any type that keeps the order of its values, so that it can be a key. */
export type AnyKeyCodec = KeyCodec<unknown, never>
/** A codec of any type whose values all have the same length, so that they can be fields of a struct. */
export type AnyFixedCodec = FixedCodec<unknown, never>

declare const stateTypeError: unique symbol
/** What a type error of this library says: the message stands where the compiler shows the type it wanted. */
export interface StateTypeError<Message extends string> {
  readonly [stateTypeError]: Message
}

export function isKeyCodec(codec: AnyCodec): codec is AnyKeyCodec {
  return 'writeKey' in codec && typeof codec.writeKey === 'function'
}

export function isFixedCodec(codec: AnyCodec): codec is AnyFixedCodec {
  return codec.fixedBytes !== undefined && 'load' in codec && typeof codec.load === 'function'
}

/** Writes a value that is a part of a larger one: it can be told where it ends. */
export function writePart<Input>(codec: Codec<unknown, Input>, value: Input, to: ByteWriter): void {
  if (!codec.isOpenEnded) {
    codec.write(value, to)
    return
  }
  const at = to.reserve(4)
  codec.write(value, to)
  to.view.setUint32(at, to.length - at - 4, true)
}

/** Reads a value that {@link writePart} wrote. */
export function readPart<Value>(codec: Codec<Value, never>, from: ByteReader): Value {
  if (!codec.isOpenEnded) return codec.read(from)
  const { end } = from
  const length = from.uint32()
  const start = from.take(length)
  const partEnd = from.position
  from.position = start
  from.end = partEnd
  const value = codec.read(from)
  from.assertEnd()
  from.end = end
  return value
}
