// Reads and verifies one segment (its bytes: segment-format.ts), from its first byte to its last, once.
//
// (1) A block is handed on only after its checksums, its size, its entry count and the order of its keys held.
// (2) The stream of blocks ends normally only after everything else held too: index, footer, totals, and the
//     SHA-256 of the whole file. Otherwise it throws. So whoever has seen the end has seen what was written.
// (3) Nothing is allocated for a size that was not compared with a limit; a few blocks are in memory at a time.

import type { EntryBlock } from '../../backend/entry-block.js'
import { throwIfAborted } from '../../backend/validate.js'
import { type BlockCodec, blockCodec, type CodecName } from '../../codec/block-codec.js'
import { crc32, crc32Sliced, RunningSha256 } from '../../codec/checksum.js'
import type { ObjectReader } from '../../storage/checkpoint-storage.js'
import { BlockCheck } from './block-check.js'
import {
  BLOCK_HEADER_BYTES,
  type BlockHeader,
  damagedSegment,
  decodeBlockHeader,
  decodeFooter,
  decodeSegmentHeader,
  encodeIndexEntry,
  FOOTER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentFooter,
  type SegmentRole,
} from './segment-format.js'
import type { SegmentTotals } from './segment-writer.js'

/** Blocks, and raw bytes at least, that may be on their way through decompression at a time. */
const MAX_BLOCKS_AHEAD = 4
const MAX_BYTES_AHEAD = 4 * 1024 * 1024

/** The index is read in pieces of this size. */
const INDEX_PIECE_BYTES = 256 * 1024

/** What a manifest says about a segment. */
export interface ExpectedSegment extends Omit<SegmentTotals, 'tombstoneCount'> {
  readonly role: SegmentRole
}

/** A block on its way: read, and being decompressed. */
interface Decoding {
  readonly offset: number
  readonly header: BlockHeader
  readonly block: Promise<EntryBlock>
}

/** The stored bytes of a block, and the header of the next one, read in one go. */
interface Frame {
  readonly offset: number
  readonly header: BlockHeader
  readonly bytes: Uint8Array
}

/** One segment, opened: header and footer are read and fit each other and the manifest. Read its blocks once. */
export class SegmentReader {
  readonly name: string
  readonly role: SegmentRole
  readonly #object: ObjectReader
  readonly #codec: BlockCodec
  readonly #footer: SegmentFooter
  readonly #footerBytes: Uint8Array
  readonly #expected: ExpectedSegment | undefined
  readonly #sha256: RunningSha256
  readonly #check: BlockCheck
  #rawBytes = 0
  #blockCount = 0
  #indexCrc = 0

  /**
   * Opens a segment. `expected` is what the manifest says; without it, only the file's own checksums are verified.
   * `CORRUPTION` where the file does not fit itself or the manifest, `INCOMPATIBLE` for a version or codec unknown here.
   * The object remains the caller's to close.
   */
  static async open(
    object: ObjectReader,
    name: string,
    expected: ExpectedSegment | undefined,
    codecOf: (name: CodecName) => BlockCodec = blockCodec,
  ): Promise<SegmentReader> {
    const { sizeBytes } = object
    if (expected !== undefined && sizeBytes !== expected.sizeBytes) {
      throw damagedSegment(name, `it has ${sizeBytes} bytes; the manifest says ${expected.sizeBytes}`)
    }
    if (sizeBytes < SEGMENT_HEADER_BYTES + FOOTER_BYTES)
      throw damagedSegment(name, `it has ${sizeBytes} bytes`)
    const headerBytes = await object.read(0, SEGMENT_HEADER_BYTES)
    const { codec, role } = decodeSegmentHeader(headerBytes, name)
    const footerBytes = await object.read(sizeBytes - FOOTER_BYTES, FOOTER_BYTES)
    const footer = decodeFooter(footerBytes, name, sizeBytes)
    if (role === 'base' && footer.tombstoneCount > 0)
      throw damagedSegment(name, 'a base segment with tombstones')
    if (expected !== undefined) {
      const { entryCount, rawBytes } = footer
      if (role !== expected.role)
        throw damagedSegment(name, `it is a ${role}; the manifest says ${expected.role}`)
      if (entryCount !== expected.entryCount || rawBytes !== expected.rawBytes) {
        throw damagedSegment(name, 'its footer and the manifest have different totals')
      }
    }
    const sha256 = new RunningSha256()
    await sha256.update(headerBytes)
    return new SegmentReader(object, name, role, codecOf(codec), footer, footerBytes, expected, sha256)
  }

  private constructor(
    object: ObjectReader,
    name: string,
    role: SegmentRole,
    codec: BlockCodec,
    footer: SegmentFooter,
    footerBytes: Uint8Array,
    expected: ExpectedSegment | undefined,
    sha256: RunningSha256,
  ) {
    this.#object = object
    this.name = name
    this.role = role
    this.#codec = codec
    this.#footer = footer
    this.#footerBytes = footerBytes
    this.#expected = expected
    this.#sha256 = sha256
    this.#check = new BlockCheck(role === 'delta')
  }

