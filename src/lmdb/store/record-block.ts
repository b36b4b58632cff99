// Entries that were made ready for the store where they were read, on their way to the thread that writes them.
//
//   block := entry*
//   entry := keyLength u32 · recordLength u32 · the user's key · record (record.ts)
//
// Numbers are little-endian.
// (1) Keys are in order, as in the block that it was made of.
// (2) It never lies on disk: both ends are threads of one process.

import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import type { BlockPreparer, OpenBlockPreparer } from '../../backend/prepared-blocks.js'
import { wholeMs } from '../../base/clock.js'
import { copyViewed, type ViewedBytes } from '../../base/slot.js'
import type { LmdbCompression } from '../types.js'
import { expiryAt, RECORD_HEADER_BYTES, recordBytes, ValuePacking, writeRecord } from './record.js'

const HEADER_BYTES = 8

/** What `LmdbEngine.preparing` sends. */
export interface RecordPreparing {
  readonly compression: LmdbCompression
}

export const openBlockPreparer: OpenBlockPreparer = (data, { laterMs }) =>
  new RecordPreparer(data as RecordPreparing, laterMs)

class RecordPreparer implements BlockPreparer {
  readonly #packing: ValuePacking
  readonly #laterMs: number

  constructor({ compression }: RecordPreparing, laterMs: number) {
    this.#packing = new ValuePacking(compression)
    this.#laterMs = laterMs
  }

  prepare({ bytes, entryCount }: EntryBlock): Uint8Array<ArrayBuffer> {
    // Of an entry, both have a header of the same length, its key, its time and its value; a record has its own header beside that.
    const memory = new ArrayBuffer(bytes.length + entryCount * RECORD_HEADER_BYTES)
    const target = { bytes: new Uint8Array(memory), view: new DataView(memory) }
    const length = this.#prepareAll(new EntryBlockCursor(bytes), target)
    // Whoever holds it counts what was made: of compressed values that may be a hundredth of the memory.
    return length < memory.byteLength / 2 ? target.bytes.slice(0, length) : target.bytes.subarray(0, length)
  }

  /** Returns how many bytes there are. */
  #prepareAll(cursor: EntryBlockCursor, target: ViewedBytes): number {
    let end = 0
    while (cursor.next()) {
      const { keyStart, keyLength } = cursor
      cursor.expiresAtMs = wholeMs(cursor.expiresAtMs + this.#laterMs)
      const packed = this.#packing.pack(cursor)
      const recordLength = recordBytes(cursor, packed)
      const keyAt = end + HEADER_BYTES
      target.view.setUint32(end, keyLength, true)
      target.view.setUint32(end + 4, recordLength, true)
      copyViewed(cursor, keyStart, keyLength, target, keyAt)
      writeRecord(cursor, packed, target, keyAt + keyLength)
      end = keyAt + keyLength + recordLength
    }
    return end
  }
}

/**
 * Where a record lies in larger memory: LMDB's package looks for `start` and `end` of a value, and an array for each record would take
 * longer than to hand it over.
 */
export interface RecordPlace extends Uint8Array {
  start: number
  end: number
}

/** Walks through such a block; the caller's own, whose memory stays until what was taken of it is committed. */
export class RecordBlockCursor {
  readonly bytes: Uint8Array
  readonly record: RecordPlace
  readonly #view: DataView
  readonly #end: number
  #position: number
  keyStart = 0
  keyLength = 0

  constructor({ buffer, byteOffset, length }: Uint8Array) {
    this.bytes = new Uint8Array(buffer)
    this.record = Object.assign(new Uint8Array(buffer), { start: 0, end: 0 })
    this.#view = new DataView(buffer)
    this.#position = byteOffset
    this.#end = byteOffset + length
  }

  /** Moves to the next entry; false at the end. */
  next(): boolean {
    const start = this.#position
    if (start === this.#end) return false
    const view = this.#view
    this.keyLength = view.getUint32(start, true)
    this.keyStart = start + HEADER_BYTES
    this.record.start = this.keyStart + this.keyLength
    this.record.end = this.record.start + view.getUint32(start + 4, true)
    this.#position = this.record.end
    return true
  }

  /** When the entry expires; Infinity: never. */
  get expiresAtMs(): number {
    return expiryAt(this.#view, this.record.start)
  }
}
