// States that are bound to the key that is worked on: the same methods without the key. An object for each state is made once.

import type { CurrentKey } from '../key/current-key.js'
import type { StateKind } from './definition-types.js'
import type { EntryListState } from './list-state.js'
import type { EntryMapState } from './map-state.js'
import type { ElementScanOptions, MapScanOptions } from './states.js'
import type { SingleValueState } from './value-state.js'

type Change = (current: unknown) => unknown

/** Makes the bound form of a state. */
export function boundState(kind: StateKind, state: unknown, key: CurrentKey<unknown>): object {
  switch (kind) {
    case 'list':
      return Object.freeze(new BoundList(state as EntryListState<unknown>, key))
    case 'map':
      return Object.freeze(new BoundMap(state as EntryMapState<unknown, unknown>, key))
    default:
      return Object.freeze(new BoundValue(state as SingleValueState<unknown>, key))
  }
}

class BoundValue {
  readonly #state: SingleValueState<unknown>
  readonly #key: CurrentKey<unknown>

  constructor(state: SingleValueState<unknown>, key: CurrentKey<unknown>) {
    this.#state = state
    this.#key = key
  }

  get(): unknown {
    return this.#state.get(this.#key.encoded())
  }

  view(): unknown {
    return this.#state.view(this.#key.encoded())
  }

  has(): unknown {
    return this.#state.has(this.#key.encoded())
  }

  put(value: unknown): unknown {
    return this.#state.put(this.#key.encoded(), value)
  }

  putIfAbsent(value: unknown): unknown {
    return this.#state.putIfAbsent(this.#key.encoded(), value)
  }

  update(change: Change): unknown {
    return this.#state.update(this.#key.encoded(), change)
  }

  add(added: unknown): unknown {
    return this.#state.add(this.#key.encoded(), added)
  }

  delete(): unknown {
    return this.#state.delete(this.#key.encoded())
  }
}

class BoundList {
  readonly #state: EntryListState<unknown>
  readonly #key: CurrentKey<unknown>

  constructor(state: EntryListState<unknown>, key: CurrentKey<unknown>) {
    this.#state = state
    this.#key = key
  }

  append(...elements: unknown[]): unknown {
    return this.#state.append(this.#key.encoded(), ...elements)
  }

  at(index: number): unknown {
    return this.#state.at(this.#key.encoded(), index)
  }

  length(): unknown {
    return this.#state.length(this.#key.encoded())
  }

  get(): unknown {
    return this.#state.get(this.#key.encoded())
  }

  /** A scan may still run when the key is another one. */
  values(options?: ElementScanOptions): unknown {
    return this.#state.values(this.#key.fixed(), options)
  }

  trim(length: number): unknown {
    return this.#state.trim(this.#key.encoded(), length)
  }

  clear(): unknown {
    return this.#state.clear(this.#key.encoded())
  }
}

class BoundMap {
  readonly #state: EntryMapState<unknown, unknown>
  readonly #key: CurrentKey<unknown>

  constructor(state: EntryMapState<unknown, unknown>, key: CurrentKey<unknown>) {
    this.#state = state
    this.#key = key
  }

  get(mapKey: unknown): unknown {
    return this.#state.get(this.#key.encoded(), mapKey)
  }

  has(mapKey: unknown): unknown {
    return this.#state.has(this.#key.encoded(), mapKey)
  }

  put(mapKey: unknown, value?: unknown): unknown {
    return this.#state.put(this.#key.encoded(), mapKey, value)
  }

  putIfAbsent(mapKey: unknown, value?: unknown): unknown {
    return this.#state.putIfAbsent(this.#key.encoded(), mapKey, value)
  }

  update(mapKey: unknown, change: Change): unknown {
    return this.#state.update(this.#key.encoded(), mapKey, change)
  }

  delete(mapKey: unknown): unknown {
    return this.#state.delete(this.#key.encoded(), mapKey)
  }

  /** Scans may still run when the key is another one. */
  entries(options?: MapScanOptions<unknown>): unknown {
    return this.#state.entries(this.#key.fixed(), options)
  }

  keys(options?: MapScanOptions<unknown>): unknown {
    return this.#state.keys(this.#key.fixed(), options)
  }

  size(): unknown {
    return this.#state.size(this.#key.fixed())
  }

  clear(): unknown {
    return this.#state.clear(this.#key.encoded())
  }
}
