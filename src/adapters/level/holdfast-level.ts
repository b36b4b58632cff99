import { access } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type AbstractBatchOperation,
  type AbstractChainedBatch,
  AbstractLevel,
  type AbstractOpenOptions,
} from 'abstract-level'
import {
  invalidArgument,
  type PutOptions,
  requireSettings,
  StateError,
  type SyncStateBackend,
  type SyncStateSnapshot,
} from '../../engine.js'
import { type StateBackend, WriteBatch } from '../../index.js'
import { LmdbStateBackend } from '../../lmdb.js'
import { isSyncStore } from '../shared/backend.js'
import { KeySpace } from '../shared/key-space.js'
import {
  asBuffer,
  type EncodedRange,
  keyRangeOf,
  LevelIterator,
  LevelSnapshot,
  snapshotOf,
} from './level-iterator.js'
import type {
  HoldfastLevelOptions,
  LevelBatchOptions,
  LevelDelOptions,
  LevelPutOptions,
  LevelWriteOptions,
} from './level-options.js'

/** Entries that a `clear` with a limit, or of a snapshot, removes in one step. */
const CLEARED_AT_ONCE = 512

/** What a batch is made of once abstract-level has encoded it. */
interface EncodedOperation {
  readonly type: 'put' | 'del'
  readonly key: Buffer
  readonly value: Buffer
  readonly ttlMs?: number
}

/**
 * An `abstract-level` database over a backend that is synchronous (memory, LMDB), or over an LMDB store at a location, which is
 * opened and closed with the database. What abstract-level promises holds: sublevels, encodings, hooks, snapshots, atomic batches.
 *
 * Beyond it, writes take `sync` (resolve when durable) and puts `ttlMs`. Keys are at most 2,048 bytes and values 64 MiB, those of
 * sublevels with the sublevel's name; beyond, and for a `ttlMs` that is not positive, a write rejects with `INVALID_ARGUMENT`. A
 * backend that was passed in stays open when the database is closed. Iterators and snapshots hold memory (or disk space) until they are
 * closed.
 *
 * @example
 * const db = new HoldfastLevel('./state')
 * await db.put('alice', '1', { sync: true })
 */
export class HoldfastLevel<K = string, V = string> extends AbstractLevel<Buffer, K, V> {
  /** The directory of the store; `undefined` where a backend was passed in. */
  readonly location: string | undefined
  readonly #space: KeySpace
  readonly #sync: boolean
  readonly #lmdb: HoldfastLevelOptions['lmdb']
  #backend: SyncStateBackend | undefined

  constructor(store: string | StateBackend, options: HoldfastLevelOptions<K, V> = {}) {
    requireSettings(options)
    const { prefix = '', sync = false, lmdb, ...forwarded } = options
    const isLocation = typeof store === 'string'
    const space = new KeySpace(prefix)
    if (isLocation ? store === '' : !isSyncStore(store)) {
      throw invalidArgument('store', 'must be a path, or a backend that is synchronous')
    }
    if (typeof sync !== 'boolean') throw invalidArgument('options.sync', 'must be true or false')
    if (lmdb !== undefined && !isLocation) {
      throw invalidArgument('options.lmdb', 'is for a store at a path: a backend is open already')
    }
    const manifest = {
      encodings: { buffer: true },
      seek: true,
      has: true,
      // The type of manifests does not know it yet.
      getSync: true,
      implicitSnapshots: true,
      explicitSnapshots: true,
      createIfMissing: isLocation,
      errorIfExists: isLocation,
      permanence: isLocation || store.supports.durable,
    }
    super(manifest, forwarded)
    this.location = isLocation ? store : undefined
    this.#backend = isLocation ? undefined : (store as SyncStateBackend)
    this.#space = space
    this.#sync = sync
    this.#lmdb = lmdb
  }

  override put(key: K, value: V): Promise<void>
  override put<K1 = K, V1 = V>(key: K1, value: V1, options: LevelPutOptions<K1, V1>): Promise<void>
  override put(key: K, value: V, options?: LevelPutOptions<K, V>): Promise<void> {
    return super.put(key, value, options ?? {})
  }

  override del(key: K): Promise<void>
  override del<K1 = K>(key: K1, options: LevelDelOptions<K1>): Promise<void>
  override del(key: K, options?: LevelDelOptions<K>): Promise<void> {
    return super.del(key, options ?? {})
  }

  override batch(): AbstractChainedBatch<typeof this, K, V>
  override batch(operations: AbstractBatchOperation<typeof this, K, V>[]): Promise<void>
  override batch<K1 = K, V1 = V>(
    operations: AbstractBatchOperation<typeof this, K1, V1>[],
    options: LevelBatchOptions<K1, V1>,
  ): Promise<void>
  override batch(
    ...args: [] | [AbstractBatchOperation<typeof this, K, V>[], LevelBatchOptions<K, V>?]
  ): AbstractChainedBatch<typeof this, K, V> | Promise<void> {
    if (args.length === 0) return super.batch()
    return super.batch(args[0], args[1] ?? {})
  }

