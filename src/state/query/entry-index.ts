// A secondary index: for each entry of a state, an entry for each derived value, by which it is found.
//
//   index entry := 0xfffe · index id u16 · derived value (key form) · group u16 · rest of the stored key   -> nothing
//
// (1) Index entries are written and removed in the same step as the entry that they point to, and expire with it.
// (2) They lie behind all key groups, in one stretch, so that a query is one scan. A store that takes over key groups of another
//     one has none for them: `migrate()` makes them.
// (3) A query looks at the entry itself too: what an index says of an entry that has changed is not believed.

import type { PutOptions } from '../../backend/types.js'
import { compareStretches, prefixEnd } from '../../base/bytes.js'
import { Slot, type Stretch } from '../../base/slot.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { Codec, KeyCodec } from '../codec/codec.js'
import { codecErrorOf } from '../codec/codec-error.js'
import { isStruct } from '../codec/struct.js'
import type { AssembledKey, Entries } from '../entries/entries.js'
import { checkStoredLength, NOT_TOLD } from '../key/stored-key.js'

const INDEX_PREFIX = 0xfffe
/** Bytes in front of the derived value. */
export const INDEX_HEAD_BYTES = 4
/** Of the stored key of an entry, its group; what follows, up to here, is the id of its state. */
const GROUP_BYTES = 2
const PREFIX_BYTES = 4
const NOTHING = new ByteWriter(0)

/** There is no value. (`undefined` may be one.) */
export const ABSENT: unique symbol = Symbol('absent')

export interface EntryIndexOptions {
  readonly id: number
  readonly name: string
  readonly codec: KeyCodec<unknown>
  readonly isBuilt: boolean
  /** The derived values of a value. */
  readonly derive: (value: unknown) => readonly unknown[]
}

export class EntryIndex {
  readonly id: number
  readonly name: string
  readonly codec: KeyCodec<unknown>
  /** Whether every entry is in it. */
  isBuilt: boolean
  readonly #derive: (value: unknown) => readonly unknown[]
  readonly #sought = new ByteWriter()
  readonly #reader = new ByteReader()

  constructor({ id, name, codec, isBuilt, derive }: EntryIndexOptions) {
    this.id = id
    this.name = name
    this.codec = codec
    this.isBuilt = isBuilt
    this.#derive = derive
  }

  /** Everything that the index has. */
  get range(): { readonly gte: Uint8Array; readonly lt: Uint8Array } {
    return indexRange(this.id)
  }

  /** The key of the index entry of one derived value, up to where the entry's own key begins. */
  head(derived: unknown): Uint8Array {
    const to = this.#sought
    to.length = 0
    this.#writeHead(derived, to)
    return to.copy()
  }

  /** The heads of all derived values of a value, each once. */
  writeHeads(value: unknown, to: Heads): void {
    to.clear()
    if (value === ABSENT) return
    for (const derived of this.#derive(value)) {
      this.#writeHead(derived, to.writer)
      to.added()
    }
  }

  /** Whether a value is rightly found by an index entry. */
  finds(indexKey: Uint8Array, value: unknown): boolean {
    const to = this.#sought
    for (const derived of this.#derive(value)) {
      to.length = 0
      this.#writeHead(derived, to)
      const { bytes, length } = to
      let i = INDEX_HEAD_BYTES
      while (i < length && bytes[i] === indexKey[i]) i++
      if (i === length) return true
    }
    return false
  }

  /** What an index entry says: the derived value, and the stored key of the entry in a state. */
  parse(indexKey: Uint8Array, state: number): { readonly derived: unknown; readonly key: Uint8Array } {
    const reader = this.#reader.fromBytes(indexKey, INDEX_HEAD_BYTES)
    const derived = this.codec.readKey(reader)
    const at = reader.position
    const key = new Uint8Array(indexKey.length - at + GROUP_BYTES)
    key.set(indexKey.subarray(at, at + GROUP_BYTES))
    key[2] = state >>> 8
    key[3] = state & 0xff
    key.set(indexKey.subarray(at + GROUP_BYTES), PREFIX_BYTES)
    return { derived, key }
  }

  #writeHead(derived: unknown, to: ByteWriter): void {
    const at = to.reserve(INDEX_HEAD_BYTES)
    to.view.setUint16(at, INDEX_PREFIX)
    to.view.setUint16(at + 2, this.id)
    try {
      this.codec.writeKey(derived, to)
    } catch (error) {
      throw codecErrorOf(error, 'write')
    }
  }
}

/** The heads of the index entries of one value, one behind the other; filled again and again. */
export class Heads {
  readonly writer: ByteWriter = new ByteWriter()
  /** Where each ends. */
  readonly #ends: number[] = []
  #count = 0

  get count(): number {
    return this.#count
  }

  clear(): void {
    this.writer.length = 0
    this.#count = 0
  }

