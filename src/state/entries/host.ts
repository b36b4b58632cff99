import type { Entry, ScanRange } from '../../backend/types.js'
import type { Entries } from './entries.js'

/** Runs an operation that is written as if everything were at hand; resolves when it has been, and its writes are applied. */
export interface LaterRunner {
  /** An operation that only reads. */
  read<Result>(operation: () => Result): Promise<Result>
  /** An operation that writes: all of it in one step, and no two at the same entry at a time. */
  write<Result>(operation: () => Result): Promise<Result>
}

/** What the states of a store share: where they read and write, and whether at once. */
export interface Host {
  /** Where an operation reads and writes. It changes from call to call: a batch may be open. */
  readonly entries: Entries
  /** `undefined`: operations are run at once, and their results returned. Otherwise they are run by it. */
  readonly later: LaterRunner | undefined
  /** What the ranges hold at one instant, one range behind the other, with what the open batch has written. */
  scan(ranges: readonly ScanRange[]): IterableIterator<Entry> | AsyncIterableIterator<Entry>
}
