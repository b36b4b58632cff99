import { brandClass } from '../../base/shapes.js'
import { ByteWriter } from '../codec/bytes.js'
import type { KeyCodec } from '../codec/codec.js'
import { keyGroupOf } from './key-group.js'
import { ENCODED_KEY, EncodedKey, type ToldKeys } from './stored-key.js'

export interface CurrentKeyOptions<Key> {
  readonly codec: KeyCodec<Key>
  readonly keyGroups: number
  /** What calls keep beyond their return: over an asynchronous engine. Each key is then an object of its own. */
  readonly isKept: boolean
  /** The error for a key that its codec does not take. */
  readonly failure: (error: unknown, key: Key) => unknown
}

/**
 * The key that is worked on, one after the other: encoded when it is first asked for, and once. It takes the place of an
 * {@link EncodedKey} whose bytes are used again for the next key; nothing is made for a key.
 */
export class CurrentKey<Key> {
  static {
    brandClass(CurrentKey, ENCODED_KEY)
  }

  key: Key = undefined as Key
  /** Where an engine was told of it, if one was, and as the how manieth: its bytes are there, until somebody asks for them here. */
  told: ToldKeys | undefined
  toldAt = 0
  #group = 0
  #bytes: Uint8Array = new Uint8Array(0)
  readonly #options: CurrentKeyOptions<Key>
  readonly #writer = new ByteWriter()
  /** Views of the first bytes of the writer, by their length: each is made once. */
  #views: (Uint8Array | undefined)[] = []
  #viewed: Uint8Array | undefined
  #isEncoded = false
  #kept: EncodedKey<Key> | undefined

  constructor(options: CurrentKeyOptions<Key>) {
    this.#options = options
  }

  get group(): number {
    if (!this.#isEncoded) this.#encode()
    return this.#group
  }

  get bytes(): Uint8Array {
    if (!this.#isEncoded) this.#encode()
    return this.#bytes
  }

  /** Goes on to another key. */
  set(key: Key): void {
    this.key = key
    this.told = undefined
    this.#isEncoded = false
    this.#kept = undefined
  }

  /** Goes on to the `i`th key of those that an engine was told of. */
  setTold(key: Key, told: ToldKeys, i: number): void {
    this.key = key
    this.told = told
    this.toldAt = i
    this.#isEncoded = false
    this.#kept = undefined
  }

  /** Goes on to a key of which the encoded form is there: bytes from `start` up to `end`. */
  setEncoded(key: Key, bytes: Uint8Array, start: number, end: number): void {
    this.set(key)
    const writer = this.#writer
    writer.length = 0
    const at = writer.reserve(end - start)
    for (let i = start; i < end; i++) writer.bytes[at + i - start] = bytes[i] as number
    this.#show(this.#groupOfWritten())
  }

  /** The key in its encoded form, valid until the next one is set; `SERIALIZATION_FAILED` for what is no key. */
  encoded(): EncodedKey<Key> {
    if (this.#options.isKept) return this.fixed()
    if (!this.#isEncoded && this.told === undefined) this.#encode()
    return this
  }

  /** The same, to be kept. */
  fixed(): EncodedKey<Key> {
    if (this.#kept !== undefined) return this.#kept
    if (!this.#isEncoded) this.#encode()
    this.#kept = new EncodedKey(this.key, this.group, this.#writer.copy())
    return this.#kept
  }

  #encode(): void {
    const writer = this.#writer
    writer.length = 0
    if (this.told !== undefined) {
      this.#show(this.told.write(this.toldAt, writer))
      return
    }
    try {
      this.#options.codec.writeKey(this.key, writer)
    } catch (error) {
      throw this.#options.failure(error, this.key)
    }
    this.#show(this.#groupOfWritten())
  }

  #groupOfWritten(): number {
    const { view, length } = this.#writer
    return keyGroupOf(view, 0, length, this.#options.keyGroups)
  }

  #show(group: number): void {
    const { bytes, length } = this.#writer
    if (this.#viewed !== bytes) {
      // The writer has grown: it has other memory now.
      this.#viewed = bytes
      this.#views = []
    }
    this.#bytes = this.#views[length] ??= bytes.subarray(0, length)
    this.#group = group
    this.#isEncoded = true
  }
}
