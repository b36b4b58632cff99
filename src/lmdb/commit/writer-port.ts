import {
  isMainThread,
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  type Transferable,
  type Worker,
} from 'node:worker_threads'
import { type CancelTimer, setPatientTimer, settlesWithin, systemClock } from '../../base/clock.js'
import { startThread } from '../../base/compiled.js'
import { isStateError, reasonOf, StateError } from '../../base/errors.js'
import type { CommitResult } from './store-writer.js'
import { Signal, type ThreadReply } from './thread-messages.js'
import type { WriterRequest } from './writer-thread.js'

/** A commit of some store has damaged the process's memory: what any store wrote after that might be wrong, so none of this thread does. */
let damage: StateError | undefined

/** Threads that have not ended. The process waits for them: ended in the middle of a commit, it would lose what was asked for. */
const running = new Set<{ finishSync(): void }>()

function finishAll(): void {
  for (const writer of running) writer.finishSync()
}

/** Waiting without the event loop looks up so often within a time limit: what goes by unseen between two looks counts once. */
const LOOKS = 8
const LONGEST_LOOK_MS = 1_000

type Answered = (error: StateError | undefined, result: CommitResult | undefined) => void

/** What a thread of a store is started with, beside its end of the port. */
export interface ThreadOfStore {
  /** By its name in package.json's `imports`. */
  readonly module: `#${string}`
  readonly name: string
  readonly data: object
}

/**
 * A writer thread as the main thread sees it: requests are carried out in order, and each is answered, at the latest
 * with `STORAGE_ERROR` when the thread has been silent for `timeoutMs` or has died. Time in which the main thread did not
 * listen, because it was held by work of its own, is not the thread's silence.
 */
export class WriterPort<Request extends { readonly kind: string } = WriterRequest> {
  readonly #worker: Worker
  readonly #port: MessagePort
  readonly #signal: Int32Array
  readonly #timeoutMs: number
  #cancelLate: CancelTimer = () => {}
  /** Who waits for an answer, oldest first. */
  #pending: Answered[] = []
  #dead: StateError | undefined
  #exited = false
  /** Requests that nobody waits for any more, whose answers may still come. */
  #abandoned = 0
  #posted = 0

  /** The module is told `data`, and whether this thread, and with it the other one, may be `terminable`. */
  constructor({ module, name, data }: ThreadOfStore, timeoutMs: number) {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    this.#signal = new Int32Array(
      new SharedArrayBuffer(Object.keys(Signal).length * Int32Array.BYTES_PER_ELEMENT),
    )
    this.#timeoutMs = timeoutMs
    const terminable = !isMainThread
    const workerData = { ...data, terminable, port: port2, signal: this.#signal }
    this.#worker = startThread(module, {
      name,
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
      // What it has answered before counts.
      while (this.#settleNext());
      this.#die('the writer thread ended')
    })
    port1.on('message', (reply: ThreadReply) => this.#settle(reply))
    this.#hold(false)
  }

  /** `answered` is called exactly once, from the event loop or from `waitSync`. Memory in the list changes hands. */
  request(request: Request, answered: Answered, transferList: readonly Transferable[] = []): void {
    const refusal = this.#dead ?? damage
    if (refusal !== undefined) answered(refusal, undefined)
    else this.#post(request, answered, transferList)
  }

