import { MessageChannel, type Transferable, type Worker } from 'node:worker_threads'
import { settlesWithin } from '../../base/clock.js'
import { compiledModule, startThread } from '../../base/compiled.js'
import { reasonOf, StateError } from '../../base/errors.js'
import { rejectViolations, rules, violationsOf } from '../../base/options.js'
import { brandClass, hasBrand } from '../../base/shapes.js'
import { nextTurn } from '../../base/slices.js'
import type { ObjectStorage } from '../../storage/checkpoint-storage.js'
import { HOLDFAST_VERSION } from '../format/holdfast-version.js'
import { BuilderThread } from './builder-thread-host.js'
import { tellHostLoad } from './host-load.js'
import { readHere } from './read-job.js'
import { type JobHandlers, WorkerJob } from './worker-job.js'
import type { JobRequest, LoadModule, StartJob } from './worker-protocol.js'
import { writeHere } from './write-job.js'

export interface JobStart {
  readonly request: JobRequest
  /** What in the request changes hands. */
  readonly transferList: readonly object[]
  /** The process does not wait for it. */
  readonly background: boolean
  /** A job that reads a little runs in this thread: to start the other one would take longer. It needs `storage` of the handlers. */
  readonly isHere?: boolean
  readonly handlers: JobHandlers
}

export interface CheckpointWorkerOptions {
  /**
   * Whether checkpoints are written in a thread of their own. Default true. Without one, a checkpoint is written by the thread that asks
   * for it, which is busy meanwhile: for programs that do nothing else and are to take little memory. What merges, and what restores
   * whole checkpoints, has a thread all the same. `workerShare` and `maxBytesPerSecond` do not hold back what has none.
   */
  readonly thread?: boolean
}

const THREAD = '#checkpoint/worker-thread'

/** The part of a worker that starts jobs. */
export type JobStarter = Pick<CheckpointWorker, 'start' | 'awaited' | 'isReadyFor' | 'ready'>

/** Of the workers of every copy of this very version: what a coordinator and its worker say to each other may change with it. */
const CHECKPOINT_WORKER = Symbol.for(`holdfast.CheckpointWorker.${HOLDFAST_VERSION}`)

/** Whether a value is a {@link CheckpointWorker}, also of another copy of this version of the package. */
export function isCheckpointWorker(value: unknown): value is CheckpointWorker {
  return hasBrand(value, CHECKPOINT_WORKER)
}

