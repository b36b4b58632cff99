import { assert } from '../../base/assert.js'
import type {
  ObjectReader,
  ObjectSource,
  ObjectStorage,
  ObjectWriter,
} from '../../storage/checkpoint-storage.js'
import { ownBytes } from './block-pipe.js'
import type { StorageCallMessage } from './worker-protocol.js'

/** What a call comes to: a value to send, and the memory in it that changes hands. */
export interface StorageAnswer {
  readonly value: unknown
  readonly bytes?: Uint8Array
}

/** An object that was opened for a job. */
interface OpenedObject extends Pick<ObjectReader, 'sizeBytes' | 'readAhead'> {
  readonly handle: number
}

/** The main thread's end of a storage that could not be shared: makes the calls that a job in the worker asks for. */
export class StorageService {
  readonly #storage: ObjectSource | ObjectStorage
  readonly #writers = new Map<number, ObjectWriter>()
  readonly #readers = new Map<number, ObjectReader>()
  #handles = 0

  constructor(storage: ObjectSource | ObjectStorage) {
    this.#storage = storage
  }

  /** Rejects with what the storage rejects with. */
  async answer(call: StorageCallMessage): Promise<StorageAnswer> {
    switch (call.operation) {
      case 'create': {
        const storage = this.#storage
        assert('create' in storage, 'a job that writes was given a storage that can')
        const writer = await storage.create(call.name)
        this.#writers.set(++this.#handles, writer)
        return { value: this.#handles }
      }
      case 'open': {
        const reader = await this.#storage.open(call.name, call.options)
        if (reader === undefined) return { value: undefined }
        this.#readers.set(++this.#handles, reader)
        const { sizeBytes, readAhead } = reader
        return { value: { handle: this.#handles, sizeBytes, readAhead } satisfies OpenedObject }
      }
      case 'readObject': {
        const read = await this.#storage.read(call.name, call.maxBytes)
        if (read === undefined) return { value: undefined }
        const bytes = ownBytes(read)
        return { value: bytes, bytes }
      }
      case 'read': {
        const bytes = ownBytes(
          (await this.#readers.get(call.handle)?.read(call.offset, call.length)) as Uint8Array,
        )
        return { value: bytes, bytes }
      }
      case 'write':
        return { value: await this.#writers.get(call.handle)?.write(call.bytes) }
      case 'commit':
        return { value: await this.#writers.get(call.handle)?.commit() }
      case 'abort':
        return { value: await this.#writers.get(call.handle)?.abort() }
      case 'close':
        return { value: await this.#readers.get(call.handle)?.close() }
    }
  }

  /** The thread has died: what it had open is given up. Never rejects. */
  async abandon(): Promise<void> {
    const writers = [...this.#writers.values()].map((writer) => writer.abort())
    await Promise.allSettled([...writers, ...[...this.#readers.values()].map((reader) => reader.close())])
  }
}

/** The thread's end: a storage whose every call is made on the main thread. `ask` may be given memory that changes hands with the call. */
export function remoteStorage(
  ask: (call: StorageCallMessage, memory?: ArrayBuffer) => Promise<unknown>,
): ObjectStorage {
  return {
    create: async (name) => {
      const handle = (await ask({ operation: 'create', name })) as number
      return {
        // What was given stays the caller's. One copy whose memory changes hands costs half of what a message does that is copied on both ends.
        write: async (bytes) => {
          const copy = new Uint8Array(bytes)
          await ask({ operation: 'write', handle, bytes: copy }, copy.buffer)
        },
        commit: async () => void (await ask({ operation: 'commit', handle })),
        abort: async () => void (await ask({ operation: 'abort', handle })),
      }
    },
    open: async (name, options) => {
      const opened = (await ask({ operation: 'open', name, options })) as OpenedObject | undefined
      if (opened === undefined) return undefined
      const { handle, sizeBytes, readAhead } = opened
      return {
        sizeBytes,
        readAhead,
        read: async (offset, length) =>
          (await ask({ operation: 'read', handle, offset, length })) as Uint8Array,
        close: async () => void (await ask({ operation: 'close', handle })),
      }
    },
    read: async (name, maxBytes) =>
      (await ask({ operation: 'readObject', name, maxBytes })) as Uint8Array | undefined,
  }
}
