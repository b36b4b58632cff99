import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import type { KeyInterval } from '../backend/scan-range.js'
import { StateError } from '../base/errors.js'
import { isWithin, keyText, type ModelEntries } from './model-entries.js'

/**
 * The content that a stream of blocks describes. `CORRUPTION` where it breaks an invariant of blocks.
 *
 * @param proceed is called before the first block is asked for, after each one, and at the end; it throws to give up.
 */
export async function readBlocks(
  blocks: AsyncIterable<EntryBlock>,
  interval: KeyInterval,
  proceed: () => void,
): Promise<ModelEntries> {
  const entries: ModelEntries = new Map()
  let last: string | undefined
  proceed()
  for await (const block of blocks) {
    proceed()
    const before = entries.size
    const cursor = new EntryBlockCursor(block.bytes)
    while (cursor.next()) {
      const key = keyText(cursor.key())
      if (cursor.tombstone) throw damaged('a tombstone in a whole content')
      if (!isWithin(key, interval)) throw damaged('a key outside the range')
      if (last !== undefined && key <= last) throw damaged('keys that do not increase')
      entries.set(key, { value: cursor.value().slice(), expiresAtMs: cursor.expiresAtMs })
      last = key
    }
    if (entries.size - before !== block.entryCount)
      throw damaged('an entry count that is not that of its bytes')
  }
  proceed()
  return entries
}

function damaged(reason: string): StateError {
  return new StateError('CORRUPTION', { what: 'stream of blocks', reason })
}
