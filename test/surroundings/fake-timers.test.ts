// What a test runner puts in the place of timers: time stands still then, and turns of the event loop do not.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { CheckpointCoordinator, FileCheckpointStorage, MemoryStateBackend } from '../../src/index.js'
import { LmdbStateBackend } from '../../src/lmdb.js'

let directory = ''
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-fake-timers-'))
})
afterEach(() => void vi.useRealTimers())
afterAll(() => rm(directory, { recursive: true, force: true }))

it.each([
  ['memory', () => new MemoryStateBackend()],
  ['lmdb', () => LmdbStateBackend.open({ path: join(directory, 'store') })],
])('checkpoints and restores of the %s engine go on while timers are replaced', async (name, open) => {
  vi.useFakeTimers()
  const backend = await open()
  const storage = new FileCheckpointStorage(join(directory, name))
  const coordinator = new CheckpointCoordinator(backend, { storage })
  for (let i = 0; i < 5_000; i++) backend.putSync(Buffer.from(`key ${i}`), Buffer.alloc(100))
  await coordinator.createCheckpoint()
  await backend.delete(Buffer.from('key 1'))
  await coordinator.createCheckpoint()
  await backend.clear()
  await coordinator.restoreLatest()
  expect(await backend.count()).toBe(4_999)
  await coordinator.shutdown()
  await backend.close()
})
