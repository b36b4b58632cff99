// A job with many windows on the LMDB engine, which kills itself in the middle of a cut: behind the n-th part of one that is staged, or where
// n is 0 not at all: `node staged-windows.js <folder> <events> <n>`.

import { join } from 'node:path'
import { ascending, iterableSource, ndjsonFileSink, runJob } from '../../../src/job.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { defineState, uint32 } from '../../../src/state.js'
import { count, tumbling, windowed } from '../../../src/window.js'
import { manyKeys, SIZE_MS } from './many-keys.js'

const [folder = '', length, n] = process.argv.slice(2)
const events = manyKeys(Number(length))

const backend = await LmdbStateBackend.open({ path: join(folder, 'store'), waitForOwnerMs: 30_000 })
let left = Number(n)
const { stage } = backend
backend.stage = () => {
  const staged = stage.call(backend)
  const { add } = staged
  staged.add = (batch) => {
    add.call(staged, batch)
    if (--left === 0) process.kill(process.pid, 'SIGKILL')
  }
  return staged
}

const job = await runJob({
  name: 'many keys',
  source: iterableSource({
    *from(position = 0) {
      for (let i = Number(position); i < events.length; i++) yield [events[i] as (typeof events)[0], i + 1]
    },
  }),
  key: ({ key }) => key,
  timestamp: ({ at }) => at,
  time: { watermarks: ascending() },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    counts: windowed({
      windows: tumbling({ sizeMs: SIZE_MS }),
      aggregate: count(),
      output: ({ key, window, value }) => `${window.startMs} ${key} ${value}`,
    }),
  },
  sink: ndjsonFileSink<string>({ path: join(folder, 'counts.ndjson') }),
  backend,
  flushIntervalMs: 1,
})
await job.finished
await backend.close()
process.stdout.write('done\n')
