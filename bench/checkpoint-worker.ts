// One part of the checkpoint benchmark in a process of its own; prints its figures as JSON.

import { createHash } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import v8 from 'node:v8'
import { Worker } from 'node:worker_threads'
import { crc32, gunzip, gzip } from 'node:zlib'
import {
  CheckpointCoordinator,
  type CheckpointCoordinatorOptions,
  type Compression,
  FileCheckpointStorage,
  type SyncStateBackend,
} from 'holdfast'
import { open as openLmdb } from 'lmdb'
import {
  check,
  diskBytes,
  type Engine,
  fillSmall,
  fillValue,
  KEY_BYTES,
  keyText,
  measured,
  measuredAsItIs,
  openEngine,
  RANGES,
  SMALL_KEY_BYTES,
  SMALL_VALUE_BYTES,
  type StepFigures,
  VALUE_BYTES,
} from './checkpoint-state.js'
import { median } from './statistics.js'

export interface RangeFigures {
  readonly first: StepFigures
  /** The median of those after it. */
  readonly next: StepFigures
}

export interface FullFigures extends StepFigures {
  readonly bytes: number
}

/** The life of a chain: a full checkpoint, deltas, and the merge of them all. */
export interface ChainFigures {
  readonly full: FullFigures
  /** By the share of entries that had changed; medians of a few. */
  readonly deltas: { readonly [share: string]: FullFigures }
  /** A thousand entries changed, whatever the number of all. */
  readonly thousand: FullFigures
  readonly merge: { readonly wallMs: number; readonly bytes: number }
  /** A full checkpoint while the main thread writes all the time, and the longest pause of such a loop beside a thread that is as busy. */
  readonly loaded: StepFigures
  readonly besideBusyThreadPauseMs: number
}

const [action, subject, directory, count] = process.argv.slice(2) as [string, string, string, string]
const entries = Number(count)
/** Checkpoints of every size: the first ones of a process are not what it is like all day. */
const DELTAS = 3
const SHARES = ['0.001', '0.01', '0.1']
const MAX_DELTAS = (SHARES.length + 1) * DELTAS
const BATCH = 10_000
/** Writes between two turns of the event loop, of the loop whose pauses are compared. */
const LOOP_WRITES = 200
const fullOne = `${directory}-full`
const sample = Math.floor(entries / 3)
const value = Buffer.alloc(VALUE_BYTES)

function put(backend: SyncStateBackend, i: number, version: number): void {
  fillValue(value, i, version)
  backend.putSync(Buffer.from(keyText(i), 'latin1'), value)
}

async function fill(backend: SyncStateBackend): Promise<void> {
  for (let i = 0; i < entries; i++) {
    put(backend, i, 0)
    if (i % BATCH === 0) await sleep(0)
  }
  await backend.flush()
}

async function change(backend: SyncStateBackend, changes: number, version: number): Promise<void> {
  for (let i = 0; i < changes; i++) {
    put(backend, Math.floor(Math.random() * entries), version)
    if (i % BATCH === 0) await sleep(0)
  }
}

