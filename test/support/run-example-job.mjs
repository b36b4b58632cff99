// A job of examples/jobs, as it was built, over the events of a file: it prints a line behind each ten events, and waits for one on standard
// input, so that it can be killed on the way. argv: name, folder, memory | lmdb.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { iterableSource, ndjsonFileSink, runJob } from 'holdfast/job'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { budgetGuard } from '../../build/examples/jobs/budget-guard.js'
import { clickToPurchase } from '../../build/examples/jobs/click-to-purchase.js'
import { sessionWindows } from '../../build/examples/jobs/session-windows.js'
import { sessions } from '../../build/examples/jobs/sessions.js'

const [name, folder, engine] = process.argv.slice(2)
const definition = { budgetGuard, clickToPurchase, sessions, sessionWindows }[name]
const events = (await readFile(join(folder, 'events.ndjson'), 'utf8')).trimEnd().split('\n').map(JSON.parse)
const waitForOwnerMs = 30_000
const isMemory = engine === 'memory'
const backend = isMemory
  ? new MemoryStateBackend()
  : await LmdbStateBackend.open({ path: join(folder, 'store'), waitForOwnerMs })
const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))

async function* paced(position = 0) {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  for (let i = position; i < events.length; i++) {
    yield [events[i], i + 1]
    if (i % 10 < 9) continue
    // Long enough for a cut now and then.
    await sleep(1)
    process.stdout.write('.\n')
    await lines.next()
  }
  // What is read from would keep the process from ending.
  process.stdin.destroy()
}

const job = await runJob({
  ...definition,
  source: iterableSource({ name: 'events', from: paced }),
  sink: ndjsonFileSink({ path: join(folder, 'outputs.ndjson'), waitForOwnerMs }),
  backend,
  flushIntervalMs: 5,
  maxPollEvents: 7,
  ...(isMemory && { checkpoints: { storage, intervalMs: 5 } }),
})
await job.finished
await backend.close()
process.stdout.write('done\n')
