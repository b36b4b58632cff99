import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSavepoint } from '../../src/cli/savepoint.js'
import { type EntryBlock, EntryBlockBuilder, FileCheckpointStorage } from '../../src/index.js'
import { titled } from '../faults/fault-kit.js'
import { leftToLongRuns } from '../support/long.js'

const MIB = 1024 ** 2
/** What no command may need that reads checkpoints, whatever their size. */
const BOUND_MIB = 256
/** 2,048 takes ten minutes; what grows with the checkpoint shows at a quarter of that as well. */
const CHECKPOINT_MIB = Number(process.env['HOLDFAST_CHECKPOINT_MIB'] ?? 320)
const VALUE_BYTES = 32_768
const BLOCK_BYTES = 256 * 1024

const main = fileURLToPath(new URL('../../dist/command/main.js', import.meta.url))

/** Text that hardly compresses, so that the files are as large as what is in them. */
function textOf(bytes: number): Buffer {
  const parts: string[] = []
  for (let i = 0; i * 43 < bytes; i++) parts.push(createHash('sha256').update(String(i)).digest('base64url'))
  return Buffer.from(parts.join('')).subarray(0, bytes)
}

async function* blocks(): AsyncGenerator<EntryBlock, void, undefined> {
  const text = textOf(16 * MIB)
  const builder = new EntryBlockBuilder(BLOCK_BYTES)
  const count = (CHECKPOINT_MIB * MIB) / VALUE_BYTES
  for (let i = 0; i < count; i++) {
    const at = (i * 1_038_907) % (text.length - VALUE_BYTES)
    const key = Buffer.from(`user:${String(i).padStart(9, '0')}`)
    builder.add(key, text.subarray(at, at + VALUE_BYTES), Infinity)
    if (builder.full) yield builder.take()
  }
  if (builder.entryCount > 0) yield builder.take()
}

interface MeasuredCommand {
  readonly args: readonly string[]
  /** Default 0. */
  readonly status?: number
  /** It maps a store of the LMDB engine. */
  readonly maps?: true
  /** What nothing after it needs. */
  readonly gone?: readonly string[]
}

/** Peaks of a process, in MiB. */
interface Peaks {
  /** All that was resident. */
  readonly all: number
  /** What the system cannot take back: memory that lies in no file. */
  readonly own: number
  readonly status: number | null
}

/** Runs the command line and looks at its memory on the way. */
async function peaksOf(args: readonly string[], temporary: string): Promise<Peaks> {
  const env = { ...process.env, TMPDIR: temporary }
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'inherit'], env })
  let [all, own] = [0, 0]
  const look = () => {
    let text: string
    try {
      text = readFileSync(`/proc/${child.pid}/status`, 'utf8')
    } catch {
      return
    }
    const mib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0) / 1024
    all = Math.max(all, mib('VmHWM'))
    own = Math.max(own, mib('RssAnon') + mib('RssShmem'))
  }
  const timer = setInterval(look, 10)
  const status = await new Promise<number | null>((resolve) => child.once('exit', resolve))
  clearInterval(timer)
  return { all, own, status }
}

const left = leftToLongRuns ?? (process.platform === 'linux' ? undefined : 'reads /proc')

describe.skipIf(left !== undefined)(titled(`commands on a checkpoint of ${CHECKPOINT_MIB} MiB`, left), () => {
  let directory = ''
  const at = (name: string) => join(directory, name)

  beforeAll(async () => {
    // Beside the sources: temporary files may lie in memory.
    directory = mkdtempSync(fileURLToPath(new URL('../../build/cli-memory-', import.meta.url)))
    await makeSavepoint(
      new FileCheckpointStorage(at('big')),
      { backend: 'memory', clockMs: 0, source: { offset: 7 }, get: async () => undefined, blocks: blocks() },
      new AbortController().signal,
    )
  })
  afterAll(() => rmSync(directory, { recursive: true, force: true }))

  it(`need no more than ${BOUND_MIB} MiB, each of those that read checkpoints`, async () => {
    const change = ['--put', '{"key":"user:000000003","value":"x"}', '--delete', '{"key":"user:000004000"}']
    const commands: readonly MeasuredCommand[] = [
      { args: ['list', at('big')] },
      { args: ['inspect', at('big')] },
      { args: ['verify', at('big'), '--all'] },
      { args: ['get', at('big'), 'user:000003000'] },
      { args: ['scan', at('big'), '--limit', '10000'] },
      { args: ['count', at('big'), '--prefix', 'user:'] },
      { args: ['stats', at('big')] },
      { args: ['grep', at('big'), '!'], status: 1 },
      { args: ['edit', at('big'), ...change] },
      { args: ['diff', at('big'), '1', '2'], status: 1 },
      { args: ['export', at('big'), '/dev/null', '--id', '1'] },
      { args: ['export', at('big'), '/dev/null', '--id', '1', '--format', 'csv'] },
      { args: ['export', at('big'), '/dev/null', '--id', '1', '--format', 'parquet'] },
      { args: ['export', at('big'), at('part.ndjson'), '--id', '1', '--raw'] },
      { args: ['import', at('part.ndjson'), at('imported')], gone: ['part.ndjson', 'imported'] },
      { args: ['copy', at('big'), at('copied'), '--id', '1'] },
      { args: ['prune', at('copied')], gone: ['copied'] },
      { args: ['repair', at('big'), '1', '--to', at('repaired')], gone: ['repaired'] },
      { args: ['drill', at('big'), '1'], maps: true },
      { args: ['restore', at('big'), '1', '--to', at('store')], maps: true },
      { args: ['scan', at('store'), '--limit', '10000'], maps: true },
      { args: ['verify', at('store')], maps: true, gone: ['store'] },
      { args: ['doctor', at('big')] },
    ]
    let codeMib = 0
    const found: string[] = []
    for (const { args, status = 0, maps = false, gone = [] } of commands) {
      const peaks = await peaksOf([...args, '--quiet'], directory)
      const name = [args[0], ...args.filter((each) => /^--[a-z]+$|^(csv|parquet)$/.test(each))].join(' ')
      if (args[0] === 'list') codeMib = peaks.all - peaks.own
      // Pages of a store that is mapped are the system's, which takes them back when it needs them.
      const needed = Math.round(maps ? peaks.own + codeMib : peaks.all)
      console.log(`${name}: ${needed} MiB${maps ? `, and the store: ${Math.round(peaks.all)}` : ''}`)
      expect([name, peaks.status]).toEqual([name, status])
      if (needed > BOUND_MIB) found.push(`${name}: ${needed} MiB`)
      for (const each of gone) rmSync(at(each), { recursive: true, force: true })
    }
    expect(found).toEqual([])
  }, 900_000)
})