async function chain(engine: Engine): Promise<ChainFigures> {
  const backend = await openEngine(engine)
  await fill(backend)
  // A first checkpoint elsewhere: starting the thread, once in the life of a process, is not part of the figures.
  const options = { storage: new FileCheckpointStorage(directory), maxDeltas: MAX_DELTAS }
  const coordinator = new CheckpointCoordinator(backend, options)
  await coordinator.createSavepoint(new FileCheckpointStorage(`${directory}-warm`))
  const make = async (): Promise<FullFigures> => {
    const figures = await measured(() => coordinator.createCheckpoint())
    return { ...figures, bytes: coordinator.stats().lastWrittenBytes ?? 0 }
  }
  const full = await make()
  const makeSome = async (changes: number): Promise<FullFigures> => {
    const made: FullFigures[] = []
    for (let i = 0; i < DELTAS; i++) {
      // As if some time had passed since the last one.
      await backend.flush()
      await change(backend, changes, ++version)
      made.push(await make())
    }
    return medians(made)
  }
  let version = 0
  const deltas: { [share: string]: FullFigures } = {}
  for (const share of SHARES) deltas[share] = await makeSome(entries * Number(share))
  const thousand = await makeSome(1_000)
  const merged = new Promise<{ readonly wallMs: number; readonly bytes: number }>((resolve) => {
    coordinator.on('merged', ({ durationMs, sizeBytes }) => resolve({ wallMs: durationMs, bytes: sizeBytes }))
  })
  // Where a tenth was too much to be tracked, the chain has begun anew and is shorter.
  do {
    await change(backend, 1_000, ++version)
    await make()
  } while (coordinator.stats().chainDeltas <= MAX_DELTAS)
  const merge = await merged
  // What the restores are measured with: a full one, and the new base with a delta.
  await coordinator.createSavepoint(new FileCheckpointStorage(fullOne))
  await change(backend, 1_000, ++version)
  await make()
  const loaded = await besideWrites(backend, async () => {
    await coordinator.createSavepoint(new FileCheckpointStorage(`${directory}-loaded`))
  })
  const { pauseMs: besideBusyThreadPauseMs } = await besideWrites(backend, () => busyThread(full.wallMs))
  return { full, deltas, thousand, merge, loaded, besideBusyThreadPauseMs }
}

function medians(all: readonly FullFigures[]): FullFigures {
  const of = (figure: (each: FullFigures) => number) => median(all.map(figure))
  return {
    wallMs: of(({ wallMs }) => wallMs),
    cpuMs: of(({ cpuMs }) => cpuMs),
    mainCpuMs: of(({ mainCpuMs }) => mainCpuMs),
    pauseMs: of(({ pauseMs }) => pauseMs),
    bytes: of(({ bytes }) => bytes),
  }
}

/** Some work beside a loop that writes all the time. */
function besideWrites(backend: SyncStateBackend, work: () => Promise<void>): Promise<StepFigures> {
  const state = { working: true }
  return measured(async () => {
    const worked = work().finally(() => {
      state.working = false
    })
    for (let version = 0; state.working; version++) {
      for (let i = 1; i < LOOP_WRITES; i++) put(backend, Math.floor(Math.random() * entries), version)
      // One that waits where the engine wants writers to wait.
      await backend.put(Buffer.from(keyText(Math.floor(Math.random() * entries)), 'latin1'), value)
      await nextTurn()
    }
    await worked
  })
}

/** A thread that compresses and hashes for a while, and knows nothing of the state. */
async function busyThread(forMs: number): Promise<void> {
  const code = `
    const { createHash } = require('node:crypto')
    const { deflateSync } = require('node:zlib')
    const block = Buffer.alloc(256 * 1024, 'tenant-0042/model-000000042017')
    for (const until = performance.now() + ${forMs}; performance.now() < until; ) {
      createHash('sha256').update(deflateSync(block, { level: 1 })).update(block).digest()
    }`
  const thread = new Worker(code, { eval: true })
  await new Promise((resolve, reject) => thread.once('exit', resolve).once('error', reject))
}

async function full(compression: Compression): Promise<FullFigures> {
  const backend = await openEngine('memory')
  await fill(backend)
  const settings: CheckpointCoordinatorOptions = {
    storage: new FileCheckpointStorage(directory),
    compression,
  }
  const coordinator = new CheckpointCoordinator(backend, settings)
  await coordinator.createSavepoint(new FileCheckpointStorage(`${directory}-warm`))
  const figures = await measured(() => coordinator.createCheckpoint())
  return { ...figures, bytes: await diskBytes(directory) }
}

async function restore(engine: Engine, from: string): Promise<StepFigures> {
  const backend = await openEngine(engine)
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(from) })
  const figures = await measured(() => coordinator.restoreLatest())
  check((await backend.count()) === entries, 'its count')
  check(backend.getSync(Buffer.from(keyText(sample)))?.length === VALUE_BYTES, 'a value')
  await backend.close()
  return figures
}

/** Ranges that are restored after the first one. */
const NEXT_RANGES = 9

