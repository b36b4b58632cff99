import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import { compareBytes, copyBytes } from '../../base/bytes.js'

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

  constructor(allowTombstones: boolean) {
    this.#allowTombstones = allowTombstones
  }

  /** Last key of the latest block, as a copy. */
  get lastKey(): Uint8Array {
    return this.#lastKey ?? new Uint8Array(0)
  }

  /** What is wrong with the next block, or `undefined`. Throws `CORRUPTION` where an entry does not fit its block. */
  problemOf(block: EntryBlock): string | undefined {
    const cursor = new EntryBlockCursor(block.bytes)
    const { bytes } = cursor
    if (!cursor.next()) return 'a block without entries'
    this.firstKey = copyBytes(cursor.key())
    if (this.#lastKey !== undefined && compareBytes(this.#lastKey, this.firstKey) >= 0) {
      return 'a block does not begin after the end of the one before'
    }
    let entries = 0
    let tombstones = 0
    let keyStart = 0
    let keyLength = 0
    do {
      if (entries > 0 && compareToKey(keyStart, keyLength, cursor) >= 0) {
        return 'the keys of a block do not strictly increase'
      }
      if (cursor.tombstone) {
        if (!this.#allowTombstones) return 'a tombstone in a base segment'
        if (cursor.valueLength > 0 || cursor.expiresAtMs !== Infinity)
          return 'a tombstone with a value or expiry'
        tombstones++
      }
      keyStart = cursor.keyStart
      keyLength = cursor.keyLength
      entries++
    } while (cursor.next())
    if (entries !== block.entryCount) return `a block of ${entries} entries that declares ${block.entryCount}`
    this.#lastKey = copyBytes(bytes.subarray(keyStart, keyStart + keyLength))
    this.entryCount += entries
    this.tombstoneCount += tombstones
    return undefined
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
