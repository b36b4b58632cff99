// Run in another thread, which a FileCheckpointStorage was shared with.

import type { ObjectStorage, OpenSharedStorage } from './checkpoint-storage.js'
import { createObject, openObject } from './file-objects.js'
import { type SharedDirectory, StorageDirectory } from './storage-directory.js'

export const openSharedStorage: OpenSharedStorage = (data): ObjectStorage => {
  const shared = data as SharedDirectory
  const directory = new StorageDirectory(shared.path, shared)
  return {
    create: (name) => createObject(directory, name),
    open: (name) => openObject(directory, name),
  }
}
