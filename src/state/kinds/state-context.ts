import { describeKey } from '../../base/bytes.js'
import { reasonOf, StateError } from '../../base/errors.js'
import { isBytes } from '../../base/shapes.js'
import type { Stretch } from '../../base/slot.js'
import type { ByteReader } from '../codec/bytes.js'
import type { KeyCodec } from '../codec/codec.js'
import { type CodecDirection, isCodecError } from '../codec/codec-error.js'
import { hexOf } from '../codec/json-form.js'
import type { Host } from '../entries/host.js'
import type { StateEntries } from '../entries/state-entries.js'
import {
  type EncodedKey,
  encodeKey,
  isEncodedKey,
  type KeyLike,
  plainKey,
  readerBehindPrefix,
  StoredKey,
} from '../key/stored-key.js'

/** What one state knows of the store that it is in. */
export class StateContext<Key> {
  readonly name: string
  readonly id: number
  readonly host: Host
  readonly keyCodec: KeyCodec<Key>
  readonly keyGroups: number
  /** The stored key of the operation at hand. */
  readonly storedKey: StoredKey<Key>
  /** How many keys were assembled: where it has moved on, the stored key is another operation's. */
  assembled = 0

  constructor(name: string, id: number, host: Host, keyCodec: KeyCodec<Key>, keyGroups: number) {
    this.name = name
    this.id = id
    this.host = host
    this.keyCodec = keyCodec
    this.keyGroups = keyGroups
    this.storedKey = new StoredKey(keyCodec, keyGroups)
  }

  /** Assembles the stored key of `key`. */
  locate(key: KeyLike<Key>): StoredKey<Key> {
    this.assembled++
    try {
      this.storedKey.set(this.id, key)
    } catch (error) {
      throw this.keyFailure(error, key)
    }
    return this.storedKey
  }

  /** The same of a key whose bytes are there already. */
  locateBytes(group: number, key: Stretch): StoredKey<Key> {
    this.assembled++
    this.storedKey.setBytes(this.id, group, key)
    return this.storedKey
  }

  /** The same with a map key behind it. */
  locateIn<MapKey>(key: KeyLike<Key>, codec: KeyCodec<MapKey>, mapKey: MapKey): StoredKey<Key> {
    this.locate(key)
    try {
      this.storedKey.append(codec, mapKey)
    } catch (error) {
      throw this.failureOf('write', error, key, mapKey)
    }
    return this.storedKey
  }

  /** A key that an operation keeps beyond the call: what the caller does with its own afterwards is of no effect. */
  kept(key: KeyLike<Key>): EncodedKey<Key> {
    if (isEncodedKey(key)) return key
    try {
      return encodeKey(this.keyCodec, key, this.keyGroups)
    } catch (error) {
      throw this.failureOf('write', error, key)
    }
  }

  /** Removes everything that a list or a map has under a key. */
  clear(key: KeyLike<Key>, entries: StateEntries): unknown {
    const { later } = this.host
    if (later === undefined) return this.#clear(key, entries)
    const kept = this.kept(key)
    return later.write(() => this.#clear(kept, entries))
  }

  #clear(key: KeyLike<Key>, entries: StateEntries): void {
    const stored = this.locate(key)
    entries.removeRange(stored.copy(), stored.end())
  }

  /** A key of a stored key: all that is left of it, or its head. */
  readKey<Read>(reader: ByteReader, codec: Pick<KeyCodec<Read>, 'readKey'>, extent: 'head' | 'whole'): Read {
    try {
      const key = codec.readKey(reader)
      if (extent === 'whole') reader.assertEnd()
      return key
    } catch (error) {
      throw new StateError(
        'DESERIALIZATION_FAILED',
        { what: `a key of state '${this.name}'`, reason: reasonOf(error) },
        { cause: error },
      )
    }
  }

  /**
   * A failure of a codec as the error that names state, key and field. What else was thrown, by a function of the user or by
   * the engine, is passed on as it is.
   */
  failure(direction: CodecDirection, error: unknown, key: unknown, mapKey?: unknown): unknown {
    if (!isCodecError(error)) return error
    return this.failureOf(error.direction ?? direction, error, key, mapKey)
  }

  /** The failure to write a key. One that is encoded has been told of by whoever has encoded it, unless it is too long here. */
  keyFailure(error: unknown, key: unknown): unknown {
    return isEncodedKey(key) ? this.failure('write', error, key) : this.failureOf('write', error, key)
  }

  /** The same of the entry under a stored key, of which the error names what can be read. */
  failureAt(
    direction: CodecDirection,
    error: unknown,
    storedKey: Uint8Array,
    mapKeyCodec: KeyCodec<unknown> | undefined,
  ): StateError {
    let key: unknown = describeKey(storedKey)
    let mapKey: unknown
    try {
      const reader = readerBehindPrefix(storedKey)
      key = this.keyCodec.readKey(reader)
      mapKey = mapKeyCodec?.readKey(reader)
    } catch {
      // What is damaged more than its value is told by its bytes.
    }
    return this.failureOf(direction, error, key, mapKey)
  }

  /** The same where everything that can be thrown is the codec's. */
  failureOf(direction: CodecDirection, error: unknown, key: unknown, mapKey?: unknown): StateError {
    const shown = mapKey === undefined ? '' : `, map key ${shownKey(mapKey)}`
    const path = isCodecError(error) ? error.path : ''
    const details = {
      what: `state '${this.name}', key ${shownKey(plainKey(key))}${shown}`,
      reason: `${path === '' ? '' : `${path}: `}${reasonOf(error)}`,
    }
    const cause = isCodecError(error) ? error.cause : error
    return new StateError(
      direction === 'write' ? 'SERIALIZATION_FAILED' : 'DESERIALIZATION_FAILED',
      details,
      cause === undefined ? undefined : { cause },
    )
  }
}

const SHOWN_LENGTH = 120

/** A key as JSON would have it, its bytes as hexadecimal digits; cut where it is long. */
export function shownKey(key: unknown): string {
  let text: string
  try {
    text = JSON.stringify(key, shownPart) ?? String(key)
  } catch {
    text = typeof key
  }
  return text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text
}

function shownPart(this: { readonly [name: string]: unknown }, name: string, part: unknown): unknown {
  // A `Buffer` has a form of its own for JSON, and `part` is that.
  const given = this[name]
  if (isBytes(given)) return hexOf(given)
  return typeof part === 'bigint' ? `${part}n` : part
}
