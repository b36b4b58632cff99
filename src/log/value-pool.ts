import { markAsUntransferable } from 'node:worker_threads'
import { copyViewed, type ViewedBytes } from '../base/slot.js'

const SLAB_BYTES = 16 * 1024
/** Larger copies get memory of their own. */
const LARGEST_POOLED_BYTES = 1024

/**
 * Copies bytes out of memory of an engine for the caller to keep. Making a small array buffer costs far more than filling it, so
 * small copies are cut from slabs. Slabs are not transferable: transferring one result would detach its neighbours.
 */
export class ValuePool {
  #slab: Slab = slabOf(0)
  #used = 0

  /** `start` must be a multiple of four; `words` and `bytes` show the same memory. */
  copy(bytes: Uint8Array, words: Int32Array, start: number, length: number): Uint8Array {
    if (length > LARGEST_POOLED_BYTES) return ownCopy(bytes, start, length)
    const at = this.#take(length)
    const { buffer, words: to } = this.#slab
    const toWord = at >> 2
    const fromWord = start >> 2
    const count = (length + 3) >> 2
    for (let i = 0; i < count; i++) to[toWord + i] = words[fromWord + i] as number
    return new Uint8Array(buffer, at, length)
  }

  /** The same of memory in which entries begin anywhere. */
  copyViewed(from: ViewedBytes, start: number, length: number): Uint8Array {
    if (length > LARGEST_POOLED_BYTES) return ownCopy(from.bytes, start, length)
    const at = this.#take(length)
    copyViewed(from, start, length, this.#slab, at)
    return new Uint8Array(this.#slab.buffer, at, length)
  }

  /** Where in the slab a copy of so many bytes may lie. */
  #take(length: number): number {
    const rounded = (length + 7) & ~7
    if (this.#used + rounded > this.#slab.bytes.length) {
      this.#slab = slabOf(SLAB_BYTES)
      this.#used = 0
    }
    const at = this.#used
    this.#used = at + rounded
    return at
  }
}

/** The same memory four times. */
interface Slab extends ViewedBytes {
  readonly buffer: ArrayBuffer
  readonly words: Int32Array
}

function slabOf(byteLength: number): Slab {
  const buffer = new ArrayBuffer(byteLength)
  markAsUntransferable(buffer)
  return { buffer, words: new Int32Array(buffer), bytes: new Uint8Array(buffer), view: new DataView(buffer) }
}

function ownCopy(bytes: Uint8Array, start: number, length: number): Uint8Array {
  const own = new Uint8Array(length)
  own.set(bytes.subarray(start, start + length))
  return own
}
