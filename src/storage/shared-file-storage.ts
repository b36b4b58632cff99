// Run in another thread, which a FileCheckpointStorage was shared with.

import { DurableDirectory, type SharedDirectory } from '../files/durable-directory.js'
import type { ObjectStorage, OpenSharedStorage } from './checkpoint-storage.js'
import { createObject, openObject } from './file-objects.js'

export const openSharedStorage: OpenSharedStorage = (data): ObjectStorage => {
  const shared = data as SharedDirectory
  const directory = new DurableDirectory(shared.path, shared)
  return {
    create: (name) => createObject(directory, name),
    open: (name) => openObject(directory, name),
  }
}