/** Some of as many equal ranges, one after the other: a process that has just begun also loads and compiles what a restore needs. */
async function restoreRanges(engine: Engine, from: string): Promise<RangeFigures> {
  const backend = await openEngine(engine)
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(from) })
  const edge = (part: number) => Buffer.from(keyText(Math.floor((entries * part) / RANGES)), 'latin1')
  const restoreOne = (part: number) => {
    const range = { gte: edge(part), lt: edge(part + 1) }
    return measuredAsItIs(() => coordinator.restoreLatest({ range }))
  }
  const first = await restoreOne(RANGES / 2)
  const others: StepFigures[] = []
  for (let i = 1; i <= NEXT_RANGES; i++) others.push(await restoreOne(RANGES / 2 + i))
  check(Math.abs((await backend.count()) - ((1 + NEXT_RANGES) * entries) / RANGES) <= 2, 'its count')
  await backend.close()
  others.sort((left, right) => left.wallMs - right.wallMs)
  return { first, next: others[(NEXT_RANGES - 1) / 2] as StepFigures }
}

/** What one writes without a library: the whole map at once. */
async function saveByHand(): Promise<FullFigures> {
  const state = new Map<string, Buffer>()
  for (let i = 0; i < entries; i++) {
    const own = Buffer.alloc(VALUE_BYTES)
    fillValue(own, i)
    state.set(keyText(i), own)
  }
  const figures = await measured(async () => {
    const packed = await promisify(gzip)(v8.serialize(state), { level: 1 })
    await writeFile(packed)
  })
  return { ...figures, bytes: await diskBytes(directory) }
}

async function restoreByHand(): Promise<StepFigures> {
  let state = new Map<string, Buffer>()
  const figures = await measured(async () => {
    const packed = await readFile(join(directory, 'state'))
    state = v8.deserialize(await promisify(gunzip)(packed)) as Map<string, Buffer>
  })
  check(state.size === entries, 'its count')
  fillValue(value, sample)
  check(value.equals(state.get(keyText(sample)) ?? new Uint8Array(0)), 'a value')
  return figures
}

/** Keys of 8 bytes with values of 16 in no order, nearly all of which change between two checkpoints: like counters. */
async function small(): Promise<FullFigures> {
  const backend = await openEngine('memory')
  const entry = Buffer.alloc(SMALL_KEY_BYTES + SMALL_VALUE_BYTES)
  const [key, own] = [entry.subarray(0, SMALL_KEY_BYTES), entry.subarray(SMALL_KEY_BYTES)]
  const changeSmall = async (changes: number, which: (i: number) => number, version: number) => {
    for (let i = 0; i < changes; i++) {
      fillSmall(entry, which(i), version)
      backend.putSync(key, own)
      if (i % BATCH === 0) await sleep(0)
    }
  }
  await changeSmall(entries, (i) => i, 0)
  const coordinator = new CheckpointCoordinator(backend, { storage: new FileCheckpointStorage(directory) })
  await coordinator.createCheckpoint()
  const made: FullFigures[] = []
  for (let version = 1; version <= DELTAS; version++) {
    await changeSmall(entries * 2, () => Math.floor(Math.random() * entries), version)
    const figures = await measured(() => coordinator.createCheckpoint())
    made.push({ ...figures, bytes: coordinator.stats().lastWrittenBytes ?? 0 })
  }
  return medians(made)
}

/** The raw bytes of a checkpoint of the states that are measured, in the order of keys where that is the order in which they are put. */
function rawBytes(kind: 'usual' | 'small'): Buffer {
  const entryBytes = 8 + (kind === 'small' ? SMALL_KEY_BYTES + SMALL_VALUE_BYTES : KEY_BYTES + VALUE_BYTES)
  const raw = Buffer.alloc(entries * entryBytes)
  for (let i = 0; i < entries; i++) {
    const at = i * entryBytes + 8
    if (kind === 'small') {
      fillSmall(raw.subarray(at, at + entryBytes - 8), i, 1)
    } else {
      raw.write(keyText(i), at, 'latin1')
      fillValue(value, i)
      value.copy(raw, at + KEY_BYTES)
    }
  }
  return raw
}

