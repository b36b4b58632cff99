// The contract of every engine, by capability: what all can do is `StateBackend`, and what an engine can do beyond that is in
// its type and in `supports`, so that one across a network can be honest about what it lacks.

import type { Unsubscribe } from '../base/events.js'
import type { Slot, Stretch, ViewedBytes } from '../base/slot.js'
import type { StateBuilding } from './built-state.js'
import type { EntryBlock } from './entry-block.js'
import type { BlockPreparing } from './prepared-blocks.js'
import type { SnapshotOptions, StateSnapshot, SyncStateSnapshot } from './state-snapshot.js'
import type {
  BackendStats,
  BackendSupport,
  Entry,
  ExpiryEvents,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from './types.js'
import type { WriteBatch } from './write-batch.js'

/**
 * A place to look up the latest value of a key: bytes in, bytes out. `runConformanceSuite` of `holdfast/testing`
 * tests what every engine promises:
 *
 *  1. Keys are 0 to 2,048 bytes, values 0 to 64 MiB; beyond is `INVALID_ARGUMENT`, before anything is written.
 *  2. Order is that of unsigned bytes.
 *  3. What you pass in is copied, what you get back is yours (but for a `Slot`, which says so).
 *  4. A write that has returned is visible to the next read of the same backend object.
 *  5. A batch applies wholly or not at all, and so does a `deleteRange`.
 *  6. A snapshot and a running scan see one instant. (Where `supports.orderedScan` is `'paged'`, each page of a scan sees one.)
 *  7. Expired entries are invisible to every read at once, and are removed by a budgeted sweep also when nobody reads.
 *     A sweep never removes an entry that was refreshed meanwhile. A clock that jumps back revives nothing.
 *  8. After `flush()` resolves, everything written before survives `kill -9` and power loss (`supports.durable`).
 *  9. After `close()`, every call rejects with `CLOSED`; a second `close()` is a no-op. Whatever was pending settles.
 * 10. Counters are monotonic and exact.
 * 11. A full store rejects writes with `BACKEND_FULL` and stays usable for reads and deletes.
 * 12. An engine that failed to commit once refuses further writes (`STORAGE_ERROR`, with the cause).
 */
export interface StateBackend extends AsyncDisposable {
  /** The engine: `'memory'`, `'lmdb'`, `'redis'`, … */
  readonly name: string
  /** What it can do beyond this interface; frozen, and the same as long as it is open. */
  readonly supports: BackendSupport
  /** Whether it was opened for reading only, so that every write is `INVALID_ARGUMENT`. Absent: it was not. */
  readonly isReadOnly?: boolean
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
   * `BACKEND_FULL` when it does not fit. Where it deletes ranges, what was said of `deleteRange` holds.
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
  /**
   * Removes every key in a range, in one step: no read sees some of them gone and others not. Looks at no key outside it, so
   * that dropping a window or a group of keys costs what is in it. The LMDB engine removes what the store holds in slices: all of
   * it is gone for every read from the call on, what is put there afterwards stays, and until the call has resolved
   * `stats().entries` may still count some; a snapshot, a scan or a `count` that begins meanwhile does the rest at once. An engine that orders its keys on demand, as the memory engine
   * does, orders them first, in slices between turns of the event loop, which it needs for that: a caller that gives it no turn
   * waits for ever, and what it writes into the range before the call has resolved is removed as well. Open snapshots keep what
   * they see. Counts as one delete.
   */
  deleteRange(range: KeyRange): Promise<void>
  /** Resolves when everything written before is durable; at once for engines that do not persist. */
  flush(): Promise<void>
  stats(): BackendStats
  /** Flushes and releases everything. Idempotent. Open snapshots and scans end with `CLOSED`. */
  close(): Promise<void>
}

/** An engine with snapshots (`supports.snapshots`). */
export interface SnapshotSource {
  /**
   * The module that will open what the snapshots share (see `SharedSnapshot`), for a thread that loads it ahead of time: an engine
   * may wait for its reader, and loading can take long. Left out where there is nothing to gain.
   */
  readonly sharedModule?: string | undefined
  /** The instant of the call; what is written afterwards is not in it. */
  snapshot(options?: SnapshotOptions): Promise<StateSnapshot>
  /**
   * Where a snapshot with these options would have to do much in its own step, does that in slices; resolves when it is done.
   * `undefined`: there is nothing to do, as nearly always. LMDB has, while a large range is being removed and changes are asked for.
   */
  prepareSnapshot?(options?: SnapshotOptions): Promise<void> | undefined
}

/** An engine whose content can be replaced (`supports.replace`): how a checkpoint is restored. */
export interface Replaceable {
  /**
   * How another thread can put a whole content together that `replaceAll` then goes on with in one step, where it is given blocks that say
   * so (`BuiltBlocks`). Left out, or `undefined` at a time: `replaceAll` has to be given each block.
   */
  readonly building?: StateBuilding | undefined
  /**
   * How another thread can make the blocks of a whole content ready, which `replaceAll` then takes instead of them, where it is given blocks that
   * say so (`PreparableBlocks`). Left out, or `undefined` at a time: `replaceAll` has to be given the blocks themselves.
   */
  readonly preparing?: BlockPreparing | undefined
  /**
   * Replaces the whole content, or what is in `range`, by the given blocks (in key order, without tombstones). The change is
   * one step: until it, reads see the old content, and if the stream of blocks fails or a block is damaged (`CORRUPTION`), the
   * old content stays. Writes meanwhile reject with `NOT_INITIALIZED`. Expiry times are kept. What has changed since an earlier
   * base may not be told afterwards.
   */
  replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void>
}

/** A local engine (`supports.sync`): the same promises, without awaiting on the hot path. */
export interface SyncStateBackend extends StateBackend, SnapshotSource {
  getSync(key: KeyBytes): Uint8Array | undefined
  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[]
  getOrThrowSync(key: Uint8Array): Uint8Array
  putSync(key: KeyBytes, value: Uint8Array, options?: PutOptions): void
  deleteSync(key: KeyBytes): void
  containsSync(key: KeyBytes): boolean
  writeSync(batch: WriteBatch): void
  /**
   * Like `deleteRange`, at once. The memory engine looks at every entry for that, some hundred milliseconds for a million, as long as
   * nobody has asked for the order of keys: a scan or the asynchronous `deleteRange`, once, spares all later calls that.
   */
  deleteRangeSync(range: KeyRange): void
  scanSync(range?: ScanRange): IterableIterator<Entry>
  snapshotSync(options?: SnapshotOptions): SyncStateSnapshot
  snapshot(options?: SnapshotOptions): Promise<SyncStateSnapshot>
}

/** A key as its bytes, or as a stretch of a larger buffer. */
export type KeyBytes = Uint8Array | Stretch

/**
 * A local engine whose values can be read and changed where they lie (`supports.inPlace`), without a copy and without
 * making an object for each event.
 */
export interface InPlaceBackend extends SyncStateBackend {
  /**
   * Shows the value of a key where it lies, for reading only, until the next call of the backend; false, with the slot as it
   * was, where there is none. Counts as a get.
   */
  peekSync(key: KeyBytes, slot: Slot): boolean
  /**
   * Finds the entry of a key, or makes it with `length` zero bytes, and shows its value ready to be changed where it lies, until
   * the next call of the backend. True where there was one: a value of another length is cut, or filled up with zeros, to
   * `length`. What an open snapshot sees of it is copied first. Counts as a put, and sets the time to live anew; a read of the
   * slot's bytes is no get. `BACKEND_FULL` with nothing changed.
   *
   * @example
   * backend.updateSync(key, 8, slot)
   * slot.view.setFloat64(slot.offset, slot.view.getFloat64(slot.offset) + 1)
   */
  updateSync(key: KeyBytes, length: number, slot: Slot, options?: PutOptions): boolean
}

/**
 * A large write that is made in slices and is there in one step. Nobody sees anything of it before `apply`, and a crash leaves all of it
 * or nothing. Where a key is also written by others meanwhile, what was added here comes last.
 */
export interface StagedWrite {
  /**
   * Adds the puts and deletes of a batch; expectations and deletions of ranges are `INVALID_ARGUMENT`. `BACKEND_FULL` where it does not fit
   * beside what was added before: what was can still be applied, or dropped.
   */
  add(batch: WriteBatch): void
  /** Puts it in force, however large it is, without waiting for the disk; a `flush` makes it durable. Nothing can be added afterwards. */
  apply(): void
  /** Forgets it. Does nothing once it is in force. */
  drop(): void
}

/** An engine that takes large writes in slices. */
export interface StagingBackend {
  /** Begins one; only one at a time: a second is `TRANSACTION_FAILED`. Whoever begins it applies or drops it. */
  stage(): StagedWrite
}

/** Whether a backend takes large writes in slices. */
export function canStage<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & StagingBackend {
  return typeof (backend as Partial<StagingBackend>).stage === 'function'
}

/**
 * An engine that can be told which keys are sought next. Where it holds more than is in the processor's caches, it asks memory for all of them
 * at once, instead of for one after the other when each is sought.
 */
export interface LookAheadBackend {
  /** Whether that is worth it at the moment. */
  readonly isFar: boolean
  /** A hint: keys that lie one behind the other, each up to its end. Nothing that can be read changes, and nothing is counted. */
  bringNear(keys: Uint8Array, ends: Int32Array, count: number): void
  /** As `peekSync` of a key that was most probably told last, at this place, from 0 on: the search is spared then. */
  peekToldSync(place: number, key: Stretch, slot: Slot): boolean
}

/** Whether a backend takes hints of what is sought next. */
export function looksAhead<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & LookAheadBackend {
  return typeof (backend as Partial<LookAheadBackend>).bringNear === 'function'
}

/** Says of a key, where it lies, whether it is wanted. */
export type KeyFilter = (bytes: Uint8Array, offset: number, length: number) => boolean

/** An engine that has its keys in no order until somebody asks for it: whoever needs none is spared that they are sorted. */
export interface UnsortedBackend {
  /**
   * What a scan of everything would give of the keys that are wanted, in any order and at the instant of its first step. Now and then a step is
   * `undefined`: others may have a turn.
   */
  unsortedSync(isWanted: KeyFilter): IterableIterator<Entry | undefined>
}

/** Whether a backend gives its entries without sorting them. */
export function isUnsorted<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & UnsortedBackend {
  return typeof (backend as Partial<UnsortedBackend>).unsortedSync === 'function'
}

/** An engine that writes a value back to where it has shown it, without being given the key and without a search. */
export interface WriteBackBackend {
  /**
   * Puts a value, the first `length` bytes of `value`, in the place of the one that `peekSync` has shown in `slot`: as `putSync` of the same key
   * would. Returns whether it did. Where the last call of the backend was not that `peekSync`, or the value
   * does not fit where the old one lies, or something else must see to it, nothing is written: the caller puts it. A value of fewer
   * bytes than `length` is `INVALID_ARGUMENT`.
   */
  writeBackSync(slot: Slot, value: ViewedBytes, length: number, options?: PutOptions): boolean
}

/** Whether a backend can be given values without their keys. */
export function writesBack<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & WriteBackBackend {
  return typeof (backend as Partial<WriteBackBackend>).writeBackSync === 'function'
}

/** An engine whose disk may fall behind what is written: synchronous writes then stop the thread, unless their caller waits before. */
export interface PacedBackend {
  /** Resolves when the disk has caught up so far that some thousand writes will not stop this thread; `undefined`: it has. Never rejects. */
  room(): Promise<void> | undefined
}

/** Whether a backend can be waited for before it is written to. */
export function isPaced<Backend extends StateBackend>(backend: Backend): backend is Backend & PacedBackend {
  return typeof (backend as Partial<PacedBackend>).room === 'function'
}

/** An engine that tells what has expired. */
export interface ExpirySource {
  on(event: 'expired', listener: (event: ExpiryEvents['expired']) => void): Unsubscribe
}

/** Whether a backend tells what has expired. */
export function tellsExpired<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & ExpirySource {
  return typeof (backend as Partial<ExpirySource>).on === 'function'
}

/** Whether a backend has the synchronous fast path. */
export function isSyncBackend(backend: StateBackend): backend is SyncStateBackend {
  return backend.supports.sync
}

/** Whether values of a backend can be changed where they lie. */
export function isInPlaceBackend(backend: StateBackend): backend is InPlaceBackend {
  return backend.supports.inPlace
}

/** Whether a backend has snapshots. */
export function hasSnapshots<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & SnapshotSource {
  return backend.supports.snapshots
}

/** Whether the content of a backend can be replaced as a whole, or a range of it. */
export function isReplaceable<Backend extends StateBackend>(
  backend: Backend,
): backend is Backend & Replaceable {
  return backend.supports.replace
}
