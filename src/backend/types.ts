/**
 * A key and its value. Both are the caller's own: later writes do not change them. The memory engine and LMDB's may cut those of
 * up to 1,024 bytes from shared buffers of 16 KiB: one that is kept keeps its whole buffer, which matters where few of many are
 * kept for long. `value.slice()` is a copy with memory of its own.
 */
export type Entry = [key: Uint8Array, value: Uint8Array]

/** What an engine can do beyond `StateBackend`. */
export interface BackendSupport {
  /** `SyncStateBackend`: the same calls without promises. */
  readonly sync: boolean
  /** Entries may have a time to live. Where they may not, a put that asks for one is `INVALID_ARGUMENT`. */
  readonly ttl: boolean
  /** A scan sees one instant, or each of its pages sees another one: what is written meanwhile may be in later pages. */
  readonly orderedScan: 'instant' | 'paged'
  /** `SnapshotSource`. */
  readonly snapshots: boolean
  /** Its snapshots can be a base, and tell what has changed since one. */
  readonly changes: boolean
  /** Its snapshots can be read by another thread of this process, without being copied to it. */
  readonly sharing: boolean
  /** `Replaceable`. */
  readonly replace: boolean
  /** `InPlaceBackend`. */
  readonly inPlace: boolean
  /** What was flushed outlives the process. */
  readonly durable: boolean
  /** How many bytes a value may have, where that is less than `MAX_VALUE_BYTES`. A longer one is `INVALID_ARGUMENT`; typed state refuses it before, and names its state and key. */
  readonly maxValueBytes?: number
}

/** Options that are frozen and used again and again are looked through once, others by each put. */
export interface PutOptions {
  /**
   * Time to live in milliseconds, from the moment of the put; positive. `Infinity`: never expires.
   * In a burst, more than a thousand puts in one synchronous step at more than 64 in a millisecond, the machine's clock is asked
   * at every sixteenth where the life is a minute or longer: a put that follows a pause within such a step may count from before
   * the pause. No life is ever longer.
   * Default: the backend's `ttlMs`. Every put sets it anew.
   */
  readonly ttlMs?: number
}

/**
 * A stretch of keys. Bounds and prefix all hold together; without any, every key is in range.
 * Order is that of unsigned bytes. Where it says what is removed or replaced (`deleteRange`, of a backend or a batch, the range of
 * `replaceAll` and of a restore), a bound that is named but `undefined` is `INVALID_ARGUMENT`: without it, the range would be
 * larger than was meant. What only reads takes such a bound for absent.
 */
export interface KeyRange {
  readonly prefix?: Uint8Array
  readonly gt?: Uint8Array
  readonly gte?: Uint8Array
  readonly lt?: Uint8Array
  readonly lte?: Uint8Array
}

/** Which keys a scan visits, and how. */
export interface ScanRange extends KeyRange {
  /** From the largest key down. Default false. */
  readonly reverse?: boolean
  /** At most this many entries. Default: all. */
  readonly limit?: number
  /** Ends the scan with `ABORTED` before its next entry. */
  readonly signal?: AbortSignal
}

/** How a stream of blocks of entries is cut, and ended early. */
export interface BlockOptions {
  /** Bytes at which a block is handed on. Default 256 KiB. */
  readonly targetBytes?: number
  /** Ends the stream with `ABORTED` before its next block. */
  readonly signal?: AbortSignal
}

/** What `replaceAll` replaces, and what it is told of the content that comes. */
export interface ReplaceOptions {
  /**
   * Replace only what is in this stretch of keys; everything else is kept. The blocks must lie in it. Default (not named): every key. A
   * range that holds no key (its bounds exclude each other) replaces nothing.
   */
  readonly range?: KeyRange
  /** How many entries will come, if known: memory is then sized once. Only a hint. */
  readonly expectedEntries?: number
  /** Time that the content has already seen (milliseconds since the epoch): the backend's time does not stay behind it. */
  readonly clockMs?: number
  /** Gives up with `ABORTED`; the backend then holds what it held before. */
  readonly signal?: AbortSignal
}

/** What an engine tells of, where it has `on` (the memory and the LMDB engine do). */
export interface ExpiryEvents {
  /**
   * Entries whose time to live ended were removed or overwritten, and counted; each is told once. Their keys are copied only while
   * someone listens. A call that finds them tells of them before it returns, when it has done what it was asked for. Told a
   * little later is what `updateSync` finds (its slot must stay as it is), or a write that is refused: when the synchronous step is
   * over, or by the next write, whichever comes first. Calls of a listener are never nested: what expires in what it does itself
   * is told when it has returned, in another turn of the event loop at the latest.
   */
  expired: { readonly keys: readonly Uint8Array[] }
}

/** Counters since the backend was opened (monotonic and exact) and how things stand now. */
export interface BackendStats {
  /** Keys looked up by `get`, `getMany` and `getOrThrow`: hits plus misses. */
  readonly gets: number
  readonly hits: number
  readonly misses: number
  /** Puts applied, each put of a batch counted. */
  readonly puts: number
  /** Deletes applied, each delete and `deleteRange` of a batch and each `deleteRange` counted as one, whether or not a key was there. */
  readonly deletes: number
  /** Entries whose time to live ended, each counted once, when it is removed or overwritten. */
  readonly expired: number
  /** Key and value bytes of the puts applied. */
  readonly bytesWritten: number
  /** Calls of `flush` that succeeded, and flushes the engine made by itself. */
  readonly flushes: number
  /** Entries held now; those that expired, or were deleted with a large range, and await their removal are still among them. */
  readonly entries: number
  /** Snapshots not yet closed, running scans included. */
  readonly openSnapshots: number
}
