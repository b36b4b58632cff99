import type {
  ObjectReader,
  ObjectSource,
  ObjectStorage,
  ObjectWriter,
} from '../../storage/checkpoint-storage.js'
import type { Throttle } from './throttle.js'

/** A storage that rests after every read: each block of a segment is one of these. */
export function throttledSource(
  storage: ObjectSource,
  throttle: Throttle,
  signal: AbortSignal,
): ObjectSource {
  const pacedReader = (reader: ObjectReader): ObjectReader => ({
    sizeBytes: reader.sizeBytes,
    readAhead: reader.readAhead,
    read: async (offset, length) => {
      const bytes = await reader.read(offset, length)
      await throttle.pace(length, signal)
      return bytes
    },
    close: () => reader.close(),
  })
  return {
    open: async (name, options) => {
      const reader = await storage.open(name, options)
      return reader === undefined ? undefined : pacedReader(reader)
    },
    read: async (name, maxBytes) => {
      const bytes = await storage.read(name, maxBytes)
      await throttle.pace(bytes?.length ?? 0, signal)
      return bytes
    },
  }
}

/** As {@link throttledSource}, for writes too. */
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
    ...(writer.prepare && { prepare: writer.prepare.bind(writer) }),
    commit: () => writer.commit(),
    abort: () => writer.abort(),
  })
  return {
    ...throttledSource(storage, throttle, signal),
    create: async (name) => pacedWriter(await storage.create(name)),
  }
}