/** The same raw bytes compressed in blocks, hashed and written by one thread: what no checkpoint can be without. */
async function floor(kind: 'usual' | 'small'): Promise<FullFigures> {
  const lz4 = createRequire(import.meta.url)('lz4-napi') as { compressSync(bytes: Buffer): Buffer }
  const raw = rawBytes(kind)
  const figures = await measured(async () => {
    const file = await open(join(directory, 'state'), 'w')
    const sha256 = createHash('sha256')
    for (let at = 0; at < raw.length; at += 256 * 1024) {
      const packed = lz4.compressSync(raw.subarray(at, at + 256 * 1024))
      sha256.update(packed)
      await file.write(packed)
    }
    sha256.digest()
    await file.sync()
    await file.close()
  })
  return { ...figures, bytes: await diskBytes(directory) }
}

/** The same blocks read, hashed, decompressed and summed by one thread: what no restore can be without. */
async function floorOfRestore(): Promise<StepFigures> {
  const lz4 = createRequire(import.meta.url)('lz4-napi') as {
    compressSync(bytes: Buffer): Buffer
    uncompressSync(bytes: Buffer): Buffer
  }
  const raw = rawBytes('usual')
  const sizes: number[] = []
  const path = join(directory, 'blocks')
  const written = await open(path, 'w')
  for (let at = 0; at < raw.length; at += 256 * 1024) {
    const packed = lz4.compressSync(raw.subarray(at, at + 256 * 1024))
    sizes.push(packed.length)
    await written.write(packed)
  }
  await written.close()
  return await measured(async () => {
    const file = await open(path, 'r')
    const sha256 = createHash('sha256')
    for (const size of sizes) {
      const { buffer } = await file.read(Buffer.allocUnsafe(size), 0, size)
      sha256.update(buffer)
      crc32(lz4.uncompressSync(buffer))
    }
    sha256.digest()
    await file.close()
  })
}

/** The same entries appended to LMDB by its package in one transaction: what no restore into a store can be without. */
async function floorOfStore(): Promise<StepFigures> {
  const keys = Array.from({ length: entries }, (_, i) => Buffer.from(keyText(i), 'latin1'))
  const values = keys.map((_, i) => {
    const own = Buffer.alloc(VALUE_BYTES)
    fillValue(own, i)
    return own
  })
  const binary = { encoding: 'binary', keyEncoding: 'binary' } as const
  const root = openLmdb<Buffer, Buffer>({
    path: join(directory, 'data.mdb'),
    noSubdir: true,
    pageSize: 8_192,
    overlappingSync: false,
    ...binary,
  })
  const figures = await measured(async () => {
    root.transactionSync(() => {
      for (const [i, key] of keys.entries()) root.putSync(key, values[i] as Buffer, { append: true })
    })
  })
  await root.close()
  return figures
}

async function writeFile(bytes: Buffer): Promise<void> {
  const file = await open(join(directory, 'state'), 'w')
  await file.writeFile(bytes)
  await file.sync()
  await file.close()
}

function run(): Promise<unknown> {
  switch (action) {
    case 'chain':
      return chain(subject as Engine)
    case 'full':
      return full(subject as Compression)
    case 'restore':
      return restore(subject as Engine, fullOne)
    case 'restore-ranges':
      return restoreRanges(subject as Engine, fullOne)
    case 'restore-chain':
      return restore(subject as Engine, directory)
    case 'small':
      return small()
    case 'floor':
      return floor(subject as 'usual' | 'small')
    case 'floor-of-restore':
      return floorOfRestore()
    case 'floor-of-store':
      return floorOfStore()
    case 'save-by-hand':
      return saveByHand()
    case 'restore-by-hand':
      return restoreByHand()
    default:
      throw new Error(`unknown: ${action}`)
  }
}

await mkdir(directory, { recursive: true })
// A merge goes on in the background, and keeps no process alive.
setInterval(() => {}, 1_000)
if (keyText(0).length !== KEY_BYTES) throw new Error(`keys have ${keyText(0).length} bytes`)
const figures = await run()
process.stdout.write(JSON.stringify(figures))
// Without a shutdown: a final checkpoint is not what is measured here.
process.exit(0)
