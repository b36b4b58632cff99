// Whether a program fits what is recorded: decided from the two schemas alone, before anything changes.

import type { JsonValue } from '../../base/json.js'
import type { StateSchema } from './define-state.js'
import type { RecordedSchema, RecordedState } from './recorded-schema.js'
import { describeState, STORE_FORMAT } from './recorded-schema.js'

/** Why a program does not fit. */
export interface SchemaConflict {
  /** The state, or the store. */
  readonly what: string
  readonly recorded: string
  readonly program: string
  /** What to write so that it fits. */
  readonly remedy: string
}

export interface SchemaPlan {
  readonly conflicts: readonly SchemaConflict[]
  /** What the store says of itself once it is opened by the program. */
  readonly next: RecordedSchema
  /** Whether the record changes. */
  readonly isChanged: boolean
}

/** What opening a store with a program means; `recorded` is `undefined` for one that is empty. */
export function planSchema(schema: StateSchema, recorded: RecordedSchema | undefined): SchemaPlan {
  const conflicts: SchemaConflict[] = []
  const byName = new Map((recorded?.states ?? []).map((state) => [state.name, state]))
  if (recorded !== undefined) conflicts.push(...storeConflicts(schema, recorded))
  let nextId = recorded?.nextId ?? 1
  const states: RecordedState[] = []
  for (const [name, definition] of Object.entries(schema.states)) {
    const before = byName.get(name)
    const state = describeState(before?.id ?? nextId++, name, definition)
    if (before !== undefined) conflicts.push(...stateConflicts(before, state))
    states.push(state)
    byName.delete(name)
  }
  const dropped = [...byName.values()].filter(({ name }) => schema.drop.includes(name)).map(({ id }) => id)
  for (const { name } of byName.values()) {
    if (schema.drop.includes(name)) continue
    conflicts.push({
      what: `state '${name}'`,
      recorded: 'it is in the store',
      program: 'it is not in the schema',
      remedy: `put it back, or remove its entries with drop: ['${name}']; an older program cannot open the store`,
    })
  }
  const next = {
    format: STORE_FORMAT,
    keyGroups: schema.keyGroups,
    key: schema.key.descriptor,
    nextId,
    states,
    dropping: [...(recorded?.dropping ?? []), ...dropped],
  }
  const isChanged = recorded === undefined || canonical(asJson(recorded)) !== canonical(asJson(next))
  return { conflicts, next, isChanged }
}

function storeConflicts(schema: StateSchema, recorded: RecordedSchema): SchemaConflict[] {
  const conflicts: SchemaConflict[] = []
  if (!isCompatible(recorded.key, schema.key.descriptor, 'part')) {
    conflicts.push({
      what: 'the key',
      recorded: shown(recorded.key),
      program: shown(schema.key.descriptor),
      remedy: `write key: ${shown(recorded.key)} again`,
    })
  }
  if (schema.keyGroups !== recorded.keyGroups) {
    conflicts.push({
      what: 'the number of key groups',
      recorded: String(recorded.keyGroups),
      program: String(schema.keyGroups),
      remedy: `write keyGroups: ${recorded.keyGroups}; it is fixed for the life of a store`,
    })
  }
  return conflicts
}

function stateConflicts(before: RecordedState, after: RecordedState): SchemaConflict[] {
  const what = `state '${after.name}'`
  if (before.kind !== after.kind) {
    const remedy = `write ${before.kind}(…) again, or give the new state another name`
    return [{ what, recorded: `kind ${before.kind}`, program: `kind ${after.kind}`, remedy }]
  }
  const conflicts: SchemaConflict[] = []
  const keyBefore = before.mapKey ?? null
  const keyAfter = after.mapKey ?? null
  if (!isCompatible(keyBefore, keyAfter, 'part')) {
    const remedy = `write the map key ${shown(keyBefore)} again, or give the new state another name`
    conflicts.push({
      what,
      recorded: `map key ${shown(keyBefore)}`,
      program: `map key ${shown(keyAfter)}`,
      remedy,
    })
  }
  if (!isCompatible(before.codec, after.codec, 'whole')) {
    const remedy = isGrown(after.codec, before.codec)
      ? 'the store was written by a newer program: use that one, or add the missing fields or names at the end'
      : `write ${shown(before.codec)} again (fields of a struct and names of an enumeration may be appended), or give the new state another name`
    conflicts.push({ what, recorded: shown(before.codec), program: shown(after.codec), remedy })
  }
  return conflicts
}

