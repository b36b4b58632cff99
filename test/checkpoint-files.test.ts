import { chmodSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CheckpointCoordinator } from '../src/checkpoint/coordinator/checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from '../src/checkpoint/coordinator/coordinator-options.js'
import { MemoryStateBackend } from '../src/memory/memory-state-backend.js'
import { FileCheckpointStorage } from '../src/storage/file-checkpoint-storage.js'
import { bytesOf, textOf } from './support/checkpoints.js'
import { runs } from './support/long.js'

const ENTRIES = runs(20_000, 4_000)

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-checkpoints-'))
})

afterEach(() => {
  rmSync(directory, { recursive: true, force: true })
})

interface Job {
  readonly backend: MemoryStateBackend
  readonly coordinator: CheckpointCoordinator
}

function job(path = directory, options: Partial<CheckpointCoordinatorOptions> = {}): Job {
  const backend = new MemoryStateBackend()
  const storage = new FileCheckpointStorage(path)
  // Full ones only: how a file is called does not then depend on how much has changed.
  return {
    backend,
    coordinator: new CheckpointCoordinator(backend, { storage, incremental: false, ...options }),
  }
}

function fill(backend: MemoryStateBackend, generation: number): void {
  for (let i = 0; i < ENTRIES; i++)
    backend.putSync(bytesOf(`key/${i}`), bytesOf(`value ${i} of ${generation}`))
}

function expectFilled(backend: MemoryStateBackend, generation: number): void {
  for (const i of [0, 1, 777, ENTRIES - 1]) {
    expect(textOf(backend.getSync(bytesOf(`key/${i}`)))).toBe(`value ${i} of ${generation}`)
  }
}

describe('checkpoints in a directory', () => {
  it.each(['lz4', 'gzip', 'none'] as const)('come back in the next process, with %s', async (compression) => {
    const path = join(directory, 'not', 'yet', 'there')
    const first = job(path, { compression, source: () => ({ offset: 9 }) })
    expect(await first.coordinator.restoreLatest()).toBeUndefined()
    fill(first.backend, 1)
    await first.coordinator.createCheckpoint()
    fill(first.backend, 2)
    await first.coordinator.shutdown()
    expect(
      readdirSync(path)
        .filter((name) => !name.startsWith('.'))
        .sort(),
    ).toEqual([
      'chk-0000000001.base.segment',
      'chk-0000000001.manifest',
      'chk-0000000002.base.segment',
      'chk-0000000002.manifest',
      'sequence',
    ])
    const second = job(path)
    expect(await second.coordinator.restoreLatest()).toMatchObject({
      id: 'chk-0000000002',
      entryCount: ENTRIES,
      source: { offset: 9 },
    })
    expectFilled(second.backend, 2)
    expect(await second.backend.count()).toBe(ENTRIES)
    await second.coordinator.restore('chk-0000000001')
    expectFilled(second.backend, 1)
    await second.coordinator.shutdown()
    await Promise.all([first.backend.close(), second.backend.close()])
  })

  it('belong to one coordinator at a time', async () => {
    const first = job()
    const second = job()
    await first.coordinator.start()
    await expect(second.coordinator.start()).rejects.toMatchObject({ code: 'FENCED' })
    await second.coordinator.shutdown()
    fill(first.backend, 1)
    await first.coordinator.shutdown()
    const third = job()
    await third.coordinator.start()
    expect((await third.coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    await third.coordinator.shutdown()
  })

  it('fall back when a file was cut off, and keep the content when all were', async () => {
    const first = job()
    for (const generation of [1, 2]) {
      fill(first.backend, generation)
      await first.coordinator.createCheckpoint()
    }
    truncateSync(join(directory, 'chk-0000000002.base.segment'), 5_000)
    const second = job()
    expect((await second.coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    expectFilled(second.backend, 1)
    fill(second.backend, 3)
    truncateSync(join(directory, 'chk-0000000001.base.segment'), 5_000)
    await expect(second.coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    expectFilled(second.backend, 3)
    await first.coordinator.shutdown()
  })

  it('need a directory that can be one', async () => {
    const file = join(directory, 'file')
    writeFileSync(file, 'in the way')
    const { coordinator } = job(file)
    await expect(coordinator.start()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({
      code: 'CHECKPOINT_FAILED',
      cause: { code: 'STORAGE_ERROR' },
    })
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    // After a restore that failed there is nothing to save.
    await coordinator.shutdown()
    await expect(job(file).coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
  })

  it.skipIf(process.getuid?.() === 0)(
    'that may not be read fail the restore: they may hold something',
    async () => {
      const first = job()
      await first.coordinator.shutdown()
      chmodSync(directory, 0o000)
      const second = job()
      await expect(second.coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
      chmodSync(directory, 0o700)
    },
  )
})
