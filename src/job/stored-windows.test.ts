// Windows of a job whose engine keeps its state itself.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { WriteBatch } from '../backend/write-batch.js'
import { LmdbStateBackend } from '../lmdb/lmdb-state-backend.js'
import { uint32 } from '../state/codec/numbers.js'
import { value as oneValue } from '../state/kinds/definitions.js'
import { defineState } from '../state/schema/define-state.js'
import { ManualClock } from '../testing/manual-clock.js'
import { ScriptedSource } from '../testing/scripted-source.js'
import { count } from '../window/aggregate/ready-made.js'
import { tumbling } from '../window/assign/assigner.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { windowed } from '../window/windowed.js'
import { runJob } from './run-job.js'
import { ndjsonFileSink } from './sink/ndjson-file-sink.js'
import type { Sink } from './sink/sink.js'
import { iterableSource } from './source/iterable-source.js'

const KEYS = 4_000

interface Reading {
  readonly key: number
  readonly at: number
}

let folder: string
let clock: ManualClock
beforeEach(async () => {
  clock = new ManualClock()
  folder = await mkdtemp(join(tmpdir(), 'holdfast-stored-windows-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** One reading of each key, and another one; then what lies behind the window. `waitAt`: the job is held there. */
async function* from(position: number, waitAt: number, reached: () => Promise<void>) {
  for (let i = position; i <= 2 * KEYS; i++) {
    if (i === waitAt) await reached()
    const reading: Reading = i < 2 * KEYS ? { key: i % KEYS, at: 1 } : { key: 0, at: 10 }
    yield [reading, i + 1] as const
  }
  if (waitAt > 2 * KEYS) await reached()
}

const start = (
  backend: LmdbStateBackend,
  waitAt = -1,
  reached = async () => {},
  sink: Sink<string> = ndjsonFileSink<string>({ path: join(folder, 'counts.ndjson') }),
) =>
  runJob({
    name: 'readings',
    source: iterableSource<Reading>({
      from: (position = 0) => from(Number(position), waitAt, reached),
    }),
    key: ({ key }: Reading) => key,
    timestamp: ({ at }: Reading) => at,
    time: { watermarks: ascending() },
    schema: defineState({ key: uint32, states: {} }),
    windows: {
      counts: windowed({
        windows: tumbling({ sizeMs: 10 }),
        aggregate: count(),
        output: ({ key, window, value }) => `${window.startMs} ${key} ${value}`,
      }),
    },
    sink,
    backend,
    flushIntervalMs: 1_000,
    clock,
  })

/** Each window once, in the order of keys. */
async function expectAll(): Promise<void> {
  const lines = (await readFile(join(folder, 'counts.ndjson'), 'utf8')).trimEnd().split('\n')
  const counts = Array.from({ length: KEYS }, (_, key) => `"0 ${key} 2"`)
  expect(lines).toEqual([...counts, '"10 0 1"'])
}

/** Resolves when the job stands between these events; the result lets it go on. */
function gate(): { reached: () => Promise<void>; isThere: Promise<void>; open: () => void } {
  let open = () => {}
  let there = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const isThere = new Promise<void>((resolve) => {
    there = resolve
  })
  return {
    reached: () => {
      there()
      return opened
    },
    isThere,
    open,
  }
}

/** Fails when it is given something. */
const lost: Sink<string> = {
  name: 'lost',
  guarantee: 'idempotent',
  open: async () => ({
    write: async () => {
      throw new Error('the sink is gone')
    },
    prepare: async () => null,
    commit: async () => {},
    close: async () => {},
  }),
}

it('J1: a cut of many windows is written in slices, and is one commit', async () => {
  await using backend = await LmdbStateBackend.open({ path: join(folder, 'store') })
  let largest = 0
  const { writeSync } = backend
  backend.writeSync = (batch: WriteBatch) => {
    largest = Math.max(largest, batch.size)
    writeSync.call(backend, batch)
  }
  const { reached, isThere, open } = gate()
  const job = await start(backend, KEYS, reached)
  await isThere
  await expect.poll(() => job.stats().events).toBe(KEYS)
  // What the job has begun with may be on its way to the disk.
  await backend.flush()
  const before = backend.stats()
  let turns = 0
  let isCounting = true
  const turn = () => {
    turns++
    if (isCounting && backend.stats().puts === before.puts) setImmediate(turn)
  }
  setImmediate(turn)
  clock.advance(1_000)
  await expect.poll(() => backend.stats().commits).toBe(before.commits + 1)
  isCounting = false
  expect(backend.stats().puts).toBeGreaterThan(KEYS)
  expect(turns).toBeGreaterThan(2)
  open()
  await job.finished
  expect(largest).toBeLessThan(KEYS)
  await expectAll()
})

it('J1, J8: where the store is full in the middle of a cut, nothing of it is kept, and the job goes on from the one before', async () => {
  const path = join(folder, 'store')
  {
    await using backend = await LmdbStateBackend.open({ path })
    const { reached, isThere, open } = gate()
    const job = await start(backend, KEYS / 2, reached)
    await isThere
    await expect.poll(() => job.stats().events).toBe(KEYS / 2)
    const stopped = job.stop()
    open()
    await stopped
  }
  {
    await using backend = await LmdbStateBackend.open({ path, maxBytes: 1024 * 1024 })
    // What is left takes some slices of the cut, and not all.
    for (let i = 0; ; i++) {
      try {
        backend.putSync(new Uint8Array([1, i >> 8, i]), new Uint8Array(4_000))
      } catch {
        for (let last = i - 40; last < i; last++) backend.deleteSync(new Uint8Array([1, last >> 8, last]))
        break
      }
    }
    let added = 0
    const { stage } = backend
    backend.stage = () => {
      const staged = stage.call(backend)
      const { add } = staged
      staged.add = (batch) => {
        add.call(staged, batch)
        added += batch.size
      }
      return staged
    }
    const job = await start(backend)
    await expect(job.finished).rejects.toMatchObject({ code: 'BACKEND_FULL' })
    expect(added).toBeGreaterThan(0)
    expect(added).toBeLessThan(KEYS)
  }
  await using backend = await LmdbStateBackend.open({ path })
  const job = await start(backend)
  await job.finished
  await expectAll()
})

it('J1, W16: results of many windows are with the sink before the windows are removed, and a restart between the two gives each once', async () => {
  const path = join(folder, 'store')
  {
    await using backend = await LmdbStateBackend.open({ path })
    const { reached, isThere, open } = gate()
    const job = await start(backend, 2 * KEYS, reached, lost)
    await isThere
    await expect.poll(() => job.stats().events).toBe(2 * KEYS)
    clock.advance(1_000)
    await expect.poll(() => job.stats().cuts).toBe(1)
    open()
    await expect(job.finished).rejects.toMatchObject({ code: 'JOB_FAILED' })
    // They were, when the sink was asked first.
    expect(backend.stats().entries).toBeGreaterThan(KEYS)
  }
  await using backend = await LmdbStateBackend.open({ path })
  const job = await start(backend)
  await job.finished
  await expectAll()
  expect(backend.stats().entries).toBeLessThan(10)
})

it('T8: a window that has fired because the source has ended does not do so again, whenever the job has failed behind that', async () => {
  const path = join(folder, 'store')
  {
    await using backend = await LmdbStateBackend.open({ path })
    const { reached, isThere, open } = gate()
    const job = await start(backend, 2 * KEYS + 1, reached)
    await isThere
    await expect.poll(() => job.stats().events).toBe(2 * KEYS + 1)
    clock.advance(1_000)
    await expect.poll(() => job.stats().cuts).toBe(1)
    const stopped = job.stop()
    open()
    await stopped
  }
  {
    await using backend = await LmdbStateBackend.open({ path })
    const job = await start(backend, undefined, undefined, lost)
    await expect(job.finished).rejects.toMatchObject({ code: 'JOB_FAILED' })
  }
  await using backend = await LmdbStateBackend.open({ path })
  const job = await start(backend)
  await job.finished
  await expectAll()
})

it("a cut on LMDB is the store's own commit: it begins a little before that, and none comes between two cuts", async () => {
  const backend = await LmdbStateBackend.open({
    path: join(folder, 'store'),
    flushIntervalMs: 1_000,
    clock,
  })
  const source = new ScriptedSource<number>(['0'])
  const job = await runJob({
    name: 'counts',
    source,
    key: (key) => key,
    schema: defineState({ key: uint32, states: { seen: oneValue(uint32) } }),
    process: (key, { state }) => state.seen.put(key),
    backend,
    flushIntervalMs: 1_000,
    clock,
  })
  const settled = async () => {
    await backend.flush()
    return backend.stats().commits
  }
  const before = await settled()
  // What each event writes begins an interval of the store, which would end 50 ms behind the cut that has it.
  try {
    for (let cut = 1; cut <= 3; cut++) {
      source.push('0', cut)
      await expect.poll(() => job.stats().events).toBe(cut)
      clock.advance(949)
      expect(job.stats().cuts).toBe(cut - 1)
      clock.advance(1)
      await expect.poll(() => job.stats().cuts).toBe(cut)
      expect([(await settled()) - before, backend.stats().bufferedKeys]).toEqual([cut, 0])
    }
  } finally {
    await job.abandon()
    await backend.close()
  }
})
