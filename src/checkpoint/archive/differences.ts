import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import { compareBytes, compareStretches } from '../../base/bytes.js'

/** What one of two checkpoints has under a key. */
export interface DifferingEntry {
  readonly value: Uint8Array
  /** When it expires, in milliseconds since the epoch; Infinity: never. */
  readonly expiresAtMs: number
}

/** A key under which two checkpoints have something else. */
export interface CheckpointDifference {
  readonly kind: 'added' | 'removed' | 'changed'
  readonly key: Uint8Array
  /** `undefined` where it was added. */
  readonly before: DifferingEntry | undefined
  /** `undefined` where it was removed. */
  readonly after: DifferingEntry | undefined
}

/** The differences between two states, each a stream of blocks in key order. */
export async function* differences(
  before: AsyncIterable<EntryBlock>,
  after: AsyncIterable<EntryBlock>,
): AsyncGenerator<CheckpointDifference, void, undefined> {
  const left = new Walk(before)
  const right = new Walk(after)
  try {
    await Promise.all([left.load(), right.load()])
    for (;;) {
      const old = left.cursor
      const now = right.cursor
      if (old === undefined && now === undefined) return
      const order = old === undefined ? 1 : now === undefined ? -1 : compareBytes(old.key(), now.key())
      const was = order <= 0 ? old : undefined
      const is = order >= 0 ? now : undefined
      if (was === undefined || is === undefined || !sameEntry(was, is)) yield differenceOf(was, is)
      if (was !== undefined && !left.step()) await left.load()
      if (is !== undefined && !right.step()) await right.load()
    }
  } finally {
    await Promise.all([left.close(), right.close()])
  }
}

/** A walk over the entries of a stream of blocks. */
class Walk {
  readonly #blocks: AsyncIterator<EntryBlock>
  /** On the present entry; `undefined` after the end. */
  cursor: EntryBlockCursor | undefined

  constructor(blocks: AsyncIterable<EntryBlock>) {
    this.#blocks = blocks[Symbol.asyncIterator]()
  }

  /** Moves on within the block; false where another one must be loaded. */
  step(): boolean {
    return this.cursor?.next() === true
  }

  async load(): Promise<void> {
    do {
      const next = await this.#blocks.next()
      this.cursor = next.done === true ? undefined : new EntryBlockCursor(next.value.bytes)
    } while (this.cursor !== undefined && !this.step())
  }

  async close(): Promise<void> {
    await this.#blocks.return?.()
  }
}

function sameEntry(left: EntryBlockCursor, right: EntryBlockCursor): boolean {
  const { bytes, valueStart, valueLength, expiresAtMs } = left
  return (
    expiresAtMs === right.expiresAtMs &&
    compareStretches(bytes, valueStart, valueLength, right.bytes, right.valueStart, right.valueLength) === 0
  )
}

function differenceOf(
  was: EntryBlockCursor | undefined,
  is: EntryBlockCursor | undefined,
): CheckpointDifference {
  const kind = was === undefined ? 'added' : is === undefined ? 'removed' : 'changed'
  const key = (was ?? is)?.key().slice() ?? new Uint8Array(0)
  return { kind, key, before: entryAt(was), after: entryAt(is) }
}

function entryAt(cursor: EntryBlockCursor | undefined): DifferingEntry | undefined {
  return cursor && { value: cursor.value().slice(), expiresAtMs: cursor.expiresAtMs }
}
