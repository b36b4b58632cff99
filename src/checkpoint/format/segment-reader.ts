// Reads and verifies one segment (its bytes: segment-format.ts): from its first byte to its last, or only some of its blocks.
//
// (1) A block is handed on only after its checksums, its size, its entry count and the order of its keys held.
// (2) The stream of all blocks ends normally only after everything else held too: index, footer, totals, and the
//     SHA-256 of the whole file. Otherwise it throws. So whoever has seen the end has seen what was written.
// (3) A stream of some blocks has no SHA-256 to compare. It relies on the index, whose checksum and totals held, and finds
//     in it exactly the blocks that the index names: none can be missing, moved, or from elsewhere in the file.
// (4) Nothing is allocated for a size that was not compared with a limit; a few blocks are in memory at a time.

import type { EntryBlock } from '../../backend/entry-block.js'
import { throwIfAborted } from '../../base/abort.js'
import { present } from '../../base/assert.js'
import { compareBytes, equalBytes } from '../../base/bytes.js'
import { type BlockCodec, blockCodec, type CodecName } from '../../codec/block-codec.js'
import { crc32, crc32Sliced, RunningSha256 } from '../../codec/checksum.js'
import type { ObjectReader, ReadAheadLimits } from '../../storage/checkpoint-storage.js'
import { BlockCheck } from './block-check.js'
import { READ_AHEAD, ReadAhead } from './read-ahead.js'
import type { SegmentBlock } from './segment-block.js'
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
import { type BlockStretch, type IndexedBlock, SegmentIndex } from './segment-index.js'
import type { SegmentTotals } from './segment-writer.js'

/** Blocks, and raw bytes at least, that may be on their way through decompression at a time. */
const MAX_BLOCKS_AHEAD = 4
const MAX_BYTES_AHEAD = 4 * 1024 * 1024

/** What is not blocks is hashed in pieces of this size. */
const PIECE_BYTES = 256 * 1024

/** What a manifest says about a segment. */
export interface ExpectedSegment extends Omit<SegmentTotals, 'tombstoneCount'> {
  readonly role: SegmentRole
}

/** How a segment is read. */
export interface SegmentReading {
  /** Default: codecs that work in the thread pool. */
  readonly codecOf?: ((name: CodecName) => BlockCodec) | undefined
  readonly readAhead?: ReadAheadLimits
  /** All of it will be read, from its beginning: its bytes are asked for at once, beside header and footer. Default false. */
  readonly isWhole?: boolean
}

/** A block on its way: read, and being decompressed. */
interface Decoding {
  readonly offset: number
  readonly header: BlockHeader
  readonly stored: Uint8Array
  readonly block: Promise<EntryBlock>
}

/** A block that was decompressed to what its header says; what it holds is still to be checked. */
interface Decoded {
  readonly offset: number
  readonly header: BlockHeader
  readonly stored: Uint8Array
  readonly block: EntryBlock
}

/** What was seen of the blocks so far; `indexCrc` is that of the index they would have. */
interface CountedBlocks {
  rawBytes: number
  blockCount: number
  indexCrc: number
}

/** What a segment's header and footer say, and how its blocks are to be read. */
interface SegmentParts {
  readonly name: string
  readonly role: SegmentRole
  readonly codec: BlockCodec
  readonly footer: SegmentFooter
  readonly headerBytes: Uint8Array
  readonly footerBytes: Uint8Array
  readonly expected: ExpectedSegment | undefined
  readonly readAhead: ReadAheadLimits
  readonly begun: ReadAhead | undefined
}

/** One segment, opened: header and footer are read and fit each other and the manifest. Several streams may be read from it. */
export class SegmentReader {
  readonly name: string
  readonly role: SegmentRole
  readonly #object: ObjectReader
  readonly #codec: BlockCodec
  readonly #footer: SegmentFooter
  readonly #headerBytes: Uint8Array
  readonly #footerBytes: Uint8Array
  readonly #expected: ExpectedSegment | undefined
  readonly #readAhead: ReadAheadLimits
  /** What was asked for when it was opened: everything between header and footer. It is the first stream's. */
  #begun: ReadAhead | undefined
  #index: Promise<SegmentIndex> | undefined

