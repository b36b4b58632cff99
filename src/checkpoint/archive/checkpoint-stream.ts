import { type EntryBlock, EntryBlockCursor } from '../../backend/entry-block.js'
import type { KeyStretch } from '../../backend/scan-range.js'
import { compareBytes } from '../../base/bytes.js'
import { StateError } from '../../base/errors.js'
import type { BlockCodec, CodecName } from '../../codec/block-codec.js'
import type { ObjectSource } from '../../storage/checkpoint-storage.js'
import type { CheckpointContent } from '../format/manifest.js'
import { mergeSegments } from '../format/merge-segments.js'
import { TARGET_BLOCK_BYTES } from '../format/segment-format.js'
import type { SegmentReader } from '../format/segment-reader.js'
import { type OpenSegments, openSegments } from './open-segments.js'

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined
  readonly codecOf?: (name: CodecName) => BlockCodec
  /** Only the keys in it. Default: all. */
  readonly stretch?: KeyStretch | undefined
}

/**
 * The content of one checkpoint as a stream of blocks: all of it, which ends normally only if all of it verified; or that of a
 * stretch of keys, for which only the blocks that overlap it are read. What is verified then is what was read: block by
 * block, against the index, whose own checksum held. Iterate it once, and `close` it afterwards.
 */
export class CheckpointStream implements AsyncIterable<EntryBlock> {
  readonly #content: CheckpointContent
  readonly #segments: OpenSegments
  readonly #options: StreamOptions

  /** Opens every segment and compares it with the manifest. `CORRUPTION` (also for a missing one), `INCOMPATIBLE`. */
  static async open(
    storage: ObjectSource,
    content: CheckpointContent,
    options: StreamOptions = {},
  ): Promise<CheckpointStream> {
    const access = options.stretch === undefined ? 'sequential' : 'random'
    const segments = await openSegments(storage, content.segments, access, options.codecOf)
    return new CheckpointStream(content, segments, options)
  }

  private constructor(content: CheckpointContent, segments: OpenSegments, options: StreamOptions) {
    this.#content = content
    this.#segments = segments
    this.#options = options
  }

  /** Whether there is more than the base. */
  get merges(): boolean {
    return this.#segments.readers.length > 1
  }

  /** Raw bytes of the blocks that will be read, as the indices say. */
  async rawBytes(): Promise<number> {
    const { stretch } = this.#options
    let sum = 0
    for (const reader of this.#segments.readers) {
      const index = await reader.index()
      const { first, end } =
        stretch === undefined ? { first: 0, end: index.blocks.length } : index.blocksFor(stretch)
      for (let number = first; number < end; number++) sum += index.blocks[number]?.rawBytes ?? 0
    }
    return sum
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<EntryBlock, void, undefined> {
    const { clockMs } = this.#content
    const { signal, stretch } = this.#options
    const { readers } = this.#segments
    if (stretch === undefined) yield* wholeOf(readers, this.#content, signal)
    else yield* stretchOf(readers, stretch, clockMs, signal)
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await this.#segments.close()
  }
}

/** All of a checkpoint. The stream ends normally only if every segment, to its last byte, and the count of entries verified. */
export async function* wholeOf(
  readers: readonly SegmentReader[],
  { id, entryCount, clockMs }: CheckpointContent,
  signal: AbortSignal | undefined,
): AsyncGenerator<EntryBlock, void, undefined> {
  const streams = readers.map((reader) => reader.blocks(signal))
  let entries = 0
  for await (const block of merged(streams, clockMs)) {
    entries += block.entryCount
    yield block
  }
  if (entries !== entryCount) {
    const reason = `its segments hold ${entries} entries; it says ${entryCount}`
    throw new StateError('CORRUPTION', { what: `manifest of ${id}`, reason })
  }
}

/** The state in a stretch of keys, of which only the blocks that overlap it are read. */
export function stretchOf(
  readers: readonly SegmentReader[],
  stretch: KeyStretch,
  clockMs: number,
  signal: AbortSignal | undefined,
): AsyncIterable<EntryBlock> {
  return merged(
    readers.map((reader) => blocksWithin(reader, stretch, signal)),
    clockMs,
  )
}

function merged(streams: readonly AsyncIterable<EntryBlock>[], clockMs: number): AsyncIterable<EntryBlock> {
  const [base] = streams
  return streams.length === 1 && base !== undefined
    ? base
    : mergeSegments(streams, TARGET_BLOCK_BYTES, clockMs)
}

/** The entries of one segment that lie in the stretch: whole blocks, but for the first and the last. */
async function* blocksWithin(
  reader: SegmentReader,
  stretch: KeyStretch,
  signal: AbortSignal | undefined,
): AsyncGenerator<EntryBlock, void, undefined> {
  const found = (await reader.index()).blocksFor(stretch)
  let number = found.first
  for await (const block of reader.blocksIn(found, signal)) {
    const atEdge = number === found.first || number === found.end - 1
    number++
    const kept = atEdge ? entriesWithin(block, stretch) : block
    if (kept !== undefined) yield kept
  }
}

/** The part of a block that lies in the stretch; `undefined` where there is none. */
function entriesWithin(block: EntryBlock, { from, until }: KeyStretch): EntryBlock | undefined {
  const cursor = new EntryBlockCursor(block.bytes)
  let start = 0
  let end = 0
  let entryCount = 0
  while (cursor.next()) {
    const key = cursor.key()
    const entryEnd = cursor.valueStart + cursor.valueLength
    if (until !== undefined && compareBytes(key, until) >= 0) break
    if (compareBytes(key, from) < 0) start = entryEnd
    else entryCount++
    end = entryEnd
  }
  return entryCount === 0 ? undefined : { bytes: block.bytes.subarray(start, end), entryCount }
}
