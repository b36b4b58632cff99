// A snapshot of a log, read by another thread: both ends of the agreement.
//
//   lending thread                                 reading thread
//   LogShare: segments, lists, a port    ────►     SharedLogReader
//                                        ◄────     'open': may I?
//   'opened'; the snapshot stays         ────►
//                                                  walks the segments: takes what is not buried
//                                        ◄────     'buried': and what else?
//   addresses buried since the instant   ────►     together: what the snapshot sees
//                                        ◄────     (the port closes) done
//
// (1) The reader touches no segment before 'opened' has come, nor after it has closed its port. From 'opened' until the
//     port closes, by the reader's will or its thread's end, the snapshot's epoch stays open. So memory is never reused
//     under a reader.
// (2) What was buried before the question was asked is in the answer, and what was buried later was not buried when the
//     reader looked. Messages order the two threads.
// (3) When the snapshot is closed meanwhile, a flag in shared memory and a message tell the reader to stop. A reader that has
//     not begun by then, wherever its port is on its way, finds the flag or a closed port when it begins.

import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { nextTurn } from '../../base/slices.js'
import type { LogHistory, LogView } from '../history/log-history.js'
import type { SharedSegment } from '../segment-table.js'
import type { SharedPart } from './shared-list.js'

/** What the reading thread is given; structured clone carries it, and `port` changes hands. */
export interface SharedLog {
  readonly segments: readonly SharedSegment[]
  /** Only what has changed is to be read; `undefined`: all. */
  readonly changes: SharedChanges | undefined
  readonly port: MessagePort
  /** One word; not 0: the snapshot was closed. */
  readonly closedFlag: SharedArrayBuffer
}

export interface SharedChanges {
  /** Addresses of what has changed, among others. */
  readonly parts: readonly SharedPart[]
  /** What has changed has an epoch above this one. */
  readonly sinceEpoch: number
}

export type ShareRequest = 'open' | 'buried'
export type ShareReply =
  | { readonly kind: 'opened' | 'closed' }
  | { readonly kind: 'buried'; readonly parts: readonly SharedPart[] }

export interface LogShareHost {
  /**
   * Called before the question for what was buried is answered, until it returns true: the place to remove, in slices,
   * what had expired at the snapshot's instant, so that the answer has it.
   */
  settle(): boolean
  /** Nobody reads any more. */
  ended(): void
}

/** The lending thread's end. */
export class LogShare {
  readonly data: SharedLog
  readonly #history: LogHistory
  readonly #host: LogShareHost
  readonly #port: MessagePort
  #view: LogView | undefined
  #isReading = false
  #isClosed = false
  #hasEnded = false

  constructor(history: LogHistory, view: LogView, sinceEpoch: number, host: LogShareHost) {
    const { port1, port2 } = new MessageChannel()
    this.#history = history
    this.#host = host
    this.#port = port1
    this.#view = view
    this.data = {
      segments: view.segments,
      changes: view.changes === undefined ? undefined : { parts: view.changes, sinceEpoch },
      port: port2,
      closedFlag: new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT),
    }
    port1.on('message', (request: ShareRequest) => this.#handle(request))
    port1.on('close', () => this.#end())
    // Lending keeps no process alive.
    port1.unref()
  }

  /** The snapshot is closed: a reader is told to stop. It ends at once where nobody reads, otherwise when the reader has. */
  close(): void {
    this.#isClosed = true
    this.#endView()
    Atomics.store(new Int32Array(this.data.closedFlag), 0, 1)
    if (this.#isReading) {
      this.#reply({ kind: 'closed' })
    } else {
      this.#port.close()
      this.#end()
    }
  }

  #handle(request: ShareRequest): void {
    if (this.#isClosed) return
    if (request === 'open') {
      this.#isReading = true
      this.#reply({ kind: 'opened' })
    } else {
      void this.#answer()
    }
  }

  async #answer(): Promise<void> {
    while (!this.#isClosed && !this.#host.settle()) await nextTurn()
    if (this.#isClosed) return
    this.#reply({ kind: 'buried', parts: this.#view?.buried.parts() ?? [] })
    this.#endView()
  }

  #reply(reply: ShareReply): void {
    this.#port.postMessage(reply)
  }

  #endView(): void {
    if (this.#view !== undefined) this.#history.endView(this.#view)
    this.#view = undefined
  }

  #end(): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#endView()
    this.#host.ended()
  }
}
