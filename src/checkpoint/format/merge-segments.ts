// Merges a base and its deltas into the state that they stand for.
//
// (1) Where several streams have a key, the newest one (last in the list) decides.
// (2) A tombstone that decides removes the key; no tombstone comes out.
// (3) An entry that decides and has expired at the state's instant is left out: deltas need not say that it is gone.
// (4) Each stream is read to its end, so that each is verified whole.

import { type EntryBlock, EntryBlockBuilder, EntryBlockCursor } from '../../backend/entry-block.js'
import { compareBytes } from '../../base/bytes.js'

const NO_BYTES = new Uint8Array(0)

/** One stream of sorted blocks and where the merge is in it. */
class MergeInput {
  readonly #blocks: AsyncIterator<EntryBlock>
  cursor: EntryBlockCursor = new EntryBlockCursor(NO_BYTES)
  /** The current key, as a view of the current block; `undefined` after the end. */
  key: Uint8Array | undefined

  constructor(blocks: AsyncIterable<EntryBlock>) {
    this.#blocks = blocks[Symbol.asyncIterator]()
  }

  /** Moves on within the current block; false where a new block must be loaded. */
  step(): boolean {
    if (!this.cursor.next()) return false
    this.key = this.cursor.key()
    return true
  }

  async load(): Promise<void> {
    do {
      const next = await this.#blocks.next()
      if (next.done === true) {
        this.key = undefined
        return
      }
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
      const order = orderOf(base?.key, delta?.key)
      const decides = order < 0 ? base : delta
      if (base === undefined || decides?.key === undefined) break
      const { cursor, key } = decides
      if (!cursor.tombstone && cursor.expiresAtMs > clockMs) copyEntry(cursor, builder)
      if (order <= 0 && !base.step()) await base.load()
      if (order >= 0) {
        for (const input of deltas) {
          if (input !== decides && sameKey(input.key, key) && !input.step()) await input.load()
        }
        if (!decides.step()) await decides.load()
        delta = newestOfSmallest(deltas)
      }
      if (builder.full) yield builder.take()
    }
    if (builder.entryCount > 0) yield builder.take()
  } finally {
    await Promise.all(inputs.map((input) => input.close()))
  }
}

/** Of the inputs at the smallest key, the last one; `undefined` when all have ended. */
function newestOfSmallest(inputs: readonly MergeInput[]): MergeInput | undefined {
  let found: MergeInput | undefined
  for (const input of inputs) {
    if (input.key !== undefined && orderOf(input.key, found?.key) <= 0) found = input
  }
  return found
}

/** Order of two keys; one that is not there comes last. */
function orderOf(left: Uint8Array | undefined, right: Uint8Array | undefined): number {
  if (left === undefined || right === undefined) return left === right ? 0 : left === undefined ? 1 : -1
  return compareBytes(left, right)
}

function sameKey(left: Uint8Array | undefined, right: Uint8Array): boolean {
  return left !== undefined && compareBytes(left, right) === 0
}

function copyEntry(cursor: EntryBlockCursor, builder: EntryBlockBuilder): void {
  builder.addPlaced(cursor)
}
