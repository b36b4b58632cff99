import type { EntryBlock } from '../../backend/entry-block.js'
import type { BlockPreparer } from '../../backend/prepared-blocks.js'
import { throwIfAborted } from '../../base/abort.js'
import { nextTurn } from '../../base/slices.js'
import { type BlockCodec, blockCodec, type CodecName } from '../../codec/block-codec.js'
import type { ObjectSource } from '../../storage/checkpoint-storage.js'
import { CheckpointStream } from '../archive/checkpoint-stream.js'
import { ownBytes } from './block-pipe.js'
import type { ContentBuilder } from './builder-link.js'
import { PulseGiver, pulsingSource } from './job-pulse.js'
import { openBlockPreparer } from './open-builder.js'
import { BuilderFailure, ThreadLink } from './thread-link.js'
import type { JobResult, ReadJob, StartJob } from './worker-protocol.js'

/** How many bytes of blocks are put together before that is told, and others have a turn. */
const TOLD_BYTES = 1024 * 1024

/** What a job that reads works with. */
export interface ReadTools {
  readonly storage: ObjectSource
  readonly codecOf: (name: CodecName) => BlockCodec
}

/** A result with memory that changes hands. */
export interface PerformedJob {
  readonly result: JobResult
  readonly transferList: readonly object[]
}

/** Runs a job to its last word, whatever it comes to. */
export async function runJob(
  { port, pulse }: Pick<StartJob, 'port' | 'pulse'>,
  perform: (link: ThreadLink, pulse: PulseGiver) => Promise<PerformedJob | JobResult>,
): Promise<void> {
  const link = new ThreadLink(port)
  const giver = new PulseGiver(pulse)
  try {
    const performed = await perform(link, giver)
    if ('result' in performed) link.done(performed.result, performed.transferList)
    else link.done(performed)
  } catch (error) {
    link.failed(error)
  } finally {
    giver.stop()
  }
}

/** Reads and verifies a checkpoint, or a stretch of it, and sends its blocks where they are asked for. */
export async function readContent(
  { content, stretch, sendBlocks, prepare, maxRawBytes }: ReadJob,
  { storage, codecOf }: ReadTools,
  link: ThreadLink,
): Promise<JobResult> {
  // Beside opening the segments, as both wait for files. Why it cannot be opened is told only if they can.
  const opening = prepare && openBlockPreparer(prepare)
  opening?.catch(() => {})
  const stream = await CheckpointStream.open(storage, content, { signal: link.signal, codecOf, stretch })
  const result = { segment: undefined, entryCount: content.entryCount }
  try {
    if (maxRawBytes !== undefined && (await stream.rawBytes()) > maxRawBytes)
      return { ...result, isTooLarge: true }
    link.tell('opened')
    const preparer = await opening?.catch(failInBuilder)
    // What a decompressor hands out may lie in memory that cannot change hands.
    const ownBytesOf = stream.merges ? ownBytes : (bytes: Uint8Array) => bytes.slice()
    for await (const block of stream) {
      if (!sendBlocks) continue
      const bytes = preparer === undefined ? ownBytesOf(block.bytes) : prepared(preparer, block)
      await link.send({ bytes, entryCount: block.entryCount })
    }
    return result
  } finally {
    await stream.close()
  }
}

/** Reads and verifies a checkpoint, and has an engine's builder put together what it comes to. */
export async function buildContent(
  { content }: ReadJob,
  { storage, codecOf }: ReadTools,
  link: ThreadLink,
  openBuilder: () => Promise<ContentBuilder>,
): Promise<PerformedJob> {
  // Beside opening the segments, as both wait for files. Why it cannot be opened is told only if they can.
  const opening = openBuilder()
  opening.catch(() => {})
  const stream = await CheckpointStream.open(storage, content, { signal: link.signal, codecOf })
  try {
    link.tell('opened')
    const builder = await opening.catch(failInBuilder)
    let entries = 0
    let untoldBytes = 0
    for await (const block of stream) {
      await inBuilder(() => builder.add(block), link.signal)
      entries += block.entryCount
      untoldBytes += block.bytes.length
      if (untoldBytes < TOLD_BYTES) continue
      untoldBytes = 0
      link.tellBuilt(entries)
      // So that the job can be aborted, and is seen to go on.
      await nextTurn()
      throwIfAborted(link.signal, 'restore')
    }
    link.tellBuilt(entries)
    const { data, transferList } = await inBuilder(() => builder.finish(), link.signal)
    return { result: { segment: undefined, entryCount: content.entryCount, built: data }, transferList }
  } finally {
    await stream.close()
  }
}

async function inBuilder<Result>(work: () => Promise<Result> | Result, signal: AbortSignal): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    // A builder that is waited for ends with its job.
    throwIfAborted(signal, 'restore')
    return failInBuilder(error)
  }
}

function prepared(preparer: BlockPreparer, block: EntryBlock): Uint8Array {
  try {
    return preparer.prepare(block)
  } catch (error) {
    return failInBuilder(error)
  }
}

function failInBuilder(error: unknown): never {
  throw new BuilderFailure(error)
}

/** A job that reads, in the thread that asks for it: of the storage itself, and with compression in the thread pool. */
export async function readHere(
  request: ReadJob,
  storage: ObjectSource,
  at: Pick<StartJob, 'port' | 'pulse'>,
): Promise<void> {
  await runJob(at, (link, pulse) =>
    readContent(request, { storage: pulsingSource(storage, pulse), codecOf: blockCodec }, link),
  )
}
