// Whether a stretch of one store may be put into another one: its entries lie under the numbers of its states, and the record that says which
// those are is not in the stretch. Two stores of one program may have given them other numbers, where one of them has had other states before.

import { isDeepStrictEqual } from 'node:util'
import type { KeyStretch } from '../../backend/scan-range.js'
import { SCHEMA_KEY, type SchemaObject, schemaIn } from '../../backend/schema-entry.js'
import type { StateBackend } from '../../backend/state-backend.js'
import { compareBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import type { JsonValue } from '../../base/json.js'

/** A form in which entries of a state are stored: the present one, or one of which some may be left (docs/format/state.md). */
interface Form {
  readonly name: JsonValue
  readonly record: SchemaObject
}

/** `INCOMPATIBLE` where the backend would read what is in the stretch as something else, or not at all. */
export async function requireSameStates(
  backend: StateBackend,
  stretch: KeyStretch,
  checkpointId: string,
  found: SchemaObject | undefined,
): Promise<void> {
  if (found === undefined || isIn(stretch, SCHEMA_KEY)) return
  const own = schemaIn(await backend.get(SCHEMA_KEY))
  if (own === undefined) return
  const difference = differenceOf(found, own)
  if (difference === undefined) return
  throw new StateError('INCOMPATIBLE', {
    what: `a range of checkpoint ${checkpointId}`,
    found: difference,
    supported:
      'ranges of stores that have numbered the same states alike; restore the whole checkpoint into an empty backend, and open that with the program',
  })
}

const isIn = ({ from, until }: KeyStretch, key: Uint8Array): boolean =>
  compareBytes(from, key) <= 0 && (until === undefined || compareBytes(key, until) < 0)

/** What of a store another one would not read as it was written. */
function differenceOf(found: SchemaObject, own: SchemaObject): string | undefined {
  for (const field of ['format', 'keyGroups', 'key', 'keyVersion']) {
    if (!isDeepStrictEqual(found[field], own[field])) return `a store with another '${field}'`
  }
  const known = formsOf(own)
  for (const [id, { name, record }] of formsOf(found)) {
    const here = known.get(id)
    const which = `state ${JSON.stringify(name)} under the number ${JSON.stringify(id)}`
    if (here === undefined) return `${which}, which is none here`
    if (here.name !== name) return `${which}, which is state ${JSON.stringify(here.name)} here`
    const isSame = ['kind', 'key', 'mapKey', 'version'].every((field) =>
      isDeepStrictEqual(record[field], here.record[field]),
    )
    if (!isSame || !isRead(record['codec'], here.record['codec']))
      return `${which}, which has another form here`
  }
  return undefined
}

function formsOf({ states }: SchemaObject): Map<JsonValue, Form> {
  const forms = new Map<JsonValue, Form>()
  for (const record of recordsIn(states)) {
    const { name = null } = record
    for (const each of [record, ...recordsIn(record['former'])])
      forms.set(each['id'] ?? null, { name, record: each })
  }
  return forms
}

function recordsIn(value: JsonValue | undefined): readonly SchemaObject[] {
  return Array.isArray(value) ? (value as readonly SchemaObject[]) : []
}

/** Equal descriptors, or what has been appended to since: fields of a struct, names of an enumeration. */
function isRead(before: JsonValue | undefined, now: JsonValue | undefined): boolean {
  if (isDeepStrictEqual(before, now)) return true
  return ['struct', 'enum'].some((tag) => {
    const parts = membersOf(before, tag)
    return parts !== undefined && isDeepStrictEqual(parts, membersOf(now, tag)?.slice(0, parts.length))
  })
}

function membersOf(descriptor: JsonValue | undefined, tag: string): readonly JsonValue[] | undefined {
  if (typeof descriptor !== 'object' || descriptor === null || Array.isArray(descriptor)) return undefined
  const members = (descriptor as SchemaObject)[tag]
  return Array.isArray(members) ? (members as readonly JsonValue[]) : undefined
}
