import type { EntryBlock } from '../../backend/entry-block.js'
import { StateError } from '../../base/errors.js'
import type { BlockCodec, CodecName } from '../../codec/block-codec.js'
import type { ObjectReader, ObjectSource } from '../../storage/checkpoint-storage.js'
import type { CheckpointContent } from '../format/manifest.js'
import { mergeSegments } from '../format/merge-segments.js'
import { damagedSegment, TARGET_BLOCK_BYTES } from '../format/segment-format.js'
import { SegmentReader } from '../format/segment-reader.js'

/**
 * The content of one checkpoint as a stream of blocks that ends normally only if all of it verified.
 * Iterate it once, and `close` it afterwards.
 */
export class CheckpointStream implements AsyncIterable<EntryBlock> {
  readonly #content: CheckpointContent
  readonly #readers: readonly SegmentReader[]
  readonly #objects: readonly ObjectReader[]
  readonly #signal: AbortSignal | undefined

  /** Opens every segment and compares it with the manifest. `CORRUPTION` (also for a missing one), `INCOMPATIBLE`. */
  static async open(
    storage: ObjectSource,
    content: CheckpointContent,
    signal: AbortSignal | undefined,
    codecOf?: (name: CodecName) => BlockCodec,
  ): Promise<CheckpointStream> {
    const objects: ObjectReader[] = []
    const readers: SegmentReader[] = []
    try {
      for (const segment of content.segments) {
        const object = await storage.open(segment.name)
        if (object === undefined) throw damagedSegment(segment.name, 'it is missing')
        objects.push(object)
        readers.push(await SegmentReader.open(object, segment.name, segment, codecOf))
      }
    } catch (error) {
      await closeAll(objects)
      throw error
    }
    return new CheckpointStream(content, readers, objects, signal)
  }

  private constructor(
    content: CheckpointContent,
    readers: readonly SegmentReader[],
    objects: readonly ObjectReader[],
    signal: AbortSignal | undefined,
  ) {
    this.#content = content
    this.#readers = readers
    this.#objects = objects
    this.#signal = signal
  }

  /** Whether there is more than the base. */
  get merges(): boolean {
    return this.#readers.length > 1
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<EntryBlock, void, undefined> {
    const { id, entryCount, clockMs } = this.#content
    const streams = this.#readers.map((reader) => reader.blocks(this.#signal))
    const [base] = streams
    const blocks =
      this.merges || base === undefined ? mergeSegments(streams, TARGET_BLOCK_BYTES, clockMs) : base
    let entries = 0
    for await (const block of blocks) {
      entries += block.entryCount
      yield block
    }
    if (entries !== entryCount) {
      const reason = `its segments hold ${entries} entries; it says ${entryCount}`
      throw new StateError('CORRUPTION', { what: `manifest of ${id}`, reason })
    }
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await closeAll(this.#objects)
  }
}

/** A file that was only read and does not close has done no harm to what was read. */
async function closeAll(objects: readonly ObjectReader[]): Promise<void> {
  await Promise.allSettled(objects.map((object) => object.close()))
}
