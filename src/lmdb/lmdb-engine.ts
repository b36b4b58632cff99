// The engine under `LmdbStateBackend`: write buffer over read cache over a view of the store, and their upkeep.
//
// (1) A read asks the write buffer, then the cache, then the view. A snapshot is the buffer's layers and the view of one
//     moment; the cache holds nothing that they do not.
// (2) When a commit is durable, the view is switched first; then what the commit held moves from the buffer to the cache,
//     in slices; only then the buffer forgets it. So every moment shows each entry exactly once.
// (3) An entry that has expired is removed by a tombstone in the write buffer, so that removals are in the write order
//     like everything else.

import type { EntryBlock } from '../backend/entry-block.js'
import type { BackendStats } from '../backend/types.js'
import { copyBytes } from '../base/bytes.js'
import { ForwardClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'

import { randomHashKey } from '../log/index/key-hash.js'
import { latestBetween } from '../log/order/keys-between.js'

import { SegmentPool } from '../log/segment-pool.js'
import { Absorption } from './buffer/absorption.js'
import { ExpirySweep } from './buffer/expiry-sweep.js'
import { type Generation, layerOf } from './buffer/generation.js'

import { HeldEntries } from './buffer/held-entries.js'
import { memorySharesOf } from './buffer/memory-shares.js'

import type { Layer } from './buffer/merged-scan.js'
import { ReadCache } from './buffer/read-cache.js'
import { WriteBuffer } from './buffer/write-buffer.js'
import { keysPerCommit } from './commit/commit-size.js'
import { GroupCommit } from './commit/group-commit.js'
import { Latencies } from './commit/latencies.js'
import { StoreReplacement } from './commit/store-replacement.js'
import type { CommitResult, KeyStretch } from './commit/store-writer.js'
import { WriterPort } from './commit/writer-port.js'
import type { LmdbSettings } from './settings.js'
import { SnapshotLender } from './share/snapshot-lender.js'
import { compactStore } from './store/compact-store.js'
import type { TableStats } from './store/environment.js'
import { OpenStore } from './store/open-store.js'
import type { StoreDirectory } from './store/store-directory.js'
import { StoreGuard } from './store/store-guard.js'
import type { StoreView } from './store/store-view.js'
import type { LmdbStats } from './types.js'

export type EngineFigures = Omit<LmdbStats, keyof BackendStats | 'oldestSnapshotAgeMs'>

export interface EngineOptions {
  readonly settings: LmdbSettings
  readonly events: EngineEvents
  readonly directory: StoreDirectory
}

export interface EngineEvents {
  readonly onExpired: (key: () => Uint8Array) => void
  readonly onFailed: (error: StateError) => void
}

/** A reader in another thread that has not begun by then is given up. */
const GATE_TIMEOUT_MS = 5_000
/** Reads from the store that are remembered, as checksums of their keys. */
const RECENT_READS = 1 << 16
const RECENT_READS_SHIFT = 16
const REMOVED_PAGE_KEYS = 1_024

export class LmdbEngine {
  readonly clock: ForwardClock
  readonly buffer: WriteBuffer
  readonly cache: ReadCache
  readonly latencies: Latencies = new Latencies()
  bufferHits = 0
  storeReads = 0
  commits = 0
  recordsCommitted = 0
  bytesCommitted = 0
  usedBytes = 0
  readonly #settings: LmdbSettings
  readonly #now: () => number
  readonly #events: EngineEvents
  readonly #options: EngineOptions
  #store: OpenStore
  /** Stores that were replaced by a compacted copy and are still being read. */
  readonly #retiring = new Set<Promise<void>>()
  /** Undefined where the store was opened for reading only. */
  readonly #writer: WriterPort | undefined
  readonly #commit: GroupCommit | undefined
  #view: StoreView
  readonly #absorption: Absorption
  readonly #expirySweep: ExpirySweep
  readonly #held: HeldEntries
  /** Undefined where the store was opened for reading only: another process commits then. */
  readonly sharing: SnapshotLender | undefined
  /** Undefined where the store was opened for reading only. */
  #guard: StoreGuard | undefined
  #isFresh = false
  /** The time that the store knows to have come. */
  #committedMs: number
  /** What LMDB said of itself last: after a commit that failed it may refuse to say anything. */
  #tableStats: TableStats | undefined
  /** Keys that a writer may be ahead of the disk. */
  #holdKeys = Infinity
  readonly #recentReads = new Uint32Array(RECENT_READS)
  readonly #recentKey = randomHashKey()

  private constructor(
    options: EngineOptions,
    store: OpenStore,
    writer: WriterPort | undefined,
    clockMs: number,
  ) {
    const { settings, events } = options
    this.#options = options
    this.#settings = settings
    this.#events = events
    this.#store = store
    this.#writer = writer
    this.#view = store.latest()
    if (writer !== undefined) {
      this.#guard = new StoreGuard(options.directory.dataPath, options.directory.leaseMark)
    }
    this.clock = new ForwardClock(settings.clock)
    this.clock.advanceTo(store.clockMs)
    this.#committedMs = clockMs
    const hashKey = randomHashKey()
    const now = () => this.clock.now()
    this.#now = now
    const shares = memorySharesOf(settings)
    const pool = new SegmentPool(shares.poolBytes, shares.segmentBytes)
    this.buffer = new WriteBuffer({ hashKey, now, pool, onExpired: events.onExpired })
    this.#held = new HeldEntries(this.buffer, () => this.#view)
    this.buffer.onFreeze = () => this.#held.freezing()
    this.cache = new ReadCache(shares.cacheBytes, hashKey, now, pool)
    const commit = writer === undefined ? undefined : this.#newCommit(writer)
    this.#commit = commit
    this.sharing =
      commit === undefined
        ? undefined
        : new SnapshotLender({
            hashKey,
            maxBytes: shares.changesBytes,
            dataPath: () => options.directory.dataPath,
            waitFor: (gate) => commit.waitFor(gate),
            seal: () => {
              commit.seal()
              return this.buffer.frozen
            },
          })
    this.#absorption = new Absorption(this.buffer, this.cache, (generation, bytes, start, length) =>
      this.sharing?.noteChanged(generation, bytes, start, length),
    )
    this.#expirySweep = new ExpirySweep(this.buffer, this.cache, {
      now,
      onExpired: events.onExpired,
      remove: (bytes, start, length) => this.remove(bytes, start, length),
      removeBelow: (bytes, start, length) => {
        const { log } = this.buffer.active
        log.remove(log.seek(bytes, start, length))
        this.#held.added(bytes, start, length)
      },
      afterPage: () => this.afterWrite(),
      view: () => this.#view,
    })
  }

  static async open(options: EngineOptions): Promise<LmdbEngine> {
    const { settings, directory } = options
    const { dataPath } = directory
    // The databases must all be there before the writer thread opens them, and before this thread reads.
    const store = new OpenStore(dataPath, { readOnly: false, create: !directory.isReady })
    const { compression, commitTimeoutMs } = settings
    let writer: WriterPort | undefined
    try {
      // What is wrong with the store is found here first: on its way between threads an error loses its code.
      store.latest().release()
      writer = new WriterPort({ dataPath, lease: directory.leaseMark, compression }, commitTimeoutMs)
      const opened = await writer.ask({ kind: 'open' })
      const engine = new LmdbEngine(options, store, writer, opened?.clockMs ?? 0)
      engine.usedBytes = opened?.usedBytes ?? 0
      engine.#holdKeys = keysPerCommit(engine.usedBytes, settings)
      return engine
    } catch (error) {
      await writer?.close()
      await store.close()
      throw error
    }
  }

  static async openReadOnly(options: EngineOptions): Promise<LmdbEngine> {
    const store = openForReading(options)
    try {
      return new LmdbEngine(options, store, undefined, 0)
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Where the store was opened for reading only: sees what the writer has flushed, anew in every turn of the event loop. */
  refresh(): void {
    if (this.#writer !== undefined || this.#isFresh) return
    this.#options.directory.refresh()
    const former = { store: this.#store, view: this.#view }
    if (!former.store.isOf(this.#options.directory.dataPath)) this.#store = openForReading(this.#options)
    this.#view = this.#store.latest()
    this.clock.advanceTo(this.#store.clockMs)
    former.view.release()
    if (this.#store !== former.store) void this.#retire(former.store)
    this.#isFresh = true
    setImmediate(() => {
      this.#isFresh = false
    })
  }

  get failure(): StateError | undefined {
    return this.#commit?.failure
  }

  /** The part of the statistics that is the engine's. */
  figures(): EngineFigures {
    const { active, frozen } = this.buffer
    if (this.failure === undefined) this.#tableStats = this.#store.environment.meta.getStats()
    const { mapSize = 0, numReaders = 0 } = this.#tableStats ?? {}
    return {
      bufferHits: this.bufferHits,
      storeReads: this.storeReads,
      bufferedKeys: frozen.reduce((sum, { keys }) => sum + keys, active.keys),
      bufferBytes: this.buffer.bytes,
      cacheBytes: this.cache.bytes,
      commits: this.commits,
      recordsCommitted: this.recordsCommitted,
      bytesCommitted: this.bytesCommitted,
      commitMs: this.latencies.summary(),
      readers: numReaders,
      usedBytes: this.usedBytes,
      mapBytes: mapSize,
    }
  }

  /** A copy of the value; undefined where there is none. `counts`: it is a get of the user's. */
  read(key: Uint8Array, counts: boolean): Uint8Array | undefined {
    const { buffer, cache } = this
    const address = buffer.find(key, 0, key.length)
    if (address !== 0) {
      if (counts) this.bufferHits++
      const { log } = buffer.found
      return log.isAlive(address) ? log.entries.copyValue(address) : undefined
    }
    if (buffer.opaque) {
      if (counts) this.bufferHits++
      return undefined
    }
    const cached = cache.isEmpty ? 0 : cache.find(key)
    if (cached !== 0) {
      if (counts) this.bufferHits++
      const { log } = cache
      return log.isAlive(cached) ? log.entries.copyValue(cached) : undefined
    }
    if (counts) this.storeReads++
    return this.#readStore(key)
  }

  /** When the entry of a key expires that has expired already; undefined where there is none. */
  expiredAtMs(key: Uint8Array): number | undefined {
    const address = this.buffer.find(key, 0, key.length)
    if (address !== 0) {
      const { entries } = this.buffer.found.log
      return entries.isTombstone(address) ? undefined : entries.expiresAtMs(address)
    }
    const expiresAtMs = this.buffer.opaque ? -Infinity : this.#view.expiryOf(key, 0, key.length)
    return expiresAtMs === -Infinity ? undefined : expiresAtMs
  }

  put(
    keyBytes: Uint8Array,
    keyStart: number,
    keyLength: number,
    valueBytes: Uint8Array,
    valueStart: number,
    valueLength: number,
    expiresAtMs: number,
  ): void {
    const { log } = this.buffer.active
    const address = log.seek(keyBytes, keyStart, keyLength)
    if (address === 0) this.#noteExpiredBelow(keyBytes, keyStart, keyLength)
    log.write(address, valueBytes, valueStart, valueLength, expiresAtMs)
    if (address === 0) this.#held.added(keyBytes, keyStart, keyLength)
  }

  remove(bytes: Uint8Array, start: number, length: number): void {
    const { log } = this.buffer.active
    const address = log.seek(bytes, start, length)
    if (address === 0) this.#noteExpiredBelow(bytes, start, length)
    log.remove(address)
    if (address === 0) this.#held.added(bytes, start, length)
  }

  /** Removes the keys of a stretch, in this step: a tombstone for each that is there, or that has expired and is not removed yet. */
  removeStretch({ from, until }: KeyStretch): void {
    const { buffer } = this
    const { active, frozen } = buffer
    active.log.removeAll(latestBetween(active.log, from, until))
    if (active.cleared) return
    for (const { log, cleared } of frozen) {
      const { entries } = log
      for (const address of latestBetween(log, from, until)) {
        const bytes = entries.segmentBytes(address)
        const start = entries.keyStart(address)
        const length = entries.keyLength(address)
        // A generation above this one has removed it already.
        if (buffer.find(bytes, start, length) === address && buffer.found.log === log) {
          this.remove(bytes, start, length)
        }
      }
      if (cleared) return
    }
    for (const page of this.#view.keyPages(from, until, REMOVED_PAGE_KEYS)) {
      for (const key of page) if (buffer.find(key, 0, key.length) === 0) this.remove(key, 0, key.length)
    }
  }

  /** Makes sure that `bytes` more fit in the store; throws `BACKEND_FULL`. */
  assertRoom(bytes: number): void {
    const { maxBytes } = this.#settings
    if (this.usedBytes + this.buffer.usedBytes + bytes <= maxBytes) return
    // What waits, and what the cache has not taken over yet, may be fewer bytes on disk than in the buffer: look again when all
    // of it is there.
    const commit = this.#commit as GroupCommit
    const isKnown = commit.drainSync(() => this.#absorption.finish())
    this.#absorption.finish()
    // For the moment in which a compacted file is put in service, which cannot be waited for here, nobody knows how much is
    // used: what is written in it may be beyond `maxBytes`, and the next write is told.
    if (!isKnown) return
    const used = this.usedBytes + this.buffer.usedBytes
    if (used + bytes > maxBytes) throw new StateError('BACKEND_FULL', { used, capacity: maxBytes })
  }

  afterWrite(): void {
    this.#commit?.afterWrite()
  }

  /** For writers that can wait: resolves when there is room; undefined: there is. */
  room(): Promise<void> | undefined {
    return this.#commit?.room()
  }

  async flush(): Promise<void> {
    await this.#commit?.flush()
    // Where nothing was to be committed, what was is not to be lost either.
    try {
      this.#guard?.check()
    } catch (failure) {
      this.#commit?.fail(failure as StateError)
      throw failure
    }
  }

  /** What has been written is to be committed without anybody waiting for it. */
  beginFlush(): void {
    this.#commit?.beginInTime()
  }

  clear(): void {
    this.sharing?.forgetBases()
    this.buffer.clear()
    this.#held.reset(0)
    this.cache.clear()
  }

  /** The layers of this moment over the view, which the caller releases. */
  capture(): { readonly layers: Layer[]; readonly view: StoreView | undefined } {
    const { generations, opaque } = this.buffer.layers()
    const layers = generations.map((generation) => layerOf(generation, generation === this.buffer.active))
    return { layers, view: opaque ? undefined : this.#view.retain() }
  }

  /** Entries there are, with those that have expired and are not removed yet. */
  countHeld(): number {
    // Where another process writes, nothing is buffered.
    return this.#writer === undefined ? this.#view.entryCount : this.#held.count()
  }

  /** When the next entry expires that is not removed yet; Infinity: none does. */
  get nextExpiryAtMs(): number {
    let nextMs = this.buffer.active.log.nextExpiryAtMs
    for (const { log } of this.buffer.frozen) nextMs = Math.min(nextMs, log.nextExpiryAtMs)
    return this.buffer.opaque ? nextMs : Math.min(nextMs, this.#view.firstDeadlineMs)
  }

  /** Removes entries that have expired until none is left or `untilMs` has passed; returns whether none is left. */
  sweep(untilMs: number): boolean {
    if (this.#writer === undefined || this.failure !== undefined) return true
    return this.#expirySweep.run(untilMs)
  }

  /**
   * Replaces what is in a stretch of keys (`undefined`: all) by blocks in key order; the caller has made sure that nothing is
   * written meanwhile.
   */
  async replaceAll(
    blocks: AsyncIterable<EntryBlock>,
    stretch: KeyStretch | undefined,
    clockMs: number | undefined,
  ): Promise<void> {
    const writer = this.#writer as WriterPort
    const commit = this.#commit as GroupCommit
    const replacement = new StoreReplacement(writer, commit, this.#settings.maxBytes)
    try {
      await replacement.fill(blocks)
      // What was written before belongs to the content that goes, or must be in the store beside what comes.
      if (stretch !== undefined) await commit.flush()
      await commit.pause({ yielding: false })
      if (clockMs !== undefined) this.clock.advanceTo(clockMs)
      const result = await replacement.finish(this.clock.now(), stretch)
      this.#absorption.finish()
      this.#switchView(result)
      this.buffer.reset()
      this.#held.reset(result.entries)
      commit.forgetSealed()
      this.cache.clear()
      this.sharing?.forgetBases()
    } catch (error) {
      await replacement.abandon()
      throw error
    } finally {
      commit.resume()
    }
  }

  /** Gives back the disk space that is free within the data file. */
  async compact(): Promise<void> {
    const { commitTimeoutMs } = this.#settings
    const replaced = this.#store
    let retired: Promise<void> | undefined
    await compactStore({
      directory: this.#options.directory,
      environment: replaced.environment,
      writer: this.#writer as WriterPort,
      commit: this.#commit as GroupCommit,
      timeoutMs: commitTimeoutMs,
      usedBytes: this.usedBytes,
      onSwitched: (dataPath, result) => {
        this.#store = new OpenStore(dataPath, { readOnly: false })
        this.#guard = new StoreGuard(dataPath, this.#options.directory.leaseMark)
        this.#switchView(result)
        retired = this.#retire(replaced)
      },
    })
    if (!replaced.inUse) await retired
  }

  /** `STORAGE_ERROR` where the writer thread hangs: the store stays open then. */
  async close(): Promise<void> {
    await this.#writer?.close()
    this.#absorption.finish()
    this.#view.release()
    await this.#store.close()
    await Promise.all(this.#retiring)
  }

  /** Makes the time durable where something is to expire: what has expired must not revive with an earlier clock. */
  async commitTime(): Promise<void> {
    const clockMs = this.clock.now()
    if (this.failure !== undefined || clockMs <= this.#committedMs) return
    if (this.#view.firstDeadlineMs === Infinity) return
    await this.#writer?.ask({ kind: 'commit', segments: [], cleared: false, clockMs })
  }

  /** Closes a store that another one has replaced as soon as nobody reads from it, and removes its file. Never rejects. */
  #retire(replaced: OpenStore): Promise<void> {
    const retired = replaced
      .close()
      // What cannot be removed now is removed when the store is opened next.
      .then(() => (this.#writer === undefined ? undefined : this.#options.directory.removeLeftovers()))
      .catch(() => {})
      .finally(() => this.#retiring.delete(retired))
    this.#retiring.add(retired)
    return retired
  }

  #readStore(key: Uint8Array): Uint8Array | undefined {
    const view = this.#view
    const value = view.read(key, this.#now)
    if (value !== undefined && this.#isReadAgain(view.sumOfKey)) {
      this.cache.put(key, 0, key.length, value, 0, value.length, view.expiresAtMs)
    }
    return value
  }

  /** Whether the key of this checksum was read from the store not long ago: only then is it worth its place in the cache. */
  #isReadAgain(sumOfKey: number): boolean {
    // The checksum has no secret, so the place gets one: prepared keys would all have the same.
    const place = Math.imul(sumOfKey ^ this.#recentKey.low, this.#recentKey.high | 1) >>> RECENT_READS_SHIFT
    const isRecent = this.#recentReads[place] === sumOfKey
    this.#recentReads[place] = sumOfKey
    return isRecent && this.#writer !== undefined
  }

  /** Reports the entry of a key that is about to be written over, if it has expired below the active generation. */
  #noteExpiredBelow(bytes: Uint8Array, start: number, length: number): void {
    const frozen = this.buffer.frozen.length === 0 ? 0 : this.buffer.findBelow(bytes, start, length)
    if (frozen !== 0) {
      const { entries } = this.buffer.found.log
      if (entries.isTombstone(frozen) || entries.expiresAtMs(frozen) === Infinity) return
      if (entries.expiresAtMs(frozen) > this.clock.now()) return
    } else {
      if (this.buffer.opaque || this.#view.firstDeadlineMs === Infinity) return
      const nowMs = this.clock.now()
      if (this.#view.firstDeadlineMs > nowMs) return
      const expiresAtMs = this.#view.expiryOf(bytes, start, length)
      if (expiresAtMs === -Infinity || expiresAtMs > nowMs) return
    }
    this.#events.onExpired(() => copyBytes(bytes.subarray(start, start + length)))
  }

  #newCommit(writer: WriterPort): GroupCommit {
    const { flushEvery } = this.#settings
    const { flushBytes, holdBytes } = memorySharesOf(this.#settings)
    return new GroupCommit(this.buffer, writer, {
      flushEvery,
      flushBytes,
      holdKeys: () => this.#holdKeys,
      holdBytes,
      now: () => this.clock.now(),
      gateTimeoutMs: GATE_TIMEOUT_MS,
      onCommitted: (generation, result, tookMs) => this.#committed(generation, result, tookMs),
      onFailed: this.#events.onFailed,
    })
  }

  #committed(generation: Generation, result: CommitResult, tookMs: number): void {
    this.commits++
    this.recordsCommitted += result.records
    this.bytesCommitted += result.recordBytes
    this.latencies.add(tookMs)
    this.#switchView(result)
    this.#absorption.begin(generation)
  }

  /** Poisons the engine where it cannot: writes go on only as long as what they have changed can be seen. */
  #switchView(result: CommitResult): void {
    const former = this.#view
    try {
      this.#view = this.#store.view(result.generation, result.entries)
    } catch (failure) {
      this.#commit?.fail(failure as StateError)
      throw failure
    }
    former.release()
    this.usedBytes = result.usedBytes
    this.#committedMs = result.clockMs
    this.#holdKeys = keysPerCommit(this.usedBytes, this.#settings)
  }
}

function openForReading({ directory }: EngineOptions): OpenStore {
  return new OpenStore(directory.dataPath, { readOnly: true })
}
