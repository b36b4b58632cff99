// Keys that will be sought soon: what a search reads of them is read for many at once, so that a processor waits for many places of
// memory at the same time and not for one after the other (decision 55). What was seen under each is remembered, so that it most often
// is found without a search (decision 134).

import type { Entries } from './entries.js'
import type { HashIndex } from './index/hash-index.js'
import type { KeyProbe } from './index/key-probe.js'

/** So many keys are brought near at once: a processor waits for about as many places of memory at the same time. A multiple of eight. */
const NEAR_KEYS = 32
/** Fewer keys are in the nearest caches: to tell them in advance spares nothing there. */
const NEAR_FROM = 256

export class NearKeys {
  readonly #index: HashIndex
  readonly #entries: Entries
  /** The key that is being brought near: one of its own, so that the key of the call at hand stays loaded. */
  readonly #probe: KeyProbe
  readonly #hashes = new Int32Array(NEAR_KEYS)
  /** What most probably is under each key, 0 for nothing; and behind them what was read: somebody must want it, or V8 would not read it. */
  #addresses = new Int32Array(2 * NEAR_KEYS)
  /** So many keys were told last, … */
  #count = 0
  /** … when the index had moved entries so many times. */
  #toldAt = 0

  constructor(index: HashIndex, entries: Entries, probe: KeyProbe) {
    this.#index = index
    this.#entries = entries
    this.#probe = probe
  }

  /** Whether it is worth it to bring keys near before each is sought. */
  get areFar(): boolean {
    return this.#index.count >= NEAR_FROM
  }

  /** Reads what a search will read for each of these keys, which lie one behind the other, each up to its end. */
  bringNear(keys: Uint8Array, ends: Int32Array, count: number): void {
    const probe = this.#probe
    const hashes = this.#hashes
    if (this.#addresses.length < count + NEAR_KEYS) this.#addresses = new Int32Array(count + NEAR_KEYS)
    const addresses = this.#addresses
    this.#count = count
    this.#toldAt = this.#index.moves
    for (let from = 0; from < count; from += NEAR_KEYS) {
      const some = Math.min(NEAR_KEYS, count - from)
      for (let i = 0; i < some; i++) {
        const start = from + i === 0 ? 0 : (ends[from + i - 1] as number)
        probe.load(keys, start, (ends[from + i] as number) - start)
        hashes[i] = probe.hash
      }
      // They are read eight at a time: where less are left, a few are read once more that were told before.
      const read = (some + 7) & ~7
      const seen = this.#index.bringNear(hashes, read, addresses, from)
      addresses[from + some] = seen | this.#entries.bringNear(addresses, from, read)
    }
  }

  /**
   * The latest version of the key in this stretch, if it was told last at this place, was there and has not moved since; otherwise 0: only a search
   * can tell.
   */
  find(place: number, bytes: Uint8Array, start: number, length: number): number {
    if (this.#toldAt !== this.#index.moves || !(place >= 0 && place < this.#count)) return 0
    const address = this.#addresses[place] as number
    return address !== 0 && this.#probe.isKeyOf(address, bytes, start, length) ? address >>> 0 : 0
  }
}
