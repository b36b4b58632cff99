import { invalidArgument, requireSettings } from '../../engine.js'
import type { PutOptions, StateBackend } from '../../index.js'
import { WriteBatch } from '../../index.js'
import { syncBackend } from '../shared/backend.js'
import { KeySpace } from '../shared/key-space.js'
import { decodedValue, encodedValue } from '../shared/stored-value.js'

export interface UnstorageDriverOptions {
  /** A backend that is synchronous; it stays the caller's to close. */
  readonly backend: StateBackend
  /** Keeps the items apart from what else is in the backend; without zero bytes. Default `'unstorage'`. */
  readonly prefix?: string
  /** Life of items that are set without one, in seconds; positive. Default: the backend's. */
  readonly ttl?: number
}

/** Of a call that sets an item. */
export interface UnstorageItemOptions {
  /** Time to live in seconds, as other drivers of unstorage have it; 0: the driver's. */
  readonly ttl?: number | undefined
}

/** What unstorage takes as a driver; in its words. */
export interface UnstorageDriver {
  readonly name: string
  readonly options: UnstorageDriverOptions
  getInstance(): StateBackend
  hasItem(key: string): boolean
  getItem(key: string): string | null
  getItemRaw(key: string): unknown
  setItem(key: string, value: string, options?: UnstorageItemOptions): void
  setItemRaw(key: string, value: unknown, options?: UnstorageItemOptions): void
  setItems(
    items: { readonly key: string; readonly value: string; readonly options?: UnstorageItemOptions }[],
    options?: UnstorageItemOptions,
  ): void
  removeItem(key: string): void
  getKeys(base?: string): Promise<string[]>
  clear(base?: string): Promise<void>
  dispose(): Promise<void>
}

/**
 * A driver for unstorage. Items may have a `ttl` (in seconds) and are really removed when it is over; `setItems` is one step; raw
 * values may be whatever `structuredClone` takes. `dispose` makes everything durable where the backend persists.
 *
 * @example
 * const storage = createStorage({ driver: unstorageDriver({ backend }) })
 */
export function unstorageDriver(options: UnstorageDriverOptions): UnstorageDriver {
  requireSettings(options)
  const backend = syncBackend(options.backend)
  const space = new KeySpace(options.prefix ?? 'unstorage')
  const ownTtl = lifeOf(options.ttl, 'options.ttl')
  const life = (own?: UnstorageItemOptions, common?: UnstorageItemOptions) =>
    lifeOf(own?.ttl, 'ttl') ?? lifeOf(common?.ttl, 'ttl') ?? ownTtl
  const setItemRaw = (key: string, value: unknown, own?: UnstorageItemOptions) =>
    backend.putSync(space.storedText(key), encodedValue(value), life(own))
  return {
    name: 'holdfast',
    options,
    getInstance: () => backend,
    hasItem: (key) => backend.containsSync(space.storedText(key)),
    getItem: (key) => (decodedValue(backend.getSync(space.storedText(key))) ?? null) as string | null,
    getItemRaw: (key) => decodedValue(backend.getSync(space.storedText(key))) ?? null,
    setItem: setItemRaw,
    setItemRaw,
    setItems: (items, common) => {
      const batch = new WriteBatch()
      for (const { key, value, options: own } of items) {
        batch.put(space.storedText(key), encodedValue(value), life(own, common))
      }
      backend.writeSync(batch)
    },
    removeItem: (key) => backend.deleteSync(space.storedText(key)),
    getKeys: async (base = '') => {
      const stored = await backend.listKeys(space.storedText(base))
      return stored.map((key) => decodeKey(space.own(key)))
    },
    clear: async (base = '') => await backend.deleteRange({ prefix: space.storedText(base) }),
    dispose: async () => await backend.flush(),
  }
}

const keyDecoder = new TextDecoder('utf-8', { ignoreBOM: true })
const decodeKey = (key: Uint8Array) => keyDecoder.decode(key)

/** The life that a `ttl` in seconds says; none: another's holds. */
function lifeOf(ttl: number | undefined, argument: string): PutOptions | undefined {
  if (ttl === undefined || ttl === null || ttl === 0) return undefined
  if (typeof ttl !== 'number' || !(ttl > 0))
    throw invalidArgument(argument, 'must be a positive number of seconds')
  return { ttlMs: ttl * 1_000 }
}
