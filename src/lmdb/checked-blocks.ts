import { StreamOrder } from '../backend/block-stream.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import type { KeyInterval } from '../backend/scan-range.js'
import { throwIfAborted } from '../backend/validate.js'
import { nextTurn, SLICE_MS } from '../base/slices.js'

/** Passes blocks on that can replace what a backend holds in an interval: whole, in key order, without tombstones; `CORRUPTION` otherwise. */
export async function* checkedBlocks(
  blocks: AsyncIterable<EntryBlock>,
  interval: KeyInterval,
  signal: AbortSignal | undefined,
  check: () => void,
): AsyncGenerator<EntryBlock, void, undefined> {
  const order = new StreamOrder(interval)
  let sliceEnd = performance.now() + SLICE_MS
  for await (const block of blocks) {
    throwIfAborted(signal, 'replaceAll')
    check()
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next()) order.check(cursor)
    yield block
    if (performance.now() >= sliceEnd) {
      await nextTurn()
      sliceEnd = performance.now() + SLICE_MS
    }
  }
  throwIfAborted(signal, 'replaceAll')
  check()
}
