// The work of the checkpoint worker, as functions that know nothing of threads.
//
// (1) A segment is written whole and committed, then read back from the storage, to its last byte. What was handed to the storage was
//     verified while it was made (segment-writer.ts); that the same bytes lie there now, their SHA-256 tells.
// (2) What fails before the commit leaves nothing but what is reported as a leftover.

import type { EntryBlock } from '../../backend/entry-block.js'
import { throwIfAborted } from '../../base/abort.js'
import { reasonOf } from '../../base/errors.js'
import type { BlockCodec, CodecName } from '../../codec/block-codec.js'
import type { ObjectSource, ObjectStorage, ObjectWriter } from '../../storage/checkpoint-storage.js'
import { CheckpointStream } from '../archive/checkpoint-stream.js'
import { openSegment } from '../archive/open-segments.js'
import type { CheckpointContent, ManifestSegment } from '../format/manifest.js'
import type { SegmentRole } from '../format/segment-format.js'
import { SegmentWriter } from '../format/segment-writer.js'
import type { Leftover } from './worker-protocol.js'

const OPERATION = 'checkpoint'

/** What every job works with. */
export interface JobTools<Storage extends ObjectSource = ObjectStorage> {
  readonly storage: Storage
  /** What blocks are read with … */
  readonly codecOf: (name: CodecName) => BlockCodec
  /** … and written with. */
  readonly writingCodecOf: (name: CodecName) => BlockCodec
  readonly signal: AbortSignal
  /** There is an object of that name now. */
  readonly onCommitted: () => void
  readonly onLeftover: (leftover: Leftover) => void
}

export interface SegmentTask {
  readonly name: string
  readonly role: SegmentRole
  readonly codec: CodecName
  /** A segment that grows beyond it is given up. */
  readonly maxSizeBytes: number
  /** Called once; the blocks are those of the segment. */
  readonly blocks: () => AsyncIterable<EntryBlock>
  /** Nothing looks at that block any more. */
  readonly onCompressed?: (block: EntryBlock) => void
  /** The blocks will not be needed once more: all bytes of the segment were handed to the storage. */
  readonly onWritten?: (segment: ManifestSegment) => void
  /** The segment is committed when this has resolved. Default: at once. */
  readonly commitAllowed?: () => Promise<void>
}

/** Writes a segment and verifies it; `undefined` where it grew too large. */
export async function writeSegment(tools: JobTools, task: SegmentTask): Promise<ManifestSegment | undefined> {
  const { storage, signal } = tools
  const { name, role } = task
  const codec = tools.writingCodecOf(task.codec)
  // The first blocks are gathered meanwhile. That it failed is met when they are written.
  const creating = storage.create(name)
  creating.catch(() => {})
  const writer = new SegmentWriter(creating, codec, role, task.onCompressed)
  let segment: ManifestSegment
  try {
    for await (const block of task.blocks()) {
      throwIfAborted(signal, OPERATION)
      await writer.append(block)
      if (writer.sizeBytes > task.maxSizeBytes) break
    }
    throwIfAborted(signal, OPERATION)
    const { sizeBytes, rawBytes, entryCount, sha256 } = await writer.finish()
    if (sizeBytes > task.maxSizeBytes) {
      await discard(tools, creating, 'it grew too large')
      return undefined
    }
    segment = { name, role, sizeBytes, rawBytes, entryCount, sha256 }
    task.onWritten?.(segment)
    const output = await creating
    // Its bytes need not wait for what its name waits for.
    await Promise.all([output.prepare?.(), task.commitAllowed?.()])
    throwIfAborted(signal, OPERATION)
    await output.commit()
  } catch (error) {
    await writer.rest()
    await discard(tools, creating, reasonOf(error))
    throw error
  }
  tools.onCommitted()
  await verifySegment(tools, segment)
  return segment
}

/** Merges what a checkpoint consists of into a new base. */
export async function mergeCheckpoint(
  tools: JobTools,
  name: string,
  codec: CodecName,
  content: CheckpointContent,
): Promise<ManifestSegment | undefined> {
  const stream = await CheckpointStream.open(tools.storage, content, tools)
  try {
    return await writeSegment(tools, {
      name,
      role: 'base',
      codec,
      maxSizeBytes: Infinity,
      blocks: () => stream,
    })
  } finally {
    await stream.close()
  }
}

/** Reads a segment back from the storage, all of it, and compares it with what was written. */
async function verifySegment(
  { storage, codecOf, signal }: JobTools,
  segment: ManifestSegment,
): Promise<void> {
  const { reader, close } = await openSegment(storage, segment, codecOf)
  try {
    await reader.compareBytes(signal)
  } finally {
    await close()
  }
}

async function discard(tools: JobTools, creating: Promise<ObjectWriter>, after: string): Promise<void> {
  const output = await creating.catch(() => undefined)
  try {
    await output?.abort()
  } catch (failure) {
    tools.onLeftover({ what: 'discard an uncommitted file', failure: reasonOf(failure), after })
  }
}
