// What can still be read of a damaged checkpoint. Each block stands for itself: it has checksums and holds whole entries in key order.
//
// (1) What comes out was written so: no block comes out whose checksums, count or order do not hold.
// (2) Everything that does not come out is told, as the stretch of keys in which it lay.
// (3) Where a stretch of a delta is lost, older entries come out there; that is told too, since they may have been changed or
//     removed since.

import type { EntryBlock } from '../../backend/entry-block.js'
import { throwIfAborted } from '../../base/abort.js'
import { isStateError, type StateError } from '../../base/errors.js'
import type { BlockCodec, CodecOf } from '../../codec/block-codec.js'
import { crc32 } from '../../codec/checksum.js'
import type { ObjectReader, ObjectSource } from '../../storage/checkpoint-storage.js'
import { BlockCheck } from '../format/block-check.js'
import type { Manifest, ManifestSegment } from '../format/manifest.js'
import { mergeSegments } from '../format/merge-segments.js'
import {
  BLOCK_HEADER_BYTES,
  type BlockHeader,
  damagedSegment,
  decodeBlockHeader,
  decodeFooter,
  FOOTER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentRole,
  TARGET_BLOCK_BYTES,
} from '../format/segment-format.js'
import { type IndexedBlock, SegmentIndex } from '../format/segment-index.js'

/** A stretch of a checkpoint's file that could not be read. */
export interface LostStretch {
  readonly file: string
  /** Of a base, entries are missing; of a delta, they are there as they were before it. */
  readonly role: SegmentRole
  readonly reason: string
  /** The keys from here on. `undefined`: from the first one. */
  readonly from: Uint8Array | undefined
  /** Up to, and without, this one. `undefined`: to the last one. */
  readonly until: Uint8Array | undefined
  /** How many entries, tombstones of a delta included; `undefined` where that is not known. */
  readonly entryCount: number | undefined
}

/** Who is told of what cannot be read. */
export interface SalvageOptions {
  /** Called with each stretch that is left out, when the reading comes to it. */
  readonly onLost?: (lost: LostStretch) => void
  /** Ends it with `ABORTED` before its next block. */
  readonly signal?: AbortSignal
}

/** The blocks of every file that can be read, merged. Iterate it once. */
export function salvaged(
  storage: ObjectSource,
  manifest: Manifest,
  codecOf: CodecOf,
  { onLost = () => {}, signal }: SalvageOptions,
): AsyncIterable<EntryBlock> {
  const { segments, clockMs, compression } = manifest
  const codec = codecOf(compression)
  const streams = segments.map((segment) => readableBlocks(storage, segment, codec, onLost, signal))
  return mergeSegments(streams, TARGET_BLOCK_BYTES, clockMs)
}

async function* readableBlocks(
  storage: ObjectSource,
  segment: ManifestSegment,
  codec: BlockCodec,
  onLost: (lost: LostStretch) => void,
  signal: AbortSignal | undefined,
): AsyncGenerator<EntryBlock, void, undefined> {
  const { name, role, entryCount } = segment
  const object = await openSalvaged(storage, name)
  if (object === undefined) {
    onLost({ file: name, role, reason: 'it cannot be opened', from: undefined, until: undefined, entryCount })
    return
  }
  try {
    yield* new SegmentSalvage(object, segment, codec, onLost).blocks(signal)
  } finally {
    await object.close()
  }
}

async function openSalvaged(storage: ObjectSource, name: string): Promise<ObjectReader | undefined> {
  try {
    return await storage.open(name, { access: 'sequential' })
  } catch (error) {
    if (isStateError(error)) return undefined
    throw error
  }
}

class SegmentSalvage {
  readonly #object: ObjectReader
  readonly #segment: ManifestSegment
  readonly #codec: BlockCodec
  readonly #onLost: (lost: LostStretch) => void
  readonly #check: BlockCheck
  /** The beginning of what has not come out: the last key that has, or where the index says that a block begins. */
  #lastKey: Uint8Array | undefined
  #lostCount = 0

