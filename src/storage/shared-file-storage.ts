// Run in another thread, which a FileCheckpointStorage, or a lease on one, was shared with.

import { DurableDirectory } from '../files/durable-directory.js'
import { LeaseWatch } from '../files/lease-watch.js'
import type {
  ObjectSource,
  ObjectStorage,
  OpenSharedSource,
  OpenSharedStorage,
} from './checkpoint-storage.js'
import { createObject, openObject, readObject, type SharedLease } from './file-objects.js'

export const openSharedSource: OpenSharedSource = (data): ObjectSource => {
  const directory = new DurableDirectory((data as { readonly path: string }).path)
  return {
    open: (name) => openObject(directory, name),
    read: (name, maxBytes) => readObject(directory, name, maxBytes),
  }
}

export const openSharedStorage: OpenSharedStorage = (data): ObjectStorage => {
  const shared = data as SharedLease
  const directory = new DurableDirectory(shared.directory.path, shared.directory)
  const watch = new LeaseWatch(directory, shared.lease)
  return {
    create: async (name) => {
      await watch.check()
      return await createObject(directory, name, watch)
    },
    open: (name) => openObject(directory, name),
    read: (name, maxBytes) => readObject(directory, name, maxBytes),
  }
}
