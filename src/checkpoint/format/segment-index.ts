// The index of a segment, read by itself: which block may hold a key, without reading the blocks.
//
// (1) Its checksum is that in the footer.
// (2) Its blocks lie one behind the other, from the header to the index, and add up to the footer's totals; their first keys
//     strictly increase. So none of them can be left out of it.

import type { KeyStretch } from '../../backend/scan-range.js'
import { compareBytes } from '../../base/bytes.js'
import { MAX_KEY_BYTES } from '../../base/limits.js'
import { crc32 } from '../../codec/checksum.js'
import {
  BLOCK_HEADER_BYTES,
  damagedSegment,
  INDEX_ENTRY_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentFooter,
} from './segment-format.js'

export interface IndexedBlock {
  readonly offset: number
  readonly storedBytes: number
  readonly rawBytes: number
  readonly entryCount: number
  readonly firstKey: Uint8Array
}

/** Numbers of blocks, `end` not included. */
export interface BlockStretch {
  readonly first: number
  readonly end: number
}

export class SegmentIndex {
  readonly blocks: readonly IndexedBlock[]

  /** Parses the bytes between the blocks and the footer. `CORRUPTION` where they are not what the footer says. */
  static parse(bytes: Uint8Array, footer: SegmentFooter, name: string): SegmentIndex {
    if (crc32(bytes) !== footer.indexCrc)
      throw damagedSegment(name, 'the checksum of its index does not match')
    const damaged = (reason: string) => damagedSegment(name, `its index ${reason}`)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const blocks: IndexedBlock[] = []
    let at = 0
    let nextOffset = SEGMENT_HEADER_BYTES
    let entries = 0
    let rawBytes = 0
    while (at < bytes.length) {
      if (at + INDEX_ENTRY_BYTES > bytes.length) throw damaged('ends in the middle of an entry')
      const offset = Number(view.getBigUint64(at, true))
      const block = {
        offset,
        storedBytes: view.getUint32(at + 8, true),
        rawBytes: view.getUint32(at + 12, true),
        entryCount: view.getUint32(at + 16, true),
      }
      const keyLength = view.getUint16(at + 20, true)
      const keyAt = at + INDEX_ENTRY_BYTES
      if (view.getUint16(at + 22, true) !== 0) throw damaged('has reserved bytes that are not zero')
      if (keyLength > MAX_KEY_BYTES || keyAt + keyLength > bytes.length)
        throw damaged('has a key that does not fit')
      if (offset !== nextOffset)
        throw damaged(`has a block at byte ${offset} where one at ${nextOffset} belongs`)
      const firstKey = bytes.slice(keyAt, keyAt + keyLength)
      const before = blocks.at(-1)
      if (before !== undefined && compareBytes(before.firstKey, firstKey) >= 0) {
        throw damaged('has keys that do not strictly increase')
      }
      blocks.push({ ...block, firstKey })
      entries += block.entryCount
      rawBytes += block.rawBytes
      nextOffset = offset + BLOCK_HEADER_BYTES + block.storedBytes
      at = keyAt + keyLength
    }
    const complete =
      nextOffset === footer.indexOffset &&
      blocks.length === footer.blockCount &&
      entries === footer.entryCount &&
      rawBytes === footer.rawBytes
    if (!complete) throw damaged('and its footer have different totals')
    return new SegmentIndex(blocks)
  }

  private constructor(blocks: readonly IndexedBlock[]) {
    this.blocks = blocks
  }

  /** The blocks that may hold keys of the stretch: the last one that begins at or before it, and those that begin in it. */
  blocksFor({ from, until }: KeyStretch): BlockStretch {
    const first = Math.max(0, this.#countWhere((key) => compareBytes(key, from) <= 0) - 1)
    const end =
      until === undefined ? this.blocks.length : this.#countWhere((key) => compareBytes(key, until) < 0)
    return { first, end: Math.max(first, end) }
  }

  /** How many blocks, from the first one on, have a first key for which that holds. It holds for no later one after it failed. */
  #countWhere(holds: (firstKey: Uint8Array) => boolean): number {
    let low = 0
    let high = this.blocks.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const block = this.blocks[middle]
      if (block !== undefined && holds(block.firstKey)) low = middle + 1
      else high = middle
    }
    return low
  }
}
