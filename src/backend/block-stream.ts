import { throwIfAborted } from '../base/abort.js'
import { compareBytes, compareStretches } from '../base/bytes.js'
import { StateError } from '../base/errors.js'
import { nextTurn, SLICE_MS } from '../base/slices.js'
import { type EntryBlock, EntryBlockCursor } from './entry-block.js'
import type { KeyInterval } from './scan-range.js'

const NO_BYTES = new Uint8Array(0)

/**
 * Checks, entry by entry, that a stream of blocks can be the content of a stretch of keys: keys strictly increase, none lies
 * outside, and there are no tombstones. `CORRUPTION` otherwise.
 */
export class StreamOrder {
  readonly #interval: KeyInterval
  /** The key before, as a stretch of its block. */
  #last: Uint8Array = NO_BYTES
  #lastStart = 0
  #lastLength = -1

  constructor(interval: KeyInterval) {
    this.#interval = interval
  }

  /** To be called after each `next()` of a block's cursor. */
  check(cursor: EntryBlockCursor): void {
    const { bytes, keyStart, keyLength } = cursor
    if (cursor.tombstone) throw damaged('holds a tombstone')
    if (this.#lastLength < 0) {
      // Keys increase: where the first one is not below the stretch, none is.
      if (compareBytes(cursor.key(), this.#interval.from) < 0) throw damaged(OUTSIDE)
    } else if (
      compareStretches(this.#last, this.#lastStart, this.#lastLength, bytes, keyStart, keyLength) >= 0
    ) {
      throw damaged('is not in key order')
    }
    const { until } = this.#interval
    if (until !== undefined && compareBytes(cursor.key(), until) >= 0) throw damaged(OUTSIDE)
    this.#last = bytes
    this.#lastStart = keyStart
    this.#lastLength = keyLength
  }
}

const OUTSIDE = 'holds a key outside the range that it replaces'

function damaged(reason: string): StateError {
  return new StateError('CORRUPTION', { what: 'stream of entries', reason })
}

/** Passes blocks on that can replace what a backend holds in an interval: whole, in key order, without tombstones; `CORRUPTION` otherwise. */
export async function* checkedBlocks(
  blocks: AsyncIterable<EntryBlock>,
  interval: KeyInterval,
  signal: AbortSignal | undefined,
  check: () => void,
): AsyncGenerator<EntryBlock, void, undefined> {
  const order = new StreamOrder(interval)
  for await (const block of watchedBlocks(blocks, signal, check)) {
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next()) order.check(cursor)
    yield block
  }
}

/** Passes blocks on in slices, until `check` throws or the signal fires. */
export async function* watchedBlocks<Block>(
  blocks: AsyncIterable<Block>,
  signal: AbortSignal | undefined,
  check: () => void,
): AsyncGenerator<Block, void, undefined> {
  let sliceEnd = performance.now() + SLICE_MS
  for await (const block of blocks) {
    throwIfAborted(signal, 'replaceAll')
    check()
    yield block
    if (performance.now() >= sliceEnd) {
      await nextTurn()
      sliceEnd = performance.now() + SLICE_MS
    }
  }
  throwIfAborted(signal, 'replaceAll')
  check()
}
