// A job with windows that is killed: `node run-windows.js <folder> <memory | lmdb> <events>`. It prints a line for each hundred events.

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { boundedDisorder, iterableSource, ndjsonFileSink, runJob } from '../../../src/job.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, json, utf8 } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { combined, count, hopping, max, session, sum, tumbling, windowed } from '../../../src/window.js'
import { DISORDER_MS, type Reading, readings } from './windowed-events.js'

const [folder = '', engine, length] = process.argv.slice(2)
const events = readings(Number(length))

const isMemory = engine === 'memory'
const backend = isMemory
  ? new MemoryStateBackend()
  : await LmdbStateBackend.open({ path: join(folder, 'store'), flushEvery: 50, waitForOwnerMs: 30_000 })
const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
let seen = 0

const aggregate = combined({
  count: count(),
  sum: sum((reading: Reading) => reading.celsius),
  max: max((reading: Reading) => reading.celsius),
})
const line =
  (name: string) =>
  ({
    key,
    window,
    value,
  }: {
    readonly key: string
    readonly window: { readonly startMs: number; readonly endMs: number }
    readonly value: { readonly count: number; readonly sum: number; readonly max: number }
  }) =>
    `${name} ${key} ${window.startMs} ${window.endMs} ${value.count} ${value.sum} ${value.max}`

const job = await runJob({
  name: 'readings',
  source: iterableSource<Reading>({
    async *from(position = 0) {
      for (let i = Number(position); i < events.length; i++) {
        if (i % 100 === 0) {
          await sleep(1)
          if (++seen > 1) process.stdout.write('.\n')
        }
        yield [events[i] as Reading, i + 1] as const
      }
    },
  }),
  key: ({ sensor }) => sensor,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: utf8, states: {} }),
  windows: {
    tumbling: windowed({ windows: tumbling({ sizeMs: 1_000 }), aggregate, output: line('tumbling') }),
    hopping: windowed({
      windows: hopping({ sizeMs: 900, slideMs: 300 }),
      aggregate,
      output: line('hopping'),
    }),
    sessions: windowed({
      windows: session({ gapMs: 200 }),
      events: json<Reading>(),
      aggregate,
      output: line('sessions'),
    }),
  },
  sink: ndjsonFileSink<string>({ path: join(folder, 'results.ndjson') }),
  backend,
  flushIntervalMs: 5,
  maxPollEvents: 37,
  ...(isMemory && { checkpoints: { storage, intervalMs: 5 } }),
})
await job.finished
await backend.close()
process.stdout.write('done\n')
