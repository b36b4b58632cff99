import { availableParallelism } from 'node:os'
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads'
import { compiledModule, startThread } from '../../base/compiled.js'
import { isStateError, reasonOf } from '../../base/errors.js'
import type { BuilderThreadData } from './builder-thread.js'
import type { BuildCall, ReadJob } from './worker-protocol.js'

const THREAD = '#checkpoint/builder-thread'

/** Fewer entries are read and put together by one thread before another one would help. */
const MIN_ENTRIES = 256 * 1024

/** The thread that puts together what one job reads (builder-thread.ts), seen from the main thread. */
export class BuilderThread {
  /** The job, with the port through which it reaches this thread. */
  readonly request: ReadJob
  /** That port; it changes hands with the request. */
  readonly port: MessagePort
  readonly #thread: Worker

  /**
   * To be called a turn of the event loop before `startFor`, where that may start one: to find the file of the thread keeps the event loop for about as
   * long as to start it.
   */
  static prepareFor({ expectedEntries }: BuildCall): void {
    if (!isWorthIt(expectedEntries)) return
    try {
      compiledModule(THREAD)
    } catch {
      // It is told, or done without, where it is started.
    }
  }

  /** Starts one where there is a processor for it, and enough to do; `undefined`: the thread that reads does it as well. */
  static startFor(request: ReadJob): BuilderThread | undefined {
    const { build } = request
    if (build === undefined || !isWorthIt(build.expectedEntries)) return undefined
    try {
      return new BuilderThread(request, build)
    } catch (error) {
      // Nothing but the time that it takes depends on it.
      if (isStateError(error)) return undefined
      throw error
    }
  }

  private constructor(request: ReadJob, build: BuildCall) {
    const { port1, port2 } = new MessageChannel()
    const workerData: BuilderThreadData = { build, port: port1 }
    this.#thread = startThread(THREAD, {
      name: 'holdfast restore',
      workerData,
      transferList: [port1],
    })
    // The job keeps the process alive.
    this.#thread.unref()
    this.port = port2
    this.request = { ...request, build: { ...build, port: port2 } }
  }

  /** Tells that it ended, and why, also where it was ended. */
  onDied(died: (reason: string, cause: unknown) => void): void {
    this.#thread.on('error', (cause) => died(`it failed: ${reasonOf(cause)}`, cause))
    this.#thread.on('exit', (code) => died(`it ended with exit code ${code}`, undefined))
  }

  /** Never rejects. */
  async end(): Promise<void> {
    await this.#thread.terminate()
  }
}

function isWorthIt(expectedEntries: number): boolean {
  return expectedEntries >= MIN_ENTRIES && availableParallelism() >= 2
}
