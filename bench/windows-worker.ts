// One subject of bench:windows in a process of its own: prints its figures as JSON. argv: subject, work, events, directory.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type DiagnosticEvents, FileCheckpointStorage, MemoryStateBackend, Slot } from 'holdfast'
import { boundedDisorder, type JobOptions, runJob, type Sink, type Source } from 'holdfast/job'
import { LmdbStateBackend } from 'holdfast/lmdb'
import type { MetricSources } from 'holdfast/metrics'
import {
  aggregating,
  defineState,
  float64,
  type StateSchema,
  StateStore,
  struct,
  uint32,
} from 'holdfast/state'
import {
  combined,
  count,
  hopping,
  max,
  session,
  sum,
  tumbling,
  type Windows,
  windowed,
} from 'holdfast/window'

export interface WindowFigures {
  /** What the processor had done when the subject began: Node.js and its modules. */
  readonly startSeconds: number
  /** Up to the end of the source, with everything that fires then; of a job, without its last cut. */
  readonly secondsPerMillion: number
  /** What the last cut of a job takes, with all threads and the end of the job: seconds of the processor. */
  readonly lastCutSeconds: number
  readonly resultsPerEvent: number
  readonly delayP99Ms: number
  readonly delayMaxMs: number
  /** The same of a job from where it is ready on: without what loads packages and begins threads. */
  readonly runningDelayMaxMs: number
}

interface Reading {
  readonly key: number
  readonly at: number
  readonly amount: number
}

const DISORDER_MS = 500
const SIZE_MS = 60_000
const SLIDE_MS = 5_000
const GAP_MS = 30_000
const EVENTS_TOLD = 32
const DELAY_RESOLUTION_MS = 5
const CHANNELS: readonly (keyof DiagnosticEvents)[] = [
  'holdfast:checkpoint.completed',
  'holdfast:checkpoint.failed',
  'holdfast:checkpoint.merged',
  'holdfast:engine.commit',
  'holdfast:engine.held',
  'holdfast:job.ready',
  'holdfast:job.call',
  'holdfast:job.cut',
  'holdfast:job.ended',
]

const [subject = '', work = '', length = '', directory = ''] = process.argv.slice(2)
const events = Number(length)
const keys = work.endsWith('1 M keys') ? 1_000_000 : work.endsWith('100 K keys') ? 100_000 : 1_000

/** One event each millisecond, up to half a second late, of keys that are drawn evenly. */
class Events {
  #made = 0
  #random = 123_456_789

  next(): Reading {
    const at = this.#made++ - (this.#draw() % DISORDER_MS)
    return { key: this.#draw() % keys, at, amount: this.#draw() % 100 }
  }

  get isAtEnd(): boolean {
    return this.#made >= events
  }

  #draw(): number {
    let x = this.#random
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#random = x
    return x >>> 0
  }
}

/** What the processor had done when the last cut of a job began. */
let beforeLastCut: NodeJS.CpuUsage | undefined

/** Takes outputs away, and notes when each cut begins. */
const sink: Sink<unknown> = {
  name: 'nothing',
  guarantee: 'idempotent',
  open: async () => ({
    write: async () => {},
    prepare: async () => {
      beforeLastCut = process.cpuUsage(before)
      return null
    },
    commit: async () => {},
    close: async () => {},
  }),
}

let results = 0
let checksum = 0
/** What the channels of diagnostics have told. */
let messages = 0
const isCounter = work.startsWith('counter')
const isOnLmdb = subject.startsWith('job on LMDB')

function source(): Source<Reading> {
  const made = new Events()
  let position = 0
  return {
    name: 'events',
    open: async () => ({
      partitions: () => ['0'],
      poll: async ({ maxEvents }) => {
        const polled: Reading[] = []
        while (polled.length < maxEvents && !made.isAtEnd) polled.push(made.next())
        const before = position
        position += polled.length
        return [
          {
            partition: '0',
            events: polled,
            positionAfter: (place) => before + place + 1,
            hasEnded: made.isAtEnd,
          },
        ]
      },
      close: async () => {},
    }),
  }
}

function windowsOf(): Windows {
  if (work.startsWith('sessions')) return session({ gapMs: GAP_MS })
  if (work.startsWith('hopping')) return hopping({ sizeMs: SIZE_MS, slideMs: SLIDE_MS })
  return tumbling({ sizeMs: SIZE_MS })
}

