import { describe, it } from 'vitest'
import { runStorageConformanceSuite } from '../testing/storage-conformance.js'
import { MemoryCheckpointStorage } from './memory-checkpoint-storage.js'

runStorageConformanceSuite({ describe, it }, 'MemoryCheckpointStorage', async () => {
  const storage = new MemoryCheckpointStorage()
  return {
    storage,
    killOwner: async () => storage.forgetOwner(),
    dispose: async () => undefined,
  }
})
