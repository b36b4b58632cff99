// Opening a store: what is recorded is compared with the program, and only if everything fits is anything written.

import { SCHEMA_KEY } from '../../backend/schema-entry.js'
import type { StateBackend } from '../../backend/state-backend.js'
import { NEVER_EXPIRES } from '../../backend/validate.js'
import { StateError } from '../../base/errors.js'
import { statePrefix } from '../key/stored-key.js'
import type { StateDefinition } from '../kinds/definitions.js'
import { indexRange } from '../query/entry-index.js'
import {
  isRecordedForReading,
  migratesAnything,
  planSchema,
  type SchemaConflict,
  type StateChange,
} from './compare-schema.js'
import type { StateDefinitions, StateSchema } from './define-state.js'
import { decodeSchema, encodeSchema, type RecordedSchema } from './recorded-schema.js'

/** What the store in a backend says of itself; `undefined` for an empty one. */
export async function readSchema(backend: StateBackend): Promise<RecordedSchema | undefined> {
  const bytes = await backend.get(SCHEMA_KEY)
  if (bytes !== undefined) return decodeSchema(bytes)
  if ((await backend.count()) === 0) return undefined
  throw new StateError('INCOMPATIBLE', {
    what: `the ${backend.name} backend`,
    found: 'entries that no typed store has written',
    supported: 'an empty backend, or one with the record of a typed store',
  })
}

/**
 * Checks a program against a backend and records it there. `INCOMPATIBLE` with every conflict, and nothing changed; also where
 * something is to be migrated that only the opening can, and `mayMigrate` is false. In a backend that was opened for reading only
 * nothing is written, so what would have to be is `INCOMPATIBLE`.
 */
export async function openSchema(
  backend: StateBackend,
  schema: StateSchema,
  mayMigrate: boolean,
): Promise<RecordedSchema> {
  const recorded = await readSchema(backend)
  if (backend.isReadOnly === true) return schemaForReading(schema, recorded)
  const { conflicts, changes, next, isChanged } = planSchema(schema, recorded)
  if (conflicts.length > 0) throw incompatible(conflicts)
  const atOpening = changes.filter((change) => change.atOpening && change.action === 'migrate')
  if (atOpening.length > 0 && !mayMigrate) throw needsMigration(atOpening)
  if (isChanged) await recordSchema(backend, next)
  const { droppingIndexes = [], ...rest } = next
  if (next.dropping.length === 0 && droppingIndexes.length === 0) return next
  // What a crash interrupts here goes on at the next opening: the record says so until it is done.
  for (const id of next.dropping) {
    for (let group = 0; group < next.keyGroups; group++)
      await backend.deleteRange({ prefix: statePrefix(group, id) })
  }
  for (const id of droppingIndexes) await backend.deleteRange(indexRange(id))
  const done = { ...rest, dropping: [] }
  await recordSchema(backend, done)
  return done
}

/** What a program that only reads goes by; `INCOMPATIBLE` where something would have to be recorded or migrated first. */
export function schemaForReading(schema: StateSchema, recorded: RecordedSchema | undefined): RecordedSchema {
  const { conflicts, changes, next } = planSchema(schema, recorded)
  if (conflicts.length > 0) throw incompatible(conflicts)
  if (recorded === undefined || !isRecordedForReading(recorded, next)) throw notRecorded(recorded, changes)
  const unfinished = next.states.filter((state) =>
    migratesAnything((schema.states as StateDefinitions)[state.name] as StateDefinition, state),
  )
  if (unfinished.length > 0) throw needsWriter(unfinished.map(({ name }) => name))
  // What a writer has not removed yet is under ids that no state has.
  return next
}

/** Whether what a reader looks for still lies where it looks: a migration that was finished changes nothing about that. */
export function readsAlike(before: RecordedSchema, after: RecordedSchema): boolean {
  return (
    before.keyGroups === after.keyGroups &&
    before.states.every(({ name, id, former = [], indexes = [] }) => {
      const next = after.states.find((state) => state.name === name)
      const formerIds = new Set(former.map((generation) => generation.id))
      const indexIds = new Set((next?.indexes ?? []).map((index) => index.id))
      return (
        next?.id === id &&
        (next.former ?? []).every((generation) => formerIds.has(generation.id)) &&
        indexes.every((index) => indexIds.has(index.id))
      )
    })
  )
}

/** The writer goes on with another schema than that which a reader was opened with. */
export function recordedElsewhere(): StateError {
  return new StateError('INCOMPATIBLE', {
    what: 'a store that is open for reading only',
    found: 'another schema, which its writer has recorded since',
    supported: 'the one that it was opened with: open it again, by a program that has the new one',
  })
}

export async function recordSchema(backend: StateBackend, schema: RecordedSchema): Promise<void> {
  await backend.put(SCHEMA_KEY, encodeSchema(schema), NEVER_EXPIRES)
}

/** Ids of states are given out by who writes: a reader that chose some by itself could take another state's entries for its own. */
function notRecorded(recorded: RecordedSchema | undefined, changes: readonly StateChange[]): StateError {
  const differing = changes.filter(({ action }) => action !== 'keep').map(({ name }) => `state '${name}'`)
  return new StateError('INCOMPATIBLE', {
    what: 'a program that only reads',
    found: recorded === undefined ? 'a backend in which no typed store was opened' : 'another schema',
    supported: `the schema that is recorded: open the store for writing with this one first${
      differing.length === 0 ? '' : ` (${differing.join(', ')})`
    }`,
  })
}

/** The writer was interrupted while it migrated what reads cannot. */
function needsWriter(names: readonly string[]): StateError {
  return new StateError('INCOMPATIBLE', {
    what: names.map((name) => `state '${name}'`).join('; '),
    found: 'entries of an earlier version that only opening for writing can migrate',
    supported: 'a store whose writer has finished it: open it for writing with { migrate: true } first',
  })
}

function needsMigration(changes: readonly StateChange[]): StateError {
  const what = changes.map(({ name }) => `state '${name}'`).join('; ')
  return new StateError('INCOMPATIBLE', {
    what,
    found: changes.map(({ fromVersion = 1 }) => `version ${fromVersion}`).join('; '),
    supported:
      'with a migration that reads cannot do: open(backend, schema, { migrate: true }) does it before it resolves',
  })
}

export function incompatible(conflicts: readonly SchemaConflict[]): StateError {
  const of = (part: keyof SchemaConflict) => conflicts.map((conflict) => conflict[part]).join('; ')
  const advice = conflicts.map(({ what, program, remedy }) => `${what}: ${program} (${remedy})`).join('; ')
  return new StateError('INCOMPATIBLE', { what: of('what'), found: of('recorded'), supported: advice })
}
