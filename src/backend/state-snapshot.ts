// One instant of a backend, and what has changed between two of them.

import { hasMethods, type Rule, rejectViolations, rules, violationsOf } from '../base/options.js'
import type { EntryBlock } from './entry-block.js'
import type { SharedSnapshot } from './shared-snapshot.js'
import type { BlockOptions, Entry, ScanRange } from './types.js'

/** An instant from which on a backend remembers what changes: that costs memory until it is released. */
export interface ChangeBase {
  /** Nobody will ask any more what has changed since then. Idempotent. */
  release(): void
}

/** Whether changes are told since this snapshot, or by it since an earlier one. */
export interface SnapshotOptions {
  /** Remember from this instant on what changes: the snapshot's `base` is then what a later snapshot takes as `since`. Default false. */
  readonly track?: boolean
  /** The `base` of an earlier snapshot of this backend: `changes()` tells what has changed since then. */
  readonly since?: ChangeBase
}

/**
 * One instant of a backend, unchanged by whatever is written meanwhile. It holds memory (or disk space) that the
 * backend could otherwise reuse: close it soon. Entries that were alive at that instant stay visible in it, and those
 * expired at that instant are not. Calls after `close()` reject with `CLOSED`.
 */
export interface StateSnapshot extends AsyncDisposable {
  /** The backend's time at this instant, in milliseconds since the epoch; never behind an earlier snapshot's. */
  readonly takenAtMs: number
  /**
   * With `track`, this instant as a base for later snapshots; it stays one when the snapshot is closed, until it is released.
   * `undefined` where it was not asked for, or the engine cannot tell what changes (`supports.changes`).
   */
  readonly base: ChangeBase | undefined
  /**
   * Whether `changes()` can tell what has changed since `since`. False where no base was given, and where it cannot be told
   * any more: the base was released or is another backend's, too much has changed, or the content was cleared or
   * replaced. Then `blocks()` is to be read: all of it.
   */
  readonly tellsChanges: boolean
  get(key: Uint8Array): Promise<Uint8Array | undefined>
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  contains(key: Uint8Array): Promise<boolean>
  scan(range?: ScanRange): AsyncIterableIterator<Entry>
  count(): Promise<number>
  /** The whole content as packed blocks in key order, expiry included: what a checkpoint writes. */
  blocks(options?: BlockOptions): AsyncIterableIterator<EntryBlock>
  /**
   * What has changed between `since` and this instant, in key order: each key that was written or deleted, with its entry
   * of this instant or a tombstone. Keys that have not changed may be among them. An entry that has merely expired comes as
   * a tombstone or not at all: its block told when its time would end. May be read again. `INVALID_ARGUMENT` where
   * `tellsChanges` is false, and where an engine tells changes once and `share('changes')` has handed them to another thread.
   */
  changes(options?: BlockOptions): AsyncIterableIterator<EntryBlock>
  /**
   * Hands the snapshot to another thread of this process, in constant time: all of it, or with `'changes'` what `changes()`
   * tells. To be called in the same synchronous step as the snapshot was taken in: after a write there may be nothing to share
   * any more (`undefined`), as where `tellsChanges` is false. May be called more than once. Engines that have nothing to
   * share leave it out (`supports.sharing`); their blocks are sent instead.
   */
  share?(what?: 'all' | 'changes'): SharedSnapshot | undefined
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

const base: Rule = hasMethods('release')
const snapshotRules = { track: rules.boolean, since: base }

/** Throws `INVALID_ARGUMENT` with every violation. */
export function validateSnapshotOptions(options: SnapshotOptions | undefined): void {
  if (options !== undefined) rejectViolations(violationsOf(options, snapshotRules))
}
