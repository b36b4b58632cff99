// A job of two stages that is killed: `node run-stages.js <folder> <engine> <events>`. It prints a line for each hundred events.
// `memory`: windows, then timers, with checkpoints. `lmdb`: timers, then timers; `lmdb-windows`: windows, then windows, both in the
// store alone. All put out the same.

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { boundedDisorder, defineJob, iterableSource, ndjsonFileSink, runJob } from '../../../src/job.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, int64, map, struct, uint32, utf8 } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { combined, count, sum, tumbling, type WindowResult, windowed } from '../../../src/window.js'
import { DISORDER_MS, type Reading, readings, type SecondOfSensor } from './windowed-events.js'

const [folder = '', engine, length] = process.argv.slice(2)
const events = readings(Number(length))
const isMemory = engine === 'memory'
const backend = isMemory
  ? new MemoryStateBackend()
  : await LmdbStateBackend.open({ path: join(folder, 'store'), flushEvery: 50, waitForOwnerMs: 30_000 })
const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
let seen = 0

const source = iterableSource<Reading>({
  async *from(position = 0) {
    for (let i = Number(position); i < events.length; i++) {
      if (i % 100 === 0) {
        await sleep(1)
        if (++seen > 1) process.stdout.write('.\n')
      }
      yield [events[i] as Reading, i + 1] as const
    }
  },
})
const common = {
  name: 'seconds',
  key: ({ sensor }: Reading) => sensor,
  timestamp: ({ at }: Reading) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
}
const noStates = defineState({ key: utf8, states: {} })
const line = (startMs: number, sensors: number, readingCount: number, total: number) =>
  `${startMs} ${sensors} ${readingCount} ${total}`

const byWindows = defineJob<Reading, SecondOfSensor>()({
  ...common,
  schema: noStates,
  windows: {
    seconds: windowed({
      windows: tumbling({ sizeMs: 1_000 }),
      aggregate: combined({ count: count(), total: sum((reading: Reading) => reading.celsius) }),
      output: ({
        window,
        value,
      }: WindowResult<string, { count: number; total: number }>): SecondOfSensor => ({
        startMs: window.startMs,
        ...value,
      }),
    }),
  },
})
const totals = struct({ count: uint32, total: int64 })
const byTimers = defineJob<Reading, SecondOfSensor>()({
  ...common,
  schema: defineState({ key: utf8, states: { seconds: map(int64, totals) } }),
  process({ at, celsius }, { state, timers }) {
    const startMs = Math.floor(at / 1_000) * 1_000
    state.seconds.update(startMs, (second) => {
      second.count++
      second.total += celsius
    })
    timers.event.set(startMs + 999)
  },
  onTimer({ timestampMs }, { state, emit }) {
    const startMs = timestampMs - 999
    const second = state.seconds.get(startMs)
    if (second === undefined) throw new Error(`the timer of ${startMs} has fired twice`)
    state.seconds.delete(startMs)
    emit({ startMs, ...second })
  },
})
const all = struct({ sensors: uint32, count: uint32, total: int64 })
const totalsByTimers = {
  name: 'all sensors',
  key: ({ startMs }: SecondOfSensor) => startMs,
  schema: defineState({ key: int64, states: { all: map(utf8, all) } }),
}
const thenTimers = (job: typeof byTimers) =>
  job.pipe<string>()({
    ...totalsByTimers,
    process({ startMs, count: more, total }, { state, timers }) {
      state.all.update('', (second) => {
        second.sensors++
        second.count += more
        second.total += total
      })
      timers.event.set(startMs + 999)
    },
    onTimer(_, { key, state, emit }) {
      const found = state.all.get('')
      if (found === undefined) throw new Error(`the timer of ${key} has fired twice`)
      state.all.clear()
      emit(line(key, found.sensors, found.count, found.total))
    },
  })
const thenWindows = byWindows.pipe<string>()({
  name: 'all sensors',
  key: () => '',
  schema: noStates,
  windows: {
    seconds: windowed({
      windows: tumbling({ sizeMs: 1_000 }),
      aggregate: combined({
        sensors: count(),
        count: sum((second: SecondOfSensor) => second.count),
        total: sum((second: SecondOfSensor) => second.total),
      }),
      output: ({
        window,
        value,
      }: WindowResult<string, { sensors: number; count: number; total: number }>): string =>
        line(window.startMs, value.sensors, value.count, value.total),
    }),
  },
})

const where = {
  source,
  sink: ndjsonFileSink<string>({ path: join(folder, 'seconds.ndjson') }),
  backend,
  flushIntervalMs: 5,
  maxPollEvents: 37,
  ...(isMemory && { checkpoints: { storage, intervalMs: 5 } }),
}
const job =
  engine === 'lmdb-windows'
    ? await runJob({ ...thenWindows, ...where })
    : await runJob({ ...thenTimers(isMemory ? (byWindows as never) : byTimers), ...where })
await job.finished
await backend.close()
process.stdout.write('done\n')
