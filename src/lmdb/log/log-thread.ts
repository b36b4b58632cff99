// The thread that writes the log before the tree: does what it is asked, in order, and answers each.

import { type MessagePort, workerData } from 'node:worker_threads'
import { replyOf, type ThreadReply } from '../commit/thread-messages.js'
import { type FileChange, type GroupJob, LogWriter, type LogWriterOptions } from './log-writer.js'

export type LogRequest =
  | { readonly kind: 'open' }
  | ({ readonly kind: 'append' } & GroupJob)
  | ({ readonly kind: 'change' } & FileChange)
  | { readonly kind: 'close' }

export interface LogThreadData extends LogWriterOptions {
  readonly port: MessagePort
  /** Counts the answers, so that the other thread can wait for one without its event loop. */
  readonly signal: Int32Array
}

const { port, signal, ...options } = workerData as LogThreadData
let writer: LogWriter | undefined

function handle(request: LogRequest): void {
  switch (request.kind) {
    case 'open':
      writer = new LogWriter(options)
      return
    case 'append':
      return writer?.append(request)
    case 'change':
      return writer?.change(request)
    case 'close':
      return writer?.close()
  }
}

port.on('message', (request: LogRequest) => {
  let reply: ThreadReply = {}
  try {
    handle(request)
  } catch (error) {
    reply = replyOf(error)
  }
  port.postMessage(reply)
  Atomics.add(signal, 0, 1)
  Atomics.notify(signal, 0)
})
