// The columns of a table of entries: one for each part of the key and each field of the value where a state is chosen that has them.

import type { JsonValue } from '../index.js'
import type { RecordedSchema } from '../state.js'
import type { ShownEntry } from '../view/shown-entry.js'

export type ColumnType = 'text' | 'integer' | 'number' | 'boolean' | 'time' | 'json'

export interface Column {
  readonly name: string
  readonly type: ColumnType
  readonly valueOf: (entry: ShownEntry) => JsonValue | undefined
}

/** Without a state, or without a schema, keys and values are one column each. */
export function columnsOf(schema: RecordedSchema | undefined, state: string | undefined): Column[] {
  const expiresAt: Column = { name: 'expiresAt', type: 'time', valueOf: (entry) => entry.expiresAt }
  // What cannot be decoded has a column to itself: digits are no value of the others.
  const undecoded: Column = { name: 'undecoded', type: 'json', valueOf: undecodedPart }
  const recorded = schema?.states.find(({ name }) => name === state)
  if (schema === undefined || recorded === undefined) {
    const whose: Column[] =
      schema === undefined ? [] : [{ name: 'state', type: 'text', valueOf: (entry) => entry.state }]
    const mapKeys = schema === undefined ? [] : partColumns('mapKey', null, (entry) => entry.mapKey)
    return [
      ...whose,
      ...partColumns('key', null, decodedKey),
      ...mapKeys,
      ...partColumns('value', null, decodedValue),
      expiresAt,
      ...(schema === undefined ? [] : [undecoded]),
    ]
  }
  const place: Column[] =
    recorded.kind === 'list' ? [{ name: 'place', type: 'integer', valueOf: (entry) => entry.place }] : []
  return [
    ...partColumns('key', recorded.key ?? schema.key, decodedKey),
    ...(recorded.mapKey === undefined ? [] : partColumns('mapKey', recorded.mapKey, (entry) => entry.mapKey)),
    ...place,
    ...partColumns('value', recorded.codec, decodedValue),
    expiresAt,
    undecoded,
  ]
}

const decodedKey = ({ key, problem }: ShownEntry) => (problem === undefined ? key : undefined)
const decodedValue = ({ value, problem }: ShownEntry) => (problem === undefined ? value : undefined)
const undecodedPart = ({ key, value, problem }: ShownEntry): JsonValue | undefined =>
  problem === undefined ? undefined : { key, value, problem }

const TYPES: { readonly [descriptor: string]: ColumnType } = {
  utf8: 'text',
  bytes: 'text',
  bigint: 'text',
  bool: 'boolean',
  uint32: 'integer',
  int32: 'integer',
  int64: 'integer',
  float64: 'number',
  date: 'time',
}

function partColumns(
  name: string,
  descriptor: JsonValue,
  part: (entry: ShownEntry) => JsonValue | undefined,
): Column[] {
  if (typeof descriptor === 'string') return [{ name, type: TYPES[descriptor] ?? 'json', valueOf: part }]
  if (typeof descriptor === 'object' && descriptor !== null && !Array.isArray(descriptor)) {
    const { tuple, struct } = descriptor as { readonly [name: string]: JsonValue }
    if (Array.isArray(tuple)) {
      return tuple.flatMap((each, i) => partColumns(`${name}_${i}`, each, (entry) => itemOf(part(entry), i)))
    }
    if (Array.isArray(struct)) {
      return (struct as [string, JsonValue][]).flatMap(([field, each]) =>
        partColumns(`${name}_${field}`, each, (entry) => itemOf(part(entry), field)),
      )
    }
  }
  return [{ name, type: 'json', valueOf: part }]
}

const itemOf = (value: JsonValue | undefined, name: string | number): JsonValue | undefined =>
  typeof value === 'object' && value !== null
    ? (value as { readonly [name: string | number]: JsonValue })[name]
    : undefined
