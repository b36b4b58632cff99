// A list of one key: an entry for each element, and one that says which places are taken.
//
//   head entry: group · state · key               -> first place u64 · end place u64 (little-endian)
//   element:    group · state · key · place u64   -> the element
//
// (1) Elements are at first, first + 1, … end - 1. Places are never used again while the list is not empty.
// (2) What is outside is no element: it is left from a crash between two writes, and goes with the next
//     trim or append there.
// (3) An element is written before the head that counts it, and removed after the head that no longer does.
// (4) The head lives as long as its youngest element: it is written with every one.

import { Slot } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { Codec } from '../codec/codec.js'
import { CodecError, codecErrorOf, describeValue } from '../codec/codec-error.js'
import { int64 } from '../codec/numbers.js'
import { show } from '../entries/backend-entries.js'
import {
  checkValueLength,
  type FormerGeneration,
  NONE,
  PRESENT,
  type StateEntries,
} from '../entries/state-entries.js'
import type { KeyLike, StoredKey } from '../key/stored-key.js'
import type { StateContext } from './state-context.js'

const HEAD_BYTES = 16

/** The elements of a stored list's key whose places lie in a range, to be scanned. */
export interface ListBounds {
  readonly firstKey: Uint8Array
  readonly endKey: Uint8Array
}

export interface ListCellOptions {
  readonly maxLength: number
  /** Whether reading an element sets its time to live anew. */
  readonly refreshOnRead: boolean
}

export class ListCells<Key> {
  readonly #context: StateContext<Key>
  readonly #codec: Codec<unknown, unknown>
  readonly #entries: StateEntries
  readonly #maxLength: number
  readonly #refreshOnRead: boolean
  readonly #slot = new Slot()
  readonly #reader = new ByteReader()
  readonly #value = new ByteWriter()
  readonly #head = new ByteWriter(HEAD_BYTES)
  /** Places of the list at hand. */
  #first = 0
  #end = 0

  constructor(
    context: StateContext<Key>,
    codec: Codec<unknown, unknown>,
    entries: StateEntries,
    { maxLength, refreshOnRead }: ListCellOptions,
  ) {
    this.#context = context
    this.#codec = codec
    this.#entries = entries
    this.#maxLength = maxLength
    this.#refreshOnRead = refreshOnRead
  }

  append(key: KeyLike<Key>, elements: readonly unknown[]): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#append(key, elements)
    const kept = this.#context.kept(key)
    return later.write(() => this.#append(kept, elements))
  }

