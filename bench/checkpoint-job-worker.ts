// A windowed job at full speed, or its recovery, in a process of its own. The job prints its figures as one line of JSON
// when its time is over, and goes on until it is killed.

import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { createHistogram } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import v8 from 'node:v8'
import { gunzip, gzip } from 'node:zlib'
import {
  CheckpointCoordinator,
  FileCheckpointStorage,
  MemoryStateBackend,
  type SyncStateBackend,
} from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'
import { keyText } from './checkpoint-state.js'

export type JobSubject = 'memory' | 'lmdb' | 'map'

export interface Delays {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export interface JobFigures {
  readonly eventsPerSecond: number
  readonly checkpoints: number
  /** Delays of the event loop, in which half a millisecond of work is done in each turn. */
  readonly delays: Delays
  /** The same while a checkpoint is being made. */
  readonly delaysBesideCheckpoints: Delays
}

export interface RecoveryFigures {
  /** From the start of the process until the state is there. */
  readonly recoveredMs: number
  readonly entries: number
}

/** The state that the job keeps, whatever it is kept in. */
interface Store {
  add(key: string, amount: number): void
  /** The same; waits where the engine wants writers to wait, without stopping the event loop. */
  addAwaited(key: string, amount: number): Promise<void>
  /** Begins to save the state every so often; `onSaving` is told when a checkpoint begins and ends. */
  saveEvery(intervalMs: number, onSaving: (isSaving: boolean) => void): Promise<void>
}

const [action, name, directory, keysText, secondsText, checkpointsText] = process.argv.slice(2) as [
  'run' | 'recover',
  JobSubject,
  string,
  string,
  string?,
  string?,
]
const keys = Number(keysText)
const INTERVAL_MS = 5_000
const TURN_MS = 0.5
const EVENTS_BETWEEN_LOOKS = 50
const files = join(directory, 'checkpoints')
const handFile = join(directory, 'state')

/** Count and sum of a window, and what else belongs to it: 100 bytes. */
class BackendStore implements Store {
  readonly #backend: SyncStateBackend
  readonly #value = Buffer.alloc(100)

  constructor(backend: SyncStateBackend) {
    this.#backend = backend
  }

  add(key: string, amount: number): void {
    const at = Buffer.from(key, 'latin1')
    this.#backend.putSync(at, this.#added(at, amount))
  }

  async addAwaited(key: string, amount: number): Promise<void> {
    const at = Buffer.from(key, 'latin1')
    await this.#backend.put(at, this.#added(at, amount))
  }

  #added(key: Uint8Array, amount: number): Uint8Array {
    const stored = this.#backend.getSync(key)
    if (stored === undefined) this.#value.fill(0)
    else this.#value.set(stored)
    this.#value.writeDoubleLE(this.#value.readDoubleLE(0) + 1, 0)
    this.#value.writeDoubleLE(this.#value.readDoubleLE(8) + amount, 8)
    return this.#value
  }

  async saveEvery(intervalMs: number, onSaving: (isSaving: boolean) => void): Promise<void> {
    const storage = new FileCheckpointStorage(files)
    const coordinator = new CheckpointCoordinator(this.#backend, { storage, intervalMs })
    coordinator.on('started', () => onSaving(true))
    coordinator.on('completed', () => onSaving(false))
    coordinator.on('failed', ({ error }) => {
      throw error
    })
    await coordinator.start()
  }
}

class MapStore implements Store {
  readonly #state = new Map<string, Buffer>()

  add(key: string, amount: number): void {
    let value = this.#state.get(key)
    if (value === undefined) {
      value = Buffer.alloc(100)
      this.#state.set(key, value)
    }
    value.writeDoubleLE(value.readDoubleLE(0) + 1, 0)
    value.writeDoubleLE(value.readDoubleLE(8) + amount, 8)
  }

  async addAwaited(key: string, amount: number): Promise<void> {
    this.add(key, amount)
  }

