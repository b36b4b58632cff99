// Saves or restores one state in a process of its own, one way, and prints its figures as JSON.

import { mkdir, open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import v8 from 'node:v8'
import { gunzip, gzip } from 'node:zlib'
import { CheckpointCoordinator, type Compression, FileCheckpointStorage, MemoryStateBackend } from 'holdfast'

export interface CheckpointFigures {
  readonly wallMs: number
  /** Longest time between two firings of a timer of 1 ms: the longest pause of the event loop, and that millisecond. */
  readonly pauseMs: number
  /** Bytes of the files. */
  readonly diskBytes: number
}

export type CheckpointWay = Compression | 'by hand'

const KEY_BYTES = 30
const VALUE_BYTES = 100
const BATCH = 10_000

const [way, action, directory, count] = process.argv.slice(2) as [CheckpointWay, string, string, string]
const entries = Number(count)

/** `tenant-0042/model-000000042017` */
function keyText(i: number): string {
  const tenant = String(Math.floor(i / 1_000) % 10_000).padStart(4, '0')
  return `tenant-${tenant}/model-${String(i).padStart(12, '0')}`
}

/** 100 bytes: 60 of a text with numbers that recur, and 40 that do not compress. lz4 and gzip shrink them moderately. */
function fillValue(value: Buffer, i: number): void {
  value.write(
    `{"count":${i % 1_000},"sum":${(i * 37) % 100_000},"window":"2026-01-02T03:04"}`.padEnd(60),
    0,
    'latin1',
  )
  let mixed = (i + 1) >>> 0
  for (let at = 60; at < VALUE_BYTES; at += 4) {
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d) + 0x9e3779b9
    value.writeUInt32LE((mixed ^ (mixed >>> 12)) >>> 0, at)
  }
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the restored state is wrong: ${what}`)
}

const sample = Math.floor(entries / 3)

/** The longest pause is that of the measured step alone; the loop turns once before and after it. */
async function measured(step: () => Promise<void>): Promise<{ wallMs: number; pauseMs: number }> {
  globalThis.gc?.()
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  await sleep(20)
  delays.reset()
  // After a reset, the next firing only sets the start: without this, work at the very beginning would not be seen.
  await sleep(5)
  const startedAt = performance.now()
  await step()
  const wallMs = performance.now() - startedAt
  await sleep(5)
  delays.disable()
  return { wallMs, pauseMs: delays.max / 1e6 }
}

async function diskBytes(): Promise<number> {
  const names = await readdir(directory)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function withHoldfast(compression: Compression): Promise<{ wallMs: number; pauseMs: number }> {
  const backend = new MemoryStateBackend()
  const storage = new FileCheckpointStorage(directory)
  const coordinator = new CheckpointCoordinator(backend, { storage, compression })
  const value = Buffer.alloc(VALUE_BYTES)
  if (action === 'save') {
    for (let i = 0; i < entries; i++) {
      fillValue(value, i)
      backend.putSync(Buffer.from(keyText(i), 'latin1'), value)
      if (i % BATCH === 0) await sleep(0)
    }
    return await measured(async () => {
      await coordinator.createCheckpoint()
    })
  }
  const figures = await measured(async () => {
    await coordinator.restoreLatest()
  })
  check((await backend.count()) === entries, 'its count')
  fillValue(value, sample)
  check(value.equals(backend.getSync(Buffer.from(keyText(sample))) ?? new Uint8Array(0)), 'a value')
  return figures
}

/** What one writes without a library: the whole map at once. */
async function byHand(): Promise<{ wallMs: number; pauseMs: number }> {
  const path = join(directory, 'state.v8.gz')
  if (action === 'save') {
    const state = new Map<string, Buffer>()
    for (let i = 0; i < entries; i++) {
      const value = Buffer.alloc(VALUE_BYTES)
      fillValue(value, i)
      state.set(keyText(i), value)
    }
    return await measured(async () => {
      const packed = await promisify(gzip)(v8.serialize(state), { level: 1 })
      const file = await open(path, 'w')
      await file.writeFile(packed)
      await file.sync()
      await file.close()
    })
  }
  let state = new Map<string, Buffer>()
  const figures = await measured(async () => {
    state = v8.deserialize(await promisify(gunzip)(await readFile(path))) as Map<string, Buffer>
  })
  check(state.size === entries, 'its count')
  const value = Buffer.alloc(VALUE_BYTES)
  fillValue(value, sample)
  check(value.equals(state.get(keyText(sample)) ?? new Uint8Array(0)), 'a value')
  return figures
}

await mkdir(directory, { recursive: true })
if (keyText(0).length !== KEY_BYTES) throw new Error(`keys have ${keyText(0).length} bytes`)
const figures = way === 'by hand' ? await byHand() : await withHoldfast(way)
const result: CheckpointFigures = { ...figures, diskBytes: await diskBytes() }
process.stdout.write(JSON.stringify(result))
// Without a shutdown: its final checkpoint is not what is measured here.
process.exit(0)
