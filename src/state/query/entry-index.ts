// A secondary index: for each entry of a state, an entry for each derived value, by which it is found.
//
//   index entry := 0xfffe · index id u16 · derived value (key form) · group u16 · rest of the stored key   -> nothing
//
// (1) Index entries are written and removed in the same step as the entry that they point to, and expire with it.
// (2) They lie behind all key groups, in one stretch, so that a query is one scan. A store that takes over key groups of another
//     one has none for them: `migrate()` makes them.
// (3) A query looks at the entry itself too: what an index says of an entry that has changed is not believed.

import type { PutOptions } from '../../backend/types.js'
import { prefixEnd } from '../../base/bytes.js'
import { ByteReader, ByteWriter } from '../codec/bytes.js'
import type { KeyCodec } from '../codec/codec.js'
import type { AssembledKey } from '../entries/entries.js'
import type { Host } from '../entries/host.js'
import { nameOf } from '../entries/overlay.js'
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
  /** The derived values of the value that lies in these bytes. */
  readonly keysOf: (bytes: Uint8Array) => readonly unknown[]
}

export class EntryIndex {
  readonly id: number
  readonly name: string
  readonly codec: KeyCodec<unknown>
  /** Whether every entry is in it. */
  isBuilt: boolean
  readonly #host: Host
  readonly #keysOf: (bytes: Uint8Array) => readonly unknown[]
  readonly #writer = new ByteWriter()

  constructor(host: Host, { id, name, codec, isBuilt, keysOf }: EntryIndexOptions) {
    this.#host = host
    this.id = id
    this.name = name
    this.codec = codec
    this.isBuilt = isBuilt
    this.#keysOf = keysOf
  }

  /** Everything that the index has. */
  get range(): { readonly gte: Uint8Array; readonly lt: Uint8Array } {
    return indexRange(this.id)
  }

  /** Points to an entry by its value of now, instead of by the one before. */
  move(
    key: AssembledKey,
    before: Uint8Array | undefined,
    after: Uint8Array | undefined,
    put: PutOptions,
  ): void {
    const { entries } = this.#host
    const gone = before === undefined ? undefined : this.#entryKeys(key, before)
    const there = after === undefined ? undefined : this.#entryKeys(key, after)
    for (const [name, bytes] of there ?? []) {
      const isKept = gone?.delete(name) === true
      // What expires is written anew, so that it expires with its entry.
      if (!isKept || put.ttlMs !== Infinity) entries.put(new GivenKey(bytes), NOTHING, put)
    }
    for (const bytes of gone?.values() ?? []) entries.remove(new GivenKey(bytes))
  }

  /** The key of the index entry of one derived value, up to where the entry's own key begins. */
  head(derived: unknown): Uint8Array {
    const to = this.#writer
    this.#begin(to)
    this.codec.writeKey(derived, to)
    return to.copy()
  }

  /** Whether an entry with this value is rightly found by an index entry. */
  pointsTo(indexKey: Uint8Array, key: AssembledKey, value: Uint8Array): boolean {
    return this.#entryKeys(key, value).has(nameOf(indexKey))
  }

  /** What an index entry says: the derived value, and the stored key of the entry in a state. */
  parse(indexKey: Uint8Array, state: number): { readonly derived: unknown; readonly key: Uint8Array } {
    const reader = new ByteReader().fromBytes(indexKey, INDEX_HEAD_BYTES)
    const derived = this.codec.readKey(reader)
    const group = indexKey.subarray(reader.position, reader.position + 2)
    const rest = indexKey.subarray(reader.position + 2)
    return { derived, key: new Uint8Array([...group, state >>> 8, state & 0xff, ...rest]) }
  }

  #entryKeys(key: AssembledKey, value: Uint8Array): Map<string, Uint8Array> {
    const keys = new Map<string, Uint8Array>()
    const { bytes, offset, length } = key.slot
    for (const derived of this.#keysOf(value)) {
      const to = this.#writer
      this.#begin(to)
      this.codec.writeKey(derived, to)
      to.append(bytes.subarray(offset, offset + 2))
      to.append(bytes.subarray(offset + 4, offset + length))
      const entryKey = to.copy()
      keys.set(nameOf(entryKey), entryKey)
    }
    return keys
  }

  #begin(to: ByteWriter): void {
    to.length = 0
    const at = to.reserve(INDEX_HEAD_BYTES)
    to.view.setUint16(at, INDEX_PREFIX)
    to.view.setUint16(at + 2, this.id)
  }
}

/** Everything that an index has. */
export function indexRange(id: number): { readonly gte: Uint8Array; readonly lt: Uint8Array } {
  const gte = Uint8Array.of(INDEX_PREFIX >>> 8, INDEX_PREFIX & 0xff, id >>> 8, id & 0xff)
  return { gte, lt: prefixEnd(gte) as Uint8Array }
}