  /**
   * Opens a segment. `expected` is what the manifest says; without it, only the file's own checksums are verified.
   * `CORRUPTION` where the file does not fit itself or the manifest, `INCOMPATIBLE` for a version or codec unknown here.
   * The object remains the caller's to close.
   */
  static async open(
    object: ObjectReader,
    name: string,
    expected: ExpectedSegment | undefined,
    { codecOf = blockCodec, readAhead = READ_AHEAD, isWhole = false }: SegmentReading = {},
  ): Promise<SegmentReader> {
    const { sizeBytes } = object
    if (expected !== undefined && sizeBytes !== expected.sizeBytes) {
      throw damagedSegment(name, `it has ${sizeBytes} bytes; the manifest says ${expected.sizeBytes}`)
    }
    if (sizeBytes < SEGMENT_HEADER_BYTES + FOOTER_BYTES)
      throw damagedSegment(name, `it has ${sizeBytes} bytes`)
    const begun = isWhole ? new ReadAhead(object, 0, sizeBytes - FOOTER_BYTES, readAhead) : undefined
    try {
      const [headerBytes, footerBytes] = await bothOf(
        begun?.take(SEGMENT_HEADER_BYTES) ?? object.read(0, SEGMENT_HEADER_BYTES),
        object.read(sizeBytes - FOOTER_BYTES, FOOTER_BYTES),
      )
      const { codec, role } = decodeSegmentHeader(headerBytes, name)
      const footer = decodeFooter(footerBytes, name, sizeBytes)
      compareFrame(name, role, footer, expected)
      const frame = { headerBytes, footerBytes, footer }
      const parts = { name, role, codec: codecOf(codec), ...frame, expected, readAhead, begun }
      return new SegmentReader(object, parts)
    } catch (error) {
      await begun?.settle()
      throw error
    }
  }

  private constructor(object: ObjectReader, parts: SegmentParts) {
    this.#object = object
    this.name = parts.name
    this.role = parts.role
    this.#codec = parts.codec
    this.#footer = parts.footer
    this.#headerBytes = parts.headerBytes
    this.#footerBytes = parts.footerBytes
    this.#expected = parts.expected
    this.#readAhead = parts.readAhead
    this.#begun = parts.begun
  }

  /** Nothing that was asked for when it was opened is under way any more: the object may be closed. Never rejects. */
  async settle(): Promise<void> {
    await this.#begun?.settle()
  }

  /** Which blocks there are; read when it is first asked for, and kept. `CORRUPTION`. */
  async index(): Promise<SegmentIndex> {
    this.#index ??= this.#readIndex()
    return await this.#index
  }