  constructor(
    object: ObjectReader,
    segment: ManifestSegment,
    codec: BlockCodec,
    onLost: (lost: LostStretch) => void,
  ) {
    this.#object = object
    this.#segment = segment
    this.#codec = codec
    this.#onLost = onLost
    this.#check = new BlockCheck(segment.role === 'delta')
  }

  async *blocks(signal: AbortSignal | undefined): AsyncGenerator<EntryBlock, void, undefined> {
    const index = await this.#index()
    yield* index === undefined ? this.#walk(signal) : this.#byIndex(index.blocks, signal)
  }

  /** Every block that the index names. */
  async *#byIndex(
    blocks: readonly IndexedBlock[],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<EntryBlock, void, undefined> {
    for (const [i, { offset, firstKey, entryCount }] of blocks.entries()) {
      throwIfAborted(signal, 'read a damaged checkpoint')
      const read = await this.#read(offset)
      if ('block' in read) yield read.block
      else this.#lose(read.reason, firstKey, blocks[i + 1]?.firstKey, entryCount)
    }
  }

  /** Without an index: block behind block, as long as each says where it ends. */
  async *#walk(signal: AbortSignal | undefined): AsyncGenerator<EntryBlock, void, undefined> {
    let offset = SEGMENT_HEADER_BYTES
    for (;;) {
      throwIfAborted(signal, 'read a damaged checkpoint')
      const left = this.#segment.entryCount - this.#check.entryCount - this.#lostCount
      if (left <= 0) return
      const read = await this.#read(offset)
      if ('block' in read) {
        yield read.block
      } else {
        this.#lose(read.reason, this.#lastKey, undefined, read.header?.entryCount ?? left)
        if (read.header === undefined) return
      }
      offset += BLOCK_HEADER_BYTES + (read.header?.storedBytes ?? 0)
    }
  }

  #lose(
    reason: string,
    from: Uint8Array | undefined,
    until: Uint8Array | undefined,
    entryCount: number,
  ): void {
    this.#lostCount += entryCount
    const { name: file, role } = this.#segment
    this.#onLost({ file, role, reason, from, until, entryCount })
  }

  async #index(): Promise<SegmentIndex | undefined> {
    const { name } = this.#segment
    const { sizeBytes } = this.#object
    try {
      const footerAt = sizeBytes - FOOTER_BYTES
      const footer = decodeFooter(await this.#object.read(footerAt, FOOTER_BYTES), name, sizeBytes)
      const bytes = await this.#object.read(footer.indexOffset, footer.indexBytes)
      return SegmentIndex.parse(bytes, footer, name)
    } catch (error) {
      if (isStateError(error)) return undefined
      throw error
    }
  }

  /** A block, or why there is none; with the header where that could be read, which says how long it is. */
  async #read(offset: number): Promise<ReadBlock> {
    const { name } = this.#segment
    let header: BlockHeader | undefined
    try {
      header = decodeBlockHeader(await this.#object.read(offset, BLOCK_HEADER_BYTES), name, offset)
      const stored = await this.#object.read(offset + BLOCK_HEADER_BYTES, header.storedBytes)
      if (crc32(stored) !== header.storedCrc) throw this.#damaged(offset, 'its checksum does not match')
      const bytes = await this.#codec.decompress(stored, header.rawBytes)
      if (crc32(bytes) !== header.rawCrc) throw this.#damaged(offset, 'it is not what was written')
      const block = { bytes, entryCount: header.entryCount }
      const problem = this.#check.problemOf(block)
      if (problem !== undefined) throw this.#damaged(offset, problem)
      this.#lastKey = this.#check.lastKey
      return { block, header }
    } catch (error) {
      if (!isStateError(error)) throw error
      return { reason: error.message, header }
    }
  }

  #damaged(offset: number, reason: string): StateError<'CORRUPTION'> {
    return damagedSegment(this.#segment.name, `the block at byte ${offset}: ${reason}`)
  }
}

type ReadBlock =
  | { readonly block: EntryBlock; readonly header: BlockHeader }
  | { readonly reason: string; readonly header: BlockHeader | undefined }
