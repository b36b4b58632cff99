import { FLAG_BURIED, OFFSET_BITS, storedUnits, UNIT_WORDS_SHIFT, WORD_VALUE_LENGTH } from './layout.js'
import type { SegmentTable } from './segment-table.js'
import { runThrough, type SlicedWork } from './slices.js'
import { Uint32List } from './uint32-list.js'

/** Entries walked between two points where the work may pause. */
const WALK_STEP = 4_096

/** The latest version of every key of a log that nobody writes to any more, tombstones included, as they lie. */
export function latestAddresses(segments: SegmentTable): Uint32Array {
  return runThrough(unburiedAddresses(segments))
}

/** Every entry that is not buried when it is looked at, in the order of addresses. */
export function* unburiedAddresses(segments: SegmentTable): SlicedWork<Uint32Array> {
  const addresses = new Uint32List(1024)
  let walked = 0
  for (const [number, words] of segments.words.entries()) {
    const end = segments.usedUnits[number] as number
    for (let offset = 1; offset < end; ) {
      const at = offset << UNIT_WORDS_SHIFT
      const meta = words[at] as number
      if ((meta & FLAG_BURIED) === 0) addresses.push(((number << OFFSET_BITS) | offset) >>> 0)
      offset += storedUnits(meta, words[at + WORD_VALUE_LENGTH] as number)
      if (++walked % WALK_STEP === 0) yield
    }
  }
  return addresses.toArray()
}
