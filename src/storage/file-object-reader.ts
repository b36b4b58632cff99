import type { FileHandle } from 'node:fs/promises'
import { unwrittenBytes } from '../base/bytes.js'
import { StateError } from '../base/errors.js'
import type { DurableDirectory } from '../files/durable-directory.js'
import type { ObjectReader } from './checkpoint-storage.js'
import { checkRange } from './object-arguments.js'

/** Reads one object from its open file: neither `remove` nor `replace` disturbs it. */
export class FileObjectReader implements ObjectReader {
  readonly sizeBytes: number
  readonly #directory: DurableDirectory
  readonly #name: string
  #handle: FileHandle | undefined

  constructor(directory: DurableDirectory, name: string, handle: FileHandle, sizeBytes: number) {
    this.#directory = directory
    this.#name = name
    this.#handle = handle
    this.sizeBytes = sizeBytes
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (this.#handle === undefined) {
      throw new StateError('CLOSED', { component: `the reader of ${this.#name}` })
    }
    checkRange(this.#directory.pathOf(this.#name), offset, length, this.sizeBytes)
    const bytes = unwrittenBytes(length)
    await this.#directory.readFully(this.#handle, this.#name, bytes, offset)
    return bytes
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    if (handle !== undefined) {
      await this.#directory.attempt('close', this.#directory.pathOf(this.#name), handle.close())
    }
  }
}
