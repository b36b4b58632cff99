// Where a key's newest version is: in the write buffer, else in the cache, else in the view of the store.

import type { KeyBytes } from '../../backend/state-backend.js'
import { fillSlot, isStretch, plainKey, Slot } from '../../base/slot.js'
import { copyInto } from '../../log/entries.js'
import { randomHashKey } from '../../log/index/key-hash.js'
import { RecordFacts, type StoreView } from '../store/store-view.js'
import { FoundEntry } from './found-entry.js'
import type { ReadCache } from './read-cache.js'
import type { WriteBuffer } from './write-buffer.js'

/** Reads from the store that are remembered, as checksums of their keys. */
const RECENT_READS = 1 << 16
const RECENT_READS_SHIFT = 16

/** A value from the store of up to this length is shown in one of two buffers that stay, a larger one in its own. */
const KEPT_BYTES = 4_096

export interface LookupHost {
  now(): number
  /** The newest view of the store. */
  view(): StoreView
  /** Whether a range was deleted that holds a key which the write buffer does not know. */
  isDeleted(bytes: Uint8Array, start: number, length: number): boolean
  /** What is read from the store twice goes to the cache. Not where another process writes: nobody would take it out again. */
  readonly caches: boolean
}

export class Lookup {
  /** Gets answered by memory, and those that went to the store. */
  bufferHits = 0
  storeReads = 0
  readonly #buffer: WriteBuffer
  readonly #cache: ReadCache
  readonly #host: LookupHost
  readonly #now: () => number
  readonly #recentReads = new Uint32Array(RECENT_READS)
  readonly #recentKey = randomHashKey()
  /** Where the package of LMDB has put the value that was read last. */
  readonly #stored = new Slot()
  readonly #shown = new ShownValues()
  readonly #found: FoundEntry
  readonly #facts = new RecordFacts()

  constructor(buffer: WriteBuffer, cache: ReadCache, host: LookupHost) {
    this.#buffer = buffer
    this.#found = new FoundEntry(buffer.active.log)
    this.#cache = cache
    this.#host = host
    this.#now = () => host.now()
  }

  /** A copy of the value; undefined where there is none. `counts`: it is a get of the user's. */
  read(key: Uint8Array, counts: boolean): Uint8Array | undefined {
    const buffer = this.#buffer
    const cache = this.#cache
    const found = this.#found
    if (buffer.find(key, 0, key.length, found)) {
      if (counts) this.bufferHits++
      return aliveValue(found)
    }
    if (buffer.opaque || this.#host.isDeleted(key, 0, key.length)) {
      if (counts) this.bufferHits++
      return undefined
    }
    if (!cache.isEmpty && cache.find(key, 0, key.length, found)) {
      if (counts) this.bufferHits++
      return aliveValue(found)
    }
    if (counts) this.storeReads++
    return this.#readStore(key)
  }

  /** Shows the value where it lies; false where there is none. It stays until the next call. */
  show(key: KeyBytes, slot: Slot, counts: boolean): boolean {
    const bytes = isStretch(key) ? key.bytes : key
    const start = isStretch(key) ? key.offset : 0
    const { length } = key
    const buffer = this.#buffer
    const cache = this.#cache
    const found = this.#found
    const isBuffered = buffer.find(bytes, start, length, found)
    const isHidden = !isBuffered && (buffer.opaque || this.#host.isDeleted(bytes, start, length))
    const isFound = isBuffered || (!isHidden && !cache.isEmpty && cache.find(bytes, start, length, found))
    if (counts && (isFound || isHidden)) this.bufferHits++
    else if (counts) this.storeReads++
    if (isHidden) return false
    if (!isFound) return this.#showStored(plainKey(key), slot)
    const { log, address } = found
    if (!log.isAlive(address)) return false
    log.show(address, slot)
    return true
  }

  /** When the entry of a key expires, whether or not its time has come; undefined where there is none. */
  expiresAtMs(key: Uint8Array): number | undefined {
    const found = this.#found
    if (this.#buffer.find(key, 0, key.length, found)) {
      const { address } = found
      const { entries } = found.log
      return entries.isTombstone(address) ? undefined : entries.expiresAtMs(address)
    }
    if (this.#buffer.opaque || this.#host.isDeleted(key, 0, key.length)) return undefined
    const expiresAtMs = this.#host.view().expiryOf(key, 0, key.length)
    return expiresAtMs === -Infinity ? undefined : expiresAtMs
  }

  #readStore(key: Uint8Array): Uint8Array | undefined {
    const view = this.#host.view()
    const facts = this.#facts
    const value = view.read(key, this.#now, facts)
    if (value !== undefined && this.#isReadAgain(facts.sumOfKey)) {
      const whole = { bytes: value, offset: 0, length: value.length }
      this.#cache.put(key, 0, key.length, whole, facts.expiresAtMs)
    }
    return value
  }

  /** The key may be what a slot shows of the value before: it is looked at no more when this one is put there. */
  #showStored(key: Uint8Array, slot: Slot): boolean {
    const view = this.#host.view()
    const stored = this.#stored
    const facts = this.#facts
    if (!view.show(key, this.#now, stored, facts)) return false
    const { bytes, offset, length } = stored
    if (this.#isReadAgain(facts.sumOfKey)) {
      this.#cache.put(key, 0, key.length, stored, facts.expiresAtMs)
    }
    this.#shown.show(bytes, offset, length, slot)
    return true
  }

  /** Whether the key of this checksum was read from the store not long ago: only then is it worth its place in the cache. */
  #isReadAgain(sumOfKey: number): boolean {
    // The checksum has no secret, so the place gets one: prepared keys would all have the same.
    const place = Math.imul(sumOfKey ^ this.#recentKey.low, this.#recentKey.high | 1) >>> RECENT_READS_SHIFT
    const isRecent = this.#recentReads[place] === sumOfKey
    this.#recentReads[place] = sumOfKey
    return isRecent && this.#host.caches
  }
}

function aliveValue({ log, address }: FoundEntry): Uint8Array | undefined {
  return log.isAlive(address) ? log.entries.copyValue(address) : undefined
}

/**
 * Values from the store, out of the memory that its package reads every record into: what a slot shows may be the key of the next
 * call, or the value of a put, and such a call reads records, too. Two buffers take turns, because it may show another value.
 */
class ShownValues {
  #next: Slot = keptSlot()
  #last: Slot = keptSlot()

  show(bytes: Uint8Array, offset: number, length: number, slot: Slot): void {
    if (length > KEPT_BYTES) return fillSlot(slot, bytes.slice(offset, offset + length), 0, length)
    const kept = this.#next
    this.#next = this.#last
    this.#last = kept
    copyInto(kept.bytes, 0, bytes, offset, length)
    slot.bytes = kept.bytes
    slot.view = kept.view
    slot.offset = 0
    slot.length = length
  }
}

function keptSlot(): Slot {
  const slot = new Slot()
  fillSlot(slot, new Uint8Array(KEPT_BYTES), 0, 0)
  return slot
}
