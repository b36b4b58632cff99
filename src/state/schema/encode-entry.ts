// Stored entries from values as JSON, for tools that write them without their program.

import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { invalidArgument } from '../../base/options.js'
import { ByteWriter } from '../codec/bytes.js'
import type { Codec, KeyCodec } from '../codec/codec.js'
import { CodecError, isCodecError } from '../codec/codec-error.js'
import { codecOf, keyCodecOf } from '../codec/codec-of.js'
import { fromJson } from '../codec/json-form.js'
import { int64 } from '../codec/numbers.js'
import { encodeKey, statePrefix } from '../key/stored-key.js'
import { isStamped, type RecordedSchema, type RecordedState } from './recorded-schema.js'

/** An entry as JSON: `key`, `mapKey` and `value` in the form that `toJson` gives them. */
export interface JsonEntry {
  readonly state: string
  readonly key: JsonValue
  /** Of a map. */
  readonly mapKey?: JsonValue
}

/**
 * Turns values as JSON into stored entries, by what is recorded. Lists have no single entries, and an indexed state would no longer
 * fit its indices: both are left to programs. `INVALID_ARGUMENT` for an unknown
 * state, `SERIALIZATION_FAILED` for what is no value of its codec.
 */
export class EntryEncoder {
  readonly #schema: RecordedSchema

  constructor(schema: RecordedSchema) {
    this.#schema = schema
  }

  /** The stored key of an entry. */
  keyOf({ state, key, mapKey }: JsonEntry): Uint8Array {
    const recorded = this.#state(state)
    const descriptor = recorded.key ?? this.#schema.key
    return encoded(`the key of '${state}'`, () => {
      const value = fromJson(descriptor, key)
      const { group, bytes } = encodeKey(anyKeyCodec(descriptor), value, this.#schema.keyGroups)
      const writer = new ByteWriter()
      writer.append(statePrefix(group, recorded.id))
      writer.append(bytes)
      if (recorded.mapKey !== undefined) {
        if (mapKey === undefined) throw new CodecError('a map has a mapKey as well')
        anyKeyCodec(recorded.mapKey).writeKey(fromJson(recorded.mapKey, mapKey), writer)
      } else if (mapKey !== undefined) {
        throw new CodecError('only a map has a mapKey')
      }
      return writer.copy()
    })
  }

  /** The stored value; `expiresAtMs` is asked for where the state expires by event time. */
  valueOf(state: string, value: JsonValue, expiresAtMs?: number): Uint8Array {
    this.checkSingle(state)
    const recorded = this.#state(state)
    return encoded(`the value of '${state}'`, () => {
      const writer = new ByteWriter()
      if (isStamped(recorded)) {
        if (expiresAtMs === undefined) throw new CodecError('expires by event time, so expiresAt is needed')
        int64.write(expiresAtMs, writer)
      }
      const codec = codecOf(recorded.codec) as unknown as Codec<unknown>
      codec.write(fromJson(recorded.codec, value), writer)
      return writer.copy()
    })
  }

  /** Throws `INVALID_ARGUMENT` for a state whose entries belong together: one that is written or removed by itself would leave the others wrong. */
  checkSingle(state: string): void {
    const { kind, indexes = [] } = this.#state(state)
    if (kind === 'list') throw invalidArgument('state', `'${state}' is a list, which only a program changes`)
    if (indexes.length > 0) {
      throw invalidArgument('state', `'${state}' has indices, which only a program keeps in step`)
    }
  }

  /** Whether a state expires by event time: its values say when, and the entry itself never expires. */
  expiresByEventTime(state: string): boolean {
    return isStamped(this.#state(state))
  }

  #state(name: string): RecordedState {
    const state = this.#schema.states.find((each) => each.name === name)
    if (state !== undefined) return state
    const names = this.#schema.states.map((each) => each.name).join(', ')
    throw invalidArgument('state', `'${name}' is not among the states: ${names}`)
  }
}

const anyKeyCodec = (descriptor: JsonValue): KeyCodec<unknown> =>
  keyCodecOf(descriptor) as unknown as KeyCodec<unknown>

function encoded<Result>(what: string, encode: () => Result): Result {
  try {
    return encode()
  } catch (error) {
    if (!isCodecError(error)) throw error
    const reason = error.path === '' ? error.message : `${error.path}: ${error.message}`
    throw new StateError('SERIALIZATION_FAILED', { what, reason }, { cause: error })
  }
}
