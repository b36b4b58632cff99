// A job with the state of a million keys is killed and started again: how long until its first new result. argv: phase, work, engine, keys,
// directory. `fill` ends by SIGKILL once a cut is safe; `resume` prints its figures as JSON.

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { ascending, type JobOptions, runJob, type Sink, type Source } from 'holdfast/job'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { defineState, float64, reducing, type StateSchema, uint32 } from 'holdfast/state'
import { combined, count, sum, tumbling, windowed } from 'holdfast/window'

export interface RestartFigures {
  /** From the start of the process to the first result that the sink is given. */
  readonly seconds: number
  readonly processorSeconds: number
  /** From there to the last one of what was due at once. */
  readonly restSeconds: number
}

interface Reading {
  readonly key: number
  readonly at: number
}

const [phase = '', work = '', engine = '', length = '', directory = ''] = process.argv.slice(2)
const keys = Number(length)
const isWindows = work === 'windows'
const SIZE_MS = 60_000

/** Each key once; then one event, which closes the windows of all keys. */
const source: Source<Reading> = {
  name: 'readings',
  open: async ({ positions }) => {
    let position = Number(positions['0'] ?? 0)
    return {
      partitions: () => ['0'],
      poll: async ({ maxEvents, waitMs }) => {
        const events: Reading[] = []
        const before = position
        for (; position < keys && events.length < maxEvents; position++) events.push({ key: position, at: 1 })
        if (before >= keys && phase === 'resume' && position === keys) {
          position++
          events.push({ key: 7, at: isWindows ? SIZE_MS + 1 : 2 })
        }
        const hasNothing = events.length === 0
        if (hasNothing) await sleep(Math.min(waitMs, 20))
        // So that there is something to make a cut of.
        if (hasNothing && phase === 'fill') events.push({ key: 0, at: 1 })
        return [
          {
            partition: '0',
            events,
            positionAfter: (place: number) => (hasNothing ? before : before + place + 1),
          },
        ]
      },
      close: async () => {},
    }
  },
}

let results = 0
let first: { readonly seconds: number; readonly processorSeconds: number } | undefined

function noteResults(some: number): void {
  results += some
  if (first === undefined) {
    const { user, system } = process.cpuUsage()
    first = { seconds: performance.now() / 1e3, processorSeconds: (user + system) / 1e6 }
  }
  if (results < (isWindows ? keys : 1)) return
  const { user, system } = process.cpuUsage()
  const restSeconds = (user + system) / 1e6 - first.processorSeconds
  const figures: RestartFigures = { ...first, restSeconds }
  console.log(JSON.stringify(figures))
  process.exit(0)
}

const sink: Sink<number> = {
  name: 'results',
  guarantee: 'idempotent',
  open: async () => ({
    write: async (outputs) => noteResults(outputs.length),
    prepare: async () => null,
    commit: async () => {},
    close: async () => {},
  }),
}

const backend =
  engine === 'lmdb'
    ? await LmdbStateBackend.open({ path: join(directory, 'store'), waitForOwnerMs: 30_000 })
    : new MemoryStateBackend({ maxBytes: 4 * 2 ** 30 })
const storage = new FileCheckpointStorage(join(directory, 'checkpoints'))
const common = {
  name: 'restart',
  source,
  key: ({ key }: Reading) => key,
  timestamp: ({ at }: Reading) => at,
  time: { watermarks: ascending(), maxAheadMs: Infinity },
  sink,
  backend,
  flushIntervalMs: phase === 'fill' ? 1_000 : 10,
  ...(engine === 'lmdb'
    ? {}
    : { checkpoints: { storage, intervalMs: phase === 'fill' ? 1_000 : 24 * 3_600_000 } }),
}
const aggregate = combined({ count: count(), sum: sum(({ at }: Reading) => at) })
const schema = defineState({ key: uint32, states: { total: reducing(float64, (a, b) => a + b) } })
const windows: JobOptions<Reading, StateSchema<number>, number> = {
  ...common,
  schema: defineState({ key: uint32, states: {} }) as StateSchema<number>,
  windows: {
    window: windowed({
      windows: tumbling({ sizeMs: SIZE_MS }),
      aggregate,
      output: ({ value }) => value.count,
    }),
  },
}
const counter: JobOptions<Reading, typeof schema, number> = {
  ...common,
  schema,
  process: ({ at }, { state, emit }) => {
    state.total.add(at)
    if (at > 1) emit(state.total.get() ?? 0)
  },
}
const job = isWindows ? await runJob(windows) : await runJob(counter)
if (phase === 'fill') {
  while (job.stats().events < keys) await sleep(50)
  const { cuts } = job.stats()
  // One that is under way may have begun before.
  while (job.stats().cuts < cuts + 2) await sleep(50)
  process.kill(process.pid, 'SIGKILL')
}
await job.finished
