import { MessageChannel, type Transferable, type Worker } from 'node:worker_threads'
import { startThread } from '../../base/compiled.js'
import { reasonOf, StateError } from '../../base/errors.js'
import { brandClass, hasBrand } from '../../base/shapes.js'
import { HOLDFAST_VERSION } from '../format/holdfast-version.js'
import { type JobHandlers, WorkerJob } from './worker-job.js'
import type { JobRequest, StartJob } from './worker-protocol.js'

export interface JobStart {
  readonly request: JobRequest
  /** What in the request changes hands. */
  readonly transferList: readonly object[]
  /** The process does not wait for it. */
  readonly background: boolean
  readonly handlers: JobHandlers
}

/** Of the workers of every copy of this very version: what a coordinator and its worker say to each other may change with it. */
const CHECKPOINT_WORKER = Symbol.for(`holdfast.CheckpointWorker.${HOLDFAST_VERSION}`)

/** Whether a value is a {@link CheckpointWorker}, also of another copy of this version of the package. */
export function isCheckpointWorker(value: unknown): value is CheckpointWorker {
  return hasBrand(value, CHECKPOINT_WORKER)
}

/**
 * The thread in which checkpoints are encoded, compressed, written, verified, merged and read. It starts with its first
 * job and is kept for the next ones; while it has none, the process can exit. If it dies, the jobs at hand fail and the
 * next one starts another.
 *
 * A coordinator has one of its own, unless it is given one that several share:
 *
 * @example
 * const worker = new CheckpointWorker()
 * const orders = new CheckpointCoordinator(orderState, { storage: orderStorage, worker })
 * const users = new CheckpointCoordinator(userState, { storage: userStorage, worker })
 * // … after both were shut down
 * await worker.close()
 */
export class CheckpointWorker implements AsyncDisposable {
  static {
    brandClass(CheckpointWorker, CHECKPOINT_WORKER)
  }

  readonly #jobs = new Set<WorkerJob>()
  #thread: Worker | undefined
  #awaited = 0
  #closed = false

  /** Begins a job, for a coordinator. `CLOSED` after `close`. */
  start({ request, transferList, background, handlers }: JobStart): WorkerJob {
    if (this.#closed) throw closed()
    const thread = this.#thread ?? this.#startThread()
    const { port1, port2 } = new MessageChannel()
    const job = new WorkerJob(port1, handlers)
    // The thread alone decides whether the process lives on.
    port1.unref()
    this.#jobs.add(job)
    if (!background) this.#hold(1)
    const over = () => {
      this.#jobs.delete(job)
      if (!background) this.#hold(-1)
    }
    job.ended.then(over, over)
    const start: StartJob = { request, port: port2 }
    try {
      thread.postMessage(start, [port2, ...(transferList as readonly Transferable[])])
    } catch (error) {
      job.lose(error)
    }
    return job
  }

  /** Keeps the process alive for something that a job in the background is to come to. */
  async awaited<Result>(work: Promise<Result>): Promise<Result> {
    this.#hold(1)
    try {
      return await work
    } finally {
      this.#hold(-1)
    }
  }

  /** Ends the thread. Jobs at hand fail with `CLOSED`. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    const thread = this.#thread
    this.#thread = undefined
    this.#loseAll(closed())
    await thread?.terminate()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #startThread(): Worker {
    const thread = startThread('#checkpoint/worker-thread', { name: 'holdfast checkpoints' })
    const died = (reason: string, cause?: unknown) => {
      if (this.#thread !== thread) return
      this.#thread = undefined
      this.#loseAll(lost(reason, cause))
    }
    thread.on('error', (cause) => died(`it failed: ${reasonOf(cause)}`, cause))
    thread.on('exit', (code) => died(`it ended with exit code ${code}`))
    this.#thread = thread
    if (this.#awaited === 0) thread.unref()
    return thread
  }

  #hold(change: 1 | -1): void {
    this.#awaited += change
    if (this.#awaited > 0) this.#thread?.ref()
    else this.#thread?.unref()
  }

  #loseAll(error: StateError): void {
    for (const job of this.#jobs) job.lose(error)
  }
}

function closed(): StateError<'CLOSED'> {
  return new StateError('CLOSED', { component: 'checkpoint worker' })
}

function lost(reason: string, cause: unknown): StateError<'STORAGE_ERROR'> {
  const details = { storage: 'checkpoint worker', operation: 'run a job', reason }
  return new StateError('STORAGE_ERROR', details, cause === undefined ? undefined : { cause })
}
