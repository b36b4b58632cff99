// Writes a store with indices, and checkpoints of it, until it is killed, and says what is safe. argv: folder, first version.

import { CheckpointCoordinator } from '../../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { StateStore } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { placeOf, places, tagsOf, writtenKey } from './indexed-store.js'

const [folder = '', first = '1'] = process.argv.slice(2)
await using backend = await LmdbStateBackend.open({ path: `${folder}/store` })
const store = await StateStore.open(backend, places)
const storage = new FileCheckpointStorage(`${folder}/checkpoints`)
let version = Number(first)
await using coordinator = new CheckpointCoordinator(backend, { storage, source: () => ({ version }) })

for (; ; version++) {
  const key = writtenKey(version)
  store.batch(() => {
    store.place.put(key, placeOf(version))
    store.tags.put(key, 'all', tagsOf(version))
  })
  if (version % 5 === 0) store.place.delete(writtenKey(version + 7))
  if (version % 20 === 0) {
    await backend.flush()
    process.stdout.write(`flushed ${version}\n`)
  }
  if (version % 60 === 0) {
    await coordinator.createCheckpoint()
    process.stdout.write(`published ${version}\n`)
  }
}
