import { StateError } from '../base/errors.js'
import type { ObjectWriter } from './checkpoint-storage.js'
import { checkBytes } from './object-arguments.js'

/** Collects the bytes of one object and hands them over whole. */
export class MemoryObjectWriter implements ObjectWriter {
  readonly #objects: Map<string, Uint8Array>
  readonly #name: string
  #chunks: Uint8Array[] = []
  #sizeBytes = 0
  #failure: StateError | undefined
  #ended = false

  /** `objects` are the published ones, where `commit` puts this one. */
  constructor(objects: Map<string, Uint8Array>, name: string) {
    this.#objects = objects
    this.#name = name
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
    if (this.#objects.has(this.#name)) {
      this.#failure = new StateError('FENCED', {
        resource: `memory object ${this.#name}`,
        owner: 'the writer that published it before; objects are never overwritten, use a new name',
      })
      this.#end()
      throw this.#failure
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
