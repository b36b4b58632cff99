import type { ObjectReader, ObjectStorage, ObjectWriter } from '../../storage/checkpoint-storage.js'
import type { Throttle } from './throttle.js'

/** A storage that rests after every read and write: each block of a segment is one of these. */
export function throttledStorage(
  storage: ObjectStorage,
  throttle: Throttle,
  signal: AbortSignal,
): ObjectStorage {
  const pacedWriter = (writer: ObjectWriter): ObjectWriter => ({
    write: async (bytes) => {
      await writer.write(bytes)
      await throttle.pace(bytes.length, signal)
    },
    commit: () => writer.commit(),
    abort: () => writer.abort(),
  })
  const pacedReader = (reader: ObjectReader): ObjectReader => ({
    sizeBytes: reader.sizeBytes,
    read: async (offset, length) => {
      const bytes = await reader.read(offset, length)
      await throttle.pace(length, signal)
      return bytes
    },
    close: () => reader.close(),
  })
  return {
    create: async (name) => pacedWriter(await storage.create(name)),
    open: async (name) => {
      const reader = await storage.open(name)
      return reader === undefined ? undefined : pacedReader(reader)
    },
  }
}
