import type { EntryBlock } from '../../backend/entry-block.js'
import type { OpenSharedSnapshot, SharedSnapshotReader } from '../../backend/shared-snapshot.js'
import { loadModule } from '../../base/compiled.js'
import { isStateError } from '../../base/errors.js'
import { threadCodec } from '../../codec/block-codec.js'
import type { ObjectStorage } from '../../storage/checkpoint-storage.js'
import { TARGET_BLOCK_BYTES } from '../format/segment-format.js'
import { type PulseGiver, pulsingStorage } from './job-pulse.js'
import { runJob } from './read-job.js'
import { type JobTools, writeSegment } from './segment-jobs.js'
import type { ThreadLink } from './thread-link.js'
import type { JobResult, ModuleCall, StartJob, WriteJob } from './worker-protocol.js'

/** Writes a segment of a snapshot that is shared, or of the blocks that are sent. */
export async function writeContent(
  request: WriteJob,
  tools: JobTools,
  link: ThreadLink,
  pulse: PulseGiver,
): Promise<JobResult> {
  // Before anything else: the engine may hold commits up until then, and only so long.
  const opening = request.source && openSnapshot(request.source)
  // Met when its blocks are asked for, or when there is nothing to write them to.
  opening?.catch(() => {})
  let reader: SharedSnapshotReader | undefined
  let isLate = false
  let isClosed = false
  let alive: number | undefined
  async function* blocks(): AsyncGenerator<EntryBlock, void, undefined> {
    if (opening === undefined) {
      yield* link.blocks()
      return
    }
    reader = await opening.catch((error: unknown) => {
      isLate = isStateError(error, 'NOT_INITIALIZED')
      throw error
    })
    yield* reader.blocks({ targetBytes: TARGET_BLOCK_BYTES, signal: link.signal })
    alive = await reader.count()
    isClosed = true
    await reader.close()
  }
  try {
    const segment = await writeSegment(tools, {
      ...request,
      blocks,
      onCompressed: (block) => reader?.giveBack?.(block),
      onWritten: (written) => link.tellWritten({ segment: written, entryCount: alive ?? written.entryCount }),
      // The storage is waited for here, by another thread: it is no sign of life that this one waits.
      commitAllowed: () => pulse.during(link.commitAllowed()),
    })
    return { segment, entryCount: alive ?? segment?.entryCount ?? 0 }
  } catch (error) {
    if (isLate) return { segment: undefined, entryCount: 0, isLate }
    throw error
  } finally {
    const opened = await opening?.catch(() => undefined)
    if (!isClosed) await opened?.close()
  }
}

async function openSnapshot({ module, data }: ModuleCall): Promise<SharedSnapshotReader> {
  const loaded = (await loadModule(module)) as { readonly openSharedSnapshot: OpenSharedSnapshot }
  return await loaded.openSharedSnapshot(data)
}

/** A job that writes, in the thread that asks for it: to the storage itself. */
export async function writeHere(
  request: WriteJob,
  storage: ObjectStorage,
  at: Pick<StartJob, 'port' | 'pulse'>,
): Promise<void> {
  await runJob(at, (link, pulse) => {
    const tools: JobTools = {
      storage: pulsingStorage(storage, pulse),
      codecOf: (name) => threadCodec(name, false),
      writingCodecOf: (name) => threadCodec(name, false),
      signal: link.signal,
      onCommitted: () => link.tell('committed'),
      onLeftover: (leftover) => link.noteLeftover(leftover),
    }
    return writeContent(request, tools, link, pulse)
  })
}