/**
 * Whether what was written with one descriptor can be read with another: equal ones, an enumeration with names appended, and,
 * where it is the whole value, a struct with fields appended.
 */
function isCompatible(before: JsonValue, after: JsonValue, extent: 'whole' | 'part'): boolean {
  if (canonical(before) === canonical(after)) return true
  const names = membersOf(before, after, 'enum')
  if (names !== undefined) return isHead(names[0], names[1], (left, right) => left === right)
  const fields = membersOf(before, after, 'struct')
  if (fields !== undefined) {
    const grows = fields[1].length > fields[0].length
    if (grows && extent === 'part') return false
    return isHead(fields[0], fields[1], isSameField)
  }
  const parts = membersOf(before, after, 'tuple')
  if (parts !== undefined) {
    const sameLength = parts[0].length === parts[1].length
    return sameLength && isHead(parts[0], parts[1], (left, right) => isCompatible(left, right, 'part'))
  }
  if (isTagged(before, 'optional') && isTagged(after, 'optional')) {
    return isCompatible(before['optional'] ?? null, after['optional'] ?? null, 'part')
  }
  return false
}

const isSameField = (before: JsonValue, after: JsonValue): boolean => {
  if (!Array.isArray(before) || !Array.isArray(after)) return false
  const [nameBefore = null, codecBefore = null] = before as readonly JsonValue[]
  const [nameAfter = null, codecAfter = null] = after as readonly JsonValue[]
  return nameBefore === nameAfter && isCompatible(codecBefore, codecAfter, 'part')
}

/** Whether the store has what the program lacks: it was written by a newer one. */
const isGrown = (program: JsonValue, stored: JsonValue): boolean => isCompatible(program, stored, 'whole')

type Tagged = { readonly [tag: string]: JsonValue }

function isTagged(descriptor: JsonValue, tag: string): descriptor is Tagged {
  return (
    typeof descriptor === 'object' && descriptor !== null && !Array.isArray(descriptor) && tag in descriptor
  )
}

function membersOf(
  before: JsonValue,
  after: JsonValue,
  tag: string,
): readonly [readonly JsonValue[], readonly JsonValue[]] | undefined {
  if (!isTagged(before, tag) || !isTagged(after, tag)) return undefined
  const left = before[tag]
  const right = after[tag]
  return Array.isArray(left) && Array.isArray(right) ? [left, right] : undefined
}

function isHead(
  head: readonly JsonValue[],
  whole: readonly JsonValue[],
  isSame: (left: JsonValue, right: JsonValue) => boolean,
): boolean {
  return head.length <= whole.length && head.every((left, i) => isSame(left, whole[i] as JsonValue))
}

const asJson = (schema: RecordedSchema): JsonValue => JSON.parse(JSON.stringify(schema)) as JsonValue

/** JSON with the properties in order: equal texts mean equal values. */
function canonical(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const properties = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1))
  return `{${properties.map(([name, item]) => `${JSON.stringify(name)}:${canonical(item as JsonValue)}`).join(',')}}`
}

/** A descriptor as it would be written in a program. */
function shown(descriptor: JsonValue): string {
  if (typeof descriptor !== 'object' || descriptor === null) return String(descriptor)
  if (isTagged(descriptor, 'optional')) return `optional(${shown(descriptor['optional'] ?? null)})`
  if (isTagged(descriptor, 'tuple')) return `tuple(${list(descriptor['tuple']).map(shown).join(', ')})`
  if (isTagged(descriptor, 'enum'))
    return `enumeration(${list(descriptor['enum'])
      .map((name) => `'${String(name)}'`)
      .join(', ')})`
  if (isTagged(descriptor, 'struct')) {
    const fields = list(descriptor['struct']).map((field) => {
      const [name = null, codec = null] = list(field)
      return `${String(name)}: ${shown(codec)}`
    })
    return `struct({ ${fields.join(', ')} })`
  }
  return JSON.stringify(descriptor)
}

const list = (value: JsonValue | undefined): readonly JsonValue[] => (Array.isArray(value) ? value : [])
