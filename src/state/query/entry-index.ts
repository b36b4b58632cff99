// A secondary index: for each entry of a state, an entry for each derived value, by which it is found.
//
//   index entry := 0xfffe · index id u16 · derived value (key form) · group u16 · rest of the stored key   -> nothing
//
// (1) Index entries are written and removed in the same step as the entry that they point to, and expire with it.
// (2) They lie behind all key groups, in one stretch, so that a query is one scan. A store that takes over key groups of another
//     one has none for them: `migrate()` makes them.
// (3) A query looks at the entry itself too: what an index says of an entry that has changed is not believed.

import type { PutOptions } from '../../backend/types.js'
import { equalBytes, prefixEnd } from '../../base/bytes.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { KeyCodec } from '../codec/codec.js'
import type { AssembledKey } from '../entries/entries.js'
import type { Host } from '../entries/host.js'
import { GivenKey } from '../key/stored-key.js'

const INDEX_PREFIX = 0xfffe
/** Bytes in front of the derived value. */
export const INDEX_HEAD_BYTES = 4
const NOTHING = new ByteWriter(0)

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
  readonly #host: Host
  readonly #derive: (value: unknown) => readonly unknown[]
  readonly #writer = new ByteWriter()

  constructor(host: Host, { id, name, codec, isBuilt, derive }: EntryIndexOptions) {
    this.#host = host
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

  /** What makes the index point to an entry by its value of now, instead of by the one before; empty where nothing does. */
  changes(
    key: AssembledKey,
    before: Decoded | undefined,
    after: Decoded | undefined,
    expires: boolean,
  ): IndexChange[] {
    const gone = before === undefined ? [] : this.#entryKeys(key, before.value)
    const there = after === undefined ? [] : this.#entryKeys(key, after.value)
    const changes: IndexChange[] = []
    for (const bytes of gone) if (!holds(there, bytes)) changes.push({ key: bytes, isThere: false })
    // What expires is written anew, so that it expires with its entry.
    for (const bytes of there) if (expires || !holds(gone, bytes)) changes.push({ key: bytes, isThere: true })
    return changes
  }

  apply(changes: readonly IndexChange[], put: PutOptions): void {
    const { entries } = this.#host
    for (const { key, isThere } of changes) {
      if (isThere) entries.put(new GivenKey(key), NOTHING, put)
      else entries.remove(new GivenKey(key))
    }
  }

  /** The key of the index entry of one derived value, up to where the entry's own key begins. */
  head(derived: unknown): Uint8Array {
    return this.#writeHead(derived).copy()
  }

  /** Whether a value is rightly found by an index entry. */
  finds(indexKey: Uint8Array, value: unknown): boolean {
    for (const derived of this.#derive(value)) {
      const { bytes, length } = this.#writeHead(derived)
      let i = INDEX_HEAD_BYTES
      while (i < length && bytes[i] === indexKey[i]) i++
      if (i === length) return true
    }
    return false
  }

  /** What an index entry says: the derived value, and the stored key of the entry in a state. */
  parse(indexKey: Uint8Array, state: number): { readonly derived: unknown; readonly key: Uint8Array } {
    const reader = new ByteReader().fromBytes(indexKey, INDEX_HEAD_BYTES)
    const derived = this.codec.readKey(reader)
    const at = reader.position
    const key = new Uint8Array(indexKey.length - at + 2)
    key.set(indexKey.subarray(at, at + 2))
    key[2] = state >>> 8
    key[3] = state & 0xff
    key.set(indexKey.subarray(at + 2), 4)
    return { derived, key }
  }

  #entryKeys({ stretch }: AssembledKey, value: unknown): Uint8Array[] {
    const { bytes, offset, length } = stretch
    const keys: Uint8Array[] = []
    for (const derived of this.#derive(value)) {
      const to = this.#writeHead(derived)
      const at = to.reserve(length - 2)
      to.bytes[at] = bytes[offset] as number
      to.bytes[at + 1] = bytes[offset + 1] as number
      to.bytes.set(bytes.subarray(offset + 4, offset + length), at + 2)
      const entryKey = to.copy()
      if (!holds(keys, entryKey)) keys.push(entryKey)
    }
    return keys
  }

  #writeHead(derived: unknown): ByteWriter {
    const to = this.#writer
    to.length = 0
    const at = to.reserve(INDEX_HEAD_BYTES)
    to.view.setUint16(at, INDEX_PREFIX)
    to.view.setUint16(at + 2, this.id)
    this.codec.writeKey(derived, to)
    return to
  }
}

/** A value that was read, whatever it is. */
export interface Decoded {
  readonly value: unknown
}

/** An index entry that is to be there, or not any more. */
export interface IndexChange {
  readonly key: Uint8Array
  readonly isThere: boolean
}

const holds = (keys: readonly Uint8Array[], key: Uint8Array): boolean =>
  keys.some((each) => each.length === key.length && equalBytes(each, key))

/** Everything that an index has. */
export function indexRange(id: number): { readonly gte: Uint8Array; readonly lt: Uint8Array } {
  const gte = Uint8Array.of(INDEX_PREFIX >>> 8, INDEX_PREFIX & 0xff, id >>> 8, id & 0xff)
  return { gte, lt: prefixEnd(gte) as Uint8Array }
}
