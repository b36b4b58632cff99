import type { SlicedWork } from '../../base/slices.js'
import { Uint32List } from '../uint32-list.js'
import type { HashIndex } from './hash-index.js'

/** Pairs that should wait: enough for each table of a large index to get some thousand of them at once. */
const ENOUGH = 64 * 1024

/**
 * Entries of a log that is being filled and not read yet, on their way into its index: in the order of keys, each would go
 * to another place in memory; gathered, the index takes them table by table.
 */
export class UnindexedEntries {
  #hashes = new Uint32List()
  #addresses = new Uint32List()

  get length(): number {
    return this.#hashes.length
  }

  /** It is time to `flush`. */
  get areEnough(): boolean {
    return this.#hashes.length >= ENOUGH
  }

  push(hash: number, address: number): void {
    this.#hashes.push(hash)
    this.#addresses.push(address)
  }

  /** Puts all of them into the index. */
  *flush(index: HashIndex): SlicedWork<void> {
    if (this.#hashes.length === 0) return
    yield* index.insertAll(this.#hashes.toArray(), this.#addresses.toArray())
    this.#hashes = new Uint32List()
    this.#addresses = new Uint32List()
  }
}
