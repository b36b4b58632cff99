// Merges a base and its deltas into the state that they stand for.
//
// (1) Where several streams have a key, the newest one (last in the list) decides.
// (2) A tombstone that decides removes the key; no tombstone comes out.
// (3) An entry that decides and has expired at the state's instant is left out: deltas need not say that it is gone.
// (4) What is the base's alone is copied as it lies, in runs as long as they are, or handed on by whole blocks where nothing waits
//     in front of them, or enough for a block of its own. What is less takes the next block with it, so that blocks behind it are
//     handed on again.
// (5) Each stream is read to its end, so that each is verified whole.

import {
  compareKeys,
  type EntryBlock,
  EntryBlockBuilder,
  EntryBlockCursor,
} from '../../backend/entry-block.js'
import { compareStretches } from '../../base/bytes.js'
import { isSegmentBlock } from './segment-block.js'

const NO_BYTES = new Uint8Array(0)
/** A block of the base that is at least so full is handed on as it is. */
const FULL_ENOUGH = 1 / 2

/** One stream of sorted blocks and where the merge is in it. */
class MergeInput {
  readonly #blocks: AsyncIterator<EntryBlock>
  block: EntryBlock = { bytes: NO_BYTES, entryCount: 0 }
  cursor: EntryBlockCursor = new EntryBlockCursor(NO_BYTES)
  /** The cursor is at an entry: false after the end. */
  isAtEntry = false

  constructor(blocks: AsyncIterable<EntryBlock>) {
    this.#blocks = blocks[Symbol.asyncIterator]()
  }

  /** Moves on within the current block; false where a new block must be loaded. */
  step(): boolean {
    this.isAtEntry = this.cursor.next()
    return this.isAtEntry
  }

  async load(): Promise<void> {
    do {
      const next = await this.#blocks.next()
      if (next.done === true) {
        this.isAtEntry = false
        return
      }
      this.block = next.value
      this.cursor = new EntryBlockCursor(next.value.bytes)
    } while (!this.step())
  }

  async close(): Promise<void> {
    await this.#blocks.return?.()
  }
}

/**
 * The entries that remain of the streams, oldest stream first, at the instant `clockMs`, as new blocks of about
 * `targetBytes`.
 */
export async function* mergeSegments(
  streams: readonly AsyncIterable<EntryBlock>[],
  targetBytes: number,
  clockMs: number,
): AsyncGenerator<EntryBlock, void, undefined> {
  const inputs = streams.map((blocks) => new MergeInput(blocks))
  const [base, ...deltas] = inputs
  const builder = new EntryBlockBuilder(targetBytes)
  try {
    await Promise.all(inputs.map((input) => input.load()))
    // Most entries are the base's alone. So the deltas are compared with each other only when one of them moves on.
    let delta = newestOfSmallest(deltas)
    for (;;) {
      if (base?.isAtEntry === true && isAlone(base, delta)) {
        const isWhole = canHandOn(builder) && isUntouched(base, delta, builder.targetBytes, clockMs)
        if (isWhole && builder.entryCount > 0) yield builder.take()
        const whole = isWhole ? base.block : takeRun(base, delta, builder, clockMs)
        if (whole !== undefined) yield whole
        if (isWhole || !base.isAtEntry) await base.load()
      } else if (delta !== undefined) {
        if (remains(delta, clockMs)) builder.addPlaced(delta.cursor)
        for (const input of inputs) {
          const isOlder = input !== delta && input.isAtEntry && orderOf(input, delta) === 0
          if (isOlder && !input.step()) await input.load()
        }
        if (!delta.step()) await delta.load()
        delta = newestOfSmallest(deltas)
      } else {
        break
      }
      if (builder.full) yield builder.take()
    }
    if (builder.entryCount > 0) yield builder.take()
  } finally {
    await Promise.all(inputs.map((input) => input.close()))
  }
}

/** Whether a block of the base can be handed on next: what waits in front of it is nothing, or enough for a block. */
function canHandOn({ entryCount, targetBytes, roomBytes }: EntryBlockBuilder): boolean {
  return entryCount === 0 || targetBytes - roomBytes >= targetBytes * FULL_ENOUGH
}

/** Whether all of the base's block at hand, of which nothing was taken yet, remains as it is; known without a look at its entries. */
function isUntouched(
  { block, cursor }: MergeInput,
  delta: MergeInput | undefined,
  targetBytes: number,
  clockMs: number,
): boolean {
  if (!isSegmentBlock(block) || cursor.entryStart > 0 || block.bytes.length < targetBytes * FULL_ENOUGH)
    return false
  if (block.nextExpiryMs <= clockMs || block.tombstoneCount > 0) return false
  if (delta === undefined) return true
  const { bytes, keyStart, keyLength } = delta.cursor
  const { lastKey } = block
  return compareStretches(lastKey, 0, lastKey.length, bytes, keyStart, keyLength) < 0
}

/**
 * Takes entries of the base up to the next key of a delta, the end of the block, or that of the room in the builder, and moves behind
 * them. What is left of a block goes along where it is little. They go into the builder; or they are returned, where they are a whole
 * block and nothing waits before them.
 */
function takeRun(
  base: MergeInput,
  delta: MergeInput | undefined,
  builder: EntryBlockBuilder,
  clockMs: number,
): EntryBlock | undefined {
  const { cursor } = base
  if (!remains(base, clockMs)) {
    base.step()
    return undefined
  }
  const { bytes, entryStart: start } = cursor
  const isNearEnd = bytes.length - start <= builder.roomBytes + builder.targetBytes * FULL_ENOUGH
  const roomBytes = isNearEnd ? Infinity : builder.roomBytes
  let end = start
  let entryCount = 0
  do {
    end = cursor.entryEnd
    entryCount++
  } while (base.step() && end - start < roomBytes && remains(base, clockMs) && isAlone(base, delta))
  if (builder.entryCount === 0 && end - start === bytes.length && end >= builder.targetBytes * FULL_ENOUGH)
    return base.block
  builder.addRun(bytes, start, end, entryCount)
  return undefined
}

/** Whether the entry that decides its key is there at that instant. */
function remains({ cursor }: MergeInput, clockMs: number): boolean {
  return !cursor.tombstone && cursor.expiresAtMs > clockMs
}

/** Of the inputs at the smallest key, the last one; `undefined` when all have ended. */
function newestOfSmallest(inputs: readonly MergeInput[]): MergeInput | undefined {
  let found: MergeInput | undefined
  for (const input of inputs) {
    if (input.isAtEntry && (found === undefined || orderOf(input, found) <= 0)) found = input
  }
  return found
}

/** Whether no delta says anything about the base's key: `delta` is at the smallest of theirs. */
function isAlone(base: MergeInput, delta: MergeInput | undefined): boolean {
  return delta === undefined || orderOf(base, delta) < 0
}

function orderOf(left: MergeInput, right: MergeInput): number {
  return compareKeys(left.cursor, right.cursor)
}
