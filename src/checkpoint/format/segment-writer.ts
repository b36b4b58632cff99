// Writes one segment (its bytes: segment-format.ts). What holds when `finish` has resolved:
//
// (1) Keys strictly increase within a segment; a base has no tombstones.
// (2) The stored bytes of each block decompress to exactly the bytes of the EntryBlock that came in: that is tried, while both are in the
//     cache. So who finds the same bytes in the storage, by their SHA-256, need not decompress them.
// (3) The index has one entry per block, in order; totals in the footer are those of the blocks.
// (4) The footer is written last: a torn file has none.
// (5) The SHA-256 is over every byte handed to the storage, in order.
//
// A block that was read from a segment of the same codec, and verified there, is written as it was stored.
//
// While one block is being written, the next ones are compressed in the thread pool.

import type { EntryBlock } from '../../backend/entry-block.js'
import { assert, present } from '../../base/assert.js'
import { unwrittenBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import type { BlockCodec } from '../../codec/block-codec.js'
import { crc32, crc32Sliced, RunningSha256 } from '../../codec/checksum.js'
import type { ObjectWriter } from '../../storage/checkpoint-storage.js'
import { BlockCheck } from './block-check.js'
import { isSegmentBlock, type StoredBlock } from './segment-block.js'
import {
  encodeBlockHeader,
  encodeFooter,
  encodeIndexEntry,
  encodeSegmentHeader,
  MAX_RAW_BLOCK_BYTES,
  maxStoredBytes,
  SEGMENT_HEADER_BYTES,
  type SegmentRole,
} from './segment-format.js'

/** How many blocks, and how many raw bytes at least, may be in compression before `append` waits for a write. */
const MAX_BLOCKS_AHEAD = 4
const MAX_BYTES_AHEAD = 4 * 1024 * 1024

/**
 * What is written is handed to the storage in pieces of at least this size, but for the last: a small segment goes in one
 * call, and a large one does not go in many.
 */
const WRITE_BYTES = 256 * 1024

/** Up to this size what is handed over is put together in memory that is kept for that. */
const JOINED_BYTES = 4 * WRITE_BYTES

/** The index is summed in pieces of about this size. */
const INDEX_PIECE_BYTES = 256 * 1024

/** What a finished segment holds; the manifest says the same. */
export interface SegmentTotals {
  readonly sizeBytes: number
  readonly rawBytes: number
  readonly entryCount: number
  readonly tombstoneCount: number
  /** Over the whole file, hexadecimal. */
  readonly sha256: string
}

interface PendingBlock {
  readonly block: EntryBlock
  readonly firstKey: Uint8Array
  readonly compressed: Promise<CompressedBlock>
}

type CompressedBlock = Omit<StoredBlock, 'codec'>

/** Packs blocks into one new object. The caller commits or aborts the object. */
export class SegmentWriter {
  readonly #output: ObjectWriter | Promise<ObjectWriter>
  readonly #codec: BlockCodec
  readonly #role: SegmentRole
  readonly #check: BlockCheck
  readonly #onCompressed: ((block: EntryBlock) => void) | undefined
  readonly #sha256 = new RunningSha256()
  readonly #pending: PendingBlock[] = []
  readonly #index: Uint8Array[] = []
  readonly #unwritten: Uint8Array[] = []
  /** What was handed to the storage last. It is waited for before there is more to hand over, not before the next block is gathered. */
  #writing: Promise<void> = Promise.resolve()
  /** What goes to the storage in one call is put together here, each time anew. */
  #joined: Uint8Array = new Uint8Array(0)
  #unwrittenBytes = 0
  #pendingBytes = 0
  #offset = 0
  #rawBytes = 0

  /**
   * @param output where the bytes go; one that is still being begun is waited for when there is something to write.
   * @param onCompressed is told of each block whose bytes are not looked at any more; a codec that stores them as they are keeps them.
   */
  constructor(
    output: ObjectWriter | Promise<ObjectWriter>,
    codec: BlockCodec,
    role: SegmentRole,
    onCompressed?: (block: EntryBlock) => void,
  ) {
    this.#output = output
    this.#codec = codec
    this.#role = role
    this.#onCompressed = onCompressed
    this.#check = new BlockCheck(role === 'delta')
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#offset
  }

  /** Takes the next block, whose bytes must not change any more until `onCompressed` is told of it. Resolves when there is room for another one. */
  async append(block: EntryBlock): Promise<void> {
    const rawBytes = block.bytes.length
    assert(rawBytes <= MAX_RAW_BLOCK_BYTES, `a block of ${rawBytes} bytes`)
    const known = isSegmentBlock(block) && block.origin.codec === this.#codec.name ? block : undefined
    const problem = known === undefined ? this.#check.problemOf(block) : this.#check.problemOfKnown(known)
    assert(problem === undefined, `blocks out of order: ${problem}`)
    const compressed =
      known === undefined ? compressBlock(this.#codec, block.bytes) : Promise.resolve(known.origin)
    // The failure is met when the block's turn comes; until then, and if it never comes, it is not unhandled.
    compressed.catch(() => {})
    this.#pending.push({ block, firstKey: this.#check.firstKey, compressed })
    this.#pendingBytes += rawBytes
    this.#rawBytes += rawBytes
    // What the pool has done is met, and it is given more to do.
    await nextTurn()
    while (this.#pending.length > MAX_BLOCKS_AHEAD || this.#pendingBytes > MAX_BYTES_AHEAD) {
      await this.#writeNext()
    }
  }

  /** Writes what is still pending, index and footer. */
  async finish(): Promise<SegmentTotals> {
    while (this.#pending.length > 0) await this.#writeNext()
    if (this.#offset === 0) await this.#writeHeader()
    const indexOffset = this.#offset
    const indexCrc = await this.#writeIndex()
    const totals = {
      entryCount: this.#check.entryCount,
      tombstoneCount: this.#check.tombstoneCount,
      rawBytes: this.#rawBytes,
    }
    const indexBytes = this.#offset - indexOffset
    const blockCount = this.#index.length
    await this.#write(encodeFooter({ ...totals, indexOffset, indexBytes, blockCount, indexCrc }))
    await this.#handOver()
    await this.#writing
    return { ...totals, sizeBytes: this.#offset, sha256: this.#sha256.digest() }
  }

  /** Resolves when the storage has nothing to do for it any more, whether it succeeded or not: only then may an object be aborted. */
  async rest(): Promise<void> {
    await this.#writing.catch(() => {})
  }

  async #writeNext(): Promise<void> {
    if (this.#offset === 0) await this.#writeHeader()
    const { block, firstKey, compressed } = present(this.#pending.shift(), 'a block is pending')
    const { stored, rawCrc, storedCrc } = await compressed
    const { entryCount } = block
    const rawBytes = block.bytes.length
    this.#pendingBytes -= rawBytes
    if (stored.buffer !== block.bytes.buffer) this.#onCompressed?.(block)
    const header = { storedBytes: stored.length, rawBytes, entryCount, rawCrc, storedCrc }
    assert(
      stored.length <= maxStoredBytes(rawBytes),
      `${stored.length} stored bytes for ${rawBytes} raw ones`,
    )
    this.#index.push(encodeIndexEntry(this.#offset, header, firstKey))
    await this.#write(encodeBlockHeader(header))
    await this.#write(stored)
  }

  async #writeHeader(): Promise<void> {
    await this.#write(encodeSegmentHeader({ codec: this.#codec.name, role: this.#role }))
    assert(this.#offset === SEGMENT_HEADER_BYTES, 'the header comes first')
  }

  async #writeIndex(): Promise<number> {
    let crc = 0
    let piece: Uint8Array[] = []
    let pieceBytes = 0
    for (const [position, entry] of this.#index.entries()) {
      piece.push(entry)
      pieceBytes += entry.length
      if (pieceBytes < INDEX_PIECE_BYTES && position < this.#index.length - 1) continue
      const bytes = Buffer.concat(piece)
      crc = crc32(bytes, crc)
      await this.#write(bytes)
      piece = []
      pieceBytes = 0
    }
    return crc
  }

  /** Hands bytes on to the storage, now or together with those that follow. They must not change any more. */
  async #write(bytes: Uint8Array): Promise<void> {
    this.#offset += bytes.length
    this.#unwritten.push(bytes)
    this.#unwrittenBytes += bytes.length
    // Hashing and writing only read the bytes, so they go on side by side.
    const written = this.#unwrittenBytes < WRITE_BYTES ? undefined : this.#handOver()
    await Promise.all([written, this.#sha256.update(bytes)])
  }

  async #handOver(): Promise<void> {
    const pieces = this.#unwritten.splice(0)
    const bytes = this.#unwrittenBytes
    this.#unwrittenBytes = 0
    const [first] = pieces
    if (first === undefined) return
    await this.#writing
    const joined = pieces.length === 1 ? first : this.#join(pieces, bytes)
    this.#writing = this.#writeOut(joined)
    // A failure is met by whoever hands over next, or finishes.
    this.#writing.catch(() => {})
  }

  async #writeOut(bytes: Uint8Array): Promise<void> {
    const output = await this.#output
    await output.write(bytes)
  }

  /** The storage has taken the bytes when its call has ended, so that those of the next one may lie there: new memory costs more than the copy. */
  #join(pieces: readonly Uint8Array[], bytes: number): Uint8Array {
    if (bytes > JOINED_BYTES) return Buffer.concat(pieces)
    if (this.#joined.length < bytes)
      this.#joined = unwrittenBytes(bytes <= WRITE_BYTES ? bytes : JOINED_BYTES)
    let at = 0
    for (const piece of pieces) {
      this.#joined.set(piece, at)
      at += piece.length
    }
    return this.#joined.subarray(0, bytes)
  }
}

async function compressBlock(codec: BlockCodec, raw: Uint8Array): Promise<CompressedBlock> {
  const compressing = codec.compress(raw)
  // While the pool compresses, this thread sums.
  const [stored, rawCrc] = await Promise.all([compressing, crc32Sliced(raw)])
  const [back, storedCrc] = await Promise.all([codec.decompress(stored, raw.length), crc32Sliced(stored)])
  if (Buffer.compare(back, raw) !== 0) {
    const reason = 'it does not decompress to what was compressed'
    throw new StateError('CORRUPTION', { what: `${codec.name} block`, reason })
  }
  return { stored, rawCrc, storedCrc }
}
