// A job that is killed: `node run-job.js <folder> <memory | lmdb> <events>`. It prints a line for each hundred events.

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { iterableSource, ndjsonFileSink, runJob } from '../../../src/job.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { countedEvents } from './counted-events.js'

const [folder = '', engine, count] = process.argv.slice(2)
const events = countedEvents(Number(count))

const isMemory = engine === 'memory'
const backend = isMemory
  ? new MemoryStateBackend()
  : await LmdbStateBackend.open({ path: join(folder, 'store'), flushEvery: 50, waitForOwnerMs: 30_000 })
const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
let seen = 0

const job = await runJob({
  name: 'counts',
  source: iterableSource<string>({
    async *from(position = 0) {
      for (let i = Number(position); i < events.length; i++) {
        if (i % 100 === 0) await sleep(1)
        yield [events[i] as string, i + 1] as const
      }
    },
  }),
  key: (user) => user,
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  process(user, { store, key, emit }) {
    const counted = store.count.get(key) + 1
    store.count.put(key, counted)
    emit({ user, counted })
    if (++seen % 100 === 0) process.stdout.write('.\n')
  },
  sink: ndjsonFileSink<{ user: string; counted: number }>({ path: join(folder, 'counts.ndjson') }),
  backend,
  flushIntervalMs: 5,
  maxPollEvents: 37,
  ...(isMemory && { checkpoints: { storage, intervalMs: 5 } }),
})
await job.finished
await backend.close()
process.stdout.write('done\n')
