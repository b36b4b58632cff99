import { StateError } from '../base/errors.js'
import type { ObjectReader } from './checkpoint-storage.js'
import { checkRange } from './object-arguments.js'

/** Reads the bytes that an object had when it was opened: published bytes are never written to. */
export class MemoryObjectReader implements ObjectReader {
  readonly sizeBytes: number
  readonly #name: string
  #bytes: Uint8Array | undefined

  constructor(name: string, bytes: Uint8Array) {
    this.#name = name
    this.#bytes = bytes
    this.sizeBytes = bytes.length
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (this.#bytes === undefined)
      throw new StateError('CLOSED', { component: `the reader of ${this.#name}` })
    checkRange(`memory object ${this.#name}`, offset, length, this.sizeBytes)
    return this.#bytes.slice(offset, offset + length)
  }

  async close(): Promise<void> {
    this.#bytes = undefined
  }
}
