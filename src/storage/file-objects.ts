import type { DurableDirectory } from '../files/durable-directory.js'
import { checkObjectName } from '../files/file-names.js'
import { TemporaryFile } from '../files/temporary-file.js'
import type { ObjectReader, ObjectWriter } from './checkpoint-storage.js'
import { FileObjectReader } from './file-object-reader.js'
import { FileObjectWriter } from './file-object-writer.js'

/** Starts a new object of a directory. */
export async function createObject(directory: DurableDirectory, name: string): Promise<ObjectWriter> {
  checkObjectName(name)
  return new FileObjectWriter(directory, name, await TemporaryFile.create(directory))
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
