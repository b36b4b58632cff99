import type { EntryBlock } from '../../backend/entry-block.js'
import { throwIfAborted } from '../../base/abort.js'
import { isStateError } from '../../base/errors.js'
import type { ObjectSource, ObjectStorage, SharedStorage } from '../../storage/checkpoint-storage.js'
import type { JobStarter } from './checkpoint-worker.js'
import type { ToldStep, WorkerJob } from './worker-job.js'
import type { JobRequest, JobResult, MergeJob, ReadJob, WriteJob } from './worker-protocol.js'

type WithoutStorage<Job> = Omit<Job, 'storage'>

export interface JobOptions {
  readonly worker: JobStarter
  /** Called here where there is no `shared`. A job that writes needs one that can. */
  readonly storage: ObjectSource | ObjectStorage
  /** Given to the thread, and released when the job has ended. */
  readonly shared: SharedStorage | undefined
  readonly request: WithoutStorage<WriteJob> | WithoutStorage<MergeJob> | WithoutStorage<ReadJob>
  readonly signal: AbortSignal | undefined
  readonly transferList?: readonly object[]
  readonly background?: boolean
  /** See `JobStart`. There is nothing `shared` then. */
  readonly isHere?: boolean
  readonly onTold?: (step: ToldStep) => void
  readonly onWritten?: (result: JobResult) => void
  readonly onBlock?: (block: EntryBlock) => void
  readonly onBuilt?: (entries: number) => void
}

/**
 * Starts a job on a storage: shared with the thread where the storage can be, for as long as the job takes, and called
 * from there where it cannot. The signal aborts the job.
 */
export function startJob(options: JobOptions): WorkerJob {
  const { worker, storage, shared, signal, transferList = [], background = false } = options
  const { isHere = false, onTold, onWritten, onBlock, onBuilt } = options
  const given = shared === undefined ? undefined : { module: shared.module, data: shared.data }
  const request = { ...options.request, storage: given } as JobRequest
  let job: WorkerJob
  try {
    const handlers = {
      storage,
      ...(onTold && { onTold }),
      ...(onWritten && { onWritten }),
      ...(onBlock && { onBlock }),
      ...(onBuilt && { onBuilt }),
    }
    job = worker.start({ request, transferList, background, isHere, handlers })
  } catch (error) {
    shared?.release()
    throw error
  }
  const abort = () => job.abort()
  signal?.addEventListener('abort', abort, { once: true })
  if (signal?.aborted) abort()
  const over = () => {
    signal?.removeEventListener('abort', abort)
    shared?.release()
  }
  job.ended.then(over, over)
  return job
}

/** The error of a job that was aborted by the signal, with the signal's reason; any other one as it is. */
export function errorOf(error: unknown, signal: AbortSignal | undefined, operation: string): unknown {
  if (!isStateError(error, 'ABORTED')) return error
  try {
    throwIfAborted(signal, operation)
    return error
  } catch (aborted) {
    return aborted
  }
}
