// Where a query runs: its state, its checkpoints and its outputs lie in one folder.

import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { iterableSource, ndjsonFileSink, type Position, type Sink, type Source } from 'holdfast/job'
import { LmdbStateBackend } from 'holdfast/lmdb'
import type { From } from './generator.js'

export interface PlaceSettings {
  readonly folder: string
  readonly engine: 'memory' | 'lmdb'
  /**
   * Prints a line behind each hundred events and waits for one on standard input, and makes cuts all the time: for whoever wants to kill it on the
   * way.
   */
  readonly isPaced: boolean
}

const HUNDRED = 100

/** Opens what the options of `runJob` ask for, but for what the query says. */
export async function openPlace({ folder, engine, isPaced }: PlaceSettings) {
  const isMemory = engine === 'memory'
  // A process that was killed has not let go of its store.
  const waitForOwnerMs = 30_000
  const backend = isMemory
    ? new MemoryStateBackend()
    : await LmdbStateBackend.open({ path: join(folder, 'store'), waitForOwnerMs })
  const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
  const cutMs = isPaced ? 5 : 1_000
  return {
    backend,
    flushIntervalMs: cutMs,
    ...(isPaced && { maxPollEvents: 37 }),
    ...(isMemory && { checkpoints: { storage, intervalMs: cutMs } }),
    sourceOf: <Event>(from: From<Event>): Source<Event> =>
      iterableSource({ name: 'nexmark', from: isPaced ? paced(from) : from }),
    sinkOf: <Output>(): Sink<Output> =>
      ndjsonFileSink<Output>({ path: join(folder, 'outputs.ndjson'), waitForOwnerMs }),
  }
}

export type Place = Awaited<ReturnType<typeof openPlace>>

function paced<Event>(from: From<Event>) {
  return async function* (position?: Position) {
    const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
    let count = 0
    for (const next of from(position)) {
      yield next
      if (++count % HUNDRED > 0) continue
      // Long enough for a cut now and then.
      await sleep(1)
      process.stdout.write('.\n')
      await lines.next()
    }
    // What is read from would keep the process from ending.
    process.stdin.destroy()
  }
}
