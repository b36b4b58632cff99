// A job as an application runs it: in the main thread, or in a worker. It counts events by key in windows and without, and its outputs are
// lines of a file. argv: main | worker | ended, memory | lmdb, folder, events. `ended`: a first worker is ended in the middle.

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { ascending, iterableSource, ndjsonFileSink, runJob } from 'holdfast/job'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { defineState, uint32 } from 'holdfast/state'
import { count, tumbling, windowed } from 'holdfast/window'

async function run({ engine, folder, events, endsAt }) {
  const isMemory = engine === 'memory'
  const backend = isMemory
    ? new MemoryStateBackend()
    : await LmdbStateBackend.open({ path: join(folder, 'store'), waitForOwnerMs: 30_000 })
  const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
  async function* from(position = 0) {
    for (let i = position; i < events; i++) {
      yield [{ key: i % 7, at: i }, i + 1]
      if (i % 50 < 49) continue
      await sleep(1)
      if (i > endsAt) parentPort?.postMessage('far enough')
    }
  }
  const job = await runJob({
    name: 'counts',
    source: iterableSource({ name: 'events', from }),
    key: ({ key }) => key,
    timestamp: ({ at }) => at,
    time: { watermarks: ascending() },
    schema: defineState({ key: uint32, states: {} }),
    windows: {
      hundreds: windowed({
        windows: tumbling({ sizeMs: 100 }),
        aggregate: count(),
        output: ({ key, window, value }) => [window.startMs, key, value],
      }),
    },
    sink: ndjsonFileSink({ path: join(folder, 'outputs.ndjson'), waitForOwnerMs: 30_000 }),
    backend,
    flushIntervalMs: 5,
    maxPollEvents: 20,
    ...(isMemory && { checkpoints: { storage, intervalMs: 5 } }),
  })
  await job.finished
  await backend.close()
}

/** Runs the job in a worker; ends that where it says that it is far enough. Gives its exit code. */
async function inWorker(work) {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: work })
  return await new Promise((resolve, reject) => {
    worker.on('message', () => void worker.terminate())
    worker.on('error', reject)
    worker.on('exit', resolve)
  })
}

if (isMainThread) {
  const [where, engine, folder, events] = process.argv.slice(2)
  const work = { engine, folder, events: Number(events), endsAt: Infinity }
  if (where === 'ended' && (await inWorker({ ...work, endsAt: work.events / 2 })) !== 1)
    throw new Error('it was not ended')
  if (where === 'main') await run(work)
  else await inWorker(work)
  console.log('done')
} else {
  await run(workerData)
}
