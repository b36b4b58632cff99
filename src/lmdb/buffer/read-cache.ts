import type { Stretch } from '../../base/slot.js'
import { HashLog } from '../../log/hash-log.js'
import type { HashKey } from '../../log/index/key-hash.js'
import type { SegmentPool } from '../../log/segment-pool.js'
import type { FoundEntry } from './found-entry.js'

const PUTS_BETWEEN_LOOKS = 64

/**
 * Entries that are on disk as well, kept for reading within bounded memory. Two logs: writes go to the younger; when it
 * has taken its half, it becomes the older one, and what was the older one is dropped. An entry found in the older log
 * moves to the younger, so what is read or written often stays.
 */
export class ReadCache {
  readonly #maxBytes: number
  readonly #newLog: (expectedKeys: number) => HashLog
  #young: HashLog
  #old: HashLog
  #putsSinceLook = 0
  #full = false

  constructor(maxBytes: number, hashKey: HashKey, now: () => number, pool: SegmentPool) {
    this.#maxBytes = maxBytes
    this.#newLog = (expectedKeys) => {
      const log = new HashLog({
        maxBytes: Infinity,
        hashKey,
        now,
        besideBytes: () => 0,
        onExpired: () => {},
        pool,
      })
      log.reserve(expectedKeys)
      return log
    }
    this.#young = this.#newLog(0)
    this.#old = this.#newLog(0)
  }

  get bytes(): number {
    return this.#young.memory.totalBytes + this.#old.memory.totalBytes
  }

  get isEmpty(): boolean {
    return this.#young.keys === 0 && this.#old.keys === 0
  }

  /** Finds the entry of a key; false where it is not cached. */
  find(bytes: Uint8Array, start: number, length: number, found: FoundEntry): boolean {
    const young = this.#young
    if (young.keys > 0 && found.at(young, young.seek(bytes, start, length))) return true
    const old = this.#old
    if (old.keys === 0 || !found.at(old, old.seek(bytes, start, length))) return false
    // Where the younger log is full, the next put drops the older one: not now, while its entry is being read.
    if (!this.#isFull) {
      const { entries } = old
      const oldAddress = found.address
      const oldBytes = entries.segmentBytes(oldAddress)
      const valueStart = entries.valueStart(oldAddress)
      const valueLength = entries.valueLength(oldAddress)
      young.write(
        young.seek(bytes, start, length),
        oldBytes,
        valueStart,
        valueLength,
        entries.expiresAtMs(oldAddress),
      )
    }
    return true
  }

  /** Copies both. */
  put(keyBytes: Uint8Array, keyStart: number, keyLength: number, value: Stretch, expiresAtMs: number): void {
    if (value.length > this.#maxBytes / 4) return this.remove(keyBytes, keyStart, keyLength)
    if (this.#isFull) {
      this.#old.dispose()
      this.#old = this.#young
      this.#young = this.#newLog(this.#old.keys)
      this.#full = false
    }
    const young = this.#young
    const address = young.seek(keyBytes, keyStart, keyLength)
    young.write(address, value.bytes, value.offset, value.length, expiresAtMs)
  }

  /** Looked at every few puts only: adding the memory up takes longer than a put. */
  get #isFull(): boolean {
    if (this.#putsSinceLook++ % PUTS_BETWEEN_LOOKS === 0) {
      this.#full = this.#young.memory.totalBytes * 2 >= this.#maxBytes
    }
    return this.#full
  }

  remove(keyBytes: Uint8Array, keyStart: number, keyLength: number): void {
    for (const log of [this.#young, this.#old]) {
      if (log.keys > 0) log.remove(log.seek(keyBytes, keyStart, keyLength))
    }
  }

  clear(): void {
    this.#young.dispose()
    this.#old.dispose()
    this.#young = this.#newLog(0)
    this.#old = this.#newLog(0)
    this.#full = false
  }
}
