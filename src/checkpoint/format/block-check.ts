import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import { compareBytes, copyBytes } from '../../base/bytes.js'
import type { BlockOutline } from './segment-block.js'

const NOT_BEHIND = 'a block does not begin after the end of the one before'
const TOMBSTONE_IN_BASE = 'a tombstone in a base segment'

/**
 * Follows a stream of blocks and says what is wrong with it: entry counts that do not match, and keys that
 * do not strictly increase. Used on both sides of the disk, where a wrong block is a bug and where it is damage.
 */
export class BlockCheck {
  readonly #allowTombstones: boolean
  #lastKey: Uint8Array | undefined

  /** Entries, and tombstones among them, of the blocks that passed. */
  entryCount = 0
  tombstoneCount = 0
  /** First key of the latest block, as a copy. */
  firstKey: Uint8Array = new Uint8Array(0)
  /** Nothing in the latest block expires before; Infinity: nothing at all. */
  nextExpiryMs: number = Infinity
  /** Tombstones in the latest block. */
  #tombstones = 0

  constructor(allowTombstones: boolean) {
    this.#allowTombstones = allowTombstones
  }

  /** Last key of the latest block, as a copy. */
  get lastKey(): Uint8Array {
    return this.#lastKey ?? new Uint8Array(0)
  }

  /** What is known of the latest block, which has passed. */
  outlineOf({ entryCount }: EntryBlock): BlockOutline {
    const { firstKey, lastKey, nextExpiryMs } = this
    return { entryCount, tombstoneCount: this.#tombstones, firstKey, lastKey, nextExpiryMs }
  }

  /** What is wrong with it that a block comes next which another check has passed, or `undefined`. */
  problemOfKnown({
    entryCount,
    tombstoneCount,
    firstKey,
    lastKey,
    nextExpiryMs,
  }: BlockOutline): string | undefined {
    if (this.#lastKey !== undefined && compareBytes(this.#lastKey, firstKey) >= 0) return NOT_BEHIND
    if (tombstoneCount > 0 && !this.#allowTombstones) return TOMBSTONE_IN_BASE
    this.firstKey = firstKey
    this.nextExpiryMs = nextExpiryMs
    this.#passed(entryCount, tombstoneCount, lastKey)
    return undefined
  }

  /** What is wrong with the next block, or `undefined`. Throws `CORRUPTION` where an entry does not fit its block. */
  problemOf(block: EntryBlock): string | undefined {
    const cursor = new EntryBlockCursor(block.bytes)
    const { bytes } = cursor
    if (!cursor.next()) return 'a block without entries'
    this.firstKey = copyBytes(cursor.key())
    if (this.#lastKey !== undefined && compareBytes(this.#lastKey, this.firstKey) >= 0) {
      return NOT_BEHIND
    }
    let entries = 0
    let tombstones = 0
    let nextExpiryMs = Infinity
    let keyStart = 0
    let keyLength = 0
    do {
      if (entries > 0 && compareToKey(keyStart, keyLength, cursor) >= 0) {
        return 'the keys of a block do not strictly increase'
      }
      if (cursor.tombstone) {
        if (!this.#allowTombstones) return TOMBSTONE_IN_BASE
        if (cursor.valueLength > 0 || cursor.expiresAtMs !== Infinity)
          return 'a tombstone with a value or expiry'
        tombstones++
      }
      if (cursor.expiresAtMs < nextExpiryMs) nextExpiryMs = cursor.expiresAtMs
      keyStart = cursor.keyStart
      keyLength = cursor.keyLength
      entries++
    } while (cursor.next())
    if (entries !== block.entryCount) return `a block of ${entries} entries that declares ${block.entryCount}`
    this.nextExpiryMs = nextExpiryMs
    this.#passed(entries, tombstones, copyBytes(bytes.subarray(keyStart, keyStart + keyLength)))
    return undefined
  }

  #passed(entries: number, tombstones: number, lastKey: Uint8Array): void {
    this.#lastKey = lastKey
    this.#tombstones = tombstones
    this.entryCount += entries
    this.tombstoneCount += tombstones
  }
}

/** Compares another key of the cursor's block with its current one: neighbours mostly begin alike, so by words first. */
function compareToKey(
  start: number,
  length: number,
  { view, keyStart, keyLength }: EntryBlockCursor,
): number {
  const shared = Math.min(length, keyLength)
  let i = 0
  while (i + 4 <= shared && view.getInt32(start + i) === view.getInt32(keyStart + i)) i += 4
  for (; i < shared; i++) {
    const difference = view.getUint8(start + i) - view.getUint8(keyStart + i)
    if (difference !== 0) return difference
  }
  return length - keyLength
}
