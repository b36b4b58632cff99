import type { EntryBlock } from '../backend/entry-block.js'
import { StateError } from '../base/errors.js'
import type { CheckpointStorage, ObjectReader } from '../storage/checkpoint-storage.js'
import type { Manifest } from './manifest.js'
import { mergeSegments } from './merge-segments.js'
import { damagedSegment, TARGET_BLOCK_BYTES } from './segment-format.js'
import { SegmentReader } from './segment-reader.js'

/**
 * The content of one checkpoint as a stream of blocks that ends normally only if all of it verified.
 * Iterate it once, and `close` it afterwards.
 */
export class CheckpointStream implements AsyncIterable<EntryBlock> {
  readonly #manifest: Manifest
  readonly #readers: readonly SegmentReader[]
  readonly #objects: readonly ObjectReader[]
  readonly #signal: AbortSignal | undefined
  readonly #onBlock: ((entries: number) => void) | undefined

  /** Entries handed on so far. */
  entryCount = 0
  /** The end was reached and everything held. */
  finished = false
  /** Why the stream ended early; tells damage of the checkpoint from failures of whoever reads it. */
  failure: unknown

  /** Opens every segment and compares it with the manifest. `CORRUPTION` (also for a missing one), `INCOMPATIBLE`. */
  static async open(
    storage: CheckpointStorage,
    manifest: Manifest,
    signal: AbortSignal | undefined,
    onBlock?: (entries: number) => void,
  ): Promise<CheckpointStream> {
    const objects: ObjectReader[] = []
    const readers: SegmentReader[] = []
    try {
      for (const segment of manifest.segments) {
        const object = await storage.open(segment.name)
        if (object === undefined) throw damagedSegment(segment.name, 'it is missing')
        objects.push(object)
        readers.push(await SegmentReader.open(object, segment.name, segment))
      }
    } catch (error) {
      await closeAll(objects)
      throw error
    }
    return new CheckpointStream(manifest, readers, objects, signal, onBlock)
  }

  private constructor(
    manifest: Manifest,
    readers: readonly SegmentReader[],
    objects: readonly ObjectReader[],
    signal: AbortSignal | undefined,
    onBlock: ((entries: number) => void) | undefined,
  ) {
    this.#manifest = manifest
    this.#readers = readers
    this.#objects = objects
    this.#signal = signal
    this.#onBlock = onBlock
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<EntryBlock, void, undefined> {
    const streams = this.#readers.map((reader) => reader.blocks(this.#signal))
    const [base] = streams
    const blocks =
      streams.length === 1 && base !== undefined ? base : mergeSegments(streams, TARGET_BLOCK_BYTES)
    const source = blocks[Symbol.asyncIterator]()
    try {
      for (;;) {
        const next = await this.#next(source)
        if (next === undefined) return
        this.entryCount += next.entryCount
        this.#onBlock?.(this.entryCount)
        yield next
      }
    } finally {
      await source.return?.()
    }
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await closeAll(this.#objects)
  }

  /** The next block; `undefined` at the verified end. */
  async #next(source: AsyncIterator<EntryBlock>): Promise<EntryBlock | undefined> {
    try {
      const next = await source.next()
      if (next.done !== true) return next.value
      const { id, entryCount } = this.#manifest
      if (this.entryCount !== entryCount) {
        const reason = `its segments hold ${this.entryCount} entries; it says ${entryCount}`
        throw new StateError('CORRUPTION', { what: `manifest of ${id}`, reason })
      }
      this.finished = true
      return undefined
    } catch (error) {
      this.failure = error
      throw error
    }
  }
}

/** A file that was only read and does not close has done no harm to what was read. */
async function closeAll(objects: readonly ObjectReader[]): Promise<void> {
  await Promise.allSettled(objects.map((object) => object.close()))
}
