import { afterEach, describe, expect, it } from 'vitest'
import type { SyncStateBackend } from '../../backend/state-backend.js'
import { LmdbStateBackend } from '../../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { CheckpointCoordinator } from '../coordinator/checkpoint-coordinator.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

let backend: SyncStateBackend

afterEach(() => backend.close())

/** No snapshot of this backend can be read on the main thread. */
function forbidReadingHere(): void {
  const snapshotSync = backend.snapshotSync.bind(backend)
  backend.snapshotSync = (options) => {
    const snapshot = snapshotSync(options)
    snapshot.blocks = () => {
      throw new Error('read on the main thread')
    }
    return snapshot
  }
}

describe.each([
  ['memory', async () => new MemoryStateBackend()],
  ['lmdb', () => LmdbStateBackend.temporary()],
] as const)('checkpoints of the %s engine', (_, open) => {
  it('are read by the worker, full ones too, though writes go on', async () => {
    backend = await open()
    for (let i = 0; i < 1_000; i++) backend.putSync(bytes(`k${i}`), bytes('before'))
    forbidReadingHere()
    const coordinator = new CheckpointCoordinator(backend, { storage: new MemoryCheckpointStorage() })
    await coordinator.start()
    for (const kind of ['full', 'incremental']) {
      const making = coordinator.createCheckpoint()
      for (let i = 0; i < 10; i++) {
        backend.putSync(bytes(`k${i}`), bytes('meanwhile'))
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect(await making).toMatchObject({ kind, entryCount: 1_000 })
    }
    expect(await coordinator.createSavepoint(new MemoryCheckpointStorage())).toMatchObject({ kind: 'full' })
    await coordinator.shutdown()
  })
})
