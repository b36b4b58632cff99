// Where a value lies in the backend:
//
//   stored key := group u16 · state u16 · key · map key or place in a list
//   the store's own entries := 0xffff · name
//
// Numbers are big-endian.
// (1) The order of stored keys is that of group, state, key, map key: one scan reads one state of one key, and a range of key
//     groups is a range of bytes.
// (2) No key's bytes are the beginning of another key's: what is under one key is exactly what starts with it.
// (3) Groups end below 0x8000, so that the store's own entries are in none.

import { present } from '../../base/assert.js'
import { prefixEnd } from '../../base/bytes.js'
import { MAX_KEY_BYTES } from '../../base/limits.js'
import { brandClass } from '../../base/shapes.js'
import type { Stretch } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { KeyCodec } from '../codec/codec.js'
import { CodecError } from '../codec/codec-error.js'
import { keyGroupOf } from './key-group.js'

/** Bytes in front of the key in a stored key. */
export const PREFIX_BYTES = 4
/** The first bytes of the store's own entries. */
export const OWN_PREFIX: Uint8Array = Uint8Array.of(0xff, 0xff)

/** Throws where a key would be too long to be stored, with what is added to it: that is a fault of the key, and not of whoever writes it. */
export function checkStoredLength(length: number): void {
  if (length <= MAX_KEY_BYTES) return
  throw new CodecError(`a key of ${length} bytes with what is added to it; the limit is ${MAX_KEY_BYTES}`)
}

/** Of the encoded keys of every copy of this package. */
export const ENCODED_KEY: unique symbol = Symbol.for('holdfast.EncodedKey.1')

/** In the place of a place: an engine was not told of this key. */
export const NOT_TOLD = -1

/** Keys that an engine was told of before they are asked for, each encoded as the stored keys of some states. */
export interface ToldKeys {
  /** Points a stretch at the `i`th key as it is stored in a state; returns its place among all that were told, `NOT_TOLD` where it is not there. */
  point(stretch: MutableStretch, i: number, state: number): number
  /** Writes the `i`th key's own bytes, without the prefix; returns its group. */
  write(i: number, to: ByteWriter): number
}

/** A stretch that shows one key after the other. */
export interface MutableStretch {
  bytes: Uint8Array
  offset: number
  length: number
}

/** A key in its encoded form, made by `store.key(…)`: where one key is used often, it is encoded only once. */
export class EncodedKey<Key> {
  static {
    brandClass(EncodedKey, ENCODED_KEY)
  }

  readonly key: Key
  readonly group: number
  /** The key's own bytes, without the prefix. */
  readonly bytes: Uint8Array
  /** Of a key at hand that was told in advance: where it is, and as the how manieth. */
  declare readonly told?: ToldKeys | undefined
  declare readonly toldAt?: number

  constructor(key: Key, group: number, bytes: Uint8Array) {
    this.key = key
    this.group = group
    this.bytes = bytes
  }
}

/** A key as it is, or encoded before. */
export type KeyLike<Key> = Key | EncodedKey<Key>

/** Whether a key was encoded before, by this copy of the package or another. */
export function isEncodedKey<Key>(key: KeyLike<Key>): key is EncodedKey<Key> {
  return typeof key === 'object' && key !== null && (key as { [ENCODED_KEY]?: unknown })[ENCODED_KEY] === true
}

/** The key itself, for messages and functions. */
export function plainKey<Key>(key: KeyLike<Key>): Key {
  return isEncodedKey(key) ? key.key : key
}

const NO_BYTES: Uint8Array = new Uint8Array(0)

/** Assembles stored keys, one after the other, in memory that is used again and again. */
export class StoredKey<Key> {
  /** The stored key that was assembled last. No `Slot`: that may show an engine's own memory, so that engines copy it first. */
  readonly #stretch: MutableStretch = { bytes: NO_BYTES, offset: 0, length: 0 }
  readonly #writer = new ByteWriter()
  readonly #codec: KeyCodec<Key>
  readonly #keyGroups: number
  /** The place at which an engine was told of it, whose bytes it then still is; `NOT_TOLD` otherwise. */
  told: number = NOT_TOLD

  constructor(codec: KeyCodec<Key>, keyGroups: number) {
    this.#codec = codec
    this.#keyGroups = keyGroups
  }

