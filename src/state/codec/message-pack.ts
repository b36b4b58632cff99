// MessagePack by @msgpack/msgpack (docs/decisions/0025-message-pack.md).

import {
  Decoder,
  decodeTimestampExtension,
  Encoder,
  EXT_TIMESTAMP,
  ExtensionCodec,
  encodeDateToTimeSpec,
  encodeTimeSpecToTimestamp,
} from '@msgpack/msgpack'
import { isBytes, isDate } from '../../base/shapes.js'
import type { ByteReader, ByteWriter } from './bytes.js'
import type { Codec, StateTypeError } from './codec.js'
import { CodecError, describeValue } from './codec-error.js'

/** What of a type MessagePack does not give back. */
type PackLoss<T> = unknown extends T
  ? never
  : T extends string | number | boolean | bigint | null | undefined | Date | Uint8Array
    ? never
    : T extends symbol | ((...args: never) => unknown)
      ? 'a function or a symbol'
      : T extends ReadonlyMap<unknown, unknown> | ReadonlySet<unknown> | ArrayBufferView
        ? 'a Map, a Set or bytes other than a Uint8Array'
        : T extends readonly (infer Item)[]
          ? PackLoss<Item>
          : { [Name in keyof T]-?: PackLoss<T[Name]> }[keyof T]

type CheckedPack<Value> = [PackLoss<Value>] extends [never]
  ? Codec<Value>
  : StateTypeError<`messagePack(…) does not give ${PackLoss<Value>} back`>

const MAX_DEPTH = 100

// The library's own extension knows a date by `instanceof`: one of another realm would be an object without properties.
const extensionCodec = new ExtensionCodec()
extensionCodec.register({
  type: EXT_TIMESTAMP,
  encode: (value) => (isDate(value) ? encodeTimeSpecToTimestamp(encodeDateToTimeSpec(value)) : null),
  decode: decodeTimestampExtension,
})

// `sortKeys`: equal objects become equal bytes, in whatever order their properties were set.
const encoder = new Encoder({
  extensionCodec,
  useBigInt64: true,
  ignoreUndefined: true,
  sortKeys: true,
  maxDepth: MAX_DEPTH,
})
const decoder = new Decoder({ extensionCodec, useBigInt64: true })

/**
 * MessagePack: strings, numbers, booleans, `null`, arrays and plain objects of them as JSON has, and beside them `Uint8Array`,
 * `Date` (a timestamp with milliseconds) and `bigint` (within 64 bits, unsigned ones too). A number comes back as a number, a
 * bigint as a bigint. A property that is `undefined` is left out; whatever would come back as something else is refused.
 */
export function messagePack<Value>(): CheckedPack<Value> {
  const codec: Codec<unknown> = {
    descriptor: 'msgpack',
    fixedBytes: undefined,
    isOpenEnded: true,
    write: (value: unknown, to: ByteWriter) => {
      if (value === null) throw new CodecError('null is not a value')
      assertPackable(value, '', 1)
      to.append(encoder.encodeSharedRef(value))
    },
    read: (from: ByteReader) => {
      const packed = from.copy(from.rest())
      try {
        return decoder.decode(packed)
      } catch (error) {
        throw new CodecError('bytes that are not MessagePack', '', { cause: error })
      }
    },
  }
  return Object.freeze(codec) as CheckedPack<Value>
}

function assertPackable(value: unknown, path: string, depth: number): void {
  switch (typeof value) {
    case 'string':
      assertWellFormed(value, path)
      return
    case 'number':
    case 'boolean':
      return
    case 'bigint':
      if (value < -(2n ** 63n) || value >= 2n ** 64n) {
        throw new CodecError(`${describeValue(value)} is not within 64 bits`, path)
      }
      return
    case 'object':
      if (value !== null) assertPackableObject(value, path, depth)
      return
    default:
      throw new CodecError(`${describeValue(value)} is not a value of MessagePack`, path)
  }
}

function assertPackableObject(value: object, path: string, depth: number): void {
  if (depth > MAX_DEPTH) throw new CodecError(`a value nested deeper than ${MAX_DEPTH}`, path)
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) assertPackable(value[i], `${path}[${i}]`, depth + 1)
    return
  }
  if (isBytes(value)) return
  if (isDate(value)) {
    if (Number.isNaN(value.getTime())) throw new CodecError('an invalid Date', path)
    return
  }
  const kind = Object.prototype.toString.call(value)
  if (kind !== '[object Object]') {
    throw new CodecError(`${kind.slice(8, -1)} is not a value of MessagePack`, path)
  }
  for (const [name, item] of Object.entries(value)) {
    if (item === undefined) continue
    // Who reads it would refuse all of the value.
    if (name === '__proto__') throw new CodecError('a property named __proto__', path)
    assertWellFormed(name, path)
    assertPackable(item, `${path}.${name}`, depth + 1)
  }
}

function assertWellFormed(text: string, path: string): void {
  if (!text.isWellFormed()) {
    throw new CodecError('a string with a lone surrogate, which UTF-8 cannot express', path)
  }
}