  at(key: KeyLike<Key>, index: number): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#at(key, index)
    const kept = this.#context.kept(key)
    return this.#refreshOnRead
      ? later.write(() => this.#at(kept, index))
      : later.read(() => this.#at(kept, index))
  }

  /** The elements at these places that are still there; their time begins anew. */
  refreshed(key: KeyLike<Key>, places: readonly number[]): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#refreshed(key, places)
    const kept = this.#context.kept(key)
    return later.write(() => this.#refreshed(kept, places))
  }

  /** How many places are taken: the length, where no element has expired. */
  takenPlaces(key: KeyLike<Key>): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#takenPlaces(key)
    const kept = this.#context.kept(key)
    return later.read(() => this.#takenPlaces(kept))
  }

  /** Keeps the last `length` elements at most. */
  trim(key: KeyLike<Key>, length: number): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#trim(key, length)
    const kept = this.#context.kept(key)
    return later.write(() => this.#trim(kept, length))
  }

  /** The stored keys between which the elements lie; `undefined` where there are none. */
  bounds(key: KeyLike<Key>): unknown {
    const { later } = this.#context.host
    if (later === undefined) return this.#bounds(key)
    const kept = this.#context.kept(key)
    return later.read(() => this.#bounds(kept))
  }

  decode(bytes: Uint8Array, generation: number, key: unknown): unknown {
    try {
      return this.#decode(this.#reader.fromBytes(bytes), generation)
    } catch (error) {
      throw this.#failedRead(error, generation, key)
    }
  }

  /** The bytes of an element that a former generation has written, in the present form. */
  migrated(bytes: Uint8Array, generation: number, whose: () => readonly [key: unknown]): ByteWriter {
    try {
      const element = this.#readFormer(this.#reader.fromBytes(bytes), generation)
      this.#write(element, this.#value)
      return this.#value
    } catch (error) {
      throw this.#context.failure('read', error, ...whose())
    }
  }

  /** Which places a head says are taken. */
  decodeHead(bytes: Uint8Array, key: unknown): { readonly first: number; readonly end: number } {
    show(bytes, this.#slot)
    this.#readHead(key)
    return { first: this.#first, end: this.#end }
  }

  #decode(reader: ByteReader, generation: number): unknown {
    if (generation === PRESENT) {
      const element = this.#codec.read(reader)
      reader.assertEnd()
      return element
    }
    const given = this.#readFormer(reader, generation)
    try {
      if (this.#codec.through !== undefined) return this.#codec.through(given)
      const writer = new ByteWriter()
      this.#codec.write(given, writer)
      return this.#codec.read(new ByteReader().fromBytes(writer.copy()))
    } catch (error) {
      throw codecErrorOf(error)
    }
  }

  /** What reads the present form can only be the codec; a former one goes through functions of the user as well. */
  #failedRead(error: unknown, generation: number, key: unknown): unknown {
    const context = this.#context
    return generation === PRESENT
      ? context.failureOf('read', error, key)
      : context.failure('read', error, key)
  }

  #write(element: unknown, to: ByteWriter): void {
    to.length = 0
    try {
      this.#codec.write(element, to)
      checkValueLength(to.length, this.#entries.maxValueBytes)
    } catch (error) {
      throw codecErrorOf(error)
    }
  }

  #readFormer(reader: ByteReader, generation: number): unknown {
    const former = this.#entries.formers[generation - 1] as FormerGeneration
    const element = former.read?.(reader)
    reader.assertEnd()
    if ((element === undefined || element === null) && this.#codec.takesAbsence !== true) {
      throw new CodecError(`a migration has made ${describeValue(element)}, which is not a value`)
    }
    return element
  }

  #append(key: KeyLike<Key>, elements: readonly unknown[]): void {
    if (elements.length === 0) return
    const entries = this.#entries
    // All are encoded before the first one is written: either every element is appended or none.
    const encoded = elements.map((element) => this.#encode(key, element))
    const stored = this.#context.locate(key)
    const keyLength = stored.stretch.length
    this.#loadHead(stored, key)
    const kept = Math.min(encoded.length, this.#maxLength)
    for (const element of encoded.slice(encoded.length - kept)) {
      this.#goToEnd(stored, keyLength, key)
      this.#value.length = 0
      this.#value.append(element)
      entries.put(stored, this.#value)
      this.#end++
    }
    const before = this.#first
    this.#first = Math.max(before, this.#end - this.#maxLength)
    this.#putHead(stored, keyLength)
    for (let place = before; place < this.#first; place++) {
      stored.appendPlace(keyLength, place)
      entries.remove(stored)
    }
  }

  /** The place behind the last element: of elements that are there, the key has room for it. */
  #goToEnd(stored: StoredKey<Key>, keyLength: number, key: KeyLike<Key>): void {
    try {
      stored.appendPlace(keyLength, this.#end)
    } catch (error) {
      throw this.#context.failureOf('write', error, key)
    }
  }

  #at(key: KeyLike<Key>, index: number): unknown {
    const entries = this.#entries
    const stored = this.#context.locate(key)
    this.#loadHead(stored, key)
    const place = index < 0 ? this.#end + index : this.#first + index
    if (place < this.#first || place >= this.#end) return undefined
    if (this.#refreshOnRead) return this.#refreshed(key, [place])[0]
    stored.appendPlace(stored.stretch.length, place)
    const generation = entries.peek(stored, this.#slot)
    if (generation === NONE) return undefined
    try {
      return this.#decode(this.#reader.fromSlot(this.#slot), generation)
    } catch (error) {
      throw this.#failedRead(error, generation, key)
    }
  }

  #refreshed(key: KeyLike<Key>, places: readonly number[]): unknown[] {
    const entries = this.#entries
    const stored = this.#context.locate(key)
    const keyLength = stored.stretch.length
    this.#loadHead(stored, key)
    const elements: { readonly bytes: Uint8Array; readonly generation: number }[] = []
    for (const place of places) {
      if (place < this.#first || place >= this.#end) continue
      stored.appendPlace(keyLength, place)
      const generation = entries.peek(stored, this.#slot)
      if (generation === NONE) continue
      const { bytes: shown, offset, length } = this.#slot
      const bytes = shown.slice(offset, offset + length)
      elements.push({ bytes, generation })
      entries.put(stored, this.#presentForm(bytes, generation, key))
    }
    if (elements.length > 0) this.#putHead(stored, keyLength)
    // A codec of the user's may look at the store: last, when nothing here is in use any more.
    return elements.map(({ bytes, generation }) => this.decode(bytes, generation, key))
  }

  #presentForm(bytes: Uint8Array, generation: number, key: KeyLike<Key>): ByteWriter {
    if (generation !== PRESENT) return this.migrated(bytes, generation, () => [key])
    this.#value.length = 0
    this.#value.append(bytes)
    return this.#value
  }

  #takenPlaces(key: KeyLike<Key>): number {
    this.#loadHead(this.#context.locate(key), key)
    return this.#end - this.#first
  }

  #trim(key: KeyLike<Key>, length: number): void {
    const entries = this.#entries
    const stored = this.#context.locate(key)
    const keyLength = stored.stretch.length
    this.#loadHead(stored, key)
    if (this.#end - this.#first <= length) return
    if (length === 0) {
      entries.removeRange(stored.copy(), stored.end())
      return
    }
    this.#first = this.#end - length
    this.#putHead(stored, keyLength)
    // From the very first place, so that what a crash has left in front goes too.
    stored.appendPlace(keyLength, 0)
    const from = stored.copy()
    stored.appendPlace(keyLength, this.#first)
    entries.removeRange(from, stored.copy())
  }

  #bounds(key: KeyLike<Key>): ListBounds | undefined {
    const stored = this.#context.locate(key)
    const keyLength = stored.stretch.length
    this.#loadHead(stored, key)
    if (this.#end === this.#first) return undefined
    stored.appendPlace(keyLength, this.#first)
    const firstKey = stored.copy()
    stored.appendPlace(keyLength, this.#end)
    return { firstKey, endKey: stored.copy() }
  }

  #loadHead(stored: StoredKey<Key>, key: KeyLike<Key>): void {
    this.#first = 0
    this.#end = 0
    if (this.#entries.peek(stored, this.#slot) !== NONE) this.#readHead(key)
  }

  #readHead(key: unknown): void {
    const { view, offset, length } = this.#slot
    try {
      if (length !== HEAD_BYTES) throw new CodecError(`the head of a list of ${length} bytes`)
      const first = int64.load(view, offset)
      const end = int64.load(view, offset + 8)
      if (first < 0 || end < first) throw new CodecError(`a list from place ${first} to ${end}`)
      this.#first = first
      this.#end = end
    } catch (error) {
      throw this.#context.failureOf('read', error, key)
    }
  }

  #putHead(stored: StoredKey<Key>, keyLength: number): void {
    const head = this.#head
    head.length = 0
    head.reserve(HEAD_BYTES)
    int64.store(head.view, 0, this.#first)
    int64.store(head.view, 8, this.#end)
    stored.cut(keyLength)
    this.#entries.put(stored, head)
  }

  #encode(key: KeyLike<Key>, element: unknown): Uint8Array {
    try {
      if ((element === undefined || element === null) && this.#codec.takesAbsence !== true) {
        throw new CodecError(`${describeValue(element)} is not a value; optional(…) takes undefined`)
      }
      this.#write(element, this.#value)
      return this.#value.copy()
    } catch (error) {
      throw this.#context.failureOf('write', error, key)
    }
  }
}
