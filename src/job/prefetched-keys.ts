import type { CurrentKey } from '../state/key/current-key.js'
import { checkStoredLength, PREFIX_BYTES, statePrefix } from '../state/key/stored-key.js'
import type { StateSchema } from '../state/schema/define-state.js'
import type { PolledEvents } from './source/source.js'
import { singleStates } from './states-ahead.js'

/** So many events are looked at ahead. */
const EVENTS_AHEAD = 1_000

/** Which entries events will most likely ask for: those of states that have one for each key. What else they ask for is fetched when they do. */
export class PrefetchedKeys<Event> {
  readonly #key: CurrentKey<unknown>
  readonly #keyOf: (event: Event) => unknown
  readonly #ids: readonly number[]

  constructor(
    store: object,
    schema: StateSchema,
    key: CurrentKey<unknown>,
    keyOf: (event: Event) => unknown,
  ) {
    this.#key = key
    this.#keyOf = keyOf
    this.#ids = singleStates(store, schema).map(({ id }) => id)
  }

  of(polled: PolledEvents<Event>, from: number): Uint8Array[] {
    const keys: Uint8Array[] = []
    if (this.#ids.length === 0) return keys
    const until = Math.min(polled.events.length, from + EVENTS_AHEAD)
    for (let place = from; place < until; place++) {
      if (polled.failures?.has(place) === true) continue
      for (const key of this.#of(polled.events[place] as Event)) keys.push(key)
    }
    return keys
  }

  #of(event: Event): Uint8Array[] {
    try {
      const key = this.#keyOf(event)
      if (key === undefined || key === null) return []
      this.#key.set(key)
      const { group, bytes } = this.#key.encoded()
      checkStoredLength(PREFIX_BYTES + bytes.length)
      return this.#ids.map((id) => Uint8Array.of(...statePrefix(group, id), ...bytes))
    } catch {
      // What is wrong with it is told when it has its turn.
      return []
    }
  }
}
