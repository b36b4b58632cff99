import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import { throwIfAborted } from '../backend/validate.js'
import { compareBytes } from '../base/bytes.js'
import { StateError } from '../base/errors.js'
import { nextTurn, SLICE_MS } from '../base/slices.js'

/** Passes blocks on that can replace a backend's content: whole, in key order, without tombstones; `CORRUPTION` otherwise. */
export async function* checkedBlocks(
  blocks: AsyncIterable<EntryBlock>,
  signal: AbortSignal | undefined,
  check: () => void,
): AsyncGenerator<EntryBlock, void, undefined> {
  let last: Uint8Array | undefined
  let sliceEnd = performance.now() + SLICE_MS
  for await (const block of blocks) {
    throwIfAborted(signal, 'replaceAll')
    check()
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next()) {
      const key = cursor.key()
      if (cursor.tombstone || (last !== undefined && compareBytes(last, key) >= 0)) {
        const reason = cursor.tombstone ? 'holds a tombstone' : 'is not in key order'
        throw new StateError('CORRUPTION', { what: 'stream of entries', reason })
      }
      last = key
    }
    yield block
    if (performance.now() >= sliceEnd) {
      await nextTurn()
      sliceEnd = performance.now() + SLICE_MS
    }
  }
  throwIfAborted(signal, 'replaceAll')
  check()
}
