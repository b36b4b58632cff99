// States with one value for each key: value, reducing and aggregating.

import type { ByteWriter } from '../codec/bytes.js'
import type { Codec } from '../codec/codec.js'
import type { StateEntries } from '../entries/state-entries.js'
import type { KeyLike } from '../key/stored-key.js'
import { readerBehindPrefix } from '../key/stored-key.js'
import { queryIndex } from '../query/query.js'
import { Cell, type CellOptions, type Change } from './cell.js'
import { stateRanges } from './ranges.js'
import { decoded, PASS_OVER } from './scanned.js'
import type { StateContext } from './state-context.js'
import type { QueryOptions, StateScanOptions } from './states.js'

type Add = (current: unknown, added: unknown) => unknown

/** Implements `ValueState`, `ReducingState` and `AggregatingState`: which of its methods a user sees, the types say. */
export class SingleValueState<Key> {
  readonly #context: StateContext<Key>
  readonly #entries: StateEntries
  readonly #cell: Cell<Key, undefined>
  readonly #add: Add | undefined

  constructor(
    context: StateContext<Key>,
    codec: Codec<unknown, unknown>,
    options: CellOptions,
    add: Add | undefined,
  ) {
    this.#context = context
    this.#entries = options.entries
    this.#cell = new Cell<Key, undefined>(context, codec, undefined, options)
    this.#add = add
  }

  get(key: KeyLike<Key>): unknown {
    return this.#cell.get(key, undefined)
  }

  view(key: KeyLike<Key>): unknown {
    return this.#cell.view(key, undefined)
  }

  has(key: KeyLike<Key>): unknown {
    return this.#cell.has(key, undefined)
  }

  put(key: KeyLike<Key>, value: unknown): unknown {
    return this.#cell.put(key, undefined, value)
  }

  putIfAbsent(key: KeyLike<Key>, value: unknown): unknown {
    return this.#cell.putIfAbsent(key, undefined, value)
  }

  update(key: KeyLike<Key>, change: Change<undefined>): unknown {
    return this.#cell.change(key, undefined, change, undefined)
  }

  add(key: KeyLike<Key>, added: unknown): unknown {
    return this.#cell.change(key, undefined, this.#add as Add, added)
  }

  delete(key: KeyLike<Key>): unknown {
    return this.#cell.delete(key, undefined)
  }

  /** The bytes of a value that a former generation has written, in the present form. */
  migrated(bytes: Uint8Array, generation: number, storedKey: Uint8Array): ByteWriter {
    return this.#cell.migrated(bytes, generation, () => [
      this.#context.readKey(readerBehindPrefix(storedKey), this.#context.keyCodec, 'head'),
    ])
  }

  query(index: string, options?: QueryOptions<unknown>): unknown {
    return queryIndex(this.#context, this.#entries, index, options, (storedKey, found) => [
      this.#context.readKey(readerBehindPrefix(storedKey), this.#context.keyCodec, 'whole'),
      found,
    ])
  }

  entries(options?: StateScanOptions): unknown {
    const { keyCodec } = this.#context
    return decoded(
      this.#entries.scan(stateRanges(this.#context, options)),
      (entry) => {
        const [storedKey] = entry
        const shown = this.#entries.shown(entry)
        if (shown === undefined) return PASS_OVER
        const key = this.#context.readKey(readerBehindPrefix(storedKey), keyCodec, 'whole')
        return [key, this.#cell.decode(shown.bytes, shown.generation, key, undefined)]
      },
      options?.limit ?? Infinity,
    )
  }
}
