import type { MessagePort } from 'node:worker_threads'
import type { EntryBlock } from '../../backend/entry-block.js'
import { setPatientTimer, settlesWithin, systemClock } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import type { ObjectSource, ObjectStorage } from '../../storage/checkpoint-storage.js'
import { CreditGate, ownBytes, postBytes } from './block-pipe.js'
import { JobPulse } from './job-pulse.js'
import { ErrorCourier } from './packed-error.js'
import { StorageService } from './storage-service.js'
import {
  type FromThread,
  type JobResult,
  type Leftover,
  MAX_BYTES_IN_FLIGHT,
  type ToThread,
} from './worker-protocol.js'

export type ToldStep = Extract<FromThread, { readonly kind: 'told' }>['step']

/**
 * How long after its port has closed a thread may be known to have ended, and why. It ends for certain, but on a busy machine taking
 * it down takes seconds; this is for news that never come.
 */
const LAST_NEWS_MS = 30_000

/** How long a storage on the main thread may take to give up what a dead thread had open. */
const ABANDON_MS = 1_000

/** What a job does on the main thread. */
export interface JobHandlers {
  /** Called for the job, where the storage could not be shared. */
  readonly storage: ObjectSource | ObjectStorage
  readonly onTold?: (step: ToldStep) => void
  /** What it writes is with the storage, whole, and not committed yet: what the job will come to, if it ends well. */
  readonly onWritten?: (result: JobResult) => void
  readonly onBlock?: (block: EntryBlock) => void
  /** So many entries are built. */
  readonly onBuilt?: (entries: number) => void
}

/** A job of the checkpoint worker, seen from the main thread. */
export class WorkerJob {
  /** Resolves when the job is done; rejects with why it failed, and where the thread died. */
  readonly ended: Promise<JobResult>
  /** What could not be cleaned up; complete when the job has ended. */
  leftovers: readonly Leftover[] = []
  /** It failed because what was read could not be put together. */
  failedInBuilder = false
  /** The thread died, or was closed, in the middle of it. */
  lost = false
  /** Whether it goes on. */
  readonly pulse: JobPulse = new JobPulse()
  readonly #port: MessagePort
  readonly #handlers: JobHandlers
  readonly #service: StorageService
  readonly #courier = new ErrorCourier()
  readonly #gate = new CreditGate(MAX_BYTES_IN_FLIGHT)
  #resolve: (result: JobResult) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #over = false

  constructor(port: MessagePort, handlers: JobHandlers) {
    this.#port = port
    this.#handlers = handlers
    this.#service = new StorageService(handlers.storage)
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Who starts a job awaits its end; until then it is not unhandled.
    this.ended.catch(() => {})
    port.on('message', (message: FromThread) => this.#receive(message))
    port.on('close', () => this.#noteClosed())
  }

  abort(): void {
    this.#post({ kind: 'abort' })
  }

  /** What a job writes may get its name from now on: it waits for that where it has come so far. */
  allowCommit(): void {
    this.#post({ kind: 'mayCommit' })
  }

  /** Sends a block when there is room for it; its memory may change hands. Rejects where the job has ended. */
  async send(block: EntryBlock): Promise<void> {
    await this.#gate.take(block.bytes.length)
    const bytes = ownBytes(block.bytes)
    postBytes<ToThread>(this.#port, { kind: 'block', bytes, entryCount: block.entryCount }, bytes)
  }

  endBlocks(): void {
    this.#post({ kind: 'blocksEnd' })
  }

  /** The blocks cannot be read: the job fails with that error. */
  failBlocks(error: unknown): void {
    this.#post({ kind: 'blocksFailed', error: this.#courier.pack(error) })
  }

  /** Bytes that came in a block were consumed. */
  giveCredit(bytes: number): void {
    this.#post({ kind: 'credit', bytes })
  }

  /** The port of a thread that ends closes first; that the thread has ended, and why, is told a little later. */
  #noteClosed(): void {
    if (!this.#over) setPatientTimer(systemClock, () => this.lose(portClosed()), LAST_NEWS_MS)
  }

  /** The thread is gone. */
  lose(error: unknown): void {
    if (this.#over) return
    this.lost = true
    void this.#abandon(error)
  }

  async #abandon(error: unknown): Promise<void> {
    await settlesWithin(this.#service.abandon(), ABANDON_MS)
    this.#end(() => this.#reject(error), error)
  }

  #post(message: ToThread): void {
    if (!this.#over) this.#port.postMessage(message)
  }

  #end(settle: () => void, error: unknown): void {
    if (this.#over) return
    this.#over = true
    this.#gate.fail(error)
    this.#port.close()
    settle()
  }

  #receive(message: FromThread): void {
    switch (message.kind) {
      case 'written':
        return this.#handlers.onWritten?.(message.result)
      case 'told':
        return this.#handlers.onTold?.(message.step)
      case 'block':
        return this.#handlers.onBlock?.({ bytes: message.bytes, entryCount: message.entryCount })
      case 'builtSoFar':
        return this.#handlers.onBuilt?.(message.entries)
      case 'credit':
        return this.#gate.give(message.bytes)
      case 'call':
        return void this.#answer(message)
      case 'done':
        this.leftovers = message.leftovers
        return this.#end(() => this.#resolve(message.result), new Error('the job is done'))
      case 'failed': {
        this.leftovers = message.leftovers
        this.failedInBuilder = message.ofBuilder
        const error = this.#courier.unpack(message.error)
        return this.#end(() => this.#reject(error), error)
      }
    }
  }

  async #answer(message: Extract<FromThread, { readonly kind: 'call' }>): Promise<void> {
    const { call } = message
    try {
      const { value, bytes } = await this.#service.answer(message)
      if (this.#over) return
      const answer: ToThread = { kind: 'answer', call, value }
      if (bytes === undefined) this.#port.postMessage(answer)
      else postBytes(this.#port, answer, bytes)
    } catch (error) {
      this.#post({ kind: 'answer', call, error: this.#courier.pack(error) })
    }
  }
}

function portClosed(): StateError<'STORAGE_ERROR'> {
  const reason = 'its thread closed the port without a last word'
  return new StateError('STORAGE_ERROR', { storage: 'checkpoint worker', operation: 'run a job', reason })
}
