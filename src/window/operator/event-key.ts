import { MAX_KEY_BYTES } from '../../base/limits.js'
import { CodecError } from '../../state/codec/codec-error.js'
import { isEncodedKey, type KeyLike } from '../../state/key/stored-key.js'
import type { StateContext } from '../../state/kinds/state-context.js'
import type { TableKey } from './key-table.js'

/** Bytes in front of the key in a stored key. */
export const PREFIX_BYTES = 4

/** The keys of events, as they are looked for in tables. */
export class EventKey {
  readonly #context: StateContext<unknown>
  readonly #bytesBehind: number
  readonly #tableKey: TableKey

  /** @param bytesBehind what stands behind a key where a cut stores it. */
  constructor(context: StateContext<unknown>, tableKey: TableKey, bytesBehind: number) {
    this.#context = context
    this.#tableKey = tableKey
    this.#bytesBehind = bytesBehind
  }

  /** Makes it the key at hand; `SERIALIZATION_FAILED` for what is no key, or none that the next cut could store. */
  set(key: KeyLike<unknown>): TableKey {
    if (isEncodedKey(key)) return this.#tableKey.set(key.bytes, 0, key.bytes.length)
    const tableKey = this.#tableKey
    const { writer } = tableKey
    writer.length = 0
    try {
      this.#context.keyCodec.writeKey(key, writer)
      const storedBytes = PREFIX_BYTES + writer.length + this.#bytesBehind
      if (storedBytes > MAX_KEY_BYTES) {
        throw new CodecError(
          `a key that takes ${storedBytes} bytes in the store; the limit is ${MAX_KEY_BYTES}`,
        )
      }
    } catch (error) {
      throw this.#context.failure('write', error, key)
    }
    return tableKey.hashWritten()
  }
}