async function runAsJob(): Promise<void> {
  const backend = isOnLmdb
    ? await LmdbStateBackend.open({ path: join(directory, 'store') })
    : new MemoryStateBackend({ maxBytes: 4 * 2 ** 30 })
  const storage = new FileCheckpointStorage(join(directory, 'checkpoints'))
  const intervalMs = subject.startsWith('job, checkpoints') ? 5_000 : 24 * 3_600_000
  const common = {
    name: 'bench',
    source: source(),
    key: ({ key }: Reading) => key,
    timestamp: ({ at }: Reading) => at,
    time: { watermarks: boundedDisorder(DISORDER_MS), maxAheadMs: Infinity },
    backend,
    ...(isOnLmdb ? {} : { checkpoints: { storage, intervalMs } }),
  }
  const job = isCounter ? await runJob(counting(common)) : await runJob(windowing(common))
  const stopWatching = watch?.({ jobs: { bench: job }, backends: { bench: backend } })
  await job.finished
  stopWatching?.()
  await backend.close()
}

/** Has a job watched until what it returns is called: both exporters collect once a second, and every channel of diagnostics is heard. */
async function watching(): Promise<(sources: MetricSources) => () => void> {
  const prometheus = await import('prom-client')
  const { MeterProvider, MetricReader } = await import('@opentelemetry/sdk-metrics')
  const { openTelemetryMetrics, prometheusMetrics } = await import('holdfast/metrics')
  class Reader extends MetricReader {
    override async onForceFlush(): Promise<void> {}
    override async onShutdown(): Promise<void> {}
  }
  return (sources) => {
    const registry = new prometheus.Registry()
    const reader = new Reader()
    const meter = new MeterProvider({ readers: [reader] }).getMeter('bench')
    const running = [
      prometheusMetrics(prometheus, sources, { registry }),
      openTelemetryMetrics(meter, sources),
    ]
    const heard = CHANNELS.map((name) => [name, () => void messages++] as const)
    for (const [name, listener] of heard) subscribe(name, listener)
    const timer = setInterval(() => {
      void registry.metrics()
      void reader.collect()
    }, 1_000)
    return () => {
      clearInterval(timer)
      for (const [name, listener] of heard) unsubscribe(name, listener)
      for (const each of running) each.stop()
    }
  }
}

type Common = Pick<
  JobOptions<Reading, StateSchema<number>, unknown>,
  'name' | 'source' | 'key' | 'timestamp' | 'time' | 'backend' | 'checkpoints'
>

function windowing(common: Common): JobOptions<Reading, StateSchema<number>, unknown> {
  const aggregate = combined({
    count: count(),
    sum: sum((event: Reading) => event.amount),
    max: max((event: Reading) => event.amount),
  })
  const output = ({ value }: { readonly value: { readonly sum: number } }) => {
    results++
    checksum += value.sum
    return undefined
  }
  return {
    ...common,
    schema: defineState({ key: uint32, states: {} }) as StateSchema<number>,
    windows: { window: windowed({ windows: windowsOf(), aggregate, output }) },
    sink,
  }
}

const counterSchema = defineState({
  key: uint32,
  states: {
    totals: aggregating(
      struct({ count: uint32, sum: float64, max: float64 }),
      (total, { amount }: Reading) => {
        total.count++
        total.sum += amount
        if (amount > total.max) total.max = amount
      },
    ),
  },
})

function counting(common: Common): JobOptions<Reading, typeof counterSchema, never> {
  return {
    ...(common as object as Omit<JobOptions<Reading, typeof counterSchema, never>, 'schema' | 'process'>),
    schema: counterSchema,
    sink,
    process: subject === 'job without state' ? () => {} : (event, { state }) => state.totals.add(event),
  }
}

/** What it takes to be given the events, in a process in which nothing else runs. */
async function runSourceAlone(): Promise<void> {
  const reader = await source().open({ positions: {} })
  const request = {
    maxEvents: 1_000,
    waitMs: 1_000,
    paused: new Set<string>(),
    signal: new AbortController().signal,
  }
  for (;;) {
    for (const { events: polled, hasEnded } of await reader.poll(request)) {
      for (const { key, amount } of polled) checksum += key ^ amount
      if (hasEnded === true) return
    }
    await nextTurn()
  }
}

