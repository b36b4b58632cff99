import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { StateStore } from '../../src/state.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { runs } from '../support/long.js'
import { ENTRIES, fill, keyOf, version0, version1, version3, version4 } from './children/versioned-store.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

const KILLS = runs(20, 1)

let sources: CompiledSources
let folder: string

beforeAll(async () => {
  sources = await compileSources()
  folder = await mkdtemp(join(tmpdir(), 'holdfast-migration-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

/** Runs a migration in a process, which dies after some pages; whether it had been done before. */
async function migrateUntil(path: string, version: string, pages: number): Promise<boolean> {
  const script = sources.pathOf('test/faults/children/migrate-store.ts')
  const child = spawn(process.execPath, [script, path, version, String(pages)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  let isDone = false
  for await (const line of createInterface({ input: child.stdout })) isDone ||= line === 'done'
  const [code, signal] = await ended
  expect([code, signal]).toEqual(isDone ? [0, null] : [null, 'SIGKILL'])
  return isDone
}

async function killedAndResumed(path: string, version: string): Promise<number> {
  for (let kills = 0; kills < KILLS; kills++) {
    if (await migrateUntil(path, version, 1 + kills * 2)) return kills
  }
  expect(await migrateUntil(path, version, Infinity)).toBe(true)
  return KILLS
}

describe('a store that version 1 of a program has written', () => {
  it('is opened by version 3, migrated eagerly, killed in the middle and resumed; by version 4, too; never by version 0', async () => {
    const path = join(folder, 'store')
    const filled = await LmdbStateBackend.open({ path })
    await fill(filled)
    await expect(StateStore.open(filled, version0)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    await filled.close()
    expect(await killedAndResumed(path, '3')).toBeGreaterThan(0)
    {
      await using backend = await LmdbStateBackend.open({ path })
      for (const older of [version0, version1]) {
        await expect(StateStore.open(backend, older)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
      }
      const store = await StateStore.open(backend, version3)
      expect(
        (await store.plan()).states.every(
          ({ entries, indexesToBuild }) => entries + indexesToBuild.length === 0,
        ),
      ).toBe(true)
      for (let i = 0; i < ENTRIES; i++) {
        expect(store.total.get(keyOf(i))).toEqual({ cents: i * 100 })
        expect(store.steps.get(keyOf(i))).toEqual([`${i}`, `${i + 1}`])
      }
      expect([...store.profile.query('byLast', { eq: 'Lee3' })]).toHaveLength(ENTRIES / 10)
      expect([...store.profile.entries()]).toHaveLength(ENTRIES)
    }
    expect(await killedAndResumed(path, '4')).toBeGreaterThan(0)
    await using backend = await LmdbStateBackend.open({ path })
    const store = await StateStore.open(backend, version4)
    for (let i = 0; i < ENTRIES; i++) expect(store.steps.get(keyOf(i))).toEqual([`${i}`, `${i + 1}`])
    expect([...store.steps.entries()]).toHaveLength(ENTRIES)
  })

  it('comes back from a checkpoint of it, under version 3, lazily', async () => {
    const storage = new MemoryCheckpointStorage()
    {
      await using backend = new MemoryStateBackend()
      await fill(backend)
      await using coordinator = new CheckpointCoordinator(backend, { storage })
      await coordinator.createCheckpoint()
    }
    await using backend = new MemoryStateBackend()
    await using coordinator = new CheckpointCoordinator(backend, { storage })
    await coordinator.restoreLatest()
    await expect(StateStore.open(backend, version0)).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    const store = await StateStore.open(backend, version3)
    for (let i = 0; i < ENTRIES; i += 7) {
      expect(store.profile.get(keyOf(i))).toEqual({ first: 'Ann', last: `Lee${i % 10}` })
      expect(store.total.get(keyOf(i))).toEqual({ cents: i * 100 })
      store.total.add(keyOf(i), 1)
    }
    await coordinator.createCheckpoint()
    await using again = new MemoryStateBackend()
    await using second = new CheckpointCoordinator(again, { storage })
    await coordinator.shutdown()
    await second.restoreLatest()
    const restored = await StateStore.open(again, version3)
    expect(restored.total.get(keyOf(7))).toEqual({ cents: 701 })
    expect(restored.total.get(keyOf(8))).toEqual({ cents: 800 })
  })
})
