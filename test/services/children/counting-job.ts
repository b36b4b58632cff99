// A job on a real server, to be killed: `node counting-job.js <system> <folder> <last event> <keeper>`. It loads what it needs, says `loaded`, and
// begins once it is told the address of the server in a line. Its state is in memory, with checkpoints in the folder, or on the server
// itself, where the keeper is 'engine'. It prints a line for each cut, with the highest event that it has seen; it ends once it has seen so
// many events and a cut has them.

import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { runJob, type Source } from '../../../src/job.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { loadClient, openEngine, openSystem } from './counting-systems.js'

/** A job that is to be killed takes its time: it is in the middle of its work whenever that is, and needs little of the processor. */
const PACE_MS = 5
const EVENTS_AT_ONCE = 7

/** A source that gives its events slowly. */
function paced<Event>(source: Source<Event>): Source<Event> {
  return {
    ...source,
    open: async (request) => {
      const reader = await source.open(request)
      const poll = reader.poll.bind(reader)
      reader.poll = async (wanted) => {
        await sleep(PACE_MS)
        return await poll(wanted)
      }
      return reader
    },
  }
}

async function told(): Promise<string> {
  const lines = createInterface({ input: process.stdin })
  for await (const line of lines) return line
  // Whoever has started this is gone.
  return process.exit()
}

const [name = '', folder = '', until, keeper] = process.argv.slice(2)
const isEndless = Number(until) === Infinity
await loadClient(name)
process.stdout.write('loaded\n')
const address = await told()
process.stdin.destroy()

const system = await openSystem(name, address)
const { backend, close } =
  keeper === 'engine'
    ? await openEngine(name, address)
    : { backend: new MemoryStateBackend(), close: async () => {} }
const saving = backend.supports.durable
  ? { flushIntervalMs: 20 }
  : { checkpoints: { storage: new FileCheckpointStorage(folder), intervalMs: 20 } }
let highest = -1

const job = await runJob({
  name: 'counts',
  source: isEndless ? paced(system.source) : system.source,
  key: ({ key }) => key,
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  process({ n }, { state, key, emit }) {
    const count = state.count.get() + 1
    state.count.put(count)
    emit({ key, n, count })
    highest = Math.max(highest, n)
  },
  sink: system.sink,
  backend,
  maxPollEvents: isEndless ? EVENTS_AT_ONCE : 37,
  ...saving,
})
const finished = job.finished.then(
  () => true,
  () => true,
)
let cuts = 0
for (;;) {
  const found = job.stats().cuts
  if (found > cuts) process.stdout.write(`cut ${highest}\n`)
  cuts = found
  if (highest + 1 >= Number(until)) break
  if (await Promise.race([finished, sleep(2).then(() => false)])) break
}
await job.stop()
await system.close()
await backend.close()
await close()
