import type { ScanRange } from '../../backend/types.js'
import { startsWith } from '../../base/bytes.js'
import { invalidArgument } from '../../base/options.js'
import { ByteReader, type ByteWriter } from '../codec/bytes.js'
import type { Codec } from '../codec/codec.js'
import type { ScannedEntry } from '../entries/host.js'
import type { StateEntries } from '../entries/state-entries.js'
import { type KeyLike, plainKey, readerBehindPrefix } from '../key/stored-key.js'
import { type ListBounds, type ListCellOptions, ListCells } from './list-cells.js'
import { elementOptions, stateRanges } from './ranges.js'
import { collected, counted, decoded, PASS_OVER } from './scanned.js'
import type { StateContext } from './state-context.js'
import type { ElementScanOptions, StateScanOptions } from './states.js'

const PLACE_BYTES = 8
const NO_KEY = Uint8Array.of(0xff, 0xff)
/** Places are whole numbers from 0, in eight bytes, the highest first. */
const placeCodec = {
  readKey: (from: ByteReader): number => {
    const at = from.take(PLACE_BYTES)
    return from.view.getUint32(at) * 2 ** 32 + from.view.getUint32(at + 4)
  },
}

/** Implements `ListState`. */
export class EntryListState<Key> {
  readonly #context: StateContext<Key>
  readonly #cells: ListCells<Key>
  readonly #entries: StateEntries
  /** Elements may be missing between the first and the last one. */
  readonly #expires: boolean
  readonly #refreshOnRead: boolean

  constructor(
    context: StateContext<Key>,
    codec: Codec<unknown, unknown>,
    entries: StateEntries,
    options: ListCellOptions & { readonly expires: boolean },
  ) {
    this.#context = context
    this.#entries = entries
    this.#cells = new ListCells(context, codec, entries, options)
    this.#expires = options.expires
    this.#refreshOnRead = options.refreshOnRead
  }

  append(key: KeyLike<Key>, ...elements: unknown[]): unknown {
    return this.#cells.append(key, elements)
  }

  at(key: KeyLike<Key>, index: number): unknown {
    if (!Number.isSafeInteger(index)) throw invalidArgument('index', 'must be a whole number')
    return this.#cells.at(key, index)
  }

  length(key: KeyLike<Key>): unknown {
    return this.#expires ? counted(this.values(key)) : this.#cells.takenPlaces(key)
  }

  get(key: KeyLike<Key>): unknown {
    if (!this.#refreshOnRead) return collected(this.values(key))
    if (this.#context.host.later === undefined) {
      return this.#cells.refreshed(key, collected(this.#places(key)) as number[])
    }
    return this.#refreshedLater(this.#context.kept(key))
  }

  async #refreshedLater(key: KeyLike<Key>): Promise<unknown> {
    const places = (await collected(this.#places(key))) as number[]
    return await this.#cells.refreshed(key, places)
  }

  values(key: KeyLike<Key>, options?: ElementScanOptions): unknown {
    return decoded(
      this.#elements(key, elementOptions(options)),
      (entry) => {
        const shown = this.#entries.shown(entry)
        return shown === undefined
          ? PASS_OVER
          : this.#cells.decode(shown.bytes, shown.generation, plainKey(key))
      },
      options?.limit ?? Infinity,
    )
  }

  /** Where the elements are that are there. */
  #places(key: KeyLike<Key>): unknown {
    return decoded(
      this.#elements(key, {}),
      (entry) => {
        if (this.#entries.shown(entry) === undefined) return PASS_OVER
        const [storedKey] = entry
        return placeCodec.readKey(new ByteReader().fromBytes(storedKey.subarray(-PLACE_BYTES)))
      },
      Infinity,
    )
  }

  trim(key: KeyLike<Key>, length: number): unknown {
    if (!Number.isSafeInteger(length) || length < 0) {
      throw invalidArgument('length', 'must be a whole number, 0 or more')
    }
    return this.#cells.trim(key, length)
  }

  clear(key: KeyLike<Key>): unknown {
    return this.#context.clear(key, this.#entries)
  }

  /** The bytes of an element that a former generation has written, in the present form. */
  migrated(bytes: Uint8Array, generation: number, storedKey: Uint8Array): ByteWriter {
    return this.#cells.migrated(bytes, generation, () => [
      this.#context.readKey(readerBehindPrefix(storedKey), this.#context.keyCodec, 'head'),
    ])
  }

  entries(options?: StateScanOptions): unknown {
    const { keyCodec } = this.#context
    // The head, which has no place behind its key, comes right before the elements that it counts.
    let listKey: Uint8Array = NO_KEY
    let first = 0
    let end = 0
    return decoded(
      this.#entries.scan(stateRanges(this.#context, options)),
      (entry) => {
        const [storedKey] = entry
        const shown = this.#entries.shown(entry)
        if (shown === undefined) return PASS_OVER
        const reader = readerBehindPrefix(storedKey)
        const key = this.#context.readKey(reader, keyCodec, 'head')
        if (reader.rest() === 0) {
          listKey = storedKey
          ;({ first, end } = this.#cells.decodeHead(shown.bytes, key))
          return PASS_OVER
        }
        const place = this.#context.readKey(reader, placeCodec, 'whole')
        const isElement =
          startsWith(storedKey.subarray(4), listKey.subarray(4)) && place >= first && place < end
        return isElement ? [key, this.#cells.decode(shown.bytes, shown.generation, key)] : PASS_OVER
      },
      options?.limit ?? Infinity,
    )
  }

  /** The entries of a list's elements, from bounds that are looked for at once. */
  #elements(
    key: KeyLike<Key>,
    range: ScanRange,
  ): IterableIterator<ScannedEntry> | AsyncIterableIterator<ScannedEntry> {
    const bounds = this.#cells.bounds(key)
    return this.#context.host.later === undefined
      ? this.#between(bounds as ListBounds | undefined, range)
      : this.#betweenLater(bounds as Promise<ListBounds | undefined>, range)
  }

  #between(bounds: ListBounds | undefined, range: ScanRange): IterableIterator<ScannedEntry> {
    const ranges = bounds === undefined ? [] : [{ ...range, gte: bounds.firstKey, lt: bounds.endKey }]
    return this.#entries.scan(ranges) as IterableIterator<ScannedEntry>
  }

  async *#betweenLater(
    bounds: Promise<ListBounds | undefined>,
    range: ScanRange,
  ): AsyncIterableIterator<ScannedEntry> {
    const found = await bounds
    if (found === undefined) return
    yield* this.#entries.scan([
      { ...range, gte: found.firstKey, lt: found.endKey },
    ]) as AsyncIterableIterator<ScannedEntry>
  }
}
