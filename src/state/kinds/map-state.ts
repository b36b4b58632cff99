import type { ByteWriter } from '../codec/bytes.js'
import type { Codec, KeyCodec } from '../codec/codec.js'
import type { ShownValue, StateEntries } from '../entries/state-entries.js'
import { type KeyLike, plainKey, readerBehindPrefix } from '../key/stored-key.js'
import { queryIndex } from '../query/query.js'
import { Cell, type CellOptions, type Change } from './cell.js'
import { mapRange, stateRanges } from './ranges.js'
import { counted, decoded, PASS_OVER } from './scanned.js'
import type { StateContext } from './state-context.js'
import type { MapScanOptions, QueryOptions, StateScanOptions } from './states.js'

/** Implements `MapState`. */
export class EntryMapState<Key, MapKey> {
  readonly #context: StateContext<Key>
  readonly #mapKey: KeyCodec<MapKey>
  readonly #entries: StateEntries
  readonly #cell: Cell<Key, MapKey>

  constructor(
    context: StateContext<Key>,
    mapKey: KeyCodec<MapKey>,
    codec: Codec<unknown, unknown>,
    options: CellOptions,
  ) {
    this.#context = context
    this.#mapKey = mapKey
    this.#entries = options.entries
    this.#cell = new Cell(context, codec, mapKey, options)
  }

  get(key: KeyLike<Key>, mapKey: MapKey): unknown {
    return this.#cell.get(key, mapKey)
  }

  has(key: KeyLike<Key>, mapKey: MapKey): unknown {
    return this.#cell.has(key, mapKey)
  }

  put(key: KeyLike<Key>, mapKey: MapKey, value?: unknown): unknown {
    return this.#cell.put(key, mapKey, value)
  }

  putIfAbsent(key: KeyLike<Key>, mapKey: MapKey, value?: unknown): unknown {
    return this.#cell.putIfAbsent(key, mapKey, value)
  }

  update(key: KeyLike<Key>, mapKey: MapKey, change: Change<undefined>): unknown {
    return this.#cell.change(key, mapKey, change, undefined)
  }

  delete(key: KeyLike<Key>, mapKey: MapKey): unknown {
    return this.#cell.delete(key, mapKey)
  }

  clear(key: KeyLike<Key>): unknown {
    return this.#context.clear(key, this.#entries)
  }

  /** The bytes of a value that a former generation has written, in the present form. */
  migrated(bytes: Uint8Array, generation: number, storedKey: Uint8Array): ByteWriter {
    return this.#cell.migrated(bytes, generation, () => {
      const rest = readerBehindPrefix(storedKey)
      const key = this.#context.readKey(rest, this.#context.keyCodec, 'head')
      return [key, this.#context.readKey(rest, this.#mapKey, 'whole')]
    })
  }

  entries(key: KeyLike<Key>, options?: MapScanOptions<MapKey>): unknown {
    return this.#scan(key, options, (mapKey, { bytes, generation }) => [
      mapKey,
      this.#cell.decode(bytes, generation, plainKey(key), mapKey),
    ])
  }

  keys(key: KeyLike<Key>, options?: MapScanOptions<MapKey>): unknown {
    return this.#scan(key, options, (mapKey) => mapKey)
  }

  query(index: string, options?: QueryOptions<unknown>): unknown {
    return queryIndex(this.#context, this.#entries, index, options, (storedKey, found) => {
      const reader = readerBehindPrefix(storedKey)
      const key = this.#context.readKey(reader, this.#context.keyCodec, 'head')
      const mapKey = this.#context.readKey(reader, this.#mapKey, 'whole')
      return [key, mapKey, found]
    })
  }

  size(key: KeyLike<Key>): unknown {
    return counted(this.keys(key))
  }

  all(options?: StateScanOptions): unknown {
    const { keyCodec } = this.#context
    return decoded(
      this.#entries.scan(stateRanges(this.#context, options)),
      (entry) => {
        const [storedKey] = entry
        const shown = this.#entries.shown(entry)
        if (shown === undefined) return PASS_OVER
        const reader = readerBehindPrefix(storedKey)
        const key = this.#context.readKey(reader, keyCodec, 'head')
        const mapKey = this.#context.readKey(reader, this.#mapKey, 'whole')
        return [key, mapKey, this.#cell.decode(shown.bytes, shown.generation, key, mapKey)]
      },
      options?.limit ?? Infinity,
    )
  }

  #scan(
    key: KeyLike<Key>,
    options: MapScanOptions<MapKey> | undefined,
    item: (mapKey: MapKey, shown: ShownValue) => unknown,
  ): unknown {
    const range = mapRange(this.#context, this.#mapKey, key, options)
    const keyLength = this.#context.locate(key).stretch.length
    return decoded(
      this.#entries.scan([range]),
      (entry) => {
        const shown = this.#entries.shown(entry)
        if (shown === undefined) return PASS_OVER
        const reader = readerBehindPrefix(entry[0])
        reader.position = keyLength
        return item(this.#context.readKey(reader, this.#mapKey, 'whole'), shown)
      },
      options?.limit ?? Infinity,
    )
  }
}
