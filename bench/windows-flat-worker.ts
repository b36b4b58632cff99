// A job that sees many more keys than are alive: each event is of a new key, and a window holds a million of them. Prints memory and delay for
// each million events as JSON. argv: events, alive.

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { MemoryCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { ascending, runJob, type Sink, type Source } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import { combined, count, max, sum, tumbling, windowed } from 'holdfast/window'

/** Of a million events. */
export interface FlatFigures {
  readonly events: number
  readonly residentBytes: number
  readonly processorSeconds: number
  readonly delayP99Ms: number
  readonly delayMaxMs: number
}

interface Reading {
  readonly key: number
  readonly at: number
}

const [length = '', alive = ''] = process.argv.slice(2)
const events = Number(length)
const PART = 1_000_000

const parts: FlatFigures[] = []
const delay = monitorEventLoopDelay({ resolution: 5 })
let before = process.cpuUsage()

function notePart(made: number): void {
  const { user, system } = process.cpuUsage(before)
  before = process.cpuUsage()
  parts.push({
    events: made,
    residentBytes: process.memoryUsage.rss(),
    processorSeconds: (user + system) / 1e6,
    delayP99Ms: Math.max(0, delay.percentile(99) / 1e6 - 5),
    delayMaxMs: Math.max(0, delay.max / 1e6 - 5),
  })
  delay.reset()
}

let made = 0
const source: Source<Reading> = {
  name: 'new keys',
  open: async () => ({
    partitions: () => ['0'],
    poll: async ({ maxEvents }) => {
      const polled: Reading[] = []
      const from = made
      while (polled.length < maxEvents && made < events) polled.push({ key: made, at: made++ })
      if (Math.floor(made / PART) > Math.floor(from / PART)) notePart(made)
      const hasEnded = made === events
      return [{ partition: '0', events: polled, positionAfter: (place) => from + place + 1, hasEnded }]
    },
    close: async () => {},
  }),
}

let results = 0
const sink: Sink<number> = {
  name: 'counted',
  guarantee: 'idempotent',
  open: async () => ({
    write: async (outputs) => {
      results += outputs.length
    },
    prepare: async () => null,
    commit: async () => {},
    close: async () => {},
  }),
}

delay.enable()
const backend = new MemoryStateBackend({ maxBytes: 4 * 2 ** 30 })
const job = await runJob({
  name: 'flat',
  source,
  key: ({ key }) => key,
  timestamp: ({ at }) => at,
  time: { watermarks: ascending(), maxAheadMs: Infinity },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    window: windowed({
      windows: tumbling({ sizeMs: Number(alive) }),
      aggregate: combined({
        count: count(),
        sum: sum(({ at }: Reading) => at),
        max: max(({ at }: Reading) => at),
      }),
      output: ({ value }) => value.count,
    }),
  },
  sink,
  backend,
  checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 24 * 3_600_000 },
})
await job.finished
if (results !== events) throw new Error(`${results} results of ${events} keys`)
console.log(JSON.stringify(parts))
process.exit(0)
