// The entries of a store as its process sees them: the write buffer over the read cache over a view of the store.
//
// (1) A read asks the write buffer, then the cache, then the view. A snapshot is the buffer's layers and the view of one
//     moment; the cache holds nothing that they do not.
// (2) An entry that has expired is removed by a tombstone in the write buffer, so that removals are in the write order
//     like everything else.

import type { KeyStretch } from '../../backend/scan-range.js'
import type { KeyBytes } from '../../backend/state-backend.js'
import type { BatchCursor } from '../../backend/write-batch.js'
import { copyBytes } from '../../base/bytes.js'
import type { StateError } from '../../base/errors.js'
import { isStretch, Slot } from '../../base/slot.js'
import { copyInto } from '../../log/entries.js'
import type { HashLog } from '../../log/hash-log.js'
import type { HashKey } from '../../log/index/key-hash.js'
import { latestBetween } from '../../log/order/keys-between.js'
import { SegmentPool } from '../../log/segment-pool.js'
import type { LogGroup } from '../log/log-format.js'
import type { DeletedRanges } from '../store/deleted-ranges.js'
import type { StoreView } from '../store/store-view.js'
import { ExpirySweep } from './expiry-sweep.js'
import { FoundEntry } from './found-entry.js'
import { type Generation, layerOf } from './generation.js'
import { HeldEntries } from './held-entries.js'
import { Lookup } from './lookup.js'
import type { MemoryShares } from './memory-shares.js'
import type { Layer } from './merged-scan.js'
import { RangeRemovals } from './range-removals.js'
import { ReadCache } from './read-cache.js'
import { WriteBuffer } from './write-buffer.js'

/** What the entries ask of their engine. */
export interface LayeredEntriesHost {
  now(): number
  /** The newest view of the store. */
  view(): StoreView
  /** Another process writes: nothing is buffered, and nothing that was read is kept. */
  readonly isReadOnly: boolean
  /** An entry whose time has come is being removed or written over; `key` makes a copy of its key. */
  onExpired(key: () => Uint8Array): void
  /** What has expired was removed from the store, in part: a commit may be due. */
  afterSweepPage(): void
  /** What held up commits, the removal of ranges, is over. */
  rangesRemoved(): void
  /** The view could not be read where part of a range was removed already. */
  failed(error: StateError): void
}

/** The entries of one moment. */
export interface EntryLayers {
  /** Newest first; the first one is the generation that is written to. */
  readonly layers: readonly Layer[]
  /** What the view shows of these ranges does not count. */
  readonly deleted: DeletedRanges
  /** Undefined: nothing below the layers shows through. */
  readonly view: StoreView | undefined
}

export class LayeredEntries {
  readonly buffer: WriteBuffer
  readonly cache: ReadCache
  readonly removals: RangeRemovals
  readonly #host: LayeredEntriesHost
  readonly #lookup: Lookup
  readonly #held: HeldEntries
  readonly #sweep: ExpirySweep
  /** Where an update finds the value that it copies up. */
  readonly #below = new Slot()
  readonly #found: FoundEntry

