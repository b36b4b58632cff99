// A job on a real server, to be killed: `node counting-job.js <system> <address> <folder> <last event> <keeper>`. Its state is in memory, with
// checkpoints in the folder, or on the server itself, where the keeper is 'engine'. It prints a line for each cut, and one where it
// has had nothing to do for a while; it ends once it has seen so many events and a cut has them.

import { setTimeout as sleep } from 'node:timers/promises'
import { runJob } from '../../../src/job.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { openEngine, openSystem } from './counting-systems.js'

const [name = '', address = '', folder = '', until, keeper] = process.argv.slice(2)
const system = await openSystem(name, address)
const { backend, close } =
  keeper === 'engine'
    ? await openEngine(name, address)
    : { backend: new MemoryStateBackend(), close: async () => {} }
const saving = backend.supports.durable
  ? { flushIntervalMs: 20 }
  : { checkpoints: { storage: new FileCheckpointStorage(folder), intervalMs: 20 } }
let highest = -1
/** So long without an event is nothing to do, in milliseconds. */
const IDLE_AFTER_MS = 100
let movedAtMs = performance.now()
let isIdle = false

const job = await runJob({
  name: 'counts',
  source: system.source,
  key: ({ key }) => key,
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  process({ n }, { state, key, emit }) {
    const count = state.count.get() + 1
    state.count.put(count)
    emit({ key, n, count })
    highest = n
    movedAtMs = performance.now()
    isIdle = false
  },
  sink: system.sink,
  backend,
  maxPollEvents: 37,
  ...saving,
})
const finished = job.finished.then(
  () => true,
  () => true,
)
let cuts = 0
movedAtMs = performance.now()
for (;;) {
  const found = job.stats().cuts
  for (; cuts < found; cuts++) process.stdout.write('cut\n')
  if (!isIdle && performance.now() - movedAtMs > IDLE_AFTER_MS) {
    isIdle = true
    process.stdout.write('idle\n')
  }
  if (highest + 1 >= Number(until)) break
  if (await Promise.race([finished, sleep(2).then(() => false)])) break
}
await job.stop()
await system.close()
await backend.close()
await close()
