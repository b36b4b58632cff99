import { markAsUntransferable } from 'node:worker_threads'

const SLAB_BYTES = 16 * 1024
/** Larger copies get memory of their own. */
const LARGEST_POOLED_BYTES = 1024

/**
 * Copies bytes out of a segment for the caller to keep. Making a small array buffer costs far more than filling it, so
 * small copies are cut from slabs. Slabs are not transferable: transferring one result would detach its neighbours.
 */
export class ValuePool {
  #slab: ArrayBuffer = new ArrayBuffer(0)
  #slabWords: Int32Array = new Int32Array(0)
  #used = 0

  /** `start` must be a multiple of four; `words` and `bytes` show the same memory. */
  copy(bytes: Uint8Array, words: Int32Array, start: number, length: number): Uint8Array {
    if (length > LARGEST_POOLED_BYTES) {
      const own = new Uint8Array(length)
      own.set(bytes.subarray(start, start + length))
      return own
    }
    const rounded = (length + 7) & ~7
    if (this.#used + rounded > this.#slab.byteLength) this.#renew()
    const at = this.#used
    this.#used = at + rounded
    const to = this.#slabWords
    const toWord = at >> 2
    const fromWord = start >> 2
    const count = (length + 3) >> 2
    for (let i = 0; i < count; i++) to[toWord + i] = words[fromWord + i] as number
    return new Uint8Array(this.#slab, at, length)
  }

  #renew(): void {
    this.#slab = new ArrayBuffer(SLAB_BYTES)
    this.#slabWords = new Int32Array(this.#slab)
    this.#used = 0
    markAsUntransferable(this.#slab)
  }
}
