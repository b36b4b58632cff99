// Checkpoints that version 1 of the formats once wrote, committed as files. They must restore for ever.
// HOLDFAST_WRITE_FIXTURES=1 writes them anew: only before a format is released.

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { CheckpointCoordinator } from '../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { formatManifest, parseManifest } from '../src/checkpoint/format/manifest.js'
import { manifestName, segmentName } from '../src/checkpoint/format/object-names.js'
import type { Compression } from '../src/checkpoint/types.js'
import { isCodecAvailable } from '../src/codec/block-codec.js'
import { MemoryCheckpointStorage } from '../src/storage/memory-checkpoint-storage.js'
import { streamOf } from '../src/testing/conformance/helpers.js'
import { ManualClock } from '../src/testing/manual-clock.js'
import { ModelStateBackend } from '../src/testing/model-state-backend.js'
import {
  blocksOf,
  bytesIn,
  bytesOf,
  entry,
  namesIn,
  type TestEntry,
  writeTestSegment,
} from './support/checkpoints.js'

const directory = fileURLToPath(new URL('./fixtures/', import.meta.url))
const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const source = { topic: 'requests', offsets: [12, 34], note: 'ü' }

/** 1,500 counters over a few blocks, and everything odd that an entry may be. */
function fixtureEntries(): TestEntry[] {
  const counters = Array.from({ length: 1_500 }, (_, i) =>
    entry(`counter/${String(i).padStart(6, '0')}`, `${'count '.repeat(i % 50)}${i}`),
  )
  const odd: TestEntry[] = [
    { key: new Uint8Array(0), value: bytesOf('the empty key'), expiresAtMs: Infinity },
    { key: Uint8Array.of(0), value: new Uint8Array(0), expiresAtMs: Infinity },
    entry('session', 'expires in 2100', Date.UTC(2100, 0, 1)),
    {
      key: new Uint8Array(2_048).fill(0xff),
      value: new Uint8Array(5_000).fill(7),
      expiresAtMs: START_MS + 1_000.5,
    },
  ]
  return [odd[0], odd[1], ...counters, odd[2], odd[3]].filter((each) => each !== undefined)
}

/** What base and delta of the incremental fixture add up to. */
const incremental = {
  base: [entry('a', 'old'), entry('b', 'stays'), entry('c', 'goes')],
  delta: [entry('a', 'new', Date.UTC(2100, 0, 1)), entry('c', undefined), entry('d', 'added')],
  merged: [entry('a', 'new', Date.UTC(2100, 0, 1)), entry('b', 'stays'), entry('d', 'added')],
}

async function makeFull(compression: Compression): Promise<MemoryCheckpointStorage> {
  const clock = new ManualClock(START_MS)
  const backend = new ModelStateBackend({ clock })
  // By blocks: an engine rounds the time to live of a put up to whole milliseconds, and the format has any time.
  await backend.replaceAll(streamOf(...blocksOf(fixtureEntries())))
  const storage = new MemoryCheckpointStorage()
  const coordinator = new CheckpointCoordinator(backend, {
    storage,
    clock,
    compression,
    source: () => source,
  })
  await coordinator.createCheckpoint()
  await backend.close()
  return storage
}

async function makeIncremental(): Promise<MemoryCheckpointStorage> {
  const storage = await makeFull('none')
  const { manifest } = parseManifest(await bytesIn(storage, manifestName(1)), 1)
  for (const name of await namesIn(storage)) storage.tamper(name, undefined)
  const base = await writeTestSegment(storage, segmentName(1, 'base'), blocksOf(incremental.base))
  const delta = await writeTestSegment(
    storage,
    segmentName(2, 'delta'),
    blocksOf(incremental.delta),
    'none',
    'delta',
  )
  const segments = [
    { ...base, name: segmentName(1, 'base') },
    { ...delta, name: segmentName(2, 'delta') },
  ]
  const id = 'chk-0000000002' as typeof manifest.id
  const made = { ...manifest, id, sequence: 2, kind: 'incremental' as const, entryCount: 3, segments }
  storage.tamper(manifestName(2), formatManifest(made).bytes)
  return storage
}

