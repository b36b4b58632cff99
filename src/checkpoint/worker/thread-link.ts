import type { MessagePort, Transferable } from 'node:worker_threads'
import type { EntryBlock } from '../../backend/entry-block.js'
import { StateError } from '../../base/errors.js'
import type { ObjectStorage } from '../../storage/checkpoint-storage.js'
import { BlockInbox, CreditGate, postBytes } from './block-pipe.js'
import { ErrorCourier } from './packed-error.js'
import { remoteStorage } from './storage-service.js'
import {
  type FromThread,
  type JobResult,
  type Leftover,
  MAX_BYTES_IN_FLIGHT,
  type ToThread,
} from './worker-protocol.js'

interface Waiting {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** Wraps why a builder could not go on, on its way to {@link ThreadLink.failed}. */
export class BuilderFailure {
  readonly cause: unknown

  constructor(cause: unknown) {
    this.cause = cause
  }
}

/** A job's connection to the main thread, seen from the worker. */
export class ThreadLink {
  /** Calls of the main thread's storage. */
  readonly storage: ObjectStorage
  readonly #port: MessagePort
  readonly #courier = new ErrorCourier()
  readonly #controller = new AbortController()
  readonly #gate = new CreditGate(MAX_BYTES_IN_FLIGHT)
  readonly #inbox: BlockInbox
  readonly #waiting = new Map<number, Waiting>()
  readonly #leftovers: Leftover[] = []
  readonly #commitAllowed: Promise<void>
  #allowCommit: () => void = () => {}
  #refuseCommit: (error: unknown) => void = () => {}
  #calls = 0

  constructor(port: MessagePort) {
    this.#port = port
    this.#commitAllowed = new Promise((resolve, reject) => {
      this.#allowCommit = resolve
      this.#refuseCommit = reject
    })
    // Most jobs do not wait for it.
    this.#commitAllowed.catch(() => {})
    this.#inbox = new BlockInbox((bytes) => this.#post({ kind: 'credit', bytes }))
    this.storage = remoteStorage((call, memory) => {
      const number = ++this.#calls
      this.#post({ kind: 'call', call: number, ...call }, memory)
      return new Promise((resolve, reject) => this.#waiting.set(number, { resolve, reject }))
    })
    port.on('message', (message: ToThread) => this.#receive(message))
    port.on('close', () => this.#abandoned())
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The blocks that the main thread sends. */
  async *blocks(): AsyncGenerator<EntryBlock, void, undefined> {
    for (;;) {
      const block = await this.#inbox.next()
      if (block === undefined) return
      yield block
    }
  }

  /** Resolves once what the job has written may be committed; rejects where the job is aborted before. */
  commitAllowed(): Promise<void> {
    return this.#commitAllowed
  }

  /** Sends a block, whose bytes must have memory of their own, when there is room for it. */
  async send({ bytes, entryCount }: EntryBlock): Promise<void> {
    await this.#gate.take(bytes.length)
    postBytes<FromThread>(this.#port, { kind: 'block', bytes, entryCount }, bytes)
  }

  /** All of it was handed to the storage; what it was read from is needed no more. */
  tellWritten(result: JobResult): void {
    this.#post({ kind: 'written', result })
  }

  tell(step: 'committed' | 'opened'): void {
    this.#post({ kind: 'told', step })
  }

  noteLeftover(leftover: Leftover): void {
    this.#leftovers.push(leftover)
  }

  tellBuilt(entries: number): void {
    this.#post({ kind: 'builtSoFar', entries })
  }

  /** What in the result changes hands does so. */
  done(result: JobResult, transferList: readonly object[] = []): void {
    const last: FromThread = { kind: 'done', result, leftovers: this.#leftovers }
    this.#port.postMessage(last, transferList as readonly Transferable[])
  }

  failed(error: unknown): void {
    const ofBuilder = error instanceof BuilderFailure
    const packed = this.#courier.pack(ofBuilder ? error.cause : error)
    this.#post({ kind: 'failed', error: packed, ofBuilder, leftovers: this.#leftovers })
  }

  #post(message: FromThread, memory?: ArrayBuffer): void {
    this.#port.postMessage(message, memory === undefined ? [] : [memory])
  }

  #receive(message: ToThread): void {
    switch (message.kind) {
      case 'block':
        return this.#inbox.push({ bytes: message.bytes, entryCount: message.entryCount })
      case 'blocksEnd':
        return this.#inbox.end()
      case 'blocksFailed':
        return this.#inbox.fail(this.#courier.unpack(message.error))
      case 'credit':
        return this.#gate.give(message.bytes)
      case 'mayCommit':
        return this.#allowCommit()
      case 'abort':
        return this.#abort()
      case 'answer': {
        const waiting = this.#waiting.get(message.call)
        this.#waiting.delete(message.call)
        if (message.error === undefined) waiting?.resolve(message.value)
        else waiting?.reject(this.#courier.unpack(message.error))
      }
    }
  }

  /** The main thread is gone, or waits no longer: nothing that it was asked for comes any more. */
  #abandoned(): void {
    this.#abort()
    for (const { reject } of this.#waiting.values()) reject(this.#controller.signal.reason)
    this.#waiting.clear()
  }

  /** Whatever waits for the main thread's blocks or credit stops waiting; calls of the storage run to their end. */
  #abort(): void {
    const error = new StateError('ABORTED', { operation: 'a job of the checkpoint worker' })
    this.#controller.abort(error)
    this.#inbox.fail(error)
    this.#gate.fail(error)
    this.#refuseCommit(error)
  }
}
