// The writer thread: does what it is asked, in order, one request at a time, and answers each.

import { type MessagePort, workerData } from 'node:worker_threads'
import { commitFailure } from './commit-failure.js'
import {
  type CommitJob,
  type CommitResult,
  type Replacement,
  type ReplacingBlock,
  StoreWriter,
  type StoreWriterOptions,
  type StretchReplacement,
} from './store-writer.js'
import { isRefusal, replyOf, Signal, type ThreadReply } from './thread-messages.js'
import { HalfNoted } from './transaction.js'

export type WriterRequest =
  | { readonly kind: 'open' }
  | ({ readonly kind: 'commit' } & CommitJob)
  | { readonly kind: 'beginReplace' }
  | ({ readonly kind: 'replaceBlock' } & ReplacingBlock)
  | ({ readonly kind: 'finishReplace' } & Replacement)
  | ({ readonly kind: 'finishReplaceOf' } & StretchReplacement)
  | { readonly kind: 'abandonReplace' }
  | { readonly kind: 'switch'; readonly dataPath: string }
  | { readonly kind: 'close' }

export interface WriterThreadData extends StoreWriterOptions {
  readonly port: MessagePort
  /** See {@link Signal}. */
  readonly signal: Int32Array
}

const { port, signal, ...options } = workerData as WriterThreadData
let writer: StoreWriter | undefined
let { dataPath } = options

// LMDB's package prints the reason of a transaction that failed, beside giving it, which is what the answer is made of. A console
// that is frozen (`--frozen-intrinsics`) refuses, and then it is printed.
Reflect.set(console, 'error', () => {})

async function handle(request: WriterRequest): Promise<CommitResult | undefined> {
  if (request.kind === 'open') {
    writer = await StoreWriter.open(options)
    return writer.status()
  }
  if (request.kind === 'switch') {
    await writer?.close()
    dataPath = request.dataPath
    writer = await StoreWriter.open({ ...options, dataPath })
    return writer.status()
  }
  if (writer === undefined) throw new Error('the store is not open')
  switch (request.kind) {
    case 'commit':
      return await writer.commit(request)
    case 'beginReplace':
      return void (await writer.beginReplace())
    case 'replaceBlock':
      return void (await writer.replaceBlock(request))
    case 'finishReplace':
      return await writer.finishReplace(request)
    case 'finishReplaceOf':
      return await writer.finishReplaceOf(request)
    case 'abandonReplace':
      return void (await writer.abandonReplace())
    case 'close':
      return void (await writer.close())
  }
}

async function answer(request: WriterRequest): Promise<void> {
  let reply: ThreadReply
  let halfNoted = false
  try {
    reply = { result: await handle(request) }
  } catch (error) {
    halfNoted = error instanceof HalfNoted
    if (halfNoted) reply = replyOf((error as HalfNoted).cause)
    else reply = replyOf(isRefusal(error) ? error : await commitFailure(error, dataPath))
  }
  port.postMessage(reply)
  Atomics.add(signal, Signal.ANSWERED, 1)
  Atomics.notify(signal, Signal.ANSWERED)
  if (halfNoted) process.exit(1)
}

let last: Promise<void> = Promise.resolve()
port.on('message', (request: WriterRequest) => {
  last = last.then(() => answer(request))
})