/** The job's counter without the job: typed state, one event after the other. */
async function runStateByHand(): Promise<void> {
  const made = new Events()
  const backend = new MemoryStateBackend({ maxBytes: 4 * 2 ** 30 })
  const store = await StateStore.open(backend, counterSchema)
  for (let i = 1; !made.isAtEnd; i++) {
    const event = made.next()
    store.totals.add(event.key, event)
    if (i % 10_000 === 0) await nextTurn()
  }
  await backend.close()
}

interface Total {
  count: number
  sum: number
  max: number
}

const emit = (total: Total): void => {
  results++
  checksum += total.sum
}

function addTo(totals: Map<number, Total>, { key, amount }: Reading): void {
  const total = totals.get(key)
  if (total === undefined) {
    totals.set(key, { count: 1, sum: amount, max: amount })
    return
  }
  total.count++
  total.sum += amount
  if (amount > total.max) total.max = amount
}

/** Without any recovery: what is in the maps is lost with the process. */
function runMapByHand(): void {
  const made = new Events()
  const byStart = new Map<number, Map<number, Total>>()
  const sessions = new Map<number, Total & { start: number; last: number }>()
  const slideMs = work.startsWith('hopping') ? SLIDE_MS : SIZE_MS
  let highest = 0
  for (let i = 1; !made.isAtEnd; i++) {
    const event = made.next()
    const { key, at } = event
    if (at > highest) highest = at
    if (isCounter) addTo(mapAt(byStart, 0), event)
    else if (work.startsWith('sessions')) addToSession(sessions, event, highest)
    else {
      const last = Math.floor(at / slideMs) * slideMs
      for (let start = last; start > at - SIZE_MS; start -= slideMs) addTo(mapAt(byStart, start), event)
    }
    if (i % 1_000 !== 0 || isCounter) continue
    const watermark = highest - DISORDER_MS - 1
    for (const [start, totals] of byStart) {
      if (start + SIZE_MS - 1 > watermark) continue
      for (const total of totals.values()) emit(total)
      byStart.delete(start)
    }
    if (i % 100_000 !== 0) continue
    for (const [id, total] of sessions) {
      if (total.last + GAP_MS - 1 > watermark) continue
      emit(total)
      sessions.delete(id)
    }
    checksum += key
  }
}

function mapAt(maps: Map<number, Map<number, Total>>, start: number): Map<number, Total> {
  const found = maps.get(start)
  if (found !== undefined) return found
  const made = new Map<number, Total>()
  maps.set(start, made)
  return made
}

function addToSession(
  sessions: Map<number, Total & { start: number; last: number }>,
  { key, at, amount }: Reading,
  highest: number,
): void {
  const open = sessions.get(key)
  if (open !== undefined && at - open.last <= GAP_MS && open.start - at <= GAP_MS) {
    open.count++
    open.sum += amount
    if (amount > open.max) open.max = amount
    open.start = Math.min(open.start, at)
    open.last = Math.max(open.last, at)
    return
  }
  if (open !== undefined && open.last < highest) emit(open)
  sessions.set(key, { count: 1, sum: amount, max: amount, start: at, last: at })
}

/** Windows in the engine: an update in place for each event, and a list of keys for each window. */
async function runEngineByHand(): Promise<void> {
  const made = new Events()
  const backend =
    subject === 'LMDB by hand'
      ? await LmdbStateBackend.open({ path: join(directory, 'store') })
      : new MemoryStateBackend({ maxBytes: 4 * 2 ** 30 })
  const slot = new Slot()
  const keyBytes = new Uint8Array(12)
  const keyView = new DataView(keyBytes.buffer)
  const windows = new Map<number, number[]>()
  let highest = 0
  for (let i = 1; !made.isAtEnd; i++) {
    const { key, at, amount } = made.next()
    if (at > highest) highest = at
    const start = isCounter ? 0 : Math.floor(at / SIZE_MS) * SIZE_MS
    keyView.setFloat64(0, start)
    keyView.setUint32(8, key)
    const isThere = backend.updateSync(keyBytes, 20, slot)
    const { view, offset } = slot
    if (isThere) {
      view.setUint32(offset, view.getUint32(offset, true) + 1, true)
      view.setFloat64(offset + 4, view.getFloat64(offset + 4, true) + amount, true)
      if (amount > view.getFloat64(offset + 12, true)) view.setFloat64(offset + 12, amount, true)
    } else {
      view.setUint32(offset, 1, true)
      view.setFloat64(offset + 4, amount, true)
      view.setFloat64(offset + 12, amount, true)
      if (!isCounter) {
        const list = windows.get(start)
        if (list === undefined) windows.set(start, [key])
        else list.push(key)
      }
    }
    if (i % 1_000 !== 0) continue
    if (i % 10_000 === 0) await nextTurn()
    for (const [open, list] of windows) {
      if (open + SIZE_MS - 1 > highest - DISORDER_MS - 1) continue
      for (const each of list) {
        keyView.setFloat64(0, open)
        keyView.setUint32(8, each)
        if (!backend.peekSync(keyBytes, slot)) continue
        results++
        checksum += slot.view.getFloat64(slot.offset + 4, true)
        backend.deleteSync(keyBytes)
      }
      windows.delete(open)
    }
  }
  await backend.close()
}

