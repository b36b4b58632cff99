import type { HashIndex } from './hash-index.js'

/** Pairs that wait: enough for each table of a large index to get some thousand of them at once. */
const MOST = 64 * 1024

/**
 * Entries of a log that is being filled and not read yet, on their way into its index: in the order of keys, each would go
 * to another place in memory; gathered, the index takes them table by table.
 */
export class UnindexedEntries {
  #hashes = new Uint32Array(0)
  #addresses = new Uint32Array(0)
  #count = 0

  get isFull(): boolean {
    return this.#count === this.#hashes.length
  }

  /** Room must have been made by `flush`. */
  push(hash: number, address: number): void {
    this.#hashes[this.#count] = hash
    this.#addresses[this.#count++] = address
  }

  /** Puts all of them into the index. `more`: others will follow. */
  flush(index: HashIndex, more: boolean): void {
    if (this.#count > 0) {
      index.insertAll(this.#hashes.subarray(0, this.#count), this.#addresses.subarray(0, this.#count))
    }
    this.#count = 0
    if (more !== this.#hashes.length > 0) {
      this.#hashes = new Uint32Array(more ? MOST : 0)
      this.#addresses = new Uint32Array(more ? MOST : 0)
    }
  }
}
