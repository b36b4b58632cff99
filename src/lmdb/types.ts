import type { BackendStats, ExpiryEvents, PutOptions } from '../backend/types.js'
import type { Clock } from '../base/clock.js'

/** How values lie on disk: as they are, or each compressed by itself where that saves at least an eighth. */
export type LmdbCompression = 'none' | 'lz4'

/** Where an LMDB store is, who may open it, and how much memory and disk it may take. */
export interface LmdbStateBackendOptions {
  /** Directory of the store; made where it is missing. */
  readonly path: string
  /** Opens beside the process that writes, and sees what that has flushed. Every write is `INVALID_ARGUMENT`. Default false. */
  readonly readOnly?: boolean
  /** How long to wait for another writer to let go, in milliseconds. Default 0: `FENCED` at once, as far as that can be told. */
  readonly waitForOwnerMs?: number
  /**
   * Take over from a writer that may still live: what it had not flushed is lost, and it writes nothing more. `FENCED` where that is another
   * process that was stopped in the midst of a commit, and so keeps LMDB's lock for writers for longer than `commitTimeoutMs`. Default false.
   */
  readonly takeOver?: boolean
  /** Time to live of entries whose put names none, in milliseconds. Default Infinity: they never expire. */
  readonly ttlMs?: number
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /**
   * How often expired entries are removed by a timer, in milliseconds. Default 1,000; Infinity: only by puts of new keys, which pay
   * for some, and when `sweep()` is called.
   */
  readonly sweepIntervalMs?: number
  /**
   * Distinct keys written after which a flush begins by itself. Default: as many as change no more pages of the store than a quarter to a half of
   * `cacheBytes` has, and at least 16,384. A store that is smaller than half of `cacheBytes` sets none: there a flush begins when a sixteenth of
   * `cacheBytes` was written, or by time. Fewer: whoever waits for durability beside others that write much waits for smaller commits.
   */
  readonly flushEvery?: number
  /** Milliseconds after the first unflushed write at which a flush begins by itself. Default 1,000; Infinity: never. */
  readonly flushIntervalMs?: number
  /**
   * Memory for what is not yet flushed and for entries kept readable beside the disk, in bytes; at least 1 MiB.
   * Default 256 MiB. A writer that outruns the disk is held back at half of it.
   */
  readonly cacheBytes?: number
  /** Default `'none'`. What is on disk stays readable whatever is set. */
  readonly compression?: LmdbCompression
  /**
   * Most that the pages of the store's entries may take, in bytes; from 1 MiB to 8 TiB. Writes beyond are `BACKEND_FULL`,
   * but for the moment in which `compact()` puts its file in service: how much is used is not known then. Near the limit a put
   * waits for what was written before to be committed, and a `compact()` under way gives way to it. A write is refused where the pages
   * that it may split in the worst case do not fit: one for each key, and a few more.
   * Default 64 GiB. Address space is taken for what the file has, and more as it grows.
   */
  readonly maxBytes?: number
  /**
   * How long the thread that commits may be silent, in milliseconds, while the thread of this backend listens: time in which that
   * is held by other work does not count. After it the engine counts as failed. So long, too, the writer may commit from which the store is
   * taken over. Default 30,000.
   */
  readonly commitTimeoutMs?: number
  /**
   * Whether `flush()` and durable writes go to a log before the tree, of two files in the store's directory: they wait for one sync of
   * an appended file then, and the tree takes what was written later, in larger commits. Default false. A store that was written to with a log
   * and not closed is read by versions that know logs; `close()` leaves none.
   */
  readonly log?: boolean
  /**
   * Bytes of each of the two files of the log. What they hold and the tree does not is read into memory after a crash; where both are full, and for
   * more than a quarter of one at once, the tree makes things durable. From 64 KiB to 256 MiB. Default 16 MiB.
   */
  readonly logFileBytes?: number
  /** Age at which an open snapshot is closed, in milliseconds. Default Infinity: never. */
  readonly maxSnapshotAgeMs?: number
}

/** When a write of the LMDB engine resolves. */
export interface LmdbWriteOptions {
  /** Resolve only when this write, and everything before it, is on stable storage. Writes of one turn share a commit. Default false. */
  readonly durable?: boolean
}

/** What a put of the LMDB engine takes: the life of the entry, and when it resolves. */
export interface LmdbPutOptions extends PutOptions, LmdbWriteOptions {}

/** What `on` of the LMDB engine tells, by the name of the event. */
export interface LmdbStateBackendEvents extends ExpiryEvents {
  /** A commit failed: every later write is `STORAGE_ERROR`. Reads go on, what was not flushed included. */
  failed: { readonly error: Error }
  /** `log` was asked for, and none can be made: the store goes on without one, and what is waited for takes longer. Told once. */
  logUnavailable: { readonly error: Error }
}

/**
 * What became of the log that was asked for: there is `'none'` until somebody waits for durability; then it is `'beginning'`, and `'open'` when its
 * files are there. `'unavailable'`: they cannot be made, and until the store is opened anew the tree alone makes things durable.
 */
export type LmdbLogState = 'none' | 'beginning' | 'open' | 'unavailable'

/** What every engine counts, and how the buffer, the disk and LMDB stand. */
export interface LmdbStats extends BackendStats {
  /**
   * Gets answered by memory, by the write buffer or by entries kept from earlier writes and reads, with a value or with
   * none; with `storeReads`, all gets.
   */
  readonly bufferHits: number
  /** Gets that went to the store. */
  readonly storeReads: number
  /** Keys that await their flush, deleted ones included, and the memory that they take. */
  readonly bufferedKeys: number
  readonly bufferBytes: number
  /** Memory of the entries kept readable beside the disk. */
  readonly cacheBytes: number
  /** Commits made, and records and bytes that they wrote or removed. */
  readonly commits: number
  readonly recordsCommitted: number
  readonly bytesCommitted: number
  /** Time from the beginning of a commit until it was durable, in milliseconds, over the last 1,024 commits; 0 before the first. */
  readonly commitMs: { readonly p50: number; readonly p99: number; readonly max: number }
  /** Whether what is waited for goes to a log; `'none'` where none was asked for. */
  readonly log: LmdbLogState
  /** Age of the oldest open snapshot, in milliseconds; 0: none is open. */
  readonly oldestSnapshotAgeMs: number
  /** Slots of LMDB's reader table that have been used at the same time, by all processes; it goes down only when all close. */
  readonly readers: number
  /** Bytes of the store in use, and the address space mapped for it. */
  readonly usedBytes: number
  readonly mapBytes: number
}
