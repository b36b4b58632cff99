// Keys that will be sought soon: what a search reads of them is read for many at once, so that a processor waits for many places of
// memory at the same time and not for one after the other (decision 55).

import type { Entries } from './entries.js'
import type { HashIndex } from './index/hash-index.js'
import type { KeyProbe } from './index/key-probe.js'

/** So many keys are brought near at once: a processor waits for about as many places of memory at the same time. A multiple of eight. */
const NEAR_KEYS = 32
/** Logs of fewer keys are near enough: to tell keys in advance costs more there than it spares. */
const NEAR_FROM = 262_144

export class NearKeys {
  readonly #index: HashIndex
  readonly #entries: Entries
  /** The key that is being brought near: one of its own, so that the key of the call at hand stays loaded. */
  readonly #probe: KeyProbe
  readonly #hashes = new Int32Array(NEAR_KEYS)
  /** Of the keys, and last what was read: somebody must want it, or V8 would not read it. */
  readonly #addresses = new Int32Array(NEAR_KEYS + 1)

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
    const addresses = this.#addresses
    for (let from = 0; from < count; from += NEAR_KEYS) {
      const some = Math.min(NEAR_KEYS, count - from)
      for (let i = 0; i < some; i++) {
        const start = from + i === 0 ? 0 : (ends[from + i - 1] as number)
        probe.load(keys, start, (ends[from + i] as number) - start)
        hashes[i] = probe.hash
      }
      // They are read eight at a time: where less are left, a few are read once more that were told before.
      const read = (some + 7) & ~7
      const seen = this.#index.bringNear(hashes, read, addresses)
      addresses[NEAR_KEYS] = seen | this.#entries.bringNear(addresses, read)
    }
  }
}
