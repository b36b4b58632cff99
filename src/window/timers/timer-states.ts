// Timers are state: the keys of a map, for each key of the store and each of the two kinds of time.
//
//   onTimer.event, onTimer.processing := map(tuple(int64, utf8), none)      timestamp, name
//
// (1) So they are in snapshots, checkpoints, ranges of key groups and migrations of keys as all state is (R7).
// (2) A timer that is set costs one write, and so does one that fires or is deleted.

import { invalidArgument, requireSettings } from '../../base/options.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import type { KeyCodec } from '../../state/codec/codec.js'
import { none, tuple } from '../../state/codec/composite.js'
import { int64 } from '../../state/codec/numbers.js'
import { map, type StateDefinition } from '../../state/kinds/definitions.js'
import type { StateDefinitions, StateSchema } from '../../state/schema/define-state.js'

/** Whose time a timer waits for: the watermark, or the clock of the machine. */
export type TimerTime = 'event' | 'processing'

/** What a timer is called within its key. */
export type TimerId = [timestampMs: number, name: string]

/** What of a timer is behind its key. */
export const timerId: KeyCodec<TimerId> = tuple(int64, utf8) as unknown as KeyCodec<TimerId>

/** The states that timers are kept in. */
export const timerStates: { readonly [Time in TimerTime]: string } = {
  event: 'onTimer.event',
  processing: 'onTimer.processing',
}

const definition: StateDefinition = map(tuple(int64, utf8), none)

/**
 * The schema of a job that has timers: its states, and two more that the timers are kept in. Whoever opens the store of such a job
 * without the job does so with this. `INVALID_ARGUMENT` where the schema has states of these names already.
 *
 * @example const store = await StateStore.open(await LmdbStateBackend.open({ path, readOnly: true }), withTimers(schema))
 */
export function withTimers<Schema extends StateSchema>(schema: Schema): Schema {
  requireSettings(schema, ['states'], 'schema')
  const states: { [name: string]: StateDefinition } = { ...(schema.states as StateDefinitions) }
  for (const name of Object.values(timerStates)) {
    if (states[name] !== undefined && states[name] !== definition) {
      throw invalidArgument(`schema.states['${name}']`, 'is a name that timers are kept under')
    }
    states[name] = definition
  }
  return Object.freeze({ ...schema, states: Object.freeze(states) })
}