/** A counter as bare as the engine allows: the keys of 32 events are told, then one update in place for each; no job, no typed state. */
async function runEngineInPlace(): Promise<void> {
  const made = new Events()
  const backend = new MemoryStateBackend({ maxBytes: 4 * 2 ** 30 })
  const slot = new Slot()
  const keyBytes = new Uint8Array(4 * EVENTS_TOLD)
  const keyView = new DataView(keyBytes.buffer)
  const ends = Int32Array.from({ length: EVENTS_TOLD }, (_, i) => 4 * (i + 1))
  const stretch = { bytes: keyBytes, offset: 0, length: 4 }
  const some: Reading[] = []
  for (let turn = 1; !made.isAtEnd; turn++) {
    some.length = 0
    while (some.length < EVENTS_TOLD && !made.isAtEnd) {
      const event = made.next()
      keyView.setUint32(4 * some.length, event.key)
      some.push(event)
    }
    if (backend.isFar) backend.bringNear(keyBytes, ends, some.length)
    for (let i = 0; i < some.length; i++) {
      const { amount } = some[i] as Reading
      stretch.offset = 4 * i
      const isThere = backend.updateSync(stretch, 20, slot)
      const { view, offset } = slot
      view.setUint32(offset, view.getUint32(offset, true) + 1, true)
      view.setFloat64(offset + 4, view.getFloat64(offset + 4, true) + amount, true)
      if (!isThere || amount > view.getFloat64(offset + 12, true)) view.setFloat64(offset + 12, amount, true)
    }
    if (turn % 300 === 0) await nextTurn()
  }
  await backend.close()
}

// What watches is loaded by then: that is a matter of its packages.
const watch = subject.endsWith('watched') ? await watching() : undefined
const before = process.cpuUsage()
const delay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
const runningDelay = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS })
const onReady = () => void runningDelay.enable()
subscribe('holdfast:job.ready', onReady)
delay.enable()
if (subject === 'Map by hand') runMapByHand()
else if (subject === 'engine in place') await runEngineInPlace()
else if (subject === 'source alone') await runSourceAlone()
else if (subject === 'typed state by hand') await runStateByHand()
else if (subject.endsWith('by hand')) await runEngineByHand()
else await runAsJob()
const whole = process.cpuUsage(before)
const { user, system } = beforeLastCut ?? whole
delay.disable()
runningDelay.disable()
if (!isCounter && checksum === 0) throw new Error('nothing came out')
if (watch !== undefined && messages === 0) throw new Error('nothing was told')
const figures: WindowFigures = {
  startSeconds: (before.user + before.system) / 1e6,
  secondsPerMillion: (user + system) / events,
  lastCutSeconds: (whole.user + whole.system - user - system) / 1e6,
  resultsPerEvent: results / events,
  // The monitor counts its own interval as delay.
  delayP99Ms: Math.max(0, delay.percentile(99) / 1e6 - DELAY_RESOLUTION_MS),
  delayMaxMs: Math.max(0, delay.max / 1e6 - DELAY_RESOLUTION_MS),
  runningDelayMaxMs: Math.max(0, runningDelay.max / 1e6 - DELAY_RESOLUTION_MS),
}
console.log(JSON.stringify(figures))
process.exit(0)