  async saveEvery(intervalMs: number, onSaving: (isSaving: boolean) => void): Promise<void> {
    let isSaving = false
    setInterval(async () => {
      if (isSaving) return
      isSaving = true
      onSaving(true)
      const packed = await promisify(gzip)(v8.serialize(this.#state), { level: 1 })
      const file = await open(`${handFile}.new`, 'w')
      await file.writeFile(packed)
      await file.sync()
      await file.close()
      await rename(`${handFile}.new`, handFile)
      onSaving(false)
      isSaving = false
    }, intervalMs)
  }
}

function drawnKey(): string {
  return keyText(Math.floor(Math.random() * keys))
}

async function openBackend(): Promise<SyncStateBackend> {
  return name === 'memory'
    ? new MemoryStateBackend()
    : await LmdbStateBackend.open({ path: join(directory, 'store') })
}

/** Times between two firings of a timer of 1 ms, while it is on. */
class LoopDelays {
  readonly #histogram = createHistogram()
  #timer: NodeJS.Timeout | undefined
  #lastNs = 0n

  start(): void {
    this.#lastNs = process.hrtime.bigint()
    this.#timer = setInterval(() => this.#record(), 1)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#record()
  }

  figures(): Delays {
    const histogram = this.#histogram
    const ms = (nanoseconds: number) => (histogram.count === 0 ? Number.NaN : nanoseconds / 1e6)
    return {
      p50Ms: ms(histogram.percentile(50)),
      p99Ms: ms(histogram.percentile(99)),
      maxMs: ms(histogram.max),
    }
  }

  #record(): void {
    const nowNs = process.hrtime.bigint()
    this.#histogram.record(nowNs - this.#lastNs)
    this.#lastNs = nowNs
  }
}

async function runJob(): Promise<void> {
  const store = name === 'map' ? new MapStore() : new BackendStore(await openBackend())
  for (let i = 0; i < keys; i++) {
    store.add(keyText(i), 1)
    if (i % 1_000 === 0) await nextTurn()
  }
  let checkpoints = 0
  const all = new LoopDelays()
  const beside = new LoopDelays()
  if (checkpointsText === 'checkpoints') {
    await store.saveEvery(INTERVAL_MS, (isSaving) => {
      if (isSaving) beside.start()
      else {
        beside.stop()
        checkpoints++
      }
    })
  }
  all.start()
  const startedAt = performance.now()
  const until = startedAt + Number(secondsText) * 1_000
  let events = 0
  let isReported = false
  for (;;) {
    for (const turnEnd = performance.now() + TURN_MS; performance.now() < turnEnd; ) {
      for (let i = 1; i < EVENTS_BETWEEN_LOOKS; i++) store.add(drawnKey(), i)
      await store.addAwaited(drawnKey(), EVENTS_BETWEEN_LOOKS)
      events += EVENTS_BETWEEN_LOOKS
    }
    await nextTurn()
    if (isReported || performance.now() < until) continue
    isReported = true
    const eventsPerSecond = (events * 1_000) / (performance.now() - startedAt)
    const figures: JobFigures = {
      eventsPerSecond,
      checkpoints,
      delays: all.figures(),
      delaysBesideCheckpoints: beside.figures(),
    }
    console.log(JSON.stringify(figures))
  }
}

async function recover(): Promise<void> {
  let entries: number
  if (name === 'map') {
    entries = (v8.deserialize(await promisify(gunzip)(await readFile(handFile))) as Map<string, Buffer>).size
  } else {
    const backend = await openBackend()
    if (name === 'memory') {
      const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(files) })
      await coordinator.restoreLatest()
    }
    entries = await backend.count()
  }
  const figures: RecoveryFigures = { recoveredMs: performance.now(), entries }
  console.log(JSON.stringify(figures))
  process.exit(0)
}

await mkdir(directory, { recursive: true })
await (action === 'run' ? runJob() : recover())