  /** A head was written behind those that were there; where it is among them already, it is dropped. */
  added(): void {
    const start = this.start(this.#count)
    const { bytes, length } = this.writer
    if (this.#holds(bytes, start, length - start)) this.writer.length = start
    else this.#ends[this.#count++] = length
  }

  start(place: number): number {
    return place === 0 ? 0 : (this.#ends[place - 1] as number)
  }

  end(place: number): number {
    return this.#ends[place] as number
  }

  /** Whether a head of others is among these. */
  has(others: Heads, place: number): boolean {
    const start = others.start(place)
    return this.#holds(others.writer.bytes, start, others.end(place) - start)
  }

  #holds(bytes: Uint8Array, start: number, length: number): boolean {
    const own = this.writer.bytes
    for (let i = 0; i < this.#count; i++) {
      const at = this.start(i)
      if (this.end(i) - at !== length) continue
      if (compareStretches(own, at, length, bytes, start, length) === 0) return true
    }
    return false
  }
}

/** What becomes of the entries of one index when an entry of the state is written or removed: first compared, then applied. */
export class IndexMove {
  readonly #index: EntryIndex
  readonly #gone = new Heads()
  readonly #there = new Heads()
  readonly #key = new IndexEntryKey()
  #renews = false

  constructor(index: EntryIndex) {
    this.#index = index
  }

  /**
   * Compares what the index has for an entry with what it should have, by the value before and the one afterwards; `ABSENT` where
   * there is none. With `renews`, what stays is written anew, so that it expires with its entry. Returns whether there is
   * something to apply. What could not be stored for a key of so many bytes is found here, before anything is written.
   */
  compare(before: unknown, after: unknown, renews: boolean, keyBytes: number): boolean {
    const gone = this.#gone
    const there = this.#there
    this.#index.writeHeads(before, gone)
    this.#index.writeHeads(after, there)
    const bytesBehind = keyBytes - (PREFIX_BYTES - GROUP_BYTES)
    for (let i = 0; i < there.count; i++) checkStoredLength(there.end(i) - there.start(i) + bytesBehind)
    this.#renews = renews
    if (renews && there.count > 0) return true
    if (gone.count !== there.count) return true
    for (let i = 0; i < there.count; i++) if (!gone.has(there, i)) return true
    return false
  }

  /** Writes what `compare` has found for the entry of this key. */
  apply(key: AssembledKey, entries: Entries, put: PutOptions): void {
    const gone = this.#gone
    const there = this.#there
    for (let i = 0; i < gone.count; i++) {
      if (!there.has(gone, i)) entries.remove(this.#key.set(gone, i, key))
    }
    for (let i = 0; i < there.count; i++) {
      if (this.#renews || !gone.has(there, i)) entries.put(this.#key.set(there, i, key), NOTHING, put)
    }
  }
}

/** The key of an index entry, assembled in memory that is used again and again. */
class IndexEntryKey implements AssembledKey {
  readonly told: number = NOT_TOLD
  readonly #writer = new ByteWriter()
  readonly #stretch: { bytes: Uint8Array; offset: number; length: number } = {
    bytes: this.#writer.bytes,
    offset: 0,
    length: 0,
  }

  /** `head · group · rest of the stored key`. */
  set(heads: Heads, place: number, { stretch }: AssembledKey): this {
    const to = this.#writer
    const from = heads.writer.bytes
    const start = heads.start(place)
    const headLength = heads.end(place) - start
    const { bytes, offset, length } = stretch
    to.length = 0
    to.reserve(headLength + length - (PREFIX_BYTES - GROUP_BYTES))
    const own = to.bytes
    let at = 0
    while (at < headLength) {
      own[at] = from[start + at] as number
      at++
    }
    for (let i = 0; i < length; i++) {
      if (i === GROUP_BYTES) i = PREFIX_BYTES
      own[at++] = bytes[offset + i] as number
    }
    this.#stretch.bytes = own
    this.#stretch.length = to.length
    return this
  }

  get stretch(): Stretch {
    return this.#stretch
  }

  view(): Uint8Array {
    return this.#writer.bytes.subarray(0, this.#writer.length)
  }

  copy(): Uint8Array {
    return this.#writer.copy()
  }

  setState(): void {}
}

/**
 * Values as the functions of indices are given them. A struct is shown where it lies, by an object that is valid until the next
 * one is shown: most functions look at one field or two.
 */
export class IndexedValue {
  readonly #codec: Codec<unknown>
  readonly #reader = new ByteReader()
  readonly #slot = new Slot()
  readonly #view: unknown

  constructor(codec: Codec<unknown>) {
    this.#codec = codec
    this.#view = isStruct(codec) ? codec.viewOf(this.#slot, 'read') : undefined
  }

  /** The value of this stretch. Throws for bytes that are none. */
  show(bytes: Uint8Array, view: DataView, offset: number, length: number): unknown {
    const slot = this.#slot
    slot.bytes = bytes
    slot.view = view
    slot.offset = offset
    slot.length = length
    // One that was stored before fields were appended is read whole: it has zeros for them.
    if (this.#view !== undefined && length === this.#codec.fixedBytes) return this.#view
    const reader = this.#reader.fromSlot(slot)
    const value = this.#codec.read(reader)
    reader.assertEnd()
    return value
  }
}

/** Everything that an index has. */
export function indexRange(id: number): { readonly gte: Uint8Array; readonly lt: Uint8Array } {
  const gte = Uint8Array.of(INDEX_PREFIX >>> 8, INDEX_PREFIX & 0xff, id >>> 8, id & 0xff)
  return { gte, lt: prefixEnd(gte) as Uint8Array }
}
