import { FLAG_BURIED, OFFSET_BITS, storedUnits, UNIT_WORDS_SHIFT, WORD_VALUE_LENGTH } from './layout.js'
import type { SegmentTable } from './segment-table.js'
import { Uint32List } from './uint32-list.js'

/** The latest version of every key of a log that nobody writes to any more, tombstones included, as they lie. */
export function latestAddresses(segments: SegmentTable): Uint32Array {
  const addresses = new Uint32List(1024)
  for (const [number, words] of segments.words.entries()) {
    const end = segments.usedUnits[number] as number
    for (let offset = 1; offset < end; ) {
      const at = offset << UNIT_WORDS_SHIFT
      const meta = words[at] as number
      if ((meta & FLAG_BURIED) === 0) addresses.push(((number << OFFSET_BITS) | offset) >>> 0)
      offset += storedUnits(meta, words[at + WORD_VALUE_LENGTH] as number)
    }
  }
  return addresses.toArray()
}
