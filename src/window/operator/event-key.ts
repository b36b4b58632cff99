import { checkStoredLength, isEncodedKey, type KeyLike, PREFIX_BYTES } from '../../state/key/stored-key.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import { type KeyTable, NEAR_KEYS, TableKey } from './key-table.js'

/**
 * The keys of events, as they are looked for in tables. Those of the next events may be told in advance (`ahead`): what lies under them then
 * comes out of memory at the same time, where it would come one after the other.
 */
export class EventKey {
  readonly #context: StateContext<unknown>
  readonly #bytesBehind: number
  readonly #tableKey: TableKey
  /** Keys that were told in advance, as they were given and as they are looked for. */
  readonly #given: unknown[] = []
  readonly #told: TableKey[] = []
  #count = 0
  /** The first of them whose turn may come. */
  #next = 0

  /** @param bytesBehind what stands behind a key where a cut stores it. */
  constructor(context: StateContext<unknown>, tableKey: TableKey, bytesBehind: number) {
    this.#context = context
    this.#tableKey = tableKey
    this.#bytesBehind = bytesBehind
  }

  /** Makes it the key at hand; `SERIALIZATION_FAILED` for what is no key, or none that the next cut could store. */
  set(key: KeyLike<unknown>): TableKey {
    // Events may be passed over, never put in another order.
    while (this.#next < this.#count) {
      const i = this.#next++
      if (Object.is(this.#given[i], key)) return this.#told[i] as TableKey
    }
    try {
      if (!isEncodedKey(key)) return this.#write(key, this.#tableKey)
      checkStoredLength(PREFIX_BYTES + key.bytes.length + this.#bytesBehind)
      return this.#tableKey.set(key.bytes, 0, key.bytes.length)
    } catch (error) {
      throw this.#context.keyFailure(error, key)
    }
  }

  /** The keys of the next events are these, strings and numbers. One that is no key is met again when its turn comes. */
  ahead(keys: readonly unknown[], count: number, table: KeyTable): void {
    this.#next = 0
    this.#count = 0
    try {
      for (let i = 0; i < Math.min(count, NEAR_KEYS); i++) {
        let tableKey = this.#told[i]
        if (tableKey === undefined) {
          tableKey = new TableKey()
          this.#told.push(tableKey)
        }
        this.#write(keys[i], tableKey)
        this.#given[i] = keys[i]
        this.#count++
      }
    } catch {
      // Its own event tells of it.
    }
    table.bringNear(this.#told, this.#count)
  }

  #write(key: unknown, tableKey: TableKey): TableKey {
    const { writer } = tableKey
    writer.length = 0
    this.#context.keyCodec.writeKey(key, writer)
    checkStoredLength(PREFIX_BYTES + writer.length + this.#bytesBehind)
    return tableKey.hashWritten()
  }
}
