// The thread that writes the log before the tree: does what it is asked, in order, and answers each.
//
// It has no event loop to run, and sleeps on the count of what was asked: that wakes it in a fraction of the time that a message takes. The bytes of a
// group lie in memory that both threads share.

import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { replyOf, Signal, type ThreadReply } from '../commit/thread-messages.js'
import { type FileChange, type LogJob, LogWriter, type LogWriterOptions } from './log-writer.js'

export type LogRequest =
  | { readonly kind: 'open' }
  /** The group is at the beginning of the shared memory, and stays there until this is answered. */
  | ({ readonly kind: 'append'; readonly bytes: number } & LogJob)
  | ({ readonly kind: 'change' } & FileChange)
  | ({ readonly kind: 'check' } & LogJob)
  | { readonly kind: 'close' }

export interface LogThreadData extends LogWriterOptions {
  readonly memory: SharedArrayBuffer
  readonly port: MessagePort
  /** See {@link Signal}. */
  readonly signal: Int32Array
}

/** How long a request that was announced is waited for awake: several times what it takes to make a group of a few entries. */
const AWAKE_MS = 0.05

const { port, signal, memory, ...options } = workerData as LogThreadData
let writer: LogWriter | undefined

function handle(request: LogRequest): void {
  switch (request.kind) {
    case 'open':
      writer = new LogWriter(options)
      return
    case 'append':
      return writer?.append({ group: Buffer.from(memory, 0, request.bytes), dataPath: request.dataPath })
    case 'change':
      return writer?.change(request)
    case 'check':
      return writer?.check(request)
    case 'close':
      return writer?.close()
  }
}

function answer(request: LogRequest): void {
  let reply: ThreadReply = {}
  try {
    handle(request)
  } catch (error) {
    reply = replyOf(error)
  }
  port.postMessage(reply)
  Atomics.add(signal, Signal.ANSWERED, 1)
  Atomics.notify(signal, Signal.ANSWERED)
}

/** Waits for the next request. Woken without one, it gets ready for the one that is being made. */
function next(): LogRequest {
  for (;;) {
    const asked = Atomics.load(signal, Signal.ASKED)
    const received = receiveMessageOnPort(port)
    if (received !== undefined) return received.message as LogRequest
    writer?.endReadiness()
    Atomics.wait(signal, Signal.ASKED, asked)
    if (Atomics.load(signal, Signal.ASKED) === asked) awaitAnnounced(asked)
  }
}

function awaitAnnounced(asked: number): void {
  writer?.getReady()
  const untilMs = performance.now() + AWAKE_MS
  while (Atomics.load(signal, Signal.ASKED) === asked && performance.now() < untilMs);
}

for (let isOpen = true; isOpen; ) {
  const request = next()
  answer(request)
  isOpen = request.kind !== 'close'
}
