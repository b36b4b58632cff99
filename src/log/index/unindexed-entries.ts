import type { SlicedWork } from '../../base/slices.js'
import type { HashIndex } from './hash-index.js'
import { IndexPairs } from './index-pairs.js'

/** Pairs that should wait: enough for each table of a large index to get some thousand of them at once. */
const ENOUGH = 64 * 1024

/**
 * Entries of a log that is being filled and not read yet, on their way into its index: in the order of keys, each would go
 * to another place in memory; gathered, the index takes them table by table.
 */
export class UnindexedEntries {
  #pairs = new IndexPairs()

  get length(): number {
    return this.#pairs.length
  }

  /** It is time to `flush`. */
  get areEnough(): boolean {
    return this.length >= ENOUGH
  }

  push(hash: number, address: number): void {
    this.#pairs.push(hash, address)
  }

  /** Puts all of them into the index. Where there were many, as many may follow: they find their memory there, until some flush has few or none. */
  *flush(index: HashIndex): SlicedWork<void> {
    if (this.length > 0) yield* index.insertAll(this.#pairs)
    if (this.areEnough) this.#pairs.clear()
    else if (this.#pairs.byteLength > 0) this.#pairs = new IndexPairs()
  }
}
