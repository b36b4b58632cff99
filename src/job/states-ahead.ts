import { type LookAheadBackend, looksAhead, type StateBackend } from '../backend/state-backend.js'
import type { CurrentKey } from '../state/key/current-key.js'
import { EncodedAhead } from '../state/key/encoded-ahead.js'
import type { StateContext } from '../state/kinds/state-context.js'
import type { StateDefinitions, StateSchema } from '../state/schema/define-state.js'
import { openStateOf } from '../state/store.js'

/** To find out which of more states events ask for would take too long. */
const MOST_STATES = 16
/** Of so many calls, one tells of all states, and the others of those that were asked for then. */
const SAMPLE_EVERY = 64

/** The contexts of the states that have one entry for each key. */
export function singleStates(store: object, schema: StateSchema): StateContext<unknown>[] {
  return Object.entries(schema.states as StateDefinitions)
    .filter(([, { kind }]) => kind === 'value' || kind === 'reducing' || kind === 'aggregating')
    .map(([name]) => openStateOf(store, name).context)
}

/** Tells an engine which entries the next events will most likely ask for: those of states that have one for each key. */
export class StatesAhead {
  readonly #backend: LookAheadBackend
  readonly #told: EncodedAhead
  readonly #ids: readonly number[]
  #usedIds: readonly number[]
  #calls = 0
  /** The key of the event that is processed. */
  readonly #current: CurrentKey<unknown>

  private constructor(
    backend: LookAheadBackend,
    ids: readonly number[],
    told: EncodedAhead,
    current: CurrentKey<unknown>,
  ) {
    this.#backend = backend
    this.#ids = ids
    this.#usedIds = ids
    this.#told = told
    this.#current = current
  }

  /** `undefined` where the engine takes no hints, or there is nothing to tell. */
  static of(
    backend: StateBackend,
    store: object,
    schema: StateSchema,
    current: CurrentKey<unknown>,
  ): StatesAhead | undefined {
    const states = singleStates(store, schema)
    const [first] = states
    if (!looksAhead(backend) || first === undefined || states.length > MOST_STATES) return undefined
    const ids = states.map(({ id }) => id)
    return new StatesAhead(backend, ids, new EncodedAhead(first.keyCodec, first.keyGroups), current)
  }

  get isFar(): boolean {
    return this.#backend.isFar
  }

  ahead(keys: readonly unknown[], count: number): void {
    const told = this.#told
    const current = this.#current
    // It goes on to be the key at hand, without what is overwritten now.
    if (current.told === told) current.set(current.key)
    const call = this.#calls++ % SAMPLE_EVERY
    if (call === 1) this.#usedIds = told.usedIds
    told.encode(keys, count, call === 0 ? this.#ids : this.#usedIds)
    if (told.places > 0) this.#backend.bringNear(told.bytes, told.ends, told.places)
  }

  /** Goes on to the `i`th of the keys that were told last. */
  goTo(i: number, key: unknown): void {
    if (i < this.#told.count) this.#current.setTold(key, this.#told, i)
    else this.#current.set(key)
  }
}
