import { runThrough, type SlicedWork } from '../../base/slices.js'
import { FLAG_BURIED, OFFSET_BITS, storedUnits, UNIT_WORDS_SHIFT, WORD_VALUE_LENGTH } from '../layout.js'
import type { SegmentTable } from '../segment-table.js'
import { Uint32List } from '../uint32-list.js'

/** Entries found between two points where the work may pause. */
const STEP = 4_096

export interface WalkOptions {
  /** Which of them are taken. Default: all. */
  readonly isWanted?: ((address: number) => boolean) | undefined
  /** Told of those that are taken, some at a time, when they were just looked at: in the first `count` items. */
  readonly onFound?: ((addresses: Uint32Array, count: number) => void) | undefined
}

/** Walks the versions of a log that nobody has buried, tombstones included, as they lie. */
export class LatestVersions {
  readonly #segments: SegmentTable
  #number = 0
  #offset = 1

  constructor(segments: SegmentTable) {
    this.#segments = segments
  }

  /** The next address; 0 at the end. */
  next(): number {
    const { words, usedUnits } = this.#segments
    for (; this.#number < words.length; this.#number++) {
      const segment = words[this.#number] as Int32Array
      // Nothing is left to be found where nothing lives.
      const end = this.#segments.isDead(this.#number) ? 0 : (usedUnits[this.#number] as number)
      while (this.#offset < end) {
        const offset = this.#offset
        const at = offset << UNIT_WORDS_SHIFT
        const meta = segment[at] as number
        this.#offset = offset + storedUnits(meta, segment[at + WORD_VALUE_LENGTH] as number)
        if ((meta & FLAG_BURIED) === 0) return ((this.#number << OFFSET_BITS) | offset) >>> 0
      }
      this.#offset = 1
    }
    return 0
  }
}

/** The latest version of every key of a log that nobody writes to any more, tombstones included, as they lie. */
export function latestAddresses(segments: SegmentTable): Uint32Array {
  return runThrough(unburiedAddresses(segments))
}

/** What nobody had buried when this looked at it; in the order of addresses. */
export function* unburiedAddresses(
  segments: SegmentTable,
  { isWanted, onFound }: WalkOptions = {},
): SlicedWork<Uint32Array> {
  const addresses = new Uint32List(STEP)
  const found = new Uint32Array(STEP)
  const latest = new LatestVersions(segments)
  for (;;) {
    const count = findSome(latest, isWanted, found)
    onFound?.(found, count)
    addresses.pushAll(found, count)
    if (count < STEP) return addresses.toArray()
    yield
  }
}

/** The next addresses that are wanted, as many as there is room for; fewer at the end. A function: V8 throws compiled generators away. */
function findSome(latest: LatestVersions, isWanted: WalkOptions['isWanted'], found: Uint32Array): number {
  let count = 0
  while (count < found.length) {
    const address = latest.next()
    if (address === 0) break
    if (isWanted === undefined || isWanted(address)) found[count++] = address
  }
  return count
}
