// What is saved and restored by the checkpoint benchmarks, and how a step is measured.

import { readFileSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { MemoryStateBackend, type SyncStateBackend } from 'holdfast'
import { LmdbStateBackend } from 'holdfast/lmdb'

export const KEY_BYTES = 30
export const VALUE_BYTES = 100
export const SMALL_KEY_BYTES = 8
export const SMALL_VALUE_BYTES = 16

/** As many equal ranges a state is divided into where one of them is restored. */
export const RANGES = 128

export type Engine = 'memory' | 'lmdb'

export interface StepFigures {
  readonly wallMs: number
  /** Processor time of all threads. */
  readonly cpuMs: number
  /** That of the main thread among it; NaN where the system does not tell (Linux does). */
  readonly mainCpuMs: number
  /** Longest time between two firings of a timer of 1 ms: the longest pause of the event loop, and that millisecond. */
  readonly pauseMs: number
}

export function openEngine(engine: Engine): Promise<SyncStateBackend> {
  return engine === 'memory' ? Promise.resolve(new MemoryStateBackend()) : LmdbStateBackend.temporary()
}

/** `tenant-0042/model-000000042017` */
export function keyText(i: number): string {
  const tenant = String(Math.floor(i / 1_000) % 10_000).padStart(4, '0')
  return `tenant-${tenant}/model-${String(i).padStart(12, '0')}`
}

/**
 * 100 bytes: 60 of a text with numbers that recur, and 40 that do not compress. lz4 and gzip shrink them moderately.
 * `version` tells one update from another.
 */
export function fillValue(value: Buffer, i: number, version = 0): void {
  value.write(
    `{"count":${(i + version) % 1_000},"sum":${(i * 37) % 100_000},"window":"2026-01-02T03:04"}`.padEnd(60),
    0,
    'latin1',
  )
  let mixed = (i + version * 7_919 + 1) >>> 0
  for (let at = 60; at < VALUE_BYTES; at += 4) {
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d) + 0x9e3779b9
    value.writeUInt32LE((mixed ^ (mixed >>> 12)) >>> 0, at)
  }
}

/** A key that is like no other one, and a counter and a sum as its value, behind each other. */
export function fillSmall(entry: Buffer, i: number, version: number): void {
  let mixed = Math.imul(i ^ 0x9e3779b9, 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  entry.writeUInt32BE((mixed ^ (mixed >>> 16)) >>> 0, 0)
  entry.writeUInt32BE(i, 4)
  entry.writeUInt32LE(version, 8)
  entry.writeUInt32LE(0, 12)
  entry.writeDoubleLE((i % 1_000) * 37.5 + version, 16)
}

/** Measures one step, behind a collection of garbage; the loop turns once before and after it. */
export async function measured(step: () => Promise<unknown>): Promise<StepFigures> {
  globalThis.gc?.()
  return await measuredAsItIs(step)
}

/** The same of a process that runs on: a collection that is asked for also throws compiled code away. */
export async function measuredAsItIs(step: () => Promise<unknown>): Promise<StepFigures> {
  const delays = monitorEventLoopDelay({ resolution: 1 })
  delays.enable()
  await sleep(20)
  delays.reset()
  // After a reset, the next firing only sets the start: without this, work at the very beginning would not be seen.
  await sleep(5)
  const mainCpu = mainThreadMs()
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  await step()
  const wallMs = performance.now() - startedAt
  const { user, system } = process.cpuUsage(cpu)
  const mainCpuMs = mainThreadMs() - mainCpu
  await sleep(5)
  delays.disable()
  return { wallMs, cpuMs: (user + system) / 1_000, mainCpuMs, pauseMs: delays.max / 1e6 }
}

/** Processor time of the main thread so far, in milliseconds. */
function mainThreadMs(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6
  } catch {
    return Number.NaN
  }
}

/** Bytes of all files in a directory. */
export async function diskBytes(directory: string): Promise<number> {
  const names = await readdir(directory)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

export function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the restored state is wrong: ${what}`)
}