  /**
   * Every block in order. It ends normally only after the whole file was verified; it throws `CORRUPTION` otherwise,
   * and `ABORTED` once the signal has fired.
   */
  async *blocks(signal?: AbortSignal): AsyncGenerator<SegmentBlock, void, undefined> {
    const { indexOffset } = this.#footer
    const source = this.#fromFirstBlock()
    const sha256 = new RunningSha256()
    const check = new BlockCheck(this.role === 'delta')
    const counted: CountedBlocks = { rawBytes: 0, blockCount: 0, indexCrc: 0 }
    await sha256.update(this.#headerBytes)
    try {
      for await (const decoded of this.#decoded(source, indexOffset, signal, sha256)) {
        yield this.#counted(check, decoded, counted)
      }
      await this.#verifyEnd(source, sha256, check, counted)
    } finally {
      // The caller may close the object when this has returned: nothing is being read any more then.
      await source.settle()
    }
  }

  /**
   * Reads every byte and compares their SHA-256 with the manifest's, without a look at what they mean: enough for who wrote
   * them a moment ago. `CORRUPTION`; `ABORTED` once the signal has fired.
   */
  async compareBytes(signal?: AbortSignal): Promise<void> {
    const expected = present(this.#expected, 'a manifest says what the bytes are')
    const source = this.#fromFirstBlock()
    const sha256 = new RunningSha256()
    try {
      await sha256.update(this.#headerBytes)
      const end = expected.sizeBytes - FOOTER_BYTES
      while (source.position < end) {
        throwIfAborted(signal, 'reading a segment')
        await sha256.update(await source.takeSome(Math.min(PIECE_BYTES, end - source.position)))
      }
      await sha256.update(this.#footerBytes)
      this.#compareDigest(sha256, expected)
    } finally {
      await source.settle()
    }
  }

  /** Some of the blocks, by their numbers in the index. Each is what the index says, or else it throws `CORRUPTION`. */
  async *blocksIn(
    { first, end }: BlockStretch,
    signal?: AbortSignal,
  ): AsyncGenerator<EntryBlock, void, undefined> {
    const { blocks } = await this.index()
    const firstBlock = blocks[first]
    if (firstBlock === undefined || first >= end) return
    const endOffset = blocks[end]?.offset ?? this.#footer.indexOffset
    const source = this.#bytesOf(firstBlock.offset, endOffset)
    const check = new BlockCheck(this.role === 'delta')
    let number = first
    try {
      for await (const decoded of this.#decoded(source, endOffset, signal, undefined)) {
        this.#accept(check, decoded)
        this.#compare(decoded, check, blocks[number], blocks[number + 1])
        number++
        yield decoded.block
      }
    } finally {
      await source.settle()
    }
  }

  /** Everything between header and footer. */
  #fromFirstBlock(): ReadAhead {
    const begun = this.#begun
    this.#begun = undefined
    return begun ?? this.#bytesOf(SEGMENT_HEADER_BYTES, this.#footer.indexOffset + this.#footer.indexBytes)
  }

  #bytesOf(start: number, end: number): ReadAhead {
    return new ReadAhead(this.#object, start, end, this.#readAhead)
  }

  async #readIndex(): Promise<SegmentIndex> {
    const { indexOffset, indexBytes } = this.#footer
    return SegmentIndex.parse(await this.#object.read(indexOffset, indexBytes), this.#footer, this.name)
  }

  /** The blocks from where the source stands up to `end`, decompressed a few ahead. Every byte taken is added to the hash. */
  async *#decoded(
    source: ReadAhead,
    end: number,
    signal: AbortSignal | undefined,
    sha256: RunningSha256 | undefined,
  ): AsyncGenerator<Decoded, void, undefined> {
    const decoding: Decoding[] = []
    let bytesAhead = 0
    try {
      for (;;) {
        throwIfAborted(signal, 'reading a segment')
        while (source.position < end && decoding.length < MAX_BLOCKS_AHEAD && bytesAhead < MAX_BYTES_AHEAD) {
          const next = await this.#startDecoding(source, end, sha256)
          decoding.push(next)
          bytesAhead += next.header.rawBytes
        }
        const next = decoding.shift()
        if (next === undefined) return
        const block = await next.block
        bytesAhead -= next.header.rawBytes
        yield { offset: next.offset, header: next.header, stored: next.stored, block }
      }
    } finally {
      await Promise.allSettled(decoding.map((pending) => pending.block))
    }
  }

  async #startDecoding(source: ReadAhead, end: number, sha256: RunningSha256 | undefined): Promise<Decoding> {
    const offset = source.position
    if (offset + BLOCK_HEADER_BYTES > end) throw this.#runsInto(offset)
    const headerBytes = await source.take(BLOCK_HEADER_BYTES)
    const header = decodeBlockHeader(headerBytes, this.name, offset)
    if (source.position + header.storedBytes > end) throw this.#runsInto(offset)
    const stored = await source.take(header.storedBytes)
    const block = this.#decode(stored, header, offset)
    block.catch(() => {})
    // While the pool decompresses, this thread hashes.
    await sha256?.update(headerBytes)
    await sha256?.update(stored)
    return { offset, header, stored, block }
  }

  #runsInto(offset: number): Error {
    return damagedSegment(this.name, `the block at byte ${offset} runs into what comes after the blocks`)
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

  /** The block, if it holds what it should, counted with those before it. */
  #counted(check: BlockCheck, decoded: Decoded, counted: CountedBlocks): SegmentBlock {
    const { offset, header, stored, block } = decoded
    this.#accept(check, decoded)
    counted.indexCrc = crc32(encodeIndexEntry(offset, header, check.firstKey), counted.indexCrc)
    counted.rawBytes += block.bytes.length
    counted.blockCount++
    const { rawCrc, storedCrc } = header
    const origin = { codec: this.#codec.name, stored, rawCrc, storedCrc }
    return { ...block, ...check.outlineOf(block), origin }
  }

  #accept(check: BlockCheck, { offset, block }: Decoded): void {
    const problem = check.problemOf(block)
    if (problem !== undefined) throw damagedSegment(this.name, `${problem} (block at byte ${offset})`)
  }

