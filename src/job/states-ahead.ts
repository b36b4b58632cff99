import { type LookAheadBackend, looksAhead, type StateBackend } from '../backend/state-backend.js'
import { ByteWriter } from '../state/codec/bytes.js'
import type { CurrentKey } from '../state/key/current-key.js'
import { keyGroupOf } from '../state/key/key-group.js'
import { PREFIX_BYTES } from '../state/key/stored-key.js'
import type { StateContext } from '../state/kinds/state-context.js'
import type { StateDefinitions, StateSchema } from '../state/schema/define-state.js'
import { openStateOf } from '../state/store.js'

/** Of more states it is not known which of them an event will ask for. */
const MOST_STATES = 4
/** The contexts of the states that have one entry for each key. */
export function singleStates(store: object, schema: StateSchema): StateContext<unknown>[] {
  return Object.entries(schema.states as StateDefinitions)
    .filter(([, { kind }]) => kind === 'value' || kind === 'reducing' || kind === 'aggregating')
    .map(([name]) => openStateOf(store, name).context)
}

/** Tells an engine which entries the next events will most likely ask for: those of states that have one for each key. */
export class StatesAhead {
  readonly #backend: LookAheadBackend
  readonly #ids: readonly number[]
  readonly #context: StateContext<unknown>
  readonly #writer = new ByteWriter()
  #ends = new Int32Array(0)
  /** So many keys were told last. */
  #told = 0

  private constructor(backend: LookAheadBackend, ids: readonly number[], context: StateContext<unknown>) {
    this.#backend = backend
    this.#ids = ids
    this.#context = context
  }

  /** `undefined` where the engine takes no hints, or there is nothing to tell. */
  static of(backend: StateBackend, store: object, schema: StateSchema): StatesAhead | undefined {
    const states = singleStates(store, schema)
    const [first] = states
    if (!looksAhead(backend) || first === undefined || states.length > MOST_STATES) return undefined
    const ids = states.map(({ id }) => id)
    return new StatesAhead(backend, ids, first)
  }

  get isFar(): boolean {
    return this.#backend.isFar
  }

  ahead(keys: readonly unknown[], count: number): void {
    const { keyCodec, keyGroups } = this.#context
    const writer = this.#writer
    writer.length = 0
    if (this.#ends.length < count * this.#ids.length) this.#ends = new Int32Array(count * this.#ids.length)
    const ends = this.#ends
    let told = 0
    this.#told = 0
    try {
      for (let i = 0; i < count; i++) {
        const start = writer.reserve(PREFIX_BYTES)
        keyCodec.writeKey(keys[i], writer)
        const { length } = writer
        const group = keyGroupOf(writer.view, start + PREFIX_BYTES, length, keyGroups)
        writer.view.setUint16(start, group)
        writer.view.setUint16(start + 2, this.#ids[0] as number)
        ends[told++] = length
        for (let state = 1; state < this.#ids.length; state++) {
          const at = writer.reserve(length - start)
          writer.bytes.copyWithin(at, start, length)
          writer.view.setUint16(at + 2, this.#ids[state] as number)
          ends[told++] = writer.length
        }
        this.#told = i + 1
      }
    } catch {
      // What is no key is told of when the turn of its event comes.
    }
    this.#backend.bringNear(writer.bytes, ends, told)
  }

  /** Makes it the key at hand, of those that were told last the `i`th one: its bytes and its group are there. */
  goTo(i: number, key: unknown, current: CurrentKey<unknown>): void {
    if (i >= this.#told) {
      current.set(key)
      return
    }
    const { bytes, view } = this.#writer
    const first = i * this.#ids.length
    const start = first === 0 ? 0 : (this.#ends[first - 1] as number)
    current.setLocated(key, view.getUint16(start), bytes, start + PREFIX_BYTES, this.#ends[first] as number)
  }
}
