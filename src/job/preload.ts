import { statePrefix } from '../state/key/stored-key.js'
import type { StateSchema } from '../state/schema/define-state.js'
import { openStateOf } from '../state/store.js'
import type { FetchedBackend } from './fetched-backend.js'
import { schemaOf } from './job-timers.js'
import type { WindowDefinitions } from './job-windows.js'
import { type AnyStage, prefixOf } from './stage-definition.js'

/** So many key groups of a state are fetched at once. */
const GROUPS_AT_ONCE = 16
const NO_STATES = { states: {} } as unknown as StateSchema

/** What the options of a job say of its stages: those with timers and windows have states that are read as a whole. */
export interface PreloadedStages {
  readonly onTimer?: unknown
  readonly windows?: WindowDefinitions | undefined
  readonly stages?: readonly object[]
}

/** Fetches what is read as a whole from an asynchronous engine, if it is one, group by group: timers, and when a job begins, windows. */
export async function preload(
  what: 'timers' | 'all',
  job: PreloadedStages,
  store: object,
  fetched: FetchedBackend | undefined,
): Promise<void> {
  if (fetched === undefined) return
  const namesOf = ({ onTimer, windows }: PreloadedStages) =>
    Object.keys(schemaOf(NO_STATES, onTimer !== undefined, what === 'all' ? windows : undefined).states)
  const names = namesOf(job)
  for (const stage of (job.stages ?? []) as readonly AnyStage[])
    names.push(...namesOf(stage as PreloadedStages).map((name) => prefixOf(stage.name) + name))
  for (const name of names) {
    const { id, keyGroups } = openStateOf(store, name).context
    for (let from = 0; from < keyGroups; from += GROUPS_AT_ONCE) {
      const groups = Array.from({ length: Math.min(GROUPS_AT_ONCE, keyGroups - from) }, (_, i) => from + i)
      await Promise.all(
        groups.map((group) =>
          fetched.preload({ from: statePrefix(group, id), until: statePrefix(group, id + 1) }),
        ),
      )
    }
  }
}
