import { StateError } from '../base/errors.js'
import type { ObjectWriter } from './checkpoint-storage.js'
import { checkBytes, publishedBefore } from './object-arguments.js'

/** Collects the bytes of one object and hands them over whole. */
export class MemoryObjectWriter implements ObjectWriter {
  readonly #objects: Map<string, Uint8Array>
  readonly #name: string
  readonly #requireHeld: () => void
  #chunks: Uint8Array[] = []
  #sizeBytes = 0
  #failure: unknown
  #ended = false

  /** `objects` are the published ones, where `commit` puts this one. `requireHeld` throws where the lease is not held. */
  constructor(objects: Map<string, Uint8Array>, name: string, requireHeld: () => void) {
    this.#objects = objects
    this.#name = name
    this.#requireHeld = requireHeld
  }

  async write(bytes: Uint8Array): Promise<void> {
    checkBytes(bytes)
    this.#checkOpen()
    // Not slice: that of a Buffer does not copy.
    this.#chunks.push(new Uint8Array(bytes))
    this.#sizeBytes += bytes.length
  }

  async commit(): Promise<void> {
    this.#checkOpen()
    try {
      this.#requireHeld()
      if (this.#objects.has(this.#name)) throw publishedBefore(`memory object ${this.#name}`)
    } catch (error) {
      this.#failure = error
      this.#end()
      throw error
    }
    const whole = new Uint8Array(this.#sizeBytes)
    let offset = 0
    for (const chunk of this.#chunks) {
      whole.set(chunk, offset)
      offset += chunk.length
    }
    this.#objects.set(this.#name, whole)
    this.#end()
  }

  async abort(): Promise<void> {
    this.#end()
  }

  #end(): void {
    this.#ended = true
    this.#chunks = []
  }

  #checkOpen(): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#ended) throw new StateError('CLOSED', { component: `the writer of ${this.#name}` })
  }
}
