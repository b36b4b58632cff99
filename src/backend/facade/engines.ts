// What an engine's author writes under a facade: the few things that differ from engine to engine. Arguments are checked, time
// to live is reduced to a time, and nothing is called once the backend is closed.

import type { ForwardClock } from '../../base/clock.js'
import type { Slot, Stretch, ViewedBytes } from '../../base/slot.js'
import type { StateBuilding } from '../built-state.js'
import type { EntryBlock } from '../entry-block.js'
import type { BlockPreparing } from '../prepared-blocks.js'
import type { KeyInterval } from '../scan-range.js'
import type { SharedSnapshot } from '../shared-snapshot.js'
import type { KeyFilter } from '../state-backend.js'
import type { ChangeBase, SnapshotOptions } from '../state-snapshot.js'
import type { BackendSupport, Entry } from '../types.js'
import type { BatchCursor } from '../write-batch.js'

/** An entry with its end, in milliseconds since the epoch; Infinity: never. Without a value: the key is not there any more. */
export interface EngineEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  readonly expiresAtMs: number
}

/** A step of a walk: an entry, which may be the same object each time; `undefined` where many keys held none, and others may have a turn. */
export type EngineStep = EngineEntry | undefined

/** The write of a batch: its operations, checked, and when what is put expires. */
export interface EngineBatch {
  readonly cursor: BatchCursor
  /** `ttlMs` as the cursor gives it; Infinity: never. */
  expiry(ttlMs: number | undefined): number
}

/** What every engine says of itself, whether its calls are steps or promises. */
export interface EngineBasics {
  /** `'redis'`: names the engine in errors and manifests. */
  readonly name: string
  /** Frozen. */
  readonly supports: BackendSupport
  /** Never goes back; what has expired by it is invisible. */
  readonly clock: ForwardClock
  /** Of puts that name none, in milliseconds; Infinity: they never expire. */
  readonly ttlMs: number
  /** Entries held, those included that have expired and await their removal. */
  readonly entries: number
  /** Entries whose time to live ended, each counted once, when it was removed or overwritten. */
  readonly expired: number
}

/** One instant of an engine. */
export interface EngineSnapshot {
  readonly base: ChangeBase | undefined
  readonly tellsChanges: boolean
  /** A copy; `undefined` where nothing was alive. */
  get(key: Uint8Array): Uint8Array | undefined
  count(): number
  /** What was alive, in an interval's order, as bytes of the caller's own; the caller minds the limit and the signal. */
  entries(interval: KeyInterval): Iterable<EngineStep>
  /** The same of all keys that are wanted, in any order, where the engine has them sooner than in theirs. */
  unsorted?(isWanted: KeyFilter): Iterable<EngineStep>
  /** What has changed since the base that was given, in key order; called only where `tellsChanges`. */
  changes(check: () => void): Iterable<EngineStep> | Promise<Iterable<EngineStep>>
  /** The same as `entries` and `count`, begun in slices where they would take long; `check` may throw to give up. */
  entriesInSlices?(interval: KeyInterval, check: () => void): Promise<Iterable<EngineStep>>
  countInSlices?(check: () => void): Promise<number>
  /** The same as `entries` and `changes`, packed by the engine, where it can do that without an object for each entry. */
  packed?(what: 'all' | 'changes', options: PackOptions): AsyncIterable<EntryBlock>
  share?(what: 'all' | 'changes'): SharedSnapshot | undefined
  close(): void
}

export interface PackOptions {
  readonly targetBytes: number
  readonly signal: AbortSignal | undefined
  /** To be called between blocks and after turns of the event loop: throws where the walk is to end. */
  readonly check: () => void
}

/** What an engine is told of content that replaces its own: as `ReplaceOptions`, validated. */
export interface EngineReplaceOptions {
  /** Time that the content has seen (milliseconds since the epoch): the engine's own goes on from there at least. `undefined`: none. */
  readonly clockMs: number | undefined
  /** How many entries come, where that is known: a hint. */
  readonly expectedEntries: number | undefined
  /** The blocks were made ready as `preparing` says. Default false. */
  readonly isPrepared?: boolean
}

/** A write that is staged: see `StagedWrite`. */
export interface EngineStage {
  /** Throws `BACKEND_FULL` with nothing added. */
  add(batch: EngineBatch): void
  apply(): void
  drop(): void
}

