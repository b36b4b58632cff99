import type { ObjectReader, ObjectWriter } from './checkpoint-storage.js'
import { FileObjectReader } from './file-object-reader.js'
import { FileObjectWriter } from './file-object-writer.js'
import { checkObjectName } from './object-names.js'
import type { StorageDirectory } from './storage-directory.js'
import { TemporaryFile } from './temporary-file.js'

/** Starts a new object of a directory. */
export async function createObject(directory: StorageDirectory, name: string): Promise<ObjectWriter> {
  checkObjectName(name)
  return new FileObjectWriter(directory, name, await TemporaryFile.create(directory))
}

/** Opens an object of a directory; `undefined` where there is none. */
export async function openObject(
  directory: StorageDirectory,
  name: string,
): Promise<ObjectReader | undefined> {
  checkObjectName(name)
  const file = await directory.openFile(name, 'open')
  if (file === undefined) return undefined
  return new FileObjectReader(directory, name, file.handle, file.sizeBytes)
}
