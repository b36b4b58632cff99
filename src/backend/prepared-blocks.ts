// A restore whose blocks are made ready where they are read: what an engine would do with each entry in its own thread before it keeps it
// (docs/decisions/0136-records-of-a-restore-are-made-where-it-is-read.md).
//
//   restoring thread                                   reading thread
//   BlockPreparing: module, data         ────►         openBlockPreparer(data): a BlockPreparer
//   `replaceAll` takes each of them      ◄────         prepare(block) for each block that verified

import type { EntryBlock } from './entry-block.js'

/** How another thread makes blocks ready for an engine. */
export interface BlockPreparing {
  /** URL of an ES module; its export `openBlockPreparer` is an {@link OpenBlockPreparer}. */
  readonly module: string
  /** What that function takes. Structured clone carries it. */
  readonly data: unknown
}

/** What the thread that prepares is told of the blocks that come. */
export interface PrepareOptions {
  /** By how much later than the blocks say what expires does so, in milliseconds. */
  readonly laterMs: number
}

/** What the export `openBlockPreparer` of the module is: it takes `data`, and is called in the thread that prepares. */
export type OpenBlockPreparer = (data: unknown, options: PrepareOptions) => BlockPreparer

/** Makes blocks ready, in a thread of its own. */
export interface BlockPreparer {
  /**
   * What the engine takes for a block in key order and without tombstones, in memory of its own, which is not shared and changes hands.
   */
  prepare(block: EntryBlock): Uint8Array
}

/** What was made of a block. */
export interface PreparedBlock {
  readonly bytes: Uint8Array
  readonly entryCount: number
}

/** What `PreparableBlocks.takePrepared` is. */
export type TakePrepared = () => AsyncIterable<PreparedBlock>

/** Blocks that nobody need iterate, where they are made ready elsewhere. */
export interface PreparableBlocks extends AsyncIterable<EntryBlock> {
  /** What was made of each of them, instead of the iteration, and ending as that would. */
  readonly takePrepared?: TakePrepared | undefined
}

/** Blocks as they are made ready elsewhere; `undefined` where they are to be iterated. */
export function preparedOf(blocks: AsyncIterable<EntryBlock>): TakePrepared | undefined {
  const { takePrepared } = blocks as PreparableBlocks
  return typeof takePrepared === 'function' ? takePrepared : undefined
}
