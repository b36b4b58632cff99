// What a store says of itself, in an entry of its own: enough to tell, before anything changes, whether a program fits.
//
//   record := canonical JSON { format, keyGroups, key, nextId, states: [{ id, name, kind, codec, mapKey?, ttl?, maxLength? }], dropping }

import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { isPlainObject } from '../../base/shapes.js'
import { OWN_PREFIX } from '../key/stored-key.js'
import type { StateDefinition, StateKind } from '../kinds/definitions.js'

/** The version of the stored keys' layout and of this record. */
export const STORE_FORMAT = 1
/** Ids end below it: what is behind is left to the store itself. */
const MAX_STATE_ID = 0xff00

/** A state as it was recorded. */
export interface RecordedState {
  readonly id: number
  readonly name: string
  readonly kind: StateKind
  readonly codec: JsonValue
  readonly mapKey?: JsonValue
  readonly ttl?: { readonly afterMs: number; readonly refresh: 'write' | 'readWrite' }
  readonly maxLength?: number
}

export interface RecordedSchema {
  readonly format: number
  readonly keyGroups: number
  readonly key: JsonValue
  /** Ids below it were given away: one is never used twice, so that what a dropped state has left is nobody's. */
  readonly nextId: number
  readonly states: readonly RecordedState[]
  /** Ids of states that were dropped and whose entries are being removed. */
  readonly dropping: readonly number[]
}

/** The key of the record. */
export const SCHEMA_KEY: Uint8Array = new Uint8Array([...OWN_PREFIX, ...Buffer.from('schema')])

/** A state of a program, as it would be recorded. */
export function describeState(id: number, name: string, definition: StateDefinition): RecordedState {
  const { kind, codec, mapKey, ttl, maxLength } = definition
  return {
    id,
    name,
    kind,
    codec: codec.descriptor,
    ...(mapKey === undefined ? {} : { mapKey: mapKey.descriptor }),
    ...(ttl === undefined ? {} : { ttl: { afterMs: ttl.afterMs, refresh: ttl.refresh ?? 'write' } }),
    ...(maxLength === Infinity ? {} : { maxLength }),
  }
}

export function encodeSchema(schema: RecordedSchema): Uint8Array {
  if (schema.nextId > MAX_STATE_ID) {
    throw new StateError('INCOMPATIBLE', {
      what: 'the store',
      found: `${schema.nextId - 1} states that it has had`,
      supported: `${MAX_STATE_ID - 1} at most`,
    })
  }
  return new Uint8Array(Buffer.from(JSON.stringify(schema)))
}

/** Reads a record strictly: `INCOMPATIBLE` for a newer format, `CORRUPTION` for what is no record. */
export function decodeSchema(bytes: Uint8Array): RecordedSchema {
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (error) {
    throw damaged('it is not JSON', error)
  }
  if (!isRecord(parsed)) throw damaged('it is no object')
  const { format, keyGroups, key, nextId, states, dropping } = parsed
  if (typeof format === 'number' && format > STORE_FORMAT) {
    throw new StateError('INCOMPATIBLE', {
      what: 'the store',
      found: `format ${format}, of a newer version of holdfast`,
      supported: `format ${STORE_FORMAT}`,
    })
  }
  if (format !== STORE_FORMAT) throw damaged('it has no format')
  if (!isCount(keyGroups) || !isCount(nextId)) throw damaged('a number of it is none')
  if (key === undefined || !Array.isArray(states) || !isIds(dropping))
    throw damaged('a part of it is missing')
  return {
    format,
    keyGroups,
    key: key as JsonValue,
    nextId,
    states: states.map((state) => decodeState(state, nextId)),
    dropping,
  }
}

const kinds: readonly string[] = ['value', 'list', 'map', 'reducing', 'aggregating'] satisfies StateKind[]

function decodeState(state: unknown, nextId: number): RecordedState {
  if (!isRecord(state)) throw damaged('one of its states is no object')
  const { id, name, kind, codec } = state
  const isComplete = isCount(id) && id < nextId && typeof name === 'string' && codec !== undefined
  if (!isComplete || typeof kind !== 'string' || !kinds.includes(kind)) {
    throw damaged('one of its states is not complete')
  }
  return state as unknown as RecordedState
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0

const isIds = (value: unknown): value is number[] => Array.isArray(value) && value.every(isCount)

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && isPlainObject(value)

function damaged(reason: string, cause?: unknown): StateError {
  return new StateError(
    'CORRUPTION',
    { what: 'the recorded schema of a store', reason, key: SCHEMA_KEY },
    { cause },
  )
}
