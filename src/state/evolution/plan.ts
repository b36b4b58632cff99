// What opening or migrating a store would do, told before it is done.

import type { StateBackend } from '../../backend/state-backend.js'
import { statePrefix } from '../key/stored-key.js'
import { planSchema, type SchemaConflict, type StateChange } from '../schema/compare-schema.js'
import type { StateSchema } from '../schema/define-state.js'
import type { RecordedSchema } from '../schema/recorded-schema.js'

/** What opening or migrating would do to one state. */
export interface PlannedChange extends StateChange {
  /** How many entries there are to migrate, or to drop. */
  readonly entries: number
  /** Indices that lack entries. */
  readonly indexesToBuild: readonly string[]
  /** Whether what is stored was written with another time to live. */
  readonly isTtlChanged: boolean
}

/** What opening or migrating a store would do; nothing was changed to find out. */
export interface StorePlan {
  /** Whether the store can be opened by this program. */
  readonly isCompatible: boolean
  /** Whether it must be opened with `migrate`. */
  readonly migratesAtOpening: boolean
  readonly conflicts: readonly SchemaConflict[]
  readonly states: readonly PlannedChange[]
}

export async function planOf(
  backend: StateBackend,
  schema: StateSchema,
  recorded: RecordedSchema | undefined,
): Promise<StorePlan> {
  const { conflicts, changes, next } = planSchema(schema, recorded)
  const states: PlannedChange[] = []
  for (const change of changes) {
    const state = next.states.find(({ name }) => name === change.name)
    const dropped = recorded?.states.find(({ name }) => change.action === 'drop' && name === change.name)
    const forms = [...(dropped === undefined ? [] : [dropped]), ...((dropped ?? state)?.former ?? [])]
    let entries = 0
    for (const { id } of forms) entries += await countOf(backend, next.keyGroups, id)
    const indexesToBuild = (state?.indexes ?? []).filter(({ built }) => !built).map(({ name }) => name)
    states.push({ ...change, entries, indexesToBuild, isTtlChanged: state?.ttlChanged === true })
  }
  const isCompatible = conflicts.length === 0
  const migratesAtOpening = changes.some(({ action, atOpening }) => action === 'migrate' && atOpening)
  return { isCompatible, migratesAtOpening, conflicts, states }
}

async function countOf(backend: StateBackend, keyGroups: number, id: number): Promise<number> {
  let count = 0
  for (let group = 0; group < keyGroups; group++) {
    for await (const _ of backend.scan({ prefix: statePrefix(group, id) })) count++
  }
  return count
}
