import { once } from 'node:events'
import { type Transferable, Worker } from 'node:worker_threads'
import type { EntryBlock } from '../../backend/entry-block.js'
import type { SharedSnapshot } from '../../backend/shared-snapshot.js'

/** What another thread read of a snapshot. */
export interface ReadElsewhere {
  readonly blocks: readonly EntryBlock[]
  /** Of living entries. */
  readonly count: number
}

const READING_THREAD = `
  const { parentPort } = require('node:worker_threads')
  parentPort.on('message', async ({ module, data }) => {
    const { openSharedSnapshot } = await import(module)
    const reader = await openSharedSnapshot(data)
    const blocks = []
    for await (const block of reader.blocks({ targetBytes: 64 })) {
      blocks.push({ bytes: Uint8Array.from(block.bytes), entryCount: block.entryCount })
      if (reader.giveBack === undefined) continue
      block.bytes.fill(0xff)
      reader.giveBack(block)
    }
    const count = await reader.count()
    await reader.close()
    parentPort.postMessage({ blocks, count })
  })`

/** Threads that read what is shared with them: a new one for each read, or, with `keep`, those that have nothing to do. */
export class ReadingThreads {
  readonly #keep: boolean
  readonly #idle: Worker[] = []

  constructor(keep: boolean) {
    this.#keep = keep
  }

  /** Rejects with what the thread failed with; a thread that failed reads nothing more. */
  async read({ module, data, transferList }: SharedSnapshot): Promise<ReadElsewhere> {
    const thread = this.#idle.pop() ?? new Worker(READING_THREAD, { eval: true, execArgv: [] })
    let isSound = false
    try {
      const answered = once(thread, 'message')
      thread.postMessage({ module, data }, [...(transferList as readonly Transferable[])])
      const [answer] = (await answered) as [ReadElsewhere]
      isSound = true
      return answer
    } finally {
      if (isSound && this.#keep) this.#idle.push(thread)
      else await thread.terminate()
    }
  }

  async close(): Promise<void> {
    for (const thread of this.#idle.splice(0)) await thread.terminate()
  }
}