  constructor(shares: MemoryShares, hashKey: HashKey, host: LayeredEntriesHost) {
    this.#host = host
    const { isReadOnly } = host
    const now = () => host.now()
    const view = () => host.view()
    const onExpired = (key: () => Uint8Array) => host.onExpired(key)
    const pool = new SegmentPool(shares.poolBytes, shares.segmentBytes)
    const buffer = new WriteBuffer({ hashKey, now, pool, onExpired })
    this.buffer = buffer
    this.#found = new FoundEntry(buffer.active.log)
    this.#held = new HeldEntries(buffer, view)
    buffer.onFreeze = () => this.#held.freezing()
    this.cache = new ReadCache(shares.cacheBytes, hashKey, now, pool)
    this.removals = new RangeRemovals({
      view,
      isBuffered: (key) => buffer.opaque || buffer.find(key, 0, key.length, this.#found),
      remove: (key, expired) => {
        if (expired) onExpired(() => copyBytes(key))
        this.#addTombstone(key, 0, key.length)
      },
      finished: () => host.rangesRemoved(),
      failed: (error) => host.failed(error),
    })
    this.#lookup = new Lookup(buffer, this.cache, {
      now,
      view,
      isDeleted: (bytes, start, length) => this.#deletedAtMs(bytes, start, length) !== undefined,
      caches: !isReadOnly,
    })
    this.#sweep = new ExpirySweep(buffer, this.cache, {
      now,
      onExpired,
      remove: (bytes, start, length) => this.remove(bytes, start, length),
      removeBelow: (bytes, start, length) => this.#addTombstone(bytes, start, length),
      afterPage: () => host.afterSweepPage(),
      view,
      deletedAtMs: (key) => this.#deletedAtMs(key, 0, key.length),
    })
  }

  /** The log that writes go to. */
  get active(): HashLog {
    return this.buffer.active.log
  }

  /** Gets answered by memory, and those that went to the store. */
  get lookups(): { readonly bufferHits: number; readonly storeReads: number } {
    return this.#lookup
  }

  /** How many there are, with those that have expired and are not removed yet. */
  get count(): number {
    const isAsStored = this.#host.isReadOnly && this.buffer.isEmpty
    return isAsStored ? this.#host.view().entryCount : this.#held.count()
  }

  /** When the next one expires that is not removed yet; Infinity: none does, or its removal is another process's. */
  get nextExpiryAtMs(): number {
    if (this.#host.isReadOnly) return Infinity
    let nextMs = this.active.nextExpiryAtMs
    for (const { log } of this.buffer.frozen) nextMs = Math.min(nextMs, log.nextExpiryAtMs)
    return this.buffer.opaque ? nextMs : Math.min(nextMs, this.#host.view().firstDeadlineMs)
  }

  /** A copy of the value; undefined where there is none. `counts`: it is a get of the user's. */
  read(key: Uint8Array, counts: boolean): Uint8Array | undefined {
    return this.#lookup.read(key, counts)
  }

  /** Shows the value where it lies; false where there is none. It stays until the next call. */
  peek(key: KeyBytes, slot: Slot): boolean {
    return this.#lookup.show(key, slot, true)
  }

  /** When the entry of a key expires, whether or not its time has come; undefined where there is none. */
  expiresAtMs(key: Uint8Array): number | undefined {
    return this.#lookup.expiresAtMs(key)
  }

  put(key: KeyBytes, value: Uint8Array, expiresAtMs: number): void {
    const bytes = isStretch(key) ? key.bytes : key
    const start = isStretch(key) ? key.offset : 0
    const address = this.#seek(bytes, start, key.length)
    this.active.write(address, value, 0, value.length, expiresAtMs)
    if (address === 0) this.#noteNew(bytes, start, key.length)
  }

  /** Writes what the put of a batch says that the cursor is at. */
  putFrom({ bytes, keyStart, keyLength, valueStart, valueLength }: BatchCursor, expiresAtMs: number): void {
    const address = this.#seek(bytes, keyStart, keyLength)
    this.active.write(address, bytes, valueStart, valueLength, expiresAtMs)
    if (address === 0) this.#noteNew(bytes, keyStart, keyLength)
  }

  /** Changes the entry in the active generation: the one that is there, a copy of the one below it, or a new one. */
  update(key: KeyBytes, length: number, slot: Slot, expiresAtMs: number): boolean {
    const keyLength = key.length
    const bytes = isStretch(key) ? key.bytes : key
    const start = isStretch(key) ? key.offset : 0
    const { active } = this
    active.settle()
    const address = this.#seek(bytes, start, keyLength)
    const below = this.#below
    const isBelow = address === 0 && this.#lookup.show(key, below, false)
    const isThere = active.update(address, length, expiresAtMs, slot) || isBelow
    if (isBelow) {
      copyInto(slot.bytes, slot.offset, below.bytes, below.offset, Math.min(length, below.length))
    }
    if (address === 0) this.#noteNew(bytes, start, keyLength)
    return isThere
  }

  /** Repeats what a group of the log tells; nobody is told of what had expired. */
  replay(group: LogGroup, what: string): void {
    if (group.cleared) this.clear()
    const { bytes } = group
    while (group.next(what)) {
      const { keyStart, keyLength } = group
      const address = this.active.seek(bytes, keyStart, keyLength)
      if (group.tombstone) this.active.remove(address)
      else this.active.write(address, bytes, group.valueStart, group.valueLength, group.expiresAtMs)
      if (address === 0) this.#held.added(bytes, keyStart, keyLength)
    }
  }

  remove(bytes: Uint8Array, start: number, length: number): void {
    const address = this.#seek(bytes, start, length)
    this.active.remove(address)
    if (address === 0) this.#held.added(bytes, start, length)
  }

  /**
   * Removes the keys of a stretch: every read from now on sees them gone. What the buffer holds goes in this step; what only the
   * store holds, which may be any number, is left to the removals, which are to be begun when the write at hand is complete.
   */
  removeStretch(stretch: KeyStretch): void {
    if (!this.#removeBuffered(stretch)) this.removals.add(stretch, this.#host.now())
  }

  /** A generation of which no read knows until it is adopted. */
  beginAside(): Generation {
    const generation = this.buffer.aside()
    this.#held.beginAside(generation)
    return generation
  }

  /** Seeks a key in the generation that is filled aside. What has expired below it is removed, and so reported. */
  seekAside({ log }: Generation, bytes: Uint8Array, start: number, length: number): number {
    const address = log.seek(bytes, start, length)
    if (address !== 0) return address
    if (this.nextExpiryAtMs <= this.#host.now()) {
      const key = copyBytes(bytes.subarray(start, start + length))
      if ((this.expiresAtMs(key) ?? Infinity) <= this.#host.now()) this.remove(key, 0, length)
      log.seek(bytes, start, length)
    }
    this.#held.addedAside(bytes, start, length)
    this.#sweep.keyAdded()
    return 0
  }

  /** It is in force, or was dropped. */
  endAside(adopted: Generation | undefined): void {
    this.#held.endAside(adopted)
  }

  clear(): void {
    this.removals.forget()
    this.buffer.clear()
    this.#held.reset(0)
    this.cache.clear()
  }

  /** The content of the store was replaced, and so many entries are in it now. */
  reset(entries: number): void {
    this.buffer.reset()
    this.#held.reset(entries)
    this.cache.clear()
  }

  /** What a snapshot of now reads, to be released by it. */
  layers(): EntryLayers {
    const { generations, opaque } = this.buffer.layers()
    const layers = generations.map((generation) => layerOf(generation, generation === this.buffer.active))
    const view = opaque ? undefined : this.#host.view().retain()
    return { layers, deleted: this.removals.ranges, view }
  }

  /** Removes what has expired until nothing is left or `performance.now()` passes `untilMs`; returns whether nothing is left. */
  sweep(untilMs: number): boolean {
    return this.#sweep.run(untilMs)
  }

  /** Removes as much of what has expired as the keys that came have to pay for. */
  payForSweep(): void {
    this.#sweep.pay()
  }

  /** Removes what the write buffer holds of a stretch; returns whether nothing below it shows through. */
  #removeBuffered({ from, until }: KeyStretch): boolean {
    const { buffer } = this
    const { active, frozen } = buffer
    const found = this.#found
    active.log.removeAll(latestBetween(active.log, from, until))
    if (active.cleared) return true
    for (const { log, cleared } of frozen) {
      const { entries } = log
      for (const address of latestBetween(log, from, until)) {
        const bytes = entries.segmentBytes(address)
        const start = entries.keyStart(address)
        const length = entries.keyLength(address)
        // A generation above this one has removed it already.
        if (buffer.find(bytes, start, length, found) && found.is(log, address)) {
          this.remove(bytes, start, length)
        }
      }
      if (cleared) return true
    }
    return false
  }

  /** Removes a key that the write buffer does not know, and of which nothing is to be reported. */
  #addTombstone(bytes: Uint8Array, start: number, length: number): void {
    const { active } = this
    active.remove(active.seek(bytes, start, length))
    this.#held.added(bytes, start, length)
  }

  /** When a key was deleted, with its range, that the write buffer does not know; undefined: it was not. */
  #deletedAtMs(bytes: Uint8Array, start: number, length: number): number | undefined {
    return this.removals.isPending ? this.removals.deletedAtMs(bytes, start, length) : undefined
  }

  /** A key was put into the active generation that was not in it. */
  #noteNew(bytes: Uint8Array, start: number, length: number): void {
    this.#held.added(bytes, start, length)
    this.#sweep.keyAdded()
  }

  /** Seeks a key in the active generation to write over it. What had expired below that is reported. */
  #seek(bytes: Uint8Array, start: number, length: number): number {
    const address = this.active.seek(bytes, start, length)
    if (address === 0) this.#noteExpiredBelow(bytes, start, length)
    return address
  }

  /** Reports the entry of a key that is about to be written over, if it has expired below the active generation. */
  #noteExpiredBelow(bytes: Uint8Array, start: number, length: number): void {
    // Frozen generations are not searched where nothing has expired at all.
    const nextMs = this.nextExpiryAtMs
    if (nextMs === Infinity || nextMs > this.#host.now()) return
    const { buffer } = this
    const found = this.#found
    if (buffer.frozen.length > 0 && buffer.findBelow(bytes, start, length, found)) {
      const { address } = found
      const { entries } = found.log
      if (entries.isTombstone(address) || entries.expiresAtMs(address) === Infinity) return
      if (entries.expiresAtMs(address) > this.#host.now()) return
    } else {
      const view = this.#host.view()
      if (buffer.opaque || view.firstDeadlineMs === Infinity) return
      // What was deleted before it expired did not expire.
      const nowMs = this.#deletedAtMs(bytes, start, length) ?? this.#host.now()
      if (view.firstDeadlineMs > nowMs) return
      const expiresAtMs = view.expiryOf(bytes, start, length)
      if (expiresAtMs === -Infinity || expiresAtMs > nowMs) return
    }
    this.#host.onExpired(() => copyBytes(bytes.subarray(start, start + length)))
  }
}