  /**
   * Every block in order. It ends normally only after the whole file was verified; it throws `CORRUPTION` otherwise,
   * and `ABORTED` once the signal has fired.
   */
  async *blocks(signal?: AbortSignal): AsyncGenerator<EntryBlock, void, undefined> {
    const decoding: Decoding[] = []
    let reading = this.#startReading(await this.#readFirstHeader(), SEGMENT_HEADER_BYTES)
    let bytesAhead = 0
    try {
      for (;;) {
        throwIfAborted(signal, 'reading a segment')
        while (reading !== undefined && decoding.length < MAX_BLOCKS_AHEAD && bytesAhead < MAX_BYTES_AHEAD) {
          const frame: Frame = await reading
          await this.#sha256.update(frame.bytes)
          reading = this.#startReadingAfter(frame)
          decoding.push(this.#startDecoding(frame))
          bytesAhead += frame.header.rawBytes
        }
        const next = decoding.shift()
        if (next === undefined) break
        const block = await next.block
        this.#accept(next, block)
        bytesAhead -= next.header.rawBytes
        yield block
      }
      await this.#verifyEnd()
    } finally {
      // The caller may close the object when this has returned: nothing is being read any more then.
      await Promise.allSettled([reading, ...decoding.map((pending) => pending.block)])
    }
  }

  async #readFirstHeader(): Promise<BlockHeader | undefined> {
    if (this.#footer.blockCount === 0) return undefined
    const bytes = await this.#object.read(SEGMENT_HEADER_BYTES, BLOCK_HEADER_BYTES)
    await this.#sha256.update(bytes)
    return decodeBlockHeader(bytes, this.name, SEGMENT_HEADER_BYTES)
  }

  /** Begins to read the stored bytes of a block, with the header of the next block behind them if there is one. */
  #startReading(header: BlockHeader | undefined, offset: number): Promise<Frame> | undefined {
    if (header === undefined) return undefined
    const start = offset + BLOCK_HEADER_BYTES
    const end = start + header.storedBytes
    const { indexOffset } = this.#footer
    if (end !== indexOffset && end + BLOCK_HEADER_BYTES > indexOffset) {
      throw damagedSegment(this.name, `the block at byte ${offset} runs into the index`)
    }
    const length = header.storedBytes + (end === indexOffset ? 0 : BLOCK_HEADER_BYTES)
    const reading = this.#object.read(start, length).then((bytes) => ({ offset, header, bytes }))
    reading.catch(() => {})
    return reading
  }

  #startReadingAfter({ offset, header, bytes }: Frame): Promise<Frame> | undefined {
    if (bytes.length === header.storedBytes) return undefined
    const next = offset + BLOCK_HEADER_BYTES + header.storedBytes
    return this.#startReading(decodeBlockHeader(bytes.subarray(header.storedBytes), this.name, next), next)
  }

  #startDecoding({ offset, header, bytes }: Frame): Decoding {
    const block = this.#decode(bytes.subarray(0, header.storedBytes), header, offset)
    block.catch(() => {})
    return { offset, header, block }
  }

  async #decode(stored: Uint8Array, header: BlockHeader, offset: number): Promise<EntryBlock> {
    const { rawBytes, entryCount, rawCrc, storedCrc } = header
    if ((await crc32Sliced(stored)) !== storedCrc) {
      throw damagedSegment(this.name, `the checksum of the block at byte ${offset} does not match`)
    }
    const bytes = await this.#codec.decompress(stored, rawBytes)
    if ((await crc32Sliced(bytes)) !== rawCrc) {
      throw damagedSegment(this.name, `the content of the block at byte ${offset} is not what was written`)
    }
    return { bytes, entryCount }
  }

  #accept({ offset, header }: Decoding, block: EntryBlock): void {
    const problem = this.#check.problemOf(block)
    if (problem !== undefined) throw damagedSegment(this.name, `${problem} (block at byte ${offset})`)
    this.#indexCrc = crc32(encodeIndexEntry(offset, header, this.#check.firstKey), this.#indexCrc)
    this.#rawBytes += block.bytes.length
    this.#blockCount++
  }

  /** Reads the rest of the file and compares the totals. */
  async #verifyEnd(): Promise<void> {
    const { indexOffset, indexBytes, indexCrc } = this.#footer
    let crc = 0
    for (let done = 0; done < indexBytes; done += INDEX_PIECE_BYTES) {
      const piece = await this.#object.read(
        indexOffset + done,
        Math.min(INDEX_PIECE_BYTES, indexBytes - done),
      )
      crc = crc32(piece, crc)
      await this.#sha256.update(piece)
    }
    if (crc !== indexCrc) throw damagedSegment(this.name, 'the checksum of its index does not match')
    if (this.#indexCrc !== indexCrc) throw damagedSegment(this.name, 'its index is not that of its blocks')
    const { entryCount, tombstoneCount } = this.#check
    const asCounted =
      entryCount === this.#footer.entryCount &&
      tombstoneCount === this.#footer.tombstoneCount &&
      this.#blockCount === this.#footer.blockCount &&
      this.#rawBytes === this.#footer.rawBytes
    if (!asCounted) throw damagedSegment(this.name, 'the totals in its footer are not those of its blocks')
    await this.#sha256.update(this.#footerBytes)
    const digest = this.#sha256.digest()
    if (this.#expected !== undefined && digest !== this.#expected.sha256) {
      throw damagedSegment(this.name, `its SHA-256 is ${digest}; the manifest says ${this.#expected.sha256}`)
    }
  }
}