  /** Compares a block with its entry in the index, and with where the next one begins. */
  #compare(
    { offset, header }: Decoded,
    check: BlockCheck,
    indexed: IndexedBlock | undefined,
    next: IndexedBlock | undefined,
  ): void {
    const asIndexed =
      indexed?.offset === offset &&
      indexed.storedBytes === header.storedBytes &&
      indexed.rawBytes === header.rawBytes &&
      indexed.entryCount === header.entryCount &&
      equalBytes(indexed.firstKey, check.firstKey)
    const inOrder = next === undefined || compareBytes(check.lastKey, next.firstKey) < 0
    if (!asIndexed || !inOrder) {
      throw damagedSegment(this.name, `the block at byte ${offset} is not the one in its index`)
    }
  }

  /** Takes the rest of the file and compares the totals. */
  async #verifyEnd(
    source: ReadAhead,
    sha256: RunningSha256,
    check: BlockCheck,
    counted: Readonly<CountedBlocks>,
  ): Promise<void> {
    const { indexBytes, indexCrc } = this.#footer
    let crc = 0
    for (let done = 0; done < indexBytes; done += PIECE_BYTES) {
      const piece = await source.take(Math.min(PIECE_BYTES, indexBytes - done))
      crc = crc32(piece, crc)
      await sha256.update(piece)
    }
    if (crc !== indexCrc) throw damagedSegment(this.name, 'the checksum of its index does not match')
    if (counted.indexCrc !== indexCrc) throw damagedSegment(this.name, 'its index is not that of its blocks')
    const asCounted =
      check.entryCount === this.#footer.entryCount &&
      check.tombstoneCount === this.#footer.tombstoneCount &&
      counted.blockCount === this.#footer.blockCount &&
      counted.rawBytes === this.#footer.rawBytes
    if (!asCounted) throw damagedSegment(this.name, 'the totals in its footer are not those of its blocks')
    await sha256.update(this.#footerBytes)
    if (this.#expected !== undefined) this.#compareDigest(sha256, this.#expected)
  }

  #compareDigest(sha256: RunningSha256, expected: ExpectedSegment): void {
    const digest = sha256.digest()
    if (digest !== expected.sha256) {
      throw damagedSegment(this.name, `its SHA-256 is ${digest}; the manifest says ${expected.sha256}`)
    }
  }
}

/** Throws unless header, footer and manifest say the same. */
function compareFrame(
  name: string,
  role: SegmentRole,
  footer: SegmentFooter,
  expected: ExpectedSegment | undefined,
): void {
  if (role === 'base' && footer.tombstoneCount > 0)
    throw damagedSegment(name, 'a base segment with tombstones')
  if (expected === undefined) return
  const { entryCount, rawBytes } = footer
  if (role !== expected.role)
    throw damagedSegment(name, `it is a ${role}; the manifest says ${expected.role}`)
  if (entryCount !== expected.entryCount || rawBytes !== expected.rawBytes) {
    throw damagedSegment(name, 'its footer and the manifest have different totals')
  }
}

/** Both of two reads, when neither is under way any more: the caller may close the object then. */
async function bothOf<Left, Right>(left: Promise<Left>, right: Promise<Right>): Promise<[Left, Right]> {
  await Promise.allSettled([left, right])
  return [await left, await right]
}
