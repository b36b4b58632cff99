import { invalidArgument, requireSettings, type SyncStateBackend } from '../../engine.js'
import { type PutOptions, type StateBackend, WriteBatch } from '../../index.js'
import { syncBackend } from '../shared/backend.js'
import { KeySpace } from '../shared/key-space.js'
import { decodedValue, encodedValue } from '../shared/stored-value.js'

export interface KeyvStoreOptions {
  /** A backend that is synchronous; it stays the caller's to close. */
  readonly backend: StateBackend
  /** Keeps the keys of this store apart from those of others in the same backend; without zero bytes. Default `'keyv'`. */
  readonly prefix?: string
}

/** One of `setMany`. */
export interface KeyvStoreEntry {
  readonly key: string
  readonly value: unknown
  /** Time to live in milliseconds. */
  readonly ttl?: number | undefined
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/**
 * A store for Keyv 5 and Keyv 6, and by them for cache-manager and Nest's cache. What has expired is gone at once, and is removed
 * whether or not anybody asks for it. `setMany` and `deleteMany` are one step each; an iteration sees one instant.
 *
 * A store is for one Keyv: Keyv 5 notes its namespace in it, by which `clear` and the iteration go. Several on one backend with the same
 * prefix share the entries of equal namespaces.
 *
 * @example
 * const cache = new Keyv({ store: new KeyvStore({ backend }), namespace: 'people' })
 */
export class KeyvStore {
  /**
   * Where Keyv 5 notes its namespace, with which it begins the keys by itself. There is no such property before, which tells
   * Keyv 6 that it has to do so, too.
   */
  declare namespace?: string
  /** Keyv 5 iterates only over stores of the dialects it knows, and goes by nothing else of them. */
  readonly opts: { dialect: string; [name: string]: unknown } = { dialect: 'redis', url: 'holdfast' }
  readonly #backend: SyncStateBackend
  readonly #space: KeySpace

  constructor(options: KeyvStoreOptions) {
    requireSettings(options)
    const { backend, prefix = 'keyv' } = options
    this.#backend = syncBackend(backend)
    this.#space = new KeySpace(prefix)
  }

  async get(key: string): Promise<unknown> {
    return decodedValue(this.#backend.getSync(this.#space.storedText(key)))
  }

  async getMany(keys: readonly string[]): Promise<unknown[]> {
    return this.#backend.getManySync(keys.map((key) => this.#space.storedText(key))).map(decodedValue)
  }

  async has(key: string): Promise<boolean> {
    return this.#backend.containsSync(this.#space.storedText(key))
  }

  async hasMany(keys: readonly string[]): Promise<boolean[]> {
    return keys.map((key) => this.#backend.containsSync(this.#space.storedText(key)))
  }

  /**
   * `ttl` is in milliseconds; a life that is over already removes the entry. Default: the backend's. `SERIALIZATION_FAILED` for a
   * value that cannot be cloned.
   */
  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    await this.setMany([{ key, value, ttl }])
    return true
  }

  /** All or none of them. */
  async setMany(entries: readonly KeyvStoreEntry[]): Promise<boolean[]> {
    const batch = new WriteBatch()
    for (const { key, value, ttl } of entries) {
      const stored = this.#space.storedText(key)
      const life = lifeOf(ttl)
      if (life === 'over') batch.delete(stored)
      else batch.put(stored, encodedValue(value), life)
    }
    this.#backend.writeSync(batch)
    return entries.map(() => true)
  }

  /** Whether there was such an entry. */
  async delete(key: string): Promise<boolean> {
    return await this.deleteMany([key])
  }

  /** Removes them in one step; whether all of them were there. */
  async deleteMany(keys: readonly string[]): Promise<boolean> {
    const stored = keys.map((key) => this.#space.storedText(key))
    const wereThere = stored.every((key) => this.#backend.containsSync(key))
    const batch = new WriteBatch()
    for (const key of stored) batch.delete(key)
    this.#backend.writeSync(batch)
    return wereThere
  }

  /** Removes what is in the namespace that Keyv has noted, or else all that is in this store. */
  async clear(): Promise<void> {
    await this.#backend.deleteRange(this.#rangeOf(this.namespace))
  }

  /** The entries of a namespace, or all of them, at the instant of the first step. */
  async *iterator(namespace?: string): AsyncGenerator<[key: string, value: unknown], void, undefined> {
    for await (const [key, value] of this.#backend.scan(this.#rangeOf(namespace))) {
      yield [decoder.decode(this.#space.own(key)), decodedValue(value)]
    }
  }

  /** Resolves when everything written is durable, where the backend persists. The backend stays open. */
  async disconnect(): Promise<void> {
    await this.#backend.flush()
  }

  #rangeOf(namespace: string | undefined): { readonly prefix: Uint8Array } {
    // Keyv 5 puts one colon behind a namespace, Keyv 6 two, and looks at the second one itself.
    const prefix = namespace === undefined || namespace === '' ? '' : `${namespace}:`
    return { prefix: this.#space.storedText(prefix) }
  }
}

function lifeOf(ttl: number | undefined): PutOptions | 'over' | undefined {
  if (ttl === undefined || ttl === null) return undefined
  if (typeof ttl !== 'number' || Number.isNaN(ttl))
    throw invalidArgument('ttl', 'must be a number of milliseconds')
  return ttl > 0 ? { ttlMs: ttl } : 'over'
}
