// Opening a store: what is recorded is compared with the program, and only if everything fits is anything written.

import type { StateBackend } from '../../backend/state-backend.js'
import { StateError } from '../../base/errors.js'
import { statePrefix } from '../key/stored-key.js'
import { planSchema, type SchemaConflict } from './compare-schema.js'
import type { StateSchema } from './define-state.js'
import { decodeSchema, encodeSchema, type RecordedSchema, SCHEMA_KEY } from './recorded-schema.js'

const NEVER = { ttlMs: Infinity }

/** Checks a program against a backend and records it there. `INCOMPATIBLE` with every conflict, and nothing changed. */
export async function openSchema(backend: StateBackend, schema: StateSchema): Promise<RecordedSchema> {
  const bytes = await backend.get(SCHEMA_KEY)
  if (bytes === undefined && (await backend.count()) > 0) {
    throw new StateError('INCOMPATIBLE', {
      what: `the ${backend.name} backend`,
      found: 'entries that no typed store has written',
      supported: 'an empty backend, or one with the record of a typed store',
    })
  }
  const { conflicts, next, isChanged } = planSchema(
    schema,
    bytes === undefined ? undefined : decodeSchema(bytes),
  )
  if (conflicts.length > 0) throw incompatible(conflicts)
  if (isChanged) await backend.put(SCHEMA_KEY, encodeSchema(next), NEVER)
  if (next.dropping.length === 0) return next
  // What a crash interrupts here goes on at the next opening: the record says so until it is done.
  for (const id of next.dropping) {
    for (let group = 0; group < next.keyGroups; group++)
      await backend.deleteRange({ prefix: statePrefix(group, id) })
  }
  const done = { ...next, dropping: [] }
  await backend.put(SCHEMA_KEY, encodeSchema(done), NEVER)
  return done
}

function incompatible(conflicts: readonly SchemaConflict[]): StateError {
  const of = (part: keyof SchemaConflict) => conflicts.map((conflict) => conflict[part]).join('; ')
  const advice = conflicts.map(({ what, program, remedy }) => `${what}: ${program} (${remedy})`).join('; ')
  return new StateError('INCOMPATIBLE', { what: of('what'), found: of('recorded'), supported: advice })
}
