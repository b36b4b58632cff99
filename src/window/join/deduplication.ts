// Each thing once, by its id.

import {
  hasMethods,
  nonEmptyText,
  oneOf,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import type { AnyKeyCodec, InputOf, KeyCodec } from '../../state/codec/codec.js'
import { none } from '../../state/codec/composite.js'
import { map, type StateDefinition } from '../../state/kinds/definitions.js'
import { mapOfKey } from './map-of-key.js'

/** Ids that were seen, for each key. */
export interface Deduplication<Id, Name extends string> {
  /** The state that it needs, for the schema. */
  readonly states: { readonly [State in Name]: StateDefinition<'map'> }
  /** Whether an id of the key at hand is seen for the first time; it is remembered. */
  isFirst(state: object, id: Id): boolean
}

/**
 * Remembers ids for `withinMs`, in event time or, by default, by the clock of the machine.
 *
 * @example
 * const requests = deduplication({ name: 'requests', id: utf8, withinMs: 86_400_000 })
 * // in process: if (!requests.isFirst(state, request.id)) return
 */
export function deduplication<Id extends AnyKeyCodec, const Name extends string>(options: {
  readonly name: Name
  readonly id: Id
  readonly withinMs: number
  readonly time?: 'processing' | 'event'
}): Deduplication<InputOf<Id>, Name> {
  requireSettings(options, ['name', 'id', 'withinMs'])
  rejectViolations(
    violationsOf(options, {
      name: nonEmptyText,
      id: hasMethods('readKey', 'writeKey'),
      withinMs: rules.positiveMs,
      time: oneOf('processing', 'event'),
    }),
  )
  const { name, id, withinMs, time = 'processing' } = options
  const ids = map(id as unknown as KeyCodec<unknown>, none, { ttl: { afterMs: withinMs, time } })
  return Object.freeze({
    states: { [name]: ids } as never,
    isFirst: (state: object, each: InputOf<Id>) =>
      mapOfKey<unknown>(state, name).putIfAbsent(each, undefined),
  })
}
