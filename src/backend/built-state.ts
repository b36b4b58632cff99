// A restore in another thread: an engine of this process may have what replaces its content put together there, where the blocks are read
// and verified, and then goes on with it in one step (docs/decisions/0082-a-restore-is-built-elsewhere.md).
//
//   restoring thread                                   reading thread
//   StateBuilding: module, data          ────►         openStateBuilder(data): a StateBuilder
//                                                      add(block) for each block that verified
//   BuiltState.data                      ◄────         finish(), once all of it verified
//   `replaceAll` of the blocks that this was built of: the engine adopts it

import type { EntryBlock } from './entry-block.js'

/** How another thread puts content of an engine together. */
export interface StateBuilding {
  /** URL of an ES module; its export `openStateBuilder` is an {@link OpenStateBuilder}. */
  readonly module: string
  /** What that function takes. Structured clone carries it. */
  readonly data: unknown
}

/** What the thread that builds is told of the content that comes. */
export interface BuildOptions {
  /** A hint at how many entries come. */
  readonly expectedEntries: number
  /** By how much later than the blocks say what expires does so, in milliseconds. */
  readonly laterMs: number
}

/** What the export `openStateBuilder` of the module is: it takes `data`, and is called in the thread that builds. */
export type OpenStateBuilder = (data: unknown, options: BuildOptions) => StateBuilder

/** Puts content together, in a thread of its own. */
export interface StateBuilder {
  /**
   * Takes the entries of the next block, in key order and without tombstones. `BACKEND_FULL` where there is no room for them: `replaceAll` is then
   * to iterate the blocks.
   */
  add(block: EntryBlock): void
  /** All of it; nothing is added any more. */
  finish(): BuiltState
}

/** What was put together. */
export interface BuiltState {
  /** What the engine takes. Structured clone carries it; memory in it is shared or changes hands, and is not copied. */
  readonly data: unknown
  readonly transferList: readonly object[]
}

/** What `BuiltBlocks.takeBuilt` is. */
export type TakeBuilt = (check: () => void) => Promise<unknown>

/** Blocks that nobody need iterate, where what they come to is put together elsewhere. */
export interface BuiltBlocks extends AsyncIterable<EntryBlock> {
  /**
   * `data` of the {@link BuiltState}, when all of it verified; rejects as the iteration would. `check` is called now and then, and may
   * throw to give up.
   */
  readonly takeBuilt?: TakeBuilt | undefined
}

/** What blocks come to where that is put together elsewhere; `undefined` where they are to be iterated. */
export function builtBy(blocks: AsyncIterable<EntryBlock>): TakeBuilt | undefined {
  const { takeBuilt } = blocks as BuiltBlocks
  return typeof takeBuilt === 'function' ? takeBuilt : undefined
}