/** An engine in this process. Each call is one step, and has happened when it returns. */
export interface LocalEngine extends EngineBasics {
  /** As `SnapshotSource.sharedModule`. */
  readonly sharedModule?: string | undefined
  /** As `Replaceable.building`; `adopt` takes what was put together, in one step. */
  readonly building?: StateBuilding | undefined
  adopt?(built: unknown, options: Pick<EngineReplaceOptions, 'clockMs'>): void
  /** As `Replaceable.preparing`. */
  readonly preparing?: BlockPreparing | undefined
  /** Before every call: brings what is read up to date, where another process writes. */
  refresh?(): void
  /** Before every write: throws where this engine must not be written to. */
  assertWritable?(operation: string): void
  /** After every write, once it was counted: tells listeners, sees to what the write is to be followed by. */
  afterWrite?(): void
  /** A copy of the value. */
  get(key: Uint8Array | Stretch): Uint8Array | undefined
  has(key: Uint8Array | Stretch): boolean
  /** Of the entry of a key that has expired, if it is still there; `undefined` otherwise. */
  expiredAtMs(key: Uint8Array): number | undefined
  /** Copies both. Throws `BACKEND_FULL` with nothing changed. */
  put(key: Uint8Array | Stretch, value: Uint8Array, expiresAtMs: number): void
  delete(key: Uint8Array | Stretch): void
  /** All or nothing: first every expectation (`CONCURRENT_MODIFICATION`), then room for all (`BACKEND_FULL`), then each operation in turn. */
  write(batch: EngineBatch): void
  /** As `StagingBackend.stage`; for backends that show it. Throws `TRANSACTION_FAILED` where another one is open. */
  stage?(): EngineStage
  deleteRange(interval: KeyInterval): void
  /**
   * Does in slices, before an asynchronous `deleteRange` of a call or a batch, what that would otherwise do at once; `check` may
   * throw to give up. `undefined`: nothing is to be done first, and the call removes in the step in which it was made.
   */
  prepareDeleteRange?(check: () => void): Promise<unknown> | undefined
  /**
   * The same as `deleteRange`, for an asynchronous call: every read from now on sees it done, and what is left to do is done in
   * slices between turns of the event loop; resolves when all is. Every other call works meanwhile.
   */
  deleteRangeInSlices?(interval: KeyInterval): Promise<void>
  clear(): void
  /** As `peekSync`. Only with `supports.inPlace`, as `update`. */
  peek?(key: Uint8Array | Stretch, slot: Slot): boolean
  /** As `updateSync`. What this write is to be followed by waits for the `afterWrite` before the next one: nothing may move the value. */
  update?(key: Uint8Array | Stretch, length: number, slot: Slot, expiresAtMs: number): boolean
  /** As `writeBackSync`; returns the length of the key, or a negative number where nothing was written. */
  writeBack?(slot: Slot, value: ViewedBytes, length: number, expiresAtMs: number): number
  /** As `LookAheadBackend`; only all three or none. */
  readonly isFar?: boolean
  bringNear?(keys: Uint8Array, ends: Int32Array, count: number): void
  /** No, too, where only a search can tell. */
  peekTold?(place: number, key: Stretch, slot: Slot): boolean
  snapshot(takenAtMs: number, options: SnapshotOptions): EngineSnapshot
  /** As `SnapshotSource.prepareSnapshot`. Never rejects. */
  prepareSnapshot?(options: SnapshotOptions): Promise<void> | undefined
  /** Removes what has expired until none is left or `performance.now()` passes `untilMs`; returns whether none is left. */
  sweep(untilMs: number): boolean
  /** When the next entry expires; Infinity: none does. */
  readonly nextExpiryAtMs: number
  /** Upkeep beside sweeps: whether there is any, and the doing of it until `performance.now()` passes `untilMs`; returns whether all is done. */
  readonly hasChores?: boolean
  doChores?(untilMs: number): boolean
  /** Set by the facade, for engines with chores: to be called where some have come up that no call has brought. */
  wake?: () => void
  /**
   * Reads all blocks (each checked, in the interval), then puts them in the place of what the interval holds, in one step.
   * Only with `supports.replace`.
   */
  replace?(
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    options: EngineReplaceOptions,
  ): Promise<void>
  flush(): Promise<void>
  close(): Promise<void>
}

/** An engine somewhere else: each call is a promise. */
export interface RemoteEngine extends EngineBasics {
  /** Whether `getMany` has read its keys when it returns its promise: they need not be copied for it. Default false. */
  readonly readsKeysAtOnce?: boolean
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  has(key: Uint8Array): Promise<boolean>
  expiredAtMs(key: Uint8Array): Promise<number | undefined>
  /** All or nothing: `CONCURRENT_MODIFICATION` where an expectation does not hold, `BACKEND_FULL` where it does not fit. Single puts and deletes come as batches. */
  write(batch: EngineBatch): Promise<void>
  deleteRange(interval: KeyInterval): Promise<void>
  clear(): Promise<void>
  /** In the interval's order; the caller minds the limit and the signal. */
  scan(interval: KeyInterval): AsyncIterable<Entry>
  count(): Promise<number>
  flush(): Promise<void>
  /**
   * Releases everything, within a bounded time. `snapshotsClosed` settles when all snapshots that were open have been closed, which has begun
   * before; an engine that releases what they need waits for it first, in that time too.
   */
  close(snapshotsClosed: Promise<unknown>): Promise<void>
  /** With `supports.snapshots`: the instant of the call, and nothing of what is written after it. */
  snapshot?(takenAtMs: number): Promise<RemoteEngineSnapshot>
  /** As `LocalEngine.replace`. Only with `supports.replace`. */
  replace?(
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    options: EngineReplaceOptions,
  ): Promise<void>
}

/** One instant of an engine somewhere else: what was alive then. */
export interface RemoteEngineSnapshot {
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  count(): Promise<number>
  /** In the interval's order, as bytes of the caller's own; the caller minds the limit and the signal. */
  entries(interval: KeyInterval): AsyncIterable<EngineEntry>
  /** Idempotent, and never rejects. */
  close(): Promise<void>
}
