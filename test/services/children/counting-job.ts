// Jobs on a real server, to be killed: `node counting-job.js <folder> <last event> <system>…`, each as `counting-systems.ts` names it. It loads what
// they need, says `loaded`, and begins once it is told in a line the address of the server, and how many events there are by then. It says
// `opened` when all jobs are open, and prints a line for each cut of a job: the place of its system, and the highest event that it has seen.
// Jobs have their state in memory, with checkpoints in the folder, or on the server itself. They end once they have seen so many events and a
// cut has them.

import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { runJob, type Source } from '../../../src/job.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import type { CountedEvent } from './counted.js'
import { loadClient, openSystem } from './counting-systems.js'

/** A job that is to be killed takes its time: it is in the middle of its work whenever that is, and needs little of the processor. */
const PACE_MS = 5
const EVENTS_AT_ONCE = 2
const MOST_EVENTS = 37
/** How often it looks whether there was a cut. */
const LOOK_EVERY_MS = 10

/** A source that gives the events from a number on slowly. Those before it are what the job has to make up for: they come as fast as they can. */
function paced(source: Source<CountedEvent>, from: number): Source<CountedEvent> {
  return {
    ...source,
    open: async (request) => {
      const reader = await source.open(request)
      const poll = reader.poll.bind(reader)
      // Where it goes on is told by the first events.
      let missing = 0
      reader.poll = async (wanted) => {
        if (missing <= 0) await sleep(PACE_MS)
        const maxEvents = Math.min(wanted.maxEvents, missing > 0 ? missing : EVENTS_AT_ONCE)
        const polled = await poll({ ...wanted, maxEvents })
        const numbers = polled.flatMap(({ events }) => events.map(({ n }) => n))
        if (numbers.length > 0) missing = from - 1 - Math.max(...numbers)
        return polled
      }
      return reader
    },
  }
}

async function told(): Promise<[address: string, events: number]> {
  const lines = createInterface({ input: process.stdin })
  for await (const line of lines) {
    const [address = '', events] = line.split(' ')
    return [address, Number(events)]
  }
  // Whoever has started this is gone.
  return process.exit()
}

const [folder = '', until, ...names] = process.argv.slice(2)
const isEndless = Number(until) === Infinity
await Promise.all(names.map(loadClient))
process.stdout.write('loaded\n')
const [address, events] = await told()
process.stdin.destroy()

/** Opens a job, and returns what has it go on to its end. */
async function opened(name: string, place: number): Promise<() => Promise<void>> {
  const system = await openSystem(name, address)
  const backend = system.backend ?? new MemoryStateBackend()
  const saving = backend.supports.durable
    ? { flushIntervalMs: 20 }
    : { checkpoints: { storage: new FileCheckpointStorage(join(folder, name)), intervalMs: 20 } }
  let highest = -1
  const job = await runJob({
    name: 'counts',
    source: isEndless ? paced(system.source, events) : system.source,
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
    maxPollEvents: MOST_EVENTS,
    ...saving,
  })
  const finished = job.finished.then(
    () => true,
    () => true,
  )
  return async () => {
    for (let cuts = 0; ; ) {
      const found = job.stats().cuts
      if (found > cuts) process.stdout.write(`cut ${place} ${highest}\n`)
      cuts = found
      if (highest + 1 >= Number(until)) break
      if (await Promise.race([finished, sleep(LOOK_EVERY_MS).then(() => false)])) break
    }
    await job.stop()
    await backend.close()
    await system.close()
  }
}

const jobs = await Promise.all(names.map(opened))
process.stdout.write('opened\n')
await Promise.all(jobs.map((goesOn) => goesOn()))
