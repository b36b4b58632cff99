import type { EntryBlock } from './entry-block.js'
import type { BlockOptions } from './types.js'

/**
 * A snapshot on its way to another thread of this process. It is to stay open here until it was read there: closing it
 * ends the reader with `CLOSED`.
 */
export interface SharedSnapshot {
  /** URL of an ES module; its export `openSharedSnapshot` is an {@link OpenSharedSnapshot}. */
  readonly module: string
  /** What that function takes. Structured clone carries it; memory in it is shared, not copied. */
  readonly data: unknown
  /** What in `data` changes hands: message ports. */
  readonly transferList: readonly object[]
}

/** A shared snapshot in the thread that reads it. */
export interface SharedSnapshotReader {
  /**
   * Entries alive at the snapshot's instant: all of them, also where only changes are read. Where an engine has to look for
   * it, it costs least after `blocks` have been read to their end.
   */
  count(): Promise<number>
  /**
   * The content in key order, or, of a snapshot that was shared `since` a base, what `changes()` tells: each key that was
   * written or deleted after it, with its present entry or a tombstone. Keys that have not changed may be among them, and those
   * of entries that have merely expired. Read it once.
   */
  blocks(options?: BlockOptions): AsyncIterable<EntryBlock>
  /** A block that nobody looks at any more: the reader may use its memory for the next ones. Who keeps a block does not call it. */
  giveBack?(block: EntryBlock): void
  /** Lets the engine reuse what the snapshot holds once that is closed too. Idempotent. */
  close(): Promise<void>
}

/**
 * Rejects with `CLOSED` where the snapshot was closed before, and with `NOT_INITIALIZED` where this thread took so long to begin
 * that the engine did not wait for it: the snapshot is whole, but for this thread another one has to be shared.
 */
export type OpenSharedSnapshot = (data: unknown) => Promise<SharedSnapshotReader>
