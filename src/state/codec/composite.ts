// Codecs made of codecs.

import type { JsonValue } from '../../base/json.js'
import { invalidArgument, requireSettings } from '../../base/options.js'
import type { ByteReader, ByteWriter } from './bytes.js'
import {
  type AnyCodec,
  type AnyKeyCodec,
  type Codec,
  type InputOf,
  isKeyCodec,
  type KeyCodec,
  readPart,
  type StateTypeError,
  type ValueOf,
  writePart,
} from './codec.js'
import { CodecError, describeValue, within } from './codec-error.js'

type ValuesOf<Parts extends readonly AnyCodec[]> = { -readonly [I in keyof Parts]: ValueOf<Parts[I]> }
type InputsOf<Parts extends readonly AnyCodec[]> = { readonly [I in keyof Parts]: InputOf<Parts[I]> }

/** A tuple of keys is a key; one with another part is only a value. */
type TupleCodec<Parts extends readonly AnyCodec[]> = Parts extends readonly AnyKeyCodec[]
  ? KeyCodec<ValuesOf<Parts>, InputsOf<Parts>>
  : Codec<ValuesOf<Parts>, InputsOf<Parts>>

/**
 * Several values in order, as an array. Where all parts can be keys, so can the tuple: it sorts by its first part, then by
 * its second.
 *
 * @example tuple(utf8, uint32) // [string, number]
 */
export function tuple<const Parts extends readonly [AnyCodec, ...AnyCodec[]]>(
  ...parts: Parts
): TupleCodec<Parts> {
  const codecs = parts as readonly Codec<unknown, unknown>[]
  for (const [i, part] of parts.entries()) requireSettings(part, [], `parts[${i}]`)
  let fixedBytes: number | undefined = 0
  for (const part of parts) {
    fixedBytes =
      fixedBytes === undefined || part.fixedBytes === undefined ? undefined : fixedBytes + part.fixedBytes
  }
  const check = (value: unknown): void => {
    if (!Array.isArray(value)) {
      throw new CodecError(`${describeValue(value)} is not an array of ${parts.length} values`)
    }
    if (value.length !== parts.length) {
      throw new CodecError(`an array of ${value.length} values, not of ${parts.length}`)
    }
  }
  const codec: Codec<unknown[], readonly unknown[]> = {
    descriptor: { tuple: parts.map((part) => part.descriptor) },
    fixedBytes,
    isOpenEnded: false,
    write: (value, to) => {
      check(value)
      for (let i = 0; i < codecs.length; i++) {
        try {
          writePart(codecs[i] as Codec<unknown, unknown>, value[i], to)
        } catch (error) {
          throw within(`[${i}]`, error)
        }
      }
    },
    read: (from) => codecs.map((part) => readPart(part as Codec<unknown, never>, from)),
  }
  if (!parts.every(isKeyCodec)) return Object.freeze(codec) as TupleCodec<Parts>
  const keys = codecs as readonly KeyCodec<unknown, unknown>[]
  const keyCodec: KeyCodec<unknown[], readonly unknown[]> = {
    ...codec,
    writeKey: (value, to) => {
      check(value)
      for (let i = 0; i < keys.length; i++) {
        try {
          ;(keys[i] as KeyCodec<unknown, unknown>).writeKey(value[i], to)
        } catch (error) {
          throw within(`[${i}]`, error)
        }
      }
    },
    readKey: (from) => keys.map((part) => part.readKey(from)),
  }
  return Object.freeze(keyCodec) as unknown as TupleCodec<Parts>
}

/** An optional key is a key: `undefined` sorts before every value. */
type OptionalCodec<C extends AnyCodec> = C extends { readonly takesAbsence: true }
  ? StateTypeError<'optional(…) of optional(…): undefined would stand for two values'>
  : C extends AnyKeyCodec
    ? KeyCodec<ValueOf<C> | undefined, InputOf<C> | undefined> & { readonly takesAbsence: true }
    : Codec<ValueOf<C> | undefined, InputOf<C> | undefined> & { readonly takesAbsence: true }

/** A value or `undefined`: one byte says which. Without it, `undefined` and `null` are refused everywhere (K3). */
export function optional<C extends AnyCodec>(codec: C): OptionalCodec<C> {
  requireSettings(codec, [], 'codec')
  if (codec.takesAbsence === true) throw invalidArgument('codec', 'takes undefined already')
  const inner = codec as unknown as Codec<unknown, unknown>
  const isThere = (value: unknown, to: ByteWriter): boolean => {
    to.uint8(value === undefined ? 0 : 1)
    return value !== undefined
  }
  const follows = (from: ByteReader): boolean => {
    const flag = from.uint8()
    if (flag > 1) throw new CodecError(`the byte ${flag} does not say whether a value follows`)
    return flag === 1
  }
  const made: Codec<unknown, unknown> = {
    descriptor: { optional: codec.descriptor },
    fixedBytes: undefined,
    isOpenEnded: codec.isOpenEnded,
    takesAbsence: true,
    write: (value, to) => {
      if (isThere(value, to)) inner.write(value, to)
    },
    read: (from) => (follows(from) ? inner.read(from) : undefined),
  }
  if (!isKeyCodec(codec)) return Object.freeze(made) as unknown as OptionalCodec<C>
  const innerKey = codec as unknown as KeyCodec<unknown, unknown>
  const keyCodec: KeyCodec<unknown, unknown> = {
    ...made,
    writeKey: (value, to) => {
      if (isThere(value, to)) innerKey.writeKey(value, to)
    },
    readKey: (from) => (follows(from) ? innerKey.readKey(from) : undefined),
  }
  return Object.freeze(keyCodec) as unknown as OptionalCodec<C>
}

/** No value: nothing is stored but the key. It makes a set of a map: `map(utf8, none)`. */
export const none: Codec<undefined> & { readonly takesAbsence: true } = Object.freeze({
  descriptor: 'none' as JsonValue,
  fixedBytes: 0,
  isOpenEnded: false,
  takesAbsence: true as const,
  write: (value: undefined) => {
    if (value !== undefined) throw new CodecError(`${describeValue(value)} where no value is kept`)
  },
  read: () => undefined,
})