  /** A request is about to be made: a thread that sleeps on what was asked wakes meanwhile. */
  announce(): void {
    Atomics.notify(this.#signal, Signal.ASKED)
  }

  ask(request: Request, transferList?: readonly Transferable[]): Promise<CommitResult | undefined> {
    return new Promise((resolve, reject) => {
      const answered: Answered = (error, result) => {
        if (error === undefined) resolve(result)
        else reject(error)
      }
      this.request(request, answered, transferList)
    })
  }

  /** Stops this thread until a request was answered; at most as long as a request may take. */
  waitSync(): void {
    if (this.#pending.length === 0) return
    const answered = this.#waitUntil(() => this.#settleNext())
    if (!answered) this.#die(this.#lateness())
  }

  /** Stops this thread, which is about to end, until the other one has done all it was asked to; what it answers is lost. */
  finishSync(): void {
    this.#waitUntil(() => Atomics.load(this.#signal, Signal.ANSWERED) === this.#posted)
  }

  /**
   * Ends the thread. `STORAGE_ERROR` where that does not answer, because it hangs in a call of the system: what it has open
   * stays open then, until the process ends. A late one is waited for: what it does is not to be cut off.
   */
  async close(): Promise<void> {
    if (!this.#exited && !(await this.#closeThread())) throw this.#stuck()
    this.#die('the store is closed')
    if (!(await settlesWithin(this.#worker.terminate(), this.#timeoutMs))) throw this.#stuck()
    this.#port.close()
  }

  /** True: it has answered, or has ended. */
  #closeThread(): Promise<boolean> {
    return new Promise((resolve) => {
      const late = () => {
        resolve(false)
        this.#die(this.#lateness())
      }
      const cancelLate = setPatientTimer(systemClock, late, this.#timeoutMs)
      this.#post({ kind: 'close' }, () => {
        cancelLate()
        resolve(true)
      })
    })
  }

  #stuck(): StateError {
    const reason = 'the file system does not answer; the store stays open until this process ends'
    return new StateError(
      'STORAGE_ERROR',
      { storage: 'lmdb', operation: 'close', reason },
      { cause: this.#dead },
    )
  }

  #post(
    request: Request | { readonly kind: 'close' },
    answered: Answered,
    transferList: readonly Transferable[] = [],
  ): void {
    this.#pending.push(answered)
    this.#posted = (this.#posted + 1) | 0
    this.#port.postMessage(request, transferList)
    Atomics.add(this.#signal, Signal.ASKED, 1)
    Atomics.notify(this.#signal, Signal.ASKED)
    if (this.#pending.length === 1) this.#listen()
    this.#hold(true)
  }

  /** Stops this thread until `check` says so; false where the other one was silent for too long. */
  #waitUntil(check: () => boolean): boolean {
    const lookMs = Math.min(this.#timeoutMs / LOOKS, LONGEST_LOOK_MS)
    for (let silentMs = 0; silentMs < this.#timeoutMs; ) {
      const seen = Atomics.load(this.#signal, Signal.ANSWERED)
      if (check()) return true
      const startedAt = performance.now()
      if (Atomics.wait(this.#signal, Signal.ANSWERED, seen, lookMs) === 'timed-out') silentMs += lookMs
      else silentMs += Math.min(performance.now() - startedAt, lookMs)
    }
    return check()
  }

  /** From now on, the next answer is due. */
  #listen(): void {
    this.#cancelLate()
    const late = () => {
      if (!this.#settleNext()) this.#die(this.#lateness())
    }
    this.#cancelLate = setPatientTimer(systemClock, late, this.#timeoutMs)
  }

  #lateness(): string {
    return `the store did not answer within ${this.#timeoutMs} ms`
  }

  /** Takes an answer that has come and was not noticed yet; false where there is none. */
  #settleNext(): boolean {
    const message = receiveMessageOnPort(this.#port)
    if (message !== undefined) this.#settle(message.message as ThreadReply)
    return message !== undefined
  }

  #settle(reply: ThreadReply): void {
    const { refusal, error: cause } = reply
    const refused =
      refusal && new StateError(refusal.code, refusal.details, cause === undefined ? {} : { cause })
    if (isStateError(refused, 'STORAGE_ERROR') && refused.details.memoryDamaged) damage ??= refused
    if (this.#abandoned > 0) {
      this.#abandoned--
      return
    }
    const answered = this.#pending.shift()
    if (answered === undefined) return
    if (this.#pending.length > 0) this.#listen()
    else this.#cancelLate()
    this.#hold(this.#pending.length > 0)
    if (refused !== undefined) answered(refused, undefined)
    else if ('error' in reply) answered(storageError(reply.error), undefined)
    else answered(undefined, reply.result)
  }

  #die(reason: string, cause?: unknown): void {
    this.#dead ??= storageError(cause ?? new Error(reason))
    this.#cancelLate()
    const pending = this.#pending.splice(0)
    this.#abandoned += pending.length
    for (const answered of pending) answered(this.#dead, undefined)
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

function storageError(cause: unknown): StateError {
  return new StateError(
    'STORAGE_ERROR',
    { storage: 'lmdb', operation: 'commit', reason: reasonOf(cause) },
    { cause },
  )
}