  async _open({ createIfMissing, errorIfExists }: AbstractOpenOptions): Promise<void> {
    if (this.location === undefined) return
    const exists = await holdsStore(this.location)
    if (!exists && createIfMissing === false) throw this.#refused('does not exist')
    if (exists && errorIfExists === true) throw this.#refused('exists already')
    this.#backend = await LmdbStateBackend.open({ ...this.#lmdb, path: this.location })
  }

  async _close(): Promise<void> {
    if (this.location === undefined) return
    await this.#store.close()
    this.#backend = undefined
  }

  async _get(key: Buffer, options: object): Promise<Buffer | undefined> {
    return this.#read(key, options)
  }

  _getSync(key: Buffer, options: object): Buffer | undefined {
    return this.#read(key, options)
  }

  #read(key: Buffer, options: object): Buffer | undefined {
    const value = (snapshotOf(options) ?? this.#store).getSync(this.#space.stored(key))
    return value === undefined ? undefined : asBuffer(value)
  }

  async _getMany(keys: readonly Buffer[], options: object): Promise<(Buffer | undefined)[]> {
    return keys.map((key) => this.#read(key, options))
  }

  async _has(key: Buffer, options: object): Promise<boolean> {
    return (snapshotOf(options) ?? this.#store).containsSync(this.#space.stored(key))
  }

  async _hasMany(keys: readonly Buffer[], options: object): Promise<boolean[]> {
    const from = snapshotOf(options) ?? this.#store
    return keys.map((key) => from.containsSync(this.#space.stored(key)))
  }

  async _put(key: Buffer, value: Buffer, options: LevelPutOptions<Buffer, Buffer>): Promise<void> {
    this.#store.putSync(this.#space.stored(key), value, putOptionsOf(options))
    await this.#settled(options)
  }

  async _del(key: Buffer, options: LevelWriteOptions): Promise<void> {
    this.#store.deleteSync(this.#space.stored(key))
    await this.#settled(options)
  }

  async _batch(operations: readonly EncodedOperation[], options: LevelWriteOptions): Promise<void> {
    const batch = new WriteBatch()
    for (const operation of operations) {
      const key = this.#space.stored(operation.key)
      if (operation.type === 'del') batch.delete(key)
      else batch.put(key, operation.value, putOptionsOf(operation))
    }
    this.#store.writeSync(batch)
    await this.#settled(options)
  }

  async _clear(options: EncodedRange & LevelWriteOptions): Promise<void> {
    const bounds = keyRangeOf(options)
    if (options.limit !== -1 || snapshotOf(options) !== undefined) await this.#clearOneByOne(options)
    else if (this.#space.isWhole && Object.keys(bounds).length === 0) await this.#store.clear()
    else await this.#store.deleteRange(this.#space.range(bounds))
    await this.#settled(options)
  }

  _iterator(options: ConstructorParameters<typeof LevelIterator<this, K, V>>[1]): LevelIterator<this, K, V> {
    return new LevelIterator<this, K, V>(this, options, this.#space, () => this.#snapshot())
  }

  _snapshot(options: object): LevelSnapshot {
    return new LevelSnapshot(options, () => this.#snapshot())
  }

  get #store(): SyncStateBackend {
    const backend = this.#backend
    if (backend === undefined) throw new StateError('CLOSED', { component: 'HoldfastLevel' })
    return backend
  }

  #snapshot(): SyncStateSnapshot {
    return this.#store.snapshotSync()
  }

  /** Removes the keys that an instant holds, in its order, in steps: others have their turns in between. */
  async #clearOneByOne(options: EncodedRange): Promise<void> {
    const held = snapshotOf(options)
    const snapshot = held ?? this.#snapshot()
    const limit = options.limit === -1 ? Infinity : options.limit
    const range = { ...this.#space.range(keyRangeOf(options)), reverse: options.reverse, limit }
    const batch = new WriteBatch()
    try {
      for await (const [key] of snapshot.scan(range)) {
        batch.delete(key)
        if (batch.size < CLEARED_AT_ONCE) continue
        this.#store.writeSync(batch)
        batch.clear()
      }
      if (batch.size > 0) this.#store.writeSync(batch)
    } finally {
      if (held === undefined) snapshot.closeSync()
    }
  }

  async #settled({ sync = this.#sync }: LevelWriteOptions): Promise<void> {
    if (sync) await this.#store.flush()
  }

  #refused(reason: string): StateError {
    return new StateError('STORAGE_ERROR', {
      storage: `LMDB store ${this.location}`,
      operation: 'open',
      reason,
    })
  }
}

function putOptionsOf({ ttlMs }: { readonly ttlMs?: number | undefined }): PutOptions | undefined {
  return ttlMs === undefined ? undefined : { ttlMs }
}

/** Whether a store lies in a directory (docs/format/lmdb-store.md). */
async function holdsStore(location: string): Promise<boolean> {
  try {
    await access(join(location, 'holdfast-lmdb.json'))
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
