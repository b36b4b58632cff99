import { spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SyncStateBackend } from '../../src/backend/state-backend.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { StateStore } from '../../src/state.js'
import { FileCheckpointStorage } from '../../src/storage/file-checkpoint-storage.js'
import { runs } from '../support/long.js'
import { placeOf, places, tagsOf, writtenKey } from './children/indexed-store.js'
import { type CompiledSources, compileSources } from './compile-sources.js'

const KILLS = runs(25, 1)

let sources: CompiledSources
let folder: string

beforeAll(async () => {
  sources = await compileSources()
  folder = await mkdtemp(join(tmpdir(), 'holdfast-indices-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

/** Lets a process write until it has said so many lines, and kills it; the versions that it said are safe. */
async function writeUntil(first: number, lines: number): Promise<{ flushed: number; published: number }> {
  const script = sources.pathOf('test/faults/children/indexed-puts.ts')
  const child = spawn(process.execPath, [script, folder, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => child.on('exit', (_, signal) => resolve(signal)))
  const safe = { flushed: 0, published: 0 }
  let said = 0
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, version] = line.split(' ') as ['flushed' | 'published', string]
    safe[what] = Number(version)
    if (++said === lines) child.kill('SIGKILL')
  }
  expect(await ended).toBe('SIGKILL')
  expect(said).toBeGreaterThanOrEqual(lines)
  return safe
}

/** That each index has exactly what the entries say, and what of each write is there; returns the latest version. */
async function checked(backend: SyncStateBackend): Promise<number> {
  const store = await StateStore.open(backend, places)
  const entries = [...store.place.entries()]
  const found = [...store.place.query('byFloor')]
  expect(found.map(({ entry }) => entry).sort()).toEqual(entries.sort())
  expect(found.every(({ entry: [, { floor }], derived }) => floor === derived)).toBe(true)
  const tags = [...store.tags.all()]
  const byTag = [...store.tags.query('byTag')].map(({ entry: [key], derived }) => `${key} ${derived}`)
  expect(byTag.sort()).toEqual(tags.flatMap(([key, , each]) => each.map((tag) => `${key} ${tag}`)).sort())
  // No index entry is left of what is not there any more: a query would pass over it.
  const indexEntries = [
    ...backend.scanSync({ gte: Uint8Array.of(0xff, 0xfe), lt: Uint8Array.of(0xff, 0xff) }),
  ]
  expect(indexEntries).toHaveLength(found.length + byTag.length)
  const latest = Math.max(...entries.map(([, { version }]) => version))
  for (const [key, { version, floor }] of entries) {
    expect([key, floor]).toEqual([writtenKey(version), placeOf(version).floor])
    expect(store.tags.get(key, 'all')).toEqual(tagsOf(version))
  }
  return latest
}

describe('indices of a store that is killed while it is written', () => {
  it('have what the entries say, in the store and in the latest checkpoint', async () => {
    let next = 1
    for (let kill = 0; kill < KILLS; kill++) {
      const safe = await writeUntil(next, 3 + (kill % 5))
      {
        await using backend = await LmdbStateBackend.open({ path: join(folder, 'store') })
        const latest = await checked(backend)
        // The last write that counted may be of a key that was deleted since.
        expect(latest).toBeGreaterThanOrEqual(safe.flushed - 1)
        next = latest + 1
      }
      await using backend = new MemoryStateBackend()
      const storage = new FileCheckpointStorage(join(folder, 'checkpoints'))
      // Its end makes a checkpoint, too, which is the latest one where the next writer is killed before it has published any.
      let restoredVersion = 0
      const source = () => ({ version: restoredVersion })
      await using coordinator = new CheckpointCoordinator(backend, { storage, source })
      const restored = await coordinator.restoreLatest()
      if (restored === undefined) {
        expect(safe.published).toBe(0)
        continue
      }
      const { version } = restored.source as { version: number }
      restoredVersion = version
      expect(version).toBeGreaterThanOrEqual(safe.published)
      expect(await checked(backend)).toBeLessThanOrEqual(version)
    }
    expect(next).toBeGreaterThan(KILLS * 20)
  })
})
