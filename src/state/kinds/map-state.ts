import type { Codec, KeyCodec } from '../codec/codec.js'
import { type KeyLike, plainKey, readerBehindPrefix } from '../key/stored-key.js'
import { Cell, type CellOptions, type Change } from './cell.js'
import { mapRange, stateRanges } from './ranges.js'
import { counted, decoded } from './scanned.js'
import type { StateContext } from './state-context.js'
import type { MapScanOptions, StateScanOptions } from './states.js'

/** Implements `MapState`. */
export class EntryMapState<Key, MapKey> {
  readonly #context: StateContext<Key>
  readonly #mapKey: KeyCodec<MapKey>
  readonly #cell: Cell<Key, MapKey>

  constructor(
    context: StateContext<Key>,
    mapKey: KeyCodec<MapKey>,
    codec: Codec<unknown, unknown>,
    options: CellOptions,
  ) {
    this.#context = context
    this.#mapKey = mapKey
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
    return this.#context.clear(key)
  }

  entries(key: KeyLike<Key>, options?: MapScanOptions<MapKey>): unknown {
    return this.#scan(key, options, (mapKey, bytes) => [
      mapKey,
      this.#cell.decode(bytes, plainKey(key), mapKey),
    ])
  }

  keys(key: KeyLike<Key>, options?: MapScanOptions<MapKey>): unknown {
    return this.#scan(key, options, (mapKey) => mapKey)
  }

  size(key: KeyLike<Key>): unknown {
    return counted(this.keys(key))
  }

  all(options?: StateScanOptions): unknown {
    const { keyCodec, host } = this.#context
    return decoded(
      host.scan(stateRanges(this.#context, options)),
      ([storedKey, bytes]) => {
        const reader = readerBehindPrefix(storedKey)
        const key = this.#context.readKey(reader, keyCodec, 'head')
        const mapKey = this.#context.readKey(reader, this.#mapKey, 'whole')
        return [key, mapKey, this.#cell.decode(bytes, key, mapKey)]
      },
      options?.limit ?? Infinity,
    )
  }

  #scan(
    key: KeyLike<Key>,
    options: MapScanOptions<MapKey> | undefined,
    item: (mapKey: MapKey, bytes: Uint8Array) => unknown,
  ): unknown {
    const range = mapRange(this.#context, this.#mapKey, key, options)
    const keyLength = this.#context.locate(key).slot.length
    return decoded(
      this.#context.host.scan([range]),
      ([storedKey, bytes]) => {
        const reader = readerBehindPrefix(storedKey)
        reader.position = keyLength
        return item(this.#context.readKey(reader, this.#mapKey, 'whole'), bytes)
      },
      options?.limit ?? Infinity,
    )
  }
}
