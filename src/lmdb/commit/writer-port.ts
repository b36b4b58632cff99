import { MessageChannel, type MessagePort, receiveMessageOnPort, type Worker } from 'node:worker_threads'
import { type CancelTimer, systemClock } from '../../base/clock.js'
import { startThread } from '../../base/compiled.js'
import { reasonOf, StateError } from '../../base/errors.js'
import type { CommitResult, StoreWriterOptions } from './store-writer.js'
import type { WriterReply, WriterRequest, WriterThreadData } from './writer-thread.js'

/** Threads that have not ended. Ended in the middle of a transaction, one would leave LMDB locked, and the process hanging. */
const running = new Set<WriterPort>()

function finishAll(): void {
  for (const writer of running) writer.finishSync()
}

type Answered = (error: StateError | undefined, result: CommitResult | undefined) => void

/**
 * The writer thread as the main thread sees it: requests are carried out in order, and each is answered, at the latest
 * with `STORAGE_ERROR` when `timeoutMs` have passed or the thread has died.
 */
export class WriterPort {
  readonly #worker: Worker
  readonly #port: MessagePort
  readonly #signal: Int32Array
  readonly #timeoutMs: number
  /** Oldest first. */
  #pending: { readonly answered: Answered; readonly cancelTimer: CancelTimer }[] = []
  #dead: StateError | undefined
  #exited = false
  /** Requests that nobody waits for any more, whose answers may still come. */
  #abandoned = 0
  #posted = 0

  constructor(options: StoreWriterOptions, timeoutMs: number) {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    this.#signal = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
    this.#timeoutMs = timeoutMs
    const workerData: WriterThreadData = { ...options, port: port2, signal: this.#signal }
    this.#worker = startThread('#lmdb/writer-thread', {
      name: 'holdfast writer',
      workerData,
      transferList: [port2],
    })
    this.#worker.on('error', (cause) => this.#die('the writer thread failed', cause))
    if (running.size === 0) process.on('exit', finishAll)
    running.add(this)
    this.#worker.on('exit', () => {
      this.#exited = true
      running.delete(this)
      if (running.size === 0) process.off('exit', finishAll)
      this.#die('the writer thread ended')
    })
    port1.on('message', (reply: WriterReply) => this.#settle(reply))
    this.#hold(false)
  }

  /** `answered` is called exactly once, from the event loop or from `waitSync`. */
  request(request: WriterRequest, answered: Answered): void {
    if (this.#dead !== undefined) {
      answered(this.#dead, undefined)
      return
    }
    const cancelTimer = systemClock.setTimer(() => this.#die(this.#lateness()), this.#timeoutMs)
    this.#pending.push({ answered, cancelTimer })
    this.#hold(true)
    this.#post(request)
  }

  ask(request: WriterRequest): Promise<CommitResult | undefined> {
    return new Promise((resolve, reject) => {
      this.request(request, (error, result) => {
        if (error === undefined) resolve(result)
        else reject(error)
      })
    })
  }

  /** Stops this thread until a request was answered; at most as long as a request may take. */
  waitSync(): void {
    if (this.#pending.length === 0) return
    const deadline = performance.now() + this.#timeoutMs
    while (performance.now() < deadline) {
      const seen = Atomics.load(this.#signal, 0)
      const message = receiveMessageOnPort(this.#port)
      if (message !== undefined) {
        this.#settle(message.message as WriterReply)
        return
      }
      Atomics.wait(this.#signal, 0, seen, deadline - performance.now())
    }
    this.#die(this.#lateness())
  }

  /** Stops this thread, which is about to end, until the other one has done all it was asked to; what it answers is lost. */
  finishSync(): void {
    const deadline = performance.now() + this.#timeoutMs
    for (;;) {
      const answered = Atomics.load(this.#signal, 0)
      const leftMs = deadline - performance.now()
      if (answered === this.#posted || leftMs <= 0) return
      Atomics.wait(this.#signal, 0, answered, leftMs)
    }
  }

  #post(request: WriterRequest): void {
    this.#posted = (this.#posted + 1) | 0
    this.#port.postMessage(request)
  }

  #lateness(): string {
    return `the store did not answer within ${this.#timeoutMs} ms`
  }

  /**
   * Ends the thread. `STORAGE_ERROR` where that does not answer, because it hangs in a call of the system: what it has open
   * stays open then, until the process ends. A late one is waited for: ended in the middle of a transaction, it would leave
   * LMDB locked.
   */
  async close(): Promise<void> {
    if (!this.#exited && !(await this.#closeThread())) {
      const reason = 'the file system does not answer; the store stays open until this process ends'
      throw new StateError(
        'STORAGE_ERROR',
        { storage: 'lmdb', operation: 'close', reason },
        { cause: this.#dead },
      )
    }
    this.#die('the store is closed')
    await this.#worker.terminate()
    this.#port.close()
  }

  #closeThread(): Promise<boolean> {
    return new Promise((resolve) => {
      const cancelTimer = systemClock.setTimer(() => {
        resolve(false)
        this.#die(this.#lateness())
      }, this.#timeoutMs)
      this.#pending.push({ answered: () => resolve(true), cancelTimer })
      this.#hold(true)
      this.#post({ kind: 'close' })
    })
  }

  #settle(reply: WriterReply): void {
    if (this.#abandoned > 0) {
      this.#abandoned--
      return
    }
    const oldest = this.#pending.shift()
    if (oldest === undefined) return
    oldest.cancelTimer()
    this.#hold(this.#pending.length > 0)
    const { refusal } = reply
    if (refusal !== undefined) oldest.answered(new StateError(refusal.code, refusal.details), undefined)
    else if ('error' in reply) oldest.answered(storageError('commit', reply.error), undefined)
    else oldest.answered(undefined, reply.result)
  }

  #die(reason: string, cause?: unknown): void {
    this.#dead ??= storageError('commit', cause ?? new Error(reason))
    const pending = this.#pending.splice(0)
    this.#abandoned += pending.length
    for (const { answered, cancelTimer } of pending) {
      cancelTimer()
      answered(this.#dead, undefined)
    }
    this.#hold(false)
  }

  /** The process stays alive while an answer is due, and no longer. */
  #hold(alive: boolean): void {
    if (alive) {
      this.#worker.ref()
      this.#port.ref()
    } else {
      this.#worker.unref()
      this.#port.unref()
    }
  }
}

function storageError(operation: string, cause: unknown): StateError {
  return new StateError('STORAGE_ERROR', { storage: 'lmdb', operation, reason: reasonOf(cause) }, { cause })
}