async function save(storage: MemoryCheckpointStorage, name: string): Promise<void> {
  rmSync(directory + name, { recursive: true, force: true })
  mkdirSync(directory + name, { recursive: true })
  for (const object of await namesIn(storage)) {
    writeFileSync(`${directory}${name}/${object}`, await bytesIn(storage, object))
  }
}

async function load(name: string): Promise<MemoryCheckpointStorage> {
  const storage = new MemoryCheckpointStorage()
  for (const object of readdirSync(directory + name)) {
    storage.tamper(object, readFileSync(`${directory}${name}/${object}`))
  }
  return storage
}

async function expectRestored(
  storage: MemoryCheckpointStorage,
  entries: readonly TestEntry[],
): Promise<void> {
  const clock = new ManualClock(START_MS)
  const backend = new ModelStateBackend({ clock })
  const coordinator = new CheckpointCoordinator(backend, { storage, clock })
  const restored = await coordinator.restoreLatest()
  expect(restored).toMatchObject({ source, entryCount: entries.length, createdAt: new Date(START_MS) })
  expect(await coordinator.listCheckpoints()).toEqual([restored])
  await coordinator.verify(restored?.id ?? '')
  const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')
  const found = Array.from(backend.scanSync(), ([key, value]) => [hex(key), hex(value)])
  expect(found).toEqual(entries.map(({ key, value }) => [hex(key), hex(value)]))
  const expiring = entries.filter(({ expiresAtMs }) => expiresAtMs !== Infinity)
  for (const { key, expiresAtMs } of expiring.sort((left, right) => left.expiresAtMs - right.expiresAtMs)) {
    clock.set(Math.ceil(expiresAtMs) - 1)
    expect(backend.containsSync(key)).toBe(true)
    clock.set(Math.ceil(expiresAtMs))
    expect(backend.containsSync(key)).toBe(false)
  }
  await backend.close()
}

describe.runIf(process.env['HOLDFAST_WRITE_FIXTURES'] === '1')('writing fixtures', () => {
  it('writes them', async () => {
    for (const compression of ['none', 'lz4', 'gzip', 'zstd'] as const) {
      if (isCodecAvailable(compression))
        await save(await makeFull(compression), `checkpoint-v1-${compression}`)
    }
    await save(await makeIncremental(), 'checkpoint-v1-incremental')
    expect(readdirSync(directory)).toContain('checkpoint-v1-incremental')
  })
})

describe('checkpoints of format version 1', () => {
  it.each(['none', 'lz4', 'gzip'] as const)('with %s restore', async (compression) => {
    await expectRestored(await load(`checkpoint-v1-${compression}`), fixtureEntries())
  })

  it.runIf(isCodecAvailable('zstd'))('with zstd restore where the runtime has it', async () => {
    await expectRestored(await load('checkpoint-v1-zstd'), fixtureEntries())
  })

  it.skipIf(isCodecAvailable('zstd'))('with zstd are INCOMPATIBLE, by name, where it has not', async () => {
    const storage = await load('checkpoint-v1-zstd')
    const coordinator = new CheckpointCoordinator(new ModelStateBackend(), { storage })
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      details: { skipped: [{ code: 'INCOMPATIBLE', reason: expect.stringContaining('zstd') }] },
    })
    await expect(coordinator.verify('chk-0000000001')).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })

  it('with a base and a delta restore what they add up to', async () => {
    await expectRestored(await load('checkpoint-v1-incremental'), incremental.merged)
  })

  it('are still written byte for byte', async () => {
    const [fixture, now] = [await load('checkpoint-v1-none'), await makeFull('none')]
    // The one member that changes from release to release.
    const { holdfast } = parseManifest(await bytesIn(fixture, manifestName(1)), 1).manifest
    const { manifest } = parseManifest(await bytesIn(now, manifestName(1)), 1)
    now.tamper(manifestName(1), formatManifest({ ...manifest, holdfast }).bytes)
    expect(await namesIn(now)).toEqual(await namesIn(fixture))
    for (const name of await namesIn(now)) {
      expect(Buffer.compare(await bytesIn(now, name), await bytesIn(fixture, name)), name).toBe(0)
    }
  })
})
