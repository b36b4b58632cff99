import type { DurableDirectory, SharedDirectory } from '../files/durable-directory.js'
import { checkSmall } from '../files/file-failure.js'
import { checkObjectName } from '../files/file-names.js'
import type { LeaseMark } from '../files/lease-watch.js'
import { type LeaseGuard, TemporaryFile } from '../files/temporary-file.js'
import type { ObjectReader, ObjectWriter } from './checkpoint-storage.js'
import { FileObjectReader } from './file-object-reader.js'
import { checkMaxBytes, publishedBefore } from './object-arguments.js'
import { StepwiseWriter } from './stepwise-writer.js'

/** What another thread needs to write under a lease. */
export interface SharedLease {
  readonly directory: SharedDirectory
  readonly lease: LeaseMark
}

/** Starts a new object of a directory. */
export async function createObject(
  directory: DurableDirectory,
  name: string,
  guard: LeaseGuard,
): Promise<ObjectWriter> {
  checkObjectName(name)
  const file = await TemporaryFile.create(directory)
  return new StepwiseWriter(directory.storageName, name, {
    write: (bytes) => file.write(bytes),
    prepare: () => file.sync(),
    publish: async () => {
      if (!(await file.publishAs(name, guard))) throw publishedBefore(directory.pathOf(name))
    },
    discard: () => file.discard(),
  })
}

/** A whole small object of a directory; `undefined` where there is none. */
export async function readObject(
  directory: DurableDirectory,
  name: string,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  checkMaxBytes(maxBytes)
  const reader = await openObject(directory, name)
  if (reader === undefined) return undefined
  try {
    checkSmall(directory.pathOf(name), reader.sizeBytes, maxBytes)
    return await reader.read(0, reader.sizeBytes)
  } finally {
    await reader.close()
  }
}

/** Opens an object of a directory; `undefined` where there is none. */
export async function openObject(
  directory: DurableDirectory,
  name: string,
): Promise<ObjectReader | undefined> {
  checkObjectName(name)
  const file = await directory.openFile(name, 'open')
  if (file === undefined) return undefined
  return new FileObjectReader(directory, name, file.handle, file.sizeBytes)
}
