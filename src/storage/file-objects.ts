import type { DurableDirectory, SharedDirectory } from '../files/durable-directory.js'
import type { LeaseMark } from '../files/file-lease.js'
import { checkObjectName } from '../files/file-names.js'
import { type LeaseGuard, TemporaryFile } from '../files/temporary-file.js'
import type { ObjectReader, ObjectWriter } from './checkpoint-storage.js'
import { FileObjectReader } from './file-object-reader.js'
import { FileObjectWriter } from './file-object-writer.js'

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
  return new FileObjectWriter(directory, name, await TemporaryFile.create(directory), guard)
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