  /** `group · state · key`. */
  set(state: number, key: KeyLike<Key>): void {
    const writer = this.#writer
    let group: number
    if (isEncodedKey(key)) {
      if (key.told !== undefined) {
        this.told = key.told.point(this.#stretch, key.toldAt as number, state)
        if (this.told !== NOT_TOLD) return
      }
      writer.length = PREFIX_BYTES
      appendShort(writer, key.bytes)
      group = key.group
    } else {
      writer.length = PREFIX_BYTES
      this.#codec.writeKey(key, writer)
      group = keyGroupOf(writer.view, PREFIX_BYTES, writer.length, this.#keyGroups)
    }
    writer.view.setUint16(0, group)
    writer.view.setUint16(2, state)
    this.#done()
  }

  /** The same of a key whose bytes are there already. */
  setBytes(state: number, group: number, { bytes, offset, length }: Stretch): void {
    const writer = this.#writer
    writer.length = PREFIX_BYTES
    const start = writer.reserve(length)
    for (let i = 0; i < length; i++) writer.bytes[start + i] = bytes[offset + i] as number
    writer.view.setUint16(0, group)
    writer.view.setUint16(2, state)
    this.#done()
  }

  /** Takes over what was told, so that it can be changed. */
  #own(): void {
    if (this.told === NOT_TOLD) return
    const { bytes, offset, length } = this.#stretch
    const writer = this.#writer
    writer.length = 0
    const at = writer.reserve(length)
    for (let i = 0; i < length; i++) writer.bytes[at + i] = bytes[offset + i] as number
    this.#done()
  }

  /** The same key in another state. */
  setState(state: number): void {
    this.#own()
    this.#writer.view.setUint16(2, state)
  }

  /** Appends a map key. */
  append<MapKey>(codec: KeyCodec<MapKey>, mapKey: MapKey): void {
    this.#own()
    codec.writeKey(mapKey, this.#writer)
    this.#done()
  }

  /** Appends a place in a list, or replaces the one that was appended before at `length`. */
  appendPlace(length: number, place: number): void {
    this.#own()
    const writer = this.#writer
    writer.length = length
    const at = writer.reserve(8)
    writer.view.setUint32(at, Math.floor(place / 2 ** 32))
    writer.view.setUint32(at + 4, place >>> 0)
    this.#done()
  }

  /** Goes back to the first `length` bytes. */
  cut(length: number): void {
    this.#own()
    this.#writer.length = length
    this.#done()
  }

  /** The group of what was assembled last. */
  get group(): number {
    this.#own()
    return this.#writer.view.getUint16(0)
  }

  /** What was assembled last, as a view that the next key overwrites. */
  view(): Uint8Array {
    this.#own()
    return this.#writer.bytes.subarray(0, this.#writer.length)
  }

  /** The same as a copy. */
  copy(): Uint8Array {
    this.#own()
    return this.#writer.copy()
  }

  /** The stored key that was assembled last, as a stretch: what engines take without a copy. */
  get stretch(): Stretch {
    return this.#stretch
  }

  /** The first key behind all those that start with what was assembled last. */
  end(): Uint8Array {
    return present(prefixEnd(this.copy()), 'groups end below 0x8000')
  }

  #done(): void {
    const { bytes, length } = this.#writer
    checkStoredLength(length)
    this.told = NOT_TOLD
    this.#stretch.bytes = bytes
    this.#stretch.offset = 0
    this.#stretch.length = length
  }
}

/** A stored key that is there already. */
export class GivenKey {
  readonly told: number = NOT_TOLD
  readonly stretch: Stretch
  readonly #bytes: Uint8Array

  /** The bytes stay the caller's only in name: `setState` changes them. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.stretch = { bytes, offset: 0, length: bytes.length }
  }

  view(): Uint8Array {
    return this.#bytes
  }

  copy(): Uint8Array {
    return new Uint8Array(this.#bytes)
  }

  setState(id: number): void {
    this.#bytes[2] = id >>> 8
    this.#bytes[3] = id & 0xff
  }
}

/** Keys are short: a loop beats the built-in copy, which needs a view where it is not the whole array. */
function appendShort(writer: ByteWriter, bytes: Uint8Array): void {
  const start = writer.reserve(bytes.length)
  for (let i = 0; i < bytes.length; i++) writer.bytes[start + i] = bytes[i] as number
}

const encoding = new ByteWriter()

/** The encoded form of a key, to be used again. */
export function encodeKey<Key>(codec: KeyCodec<Key>, key: Key, keyGroups: number): EncodedKey<Key> {
  const writer = encoding
  writer.length = 0
  codec.writeKey(key, writer)
  return new EncodedKey(key, keyGroupOf(writer.view, 0, writer.length, keyGroups), writer.copy())
}

/** A reader behind the prefix of a stored key. */
export function readerBehindPrefix(storedKey: Uint8Array): ByteReader {
  return new ByteReader().fromBytes(storedKey, Math.min(PREFIX_BYTES, storedKey.length))
}

/** `group · state`: what every key of one state in one group starts with. */
export function statePrefix(group: number, state: number): Uint8Array {
  return Uint8Array.of(group >>> 8, group & 0xff, state >>> 8, state & 0xff)
}

/** The stored keys of groups `from` up to, and without, `until`. */
export function groupRange(
  from: number,
  until: number,
): { readonly gte: Uint8Array; readonly lt: Uint8Array } {
  return { gte: Uint8Array.of(from >>> 8, from & 0xff), lt: Uint8Array.of(until >>> 8, until & 0xff) }
}
