import type { EntryBlock } from './entry-block.js'
import type { ChangeBase, SharedSnapshot } from './shared-snapshot.js'
import type { BackendStats, BlockOptions, Entry, PutOptions, ReplaceOptions, ScanRange } from './types.js'
import type { WriteBatch } from './write-batch.js'

/**
 * One instant of a backend, unchanged by whatever is written meanwhile. It holds memory (or disk space) that the
 * backend could otherwise reuse: close it soon. Entries that were alive at that instant stay visible in it, and those
 * expired at that instant are not. Calls after `close()` reject with `CLOSED`.
 */
export interface StateSnapshot extends AsyncDisposable {
  /** The backend's time at this instant, in milliseconds since the epoch; never behind an earlier snapshot's. */
  readonly takenAtMs: number
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  contains(key: Uint8Array): Promise<boolean>
  scan(range?: ScanRange): AsyncIterableIterator<Entry>
  count(): Promise<number>
  /** The whole content as packed blocks in key order, expiry included: what a checkpoint writes. */
  blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock>
  /**
   * Makes this instant one from which on the backend remembers what changes, until the base is released. To be called in
   * the same synchronous step as the snapshot was taken in. Engines that cannot tell what changes leave it out.
   */
  trackChanges?(): ChangeBase
  /**
   * Hands the snapshot to another thread of this process, in constant time: all of it, or what has changed since an earlier
   * base. `undefined` where that cannot be told any more (too much has changed, or the content was cleared or replaced):
   * share all of it then. Like `trackChanges` it is to be called in the same synchronous step as the snapshot was taken in:
   * after a write there is nothing to share any more (`undefined`). May be called more than once. Engines that have
   * nothing to share leave it out; their `blocks` are sent instead.
   */
  share?(since?: ChangeBase): SharedSnapshot | undefined
  /** Idempotent. */
  close(): Promise<void>
}

/** A snapshot of a local engine. */
export interface SyncStateSnapshot extends StateSnapshot, Disposable {
  getSync(key: Uint8Array): Uint8Array | undefined
  containsSync(key: Uint8Array): boolean
  scanSync(range?: ScanRange): IterableIterator<Entry>
  countSync(): number
  closeSync(): void
}

/**
 * A place to look up the latest value of a key: bytes in, bytes out. `runConformanceSuite` of `holdfast/testing`
 * is these promises, executable:
 *
 *  1. Keys are 0 to 2,048 bytes, values 0 to 64 MiB; beyond is `INVALID_ARGUMENT`, before anything is written.
 *  2. Order is that of unsigned bytes.
 *  3. What you pass in is copied, what you get back is yours.
 *  4. A write that has returned is visible to the next read of the same backend object.
 *  5. A batch applies wholly or not at all.
 *  6. A snapshot and a running scan see one instant.
 *  7. Expired entries are invisible to every read at once, and are removed by a budgeted sweep also when nobody reads.
 *     A sweep never removes an entry that was refreshed meanwhile. A clock that jumps back revives nothing.
 *  8. After `flush()` resolves, everything written before survives `kill -9` and power loss (engines that persist).
 *  9. After `close()`, every call rejects with `CLOSED`; a second `close()` is a no-op.
 * 10. Counters are monotonic and exact.
 * 11. A full store rejects writes with `BACKEND_FULL` and stays usable for reads and deletes.
 * 12. An engine that failed to commit once refuses further writes (`STORAGE_ERROR`, with the cause).
 */
export interface StateBackend extends AsyncDisposable {
  /** The engine: `'memory'`, `'lmdb'`, `'redis'`, … */
  readonly name: string
  /** The value, or `undefined` where there is none. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  /** The values in the order of the keys; one instant. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /** The value; `STATE_EXPIRED` where the engine can still tell that it expired, otherwise `KEY_NOT_FOUND`. */
  getOrThrow(key: Uint8Array): Promise<Uint8Array>
  /** Inserts or overwrites, and sets the time to live anew. `BACKEND_FULL` when it does not fit. */
  put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void>
  /** Removes; no error where there is nothing. */
  delete(key: Uint8Array): Promise<void>
  /** Whether there is an entry; not counted as a get. */
  contains(key: Uint8Array): Promise<boolean>
  /**
   * Applies a batch, all or nothing. `CONCURRENT_MODIFICATION` when an `expect` does not hold,
   * `BACKEND_FULL` when it does not fit.
   */
  write(batch: WriteBatch): Promise<void>
  /** The entries in range, in key order, as they were when the first one was asked for. */
  scan(range?: ScanRange): AsyncIterableIterator<Entry>
  /** The keys that start with `prefix`, in order. */
  listKeys(prefix: Uint8Array): Promise<Uint8Array[]>
  /** How many entries there are. */
  count(): Promise<number>
  /** Removes everything. Open snapshots keep what they see. */
  clear(): Promise<void>
  /** The instant of the call; what is written afterwards is not in it. */
  snapshot(): Promise<StateSnapshot>
  /**
   * Replaces the whole content by the given blocks (in key order, without tombstones): how a checkpoint is restored.
   * The change is one step: until it, reads see the old content, and if the stream of blocks fails or a block is
   * damaged, the old content stays. Writes meanwhile reject with `NOT_INITIALIZED`. Expiry times are kept.
   */
  replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void>
  /** Resolves when everything written before is durable; at once for engines that do not persist. */
  flush(): Promise<void>
  stats(): BackendStats
  /** Flushes and releases everything. Idempotent. Open snapshots and scans end with `CLOSED`. */
  close(): Promise<void>
}

/** A local engine: the same promises, without awaiting on the hot path. */
export interface SyncStateBackend extends StateBackend {
  getSync(key: Uint8Array): Uint8Array | undefined
  getOrThrowSync(key: Uint8Array): Uint8Array
  putSync(key: Uint8Array, value: Uint8Array, options?: PutOptions): void
  deleteSync(key: Uint8Array): void
  containsSync(key: Uint8Array): boolean
  writeSync(batch: WriteBatch): void
  scanSync(range?: ScanRange): IterableIterator<Entry>
  snapshotSync(): SyncStateSnapshot
  snapshot(): Promise<SyncStateSnapshot>
}

/** Whether a backend has the synchronous fast path. */
export function isSyncBackend(backend: StateBackend): backend is SyncStateBackend {
  return 'snapshotSync' in backend && typeof backend.snapshotSync === 'function'
}