/**
 * The thread in which checkpoints are encoded, compressed, written, verified, merged and read. It starts with its first
 * job, or with `start` of a coordinator, and is kept for the next jobs; while it has none, the process can exit. If it dies, the jobs
 * at hand fail and the next one starts another. A restore of a small range does not start it: it is over before the thread would have begun.
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

  /** In the thread. */
  readonly #jobs = new Set<WorkerJob>()
  readonly #jobsHere = new Set<WorkerJob>()
  /** Threads of jobs in the thread, each of which ends with its job. */
  readonly #builders = new Set<BuilderThread>()
  readonly #writesHere: boolean
  #thread: Worker | undefined
  #awaited = 0
  #closed = false
  #isReady = false
  #started: Promise<void> = Promise.resolve()
  #failStart: (error: StateError) => void = () => {}
  /** Modules that the thread was told to load. */
  readonly #modules = new Map<string, LoadedModule>()

  /** `INVALID_ARGUMENT` for options that are none. */
  constructor(options?: CheckpointWorkerOptions) {
    rejectViolations(violationsOf(options, { thread: rules.boolean }))
    this.#writesHere = options?.thread === false
  }

  /** The thread runs, or is not needed, and has loaded what it needs, also a module: a job that is started now begins at once. */
  isReadyFor(module: string | undefined): boolean {
    if (this.#writesHere && module === undefined) return true
    return this.#isReady && (module === undefined || this.#modules.get(module)?.isLoaded === true)
  }

  /**
   * Starts the thread where it does not run, and resolves when it is ready and has tried to load the module. `CLOSED` after `close`;
   * `STORAGE_ERROR` where it dies.
   */
  async ready(module?: string): Promise<void> {
    if (this.#closed) throw closed()
    if (this.isReadyFor(module)) return
    if (this.#thread === undefined) {
      // To find the file of the thread keeps the event loop for as long as to start it: not both in one turn.
      compiledModule(THREAD)
      await nextTurn()
      if (this.#closed) throw closed()
    }
    const thread = this.#thread ?? this.#startThread()
    const loaded = module === undefined ? undefined : this.#load(thread, module)
    await this.awaited(Promise.all([this.#started, loaded]))
  }

  /** Begins a job, for a coordinator. `CLOSED` after `close`. */
  start(start: JobStart): WorkerJob {
    if (this.#closed) throw closed()
    const { request } = start
    const { storage } = start.handlers
    if (request.kind === 'read' && start.isHere === true)
      return this.#startHere(start, (at) => readHere(request, storage, at))
    if (request.kind === 'write' && this.#writesHere)
      return this.#startHere(start, (at) => writeHere(request, storage as ObjectStorage, at))
    return this.#startThere(start)
  }

  #startHere(
    { handlers }: JobStart,
    perform: (at: Pick<StartJob, 'port' | 'pulse'>) => Promise<void>,
  ): WorkerJob {
    const { port1, port2 } = new MessageChannel()
    const job = new WorkerJob(port1, handlers)
    this.#jobsHere.add(job)
    const over = () => void this.#jobsHere.delete(job)
    job.ended.then(over, over)
    void perform({ port: port2, pulse: job.pulse.words })
    return job
  }

  #startThere({ request, transferList, background, handlers }: JobStart): WorkerJob {
    const thread = this.#thread ?? this.#startThread()
    const builder = request.kind === 'read' ? BuilderThread.startFor(request) : undefined
    const { port1, port2 } = new MessageChannel()
    const job = new WorkerJob(port1, handlers)
    if (builder !== undefined) {
      this.#builders.add(builder)
      builder.onDied((reason, cause) => job.lose(lost(reason, cause)))
    }
    // The thread alone decides whether the process lives on.
    port1.unref()
    this.#jobs.add(job)
    if (!background) this.#hold(1)
    const endTelling = request.kind === 'read' ? undefined : tellHostLoad(job.pulse)
    const over = () => {
      endTelling?.()
      if (builder !== undefined) void this.#endBuilder(builder)
      this.#jobs.delete(job)
      if (!background) this.#hold(-1)
    }
    job.ended.then(over, over)
    const start: StartJob = { request: builder?.request ?? request, port: port2, pulse: job.pulse.words }
    const ports = builder === undefined ? [port2] : [port2, builder.port]
    try {
      thread.postMessage(start, [...ports, ...(transferList as readonly Transferable[])])
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

  /**
   * Ends the thread. Jobs at hand fail with `CLOSED`. Idempotent. `STORAGE_ERROR` where the thread does not end because a call
   * of the system does not return.
   */
  async close(): Promise<void> {
    this.#closed = true
    const thread = this.#thread
    this.#over(closed())
    for (const job of this.#jobsHere) job.lose(closed())
    const builders = [...this.#builders].map((builder) => this.#endBuilder(builder))
    if (thread !== undefined) await terminated(thread)
    await Promise.all(builders)
  }

  async #endBuilder(builder: BuilderThread): Promise<void> {
    await builder.end()
    this.#builders.delete(builder)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #startThread(): Worker {
    const thread = startThread(THREAD, { name: 'holdfast checkpoints' })
    const died = (reason: string, cause?: unknown) => {
      if (this.#thread === thread) this.#over(lost(reason, cause))
    }
    this.#started = new Promise((resolve, reject) => {
      this.#failStart = reject
      thread.on('message', (news: string) => {
        if (this.#thread !== thread) return
        this.#modules.get(news)?.loaded()
        this.#isReady = true
        resolve()
      })
    })
    // Whoever awaits it is told; a job that was posted meanwhile fails by itself.
    this.#started.catch(() => {})
    thread.on('error', (cause) => died(`it failed: ${reasonOf(cause)}`, cause))
    thread.on('exit', (code) => died(`it ended with exit code ${code}`))
    this.#thread = thread
    if (this.#awaited === 0) thread.unref()
    return thread
  }

  #load(thread: Worker, module: string): Promise<void> {
    const known = this.#modules.get(module)
    if (known !== undefined) return known.ended
    const loading = new LoadedModule()
    this.#modules.set(module, loading)
    const message: LoadModule = { load: module }
    thread.postMessage(message)
    return loading.ended
  }

  #hold(change: 1 | -1): void {
    this.#awaited += change
    if (this.#awaited > 0) this.#thread?.ref()
    else this.#thread?.unref()
  }

  #over(error: StateError): void {
    this.#thread = undefined
    this.#isReady = false
    this.#failStart(error)
    for (const module of this.#modules.values()) module.failed(error)
    this.#modules.clear()
    for (const job of this.#jobs) job.lose(error)
  }
}

/** A module on its way into the thread. */
class LoadedModule {
  isLoaded = false
  readonly ended: Promise<void>
  #resolve: () => void = () => {}
  failed: (error: StateError) => void = () => {}

  constructor() {
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.failed = reject
    })
    // Whoever awaits it is told.
    this.ended.catch(() => {})
  }

  loaded(): void {
    this.isLoaded = true
    this.#resolve()
  }
}

/** How long a thread may take to end, while this one can hear that it has. */
const TERMINATE_MS = 5_000

async function terminated(thread: Worker): Promise<void> {
  const ending = thread.terminate()
  if (await settlesWithin(ending, TERMINATE_MS)) await ending
  else throw lost('it does not end: a call of the system does not return', undefined)
}

function closed(): StateError<'CLOSED'> {
  return new StateError('CLOSED', { component: 'checkpoint worker' })
}

function lost(reason: string, cause: unknown): StateError<'STORAGE_ERROR'> {
  const details = { storage: 'checkpoint worker', operation: 'run a job', reason }
  return new StateError('STORAGE_ERROR', details, cause === undefined ? undefined : { cause })
}
