// What a store says of itself, in an entry of its own: enough to tell, before anything changes, whether a program fits.
//
//   record     := JSON { format, keyGroups, key, keyVersion?, nextId, states: [state], dropping, droppingIndexes? }
//   state      := { id, name, kind, codec, key?, mapKey?, version?, ttl?, ttlChanged?, maxLength?, indexes?: [index], former?: [generation] }
//   generation := { id, version, kind, codec, mapKey?, ttl?, key? }
//   index      := { id, name, codec, version, built }

import { SCHEMA_FORMAT, SCHEMA_KEY } from '../../backend/schema-entry.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'
import { isPlainObject } from '../../base/shapes.js'
import type { StateKind } from '../kinds/definition-types.js'
import type { StateDefinition, TimeToLive } from '../kinds/definitions.js'

/** The version of the stored keys' layout and of this record. */
export const STORE_FORMAT: number = SCHEMA_FORMAT
/** Ids end below it: what is behind is left to the store itself. */
const MAX_STATE_ID = 0xff00

export interface RecordedTtl {
  readonly afterMs: number
  readonly refresh: 'write' | 'readWrite'
  /** Default: processing time. */
  readonly time?: 'event'
}

/** What entries under one id are: everything that it takes to read them. */
export interface RecordedForm {
  readonly id: number
  readonly kind: StateKind
  readonly codec: JsonValue
  readonly mapKey?: JsonValue
  readonly ttl?: RecordedTtl
  /** Default 1. */
  readonly version?: number
}

/** A form that a state had, of which entries may be left under its id. */
export interface RecordedGeneration extends RecordedForm {
  /** The codec of the key, where it or its version was another one. */
  readonly key?: JsonValue
}

export interface RecordedIndex {
  readonly id: number
  readonly name: string
  readonly codec: JsonValue
  readonly version: number
  /** Whether every entry is in it. */
  readonly built: boolean
}

/** A state as it was recorded. */
export interface RecordedState extends RecordedForm {
  readonly name: string
  /** The codec of its key, where that is not the one of the store: of a later stage of a job. */
  readonly key?: JsonValue
  readonly maxLength?: number
  /** What is stored was written with another time to live, or without one. */
  readonly ttlChanged?: true
  readonly indexes?: readonly RecordedIndex[]
  /** The newest first. */
  readonly former?: readonly RecordedGeneration[]
}

/** The schema as a store and every manifest record it (docs/format/state.md). */
export interface RecordedSchema {
  readonly format: number
  readonly keyGroups: number
  readonly key: JsonValue
  /** Default 1. */
  readonly keyVersion?: number
  /** Ids below it were given away: one is never used twice, so that what a dropped state has left is nobody's. */
  readonly nextId: number
  readonly states: readonly RecordedState[]
  /** Ids of states that were dropped and whose entries are being removed. */
  readonly dropping: readonly number[]
  /** Ids of indices whose entries are being removed. */
  readonly droppingIndexes?: readonly number[]
}

/** A state of a program, as it would be recorded. */
export function describeState(id: number, name: string, definition: StateDefinition): RecordedState {
  const { kind, codec, mapKey, ttl, maxLength, version, key } = definition
  return {
    id,
    name,
    kind,
    ...(key === undefined ? {} : { key: key.descriptor }),
    codec: codec.descriptor,
    ...(mapKey === undefined ? {} : { mapKey: mapKey.descriptor }),
    ...(version === 1 ? {} : { version }),
    ...(ttl === undefined ? {} : { ttl: describeTtl(ttl) }),
    ...(maxLength === Infinity ? {} : { maxLength }),
  }
}

function describeTtl({ afterMs, refresh = 'write', time }: TimeToLive): RecordedTtl {
  return { afterMs, refresh, ...(time === 'event' ? { time } : {}) }
}

/** Whether values have the time at which they expire in front: it is a part of their form. */
export const isStamped = ({ ttl }: Pick<RecordedForm, 'ttl'>): boolean => ttl?.time === 'event'

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
  const { format, keyGroups, key, keyVersion, nextId, states, dropping, droppingIndexes } = parsed
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
  if (keyVersion !== undefined && !isCount(keyVersion)) throw damaged('the version of its key is none')
  if (droppingIndexes !== undefined && !isIds(droppingIndexes)) throw damaged('a number of it is none')
  return {
    format,
    keyGroups,
    key: key as JsonValue,
    ...(keyVersion === undefined ? {} : { keyVersion }),
    nextId,
    states: states.map((state) => decodeState(state, nextId)),
    dropping,
    ...(droppingIndexes === undefined ? {} : { droppingIndexes }),
  }
}

const kinds: readonly string[] = ['value', 'list', 'map', 'reducing', 'aggregating'] satisfies StateKind[]

function decodeState(state: unknown, nextId: number): RecordedState {
  const { name, former = [], indexes = [], maxLength } = checkedForm(state, nextId)
  const isLength = maxLength === undefined || isCount(maxLength)
  if (typeof name !== 'string' || !isLength || !Array.isArray(former) || !Array.isArray(indexes)) {
    throw damaged('one of its states is not complete')
  }
  for (const generation of former as unknown[]) checkedForm(generation, nextId)
  for (const index of indexes as unknown[]) {
    const isIndex =
      isRecord(index) &&
      isCount(index['id']) &&
      index['id'] < nextId &&
      typeof index['name'] === 'string' &&
      index['codec'] !== undefined &&
      isCount(index['version']) &&
      typeof index['built'] === 'boolean'
    if (!isIndex) throw damaged('one of its indices is not complete')
  }
  return state as unknown as RecordedState
}

function checkedForm(form: unknown, nextId: number): Record<string, unknown> {
  if (!isRecord(form)) throw damaged('one of its states is no object')
  const { id, kind, codec, version, ttl } = form
  const isComplete =
    isCount(id) && id < nextId && codec !== undefined && (version === undefined || isCount(version))
  if (!isComplete || typeof kind !== 'string' || !kinds.includes(kind)) {
    throw damaged('one of its states is not complete')
  }
  if (ttl !== undefined && !(isRecord(ttl) && typeof ttl['afterMs'] === 'number')) {
    throw damaged('a time to live of it is none')
  }
  return form
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
