import { type BlockCodec, blockCodec, type CodecName } from '../../codec/block-codec.js'
import type { ObjectSource } from '../../storage/checkpoint-storage.js'
import { CheckpointStream } from '../archive/checkpoint-stream.js'
import { ownBytes } from './block-pipe.js'
import { PulseGiver, pulsingSource } from './job-pulse.js'
import { ThreadLink } from './thread-link.js'
import type { JobResult, ReadJob, StartJob } from './worker-protocol.js'

/** What a job that reads works with. */
export interface ReadTools {
  readonly storage: ObjectSource
  readonly codecOf: (name: CodecName) => BlockCodec
}

/** Runs a job to its last word, whatever it comes to. */
export async function runJob(
  { port, pulse }: Pick<StartJob, 'port' | 'pulse'>,
  perform: (link: ThreadLink, pulse: PulseGiver) => Promise<JobResult>,
): Promise<void> {
  const link = new ThreadLink(port)
  const giver = new PulseGiver(pulse)
  try {
    link.done(await perform(link, giver))
  } catch (error) {
    link.failed(error)
  } finally {
    giver.stop()
  }
}

/** Reads and verifies a checkpoint, or a stretch of it, and sends its blocks where they are asked for. */
export async function readContent(
  { content, stretch, sendBlocks, maxRawBytes }: ReadJob,
  { storage, codecOf }: ReadTools,
  link: ThreadLink,
): Promise<JobResult> {
  const stream = await CheckpointStream.open(storage, content, { signal: link.signal, codecOf, stretch })
  const result = { segment: undefined, entryCount: content.entryCount }
  try {
    if (maxRawBytes !== undefined && (await stream.rawBytes()) > maxRawBytes)
      return { ...result, isTooLarge: true }
    link.tell('opened')
    for await (const { bytes, entryCount } of stream) {
      // What a decompressor hands out may lie in memory that cannot change hands.
      if (sendBlocks) await link.send({ bytes: stream.merges ? ownBytes(bytes) : bytes.slice(), entryCount })
    }
    return result
  } finally {
    await stream.close()
  }
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
