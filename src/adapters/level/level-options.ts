import type {
  AbstractBatchOptions,
  AbstractChainedBatchWriteOptions,
  AbstractDatabaseOptions,
  AbstractDelOptions,
  AbstractPutOptions,
} from 'abstract-level'
import type { LmdbStateBackendOptions } from '../../lmdb.js'

export interface HoldfastLevelOptions<K = string, V = string> extends AbstractDatabaseOptions<K, V> {
  /**
   * Keeps the keys of this database apart from those of others in the same backend; without zero bytes. Default: none, and all
   * that the backend holds is of this database.
   */
  readonly prefix?: string
  /** What each write does whose own `sync` says nothing. Default false. */
  readonly sync?: boolean
  /** How the LMDB store at a location is opened. */
  readonly lmdb?: Omit<LmdbStateBackendOptions, 'path'>
}

/** Of a write. */
export interface LevelWriteOptions {
  /** Resolve only when it, and what was written before, is on stable storage. Default: the database's `sync`. */
  readonly sync?: boolean | undefined
}

export interface LevelPutOptions<K, V> extends AbstractPutOptions<K, V>, LevelWriteOptions {
  /** Time to live in milliseconds, positive. Default: the backend's. */
  readonly ttlMs?: number | undefined
}

export interface LevelDelOptions<K> extends AbstractDelOptions<K>, LevelWriteOptions {}

export interface LevelBatchOptions<K, V> extends AbstractBatchOptions<K, V>, LevelWriteOptions {
  /** Time to live of each put in milliseconds, positive. Default: the backend's. */
  readonly ttlMs?: number | undefined
}

export interface LevelChainedBatchWriteOptions extends AbstractChainedBatchWriteOptions, LevelWriteOptions {}
