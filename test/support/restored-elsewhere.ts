// What restores have in common whose content another thread makes ready: built for the memory engine, as records for LMDB's.

import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import type { SyncStateBackend } from '../../src/backend/state-backend.js'
import type { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from '../../src/checkpoint/coordinator/coordinator-options.js'
import type { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { bytesIn } from './checkpoints.js'

export interface RestoreBench {
  readonly backend: SyncStateBackend
  readonly coordinator: CheckpointCoordinator
  readonly storage: MemoryCheckpointStorage
  /** Checkpoints that a restore has passed over, and why. */
  readonly skipped: readonly string[]
  /** In which way the backend was given each restore. */
  readonly restores: readonly string[]
}

export const keyOf = (i: number): Buffer => Buffer.from(`key-${String(i).padStart(6, '0')}`)

/** Puts so many entries, of which each third has the time to live. */
export function fillWith(entries: number, backend: SyncStateBackend, version: string, ttlMs?: number): void {
  for (let i = 0; i < entries; i++) {
    const options = ttlMs !== undefined && i % 3 === 0 ? { ttlMs } : {}
    backend.putSync(keyOf(i), Buffer.from(`${version} ${i}`), options)
  }
}

/** What it holds, in few words: how many entries, and a digest of all of them in the order of keys. */
export function shown(backend: SyncStateBackend): string {
  const digest = createHash('sha256')
  let entries = 0
  for (const [key, value] of backend.scanSync()) {
    digest.update(key).update(' ').update(value).update('\n')
    entries++
  }
  return `${entries}: ${digest.digest('hex')}`
}

/** A module of this text, as another thread loads one. */
export function moduleOf(text: string): { readonly module: string; readonly data: undefined } {
  return { module: `data:text/javascript,${encodeURIComponent(text)}`, data: undefined }
}

/** The tests that are the same for both; `way`: how each of these restores is given to the backend. */
export function itIsRestoredWhole(
  entries: number,
  way: string,
  bench: (options?: Partial<CheckpointCoordinatorOptions>) => RestoreBench | Promise<RestoreBench>,
): void {
  it('passes over a checkpoint with damage at its end, and leaves what is there where there is no other', async () => {
    const { backend, coordinator, storage, skipped, restores } = await bench({ incremental: false })
    fillWith(entries, backend, 'a')
    const older = await coordinator.createCheckpoint()
    const expected = shown(backend)
    fillWith(entries, backend, 'b')
    const newer = await coordinator.createCheckpoint()
    const damage = async (id: string) => {
      const name = `${id}.base.segment`
      const bytes = (await bytesIn(storage, name)).slice()
      const at = bytes.length - 200
      bytes[at] = (bytes[at] as number) ^ 1
      storage.tamper(name, bytes)
    }
    await damage(newer.id)
    await coordinator.restoreLatest()
    expect(skipped).toEqual([`${newer.id} CORRUPTION`])
    expect(shown(backend)).toBe(expected)
    fillWith(entries, backend, 'c')
    const present = shown(backend)
    await damage(older.id)
    await expect(coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    expect(shown(backend)).toBe(present)
    expect(new Set(restores)).toEqual(new Set([way]))
  })

  it('ends when it is aborted, and when the backend is closed meanwhile', async () => {
    const { backend, coordinator, skipped } = await bench()
    fillWith(entries, backend, 'a')
    await coordinator.createCheckpoint()
    fillWith(entries, backend, 'b')
    const present = shown(backend)
    const controller = new AbortController()
    await expect(
      coordinator.restoreLatest({ signal: controller.signal, onProgress: () => controller.abort() }),
    ).rejects.toMatchObject({ code: 'ABORTED' })
    expect(shown(backend)).toBe(present)
    await expect(coordinator.restoreLatest({ onProgress: () => void backend.close() })).rejects.toMatchObject(
      { code: 'RESTORE_FAILED', cause: { code: 'CLOSED' } },
    )
    expect(skipped).toEqual([])
  })
}
