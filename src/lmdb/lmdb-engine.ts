// The engine under `LmdbStateBackend`: write buffer over read cache over a view of the store, and their upkeep.
//
// (1) A read asks the write buffer, then the cache, then the view. A snapshot is the buffer's layers and the view of one
//     moment; the cache holds nothing that they do not.
// (2) When a commit is durable, the view is switched first; then what the commit held moves from the buffer to the cache,
//     in slices; only then the buffer forgets it. So every moment shows each entry exactly once.
// (3) An entry that has expired is removed by a tombstone in the write buffer, so that removals are in the write order
//     like everything else.

import type { EntryBlock } from '../backend/entry-block.js'
import type { EngineBatch, EngineReplaceOptions, LocalEngine } from '../backend/facade/engines.js'
import { Expirations } from '../backend/facade/expirations.js'
import { isEverything, type KeyInterval } from '../backend/scan-range.js'
import type { KeyBytes } from '../backend/state-backend.js'
import type { SnapshotOptions } from '../backend/state-snapshot.js'
import type { BackendStats, BackendSupport } from '../backend/types.js'
import type { BatchCursor } from '../backend/write-batch.js'
import { copyBytes } from '../base/bytes.js'
import { type CancelTimer, ForwardClock, setLongTimer } from '../base/clock.js'
import { isStateError, StateError } from '../base/errors.js'
import type { Listeners } from '../base/events.js'
import { invalidArgument } from '../base/options.js'
import { isStretch, plainKey, Slot } from '../base/slot.js'
import { copyInto } from '../log/entries.js'
import type { HashLog } from '../log/hash-log.js'
import { randomHashKey } from '../log/index/key-hash.js'
import { latestBetween } from '../log/order/keys-between.js'
import { SegmentPool } from '../log/segment-pool.js'
import { Absorption } from './buffer/absorption.js'
import { ExpirySweep } from './buffer/expiry-sweep.js'
import { type Generation, layerOf } from './buffer/generation.js'
import { HeldEntries } from './buffer/held-entries.js'
import { Lookup } from './buffer/lookup.js'
import { memorySharesOf } from './buffer/memory-shares.js'
import { RangeRemovals } from './buffer/range-removals.js'
import { ReadCache } from './buffer/read-cache.js'
import { WriteBuffer } from './buffer/write-buffer.js'
import { applyBatch } from './commit/apply-batch.js'
import { keysPerCommit } from './commit/commit-size.js'
import { GroupCommit } from './commit/group-commit.js'
import { Latencies } from './commit/latencies.js'
import { StoreReplacement } from './commit/store-replacement.js'
import type { CommitResult, KeyStretch } from './commit/store-writer.js'
import { WriterPort } from './commit/writer-port.js'
import { LmdbSnapshot } from './lmdb-snapshot.js'
import type { LmdbSettings } from './settings.js'
import { readerModule } from './share/lent-snapshot.js'
import { SnapshotLender } from './share/snapshot-lender.js'
import { compactStore } from './store/compact-store.js'
import type { TableStats } from './store/environment.js'
import { OpenStore } from './store/open-store.js'
import type { StoreDirectory } from './store/store-directory.js'
import { StoreGuard } from './store/store-guard.js'
import type { StoreView } from './store/store-view.js'
import type { LmdbStateBackendEvents, LmdbStats } from './types.js'

export type EngineFigures = Omit<LmdbStats, keyof BackendStats | 'oldestSnapshotAgeMs'>

export interface EngineOptions {
  readonly settings: LmdbSettings
  readonly directory: StoreDirectory
  readonly listeners: Listeners<LmdbStateBackendEvents>
}

const SUPPORTS: BackendSupport = Object.freeze({
  sync: true,
  ttl: true,
  orderedScan: 'instant',
  snapshots: true,
  changes: true,
  sharing: true,
  replace: true,
  inPlace: true,
  durable: true,
})

/** A reader in another thread that has not begun by then is given up. */
const GATE_TIMEOUT_MS = 5_000
const REMOVED_PAGE_KEYS = 1_024

export class LmdbEngine implements LocalEngine {
  readonly name = 'lmdb'
  readonly supports: BackendSupport = SUPPORTS
  readonly clock: ForwardClock
  readonly ttlMs: number
  readonly buffer: WriteBuffer
  readonly cache: ReadCache
  readonly latencies: Latencies = new Latencies()
  commits = 0
  recordsCommitted = 0
  bytesCommitted = 0
  usedBytes = 0
  readonly #settings: LmdbSettings
  readonly #directory: StoreDirectory
  readonly #listeners: Listeners<LmdbStateBackendEvents>
  readonly #expirations: Expirations
  readonly #lookup: Lookup
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
  readonly #removals: RangeRemovals
  /** Undefined where the store was opened for reading only: another process commits then. */
  readonly sharing: SnapshotLender | undefined
  /** Undefined where the store was opened for reading only. */
  #guard: StoreGuard | undefined
  #isFresh = false
  #isReplacing = false
  #compacting: Promise<void> | undefined
  #cancelFlush: CancelTimer | undefined
  /** Ends what `close` does not wait for. */
  readonly #closed = new AbortController()
  /** The time that the store knows to have come. */
  #committedMs: number
  /** What LMDB said of itself last: after a commit that failed it may refuse to say anything. */
  #tableStats: TableStats | undefined
  /** Keys that a writer may be ahead of the disk. */
  #holdKeys = Infinity
  /** Where an update finds the value that it copies up. */
  readonly #below = new Slot()

  private constructor(
    options: EngineOptions,
    store: OpenStore,
    writer: WriterPort | undefined,
    clockMs: number,
  ) {
    const { settings, directory, listeners } = options
    this.#settings = settings
    this.#directory = directory
    this.#listeners = listeners
    this.#expirations = new Expirations(listeners)
    this.ttlMs = settings.ttlMs
    this.#store = store
    this.#writer = writer
    this.#view = store.latest()
    if (writer !== undefined) {
      this.#guard = new StoreGuard(directory.dataPath, directory.leaseMark)
    }
    this.clock = new ForwardClock(settings.clock)
    this.clock.advanceTo(store.clockMs)
    this.#committedMs = clockMs
    const hashKey = randomHashKey()
    const now = () => this.clock.now()
    const shares = memorySharesOf(settings)
    const pool = new SegmentPool(shares.poolBytes, shares.segmentBytes)
    const onExpired = (key: () => Uint8Array) => this.#expirations.add(key)
    this.buffer = new WriteBuffer({ hashKey, now, pool, onExpired })
    this.#held = new HeldEntries(this.buffer, () => this.#view)
    this.buffer.onFreeze = () => this.#held.freezing()
    this.cache = new ReadCache(shares.cacheBytes, hashKey, now, pool)
    const view = () => this.#view
    this.#removals = new RangeRemovals({
      view,
      isBuffered: (key) => this.buffer.opaque || this.buffer.find(key, 0, key.length) !== 0,
      remove: (key, expired) => {
        if (expired) onExpired(() => copyBytes(key))
        this.#addTombstone(key, 0, key.length)
      },
      finished: () => {
        this.#commit?.beginDue()
        this.#armFlush()
      },
      failed: (error) => this.#commit?.fail(error),
    })
    this.#lookup = new Lookup(this.buffer, this.cache, {
      now,
      view,
      isDeleted: (key) => this.#deletedAtMs(key, 0, key.length) !== undefined,
      caches: writer !== undefined,
    })
    const commit = writer === undefined ? undefined : this.#newCommit(writer)
    this.#commit = commit
    this.sharing =
      commit === undefined
        ? undefined
        : new SnapshotLender({
            hashKey,
            maxBytes: shares.changesBytes,
            dataPath: () => directory.dataPath,
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
      onExpired,
      remove: (bytes, start, length) => this.remove(bytes, start, length),
      removeBelow: (bytes, start, length) => this.#addTombstone(bytes, start, length),
      afterPage: () => this.#commit?.afterWrite(),
      view,
      deletedAtMs: (key) => this.#deletedAtMs(key, 0, key.length),
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
    const store = openForReading(options.directory)
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
    this.#directory.refresh()
    const former = { store: this.#store, view: this.#view }
    if (!former.store.isOf(this.#directory.dataPath)) this.#store = openForReading(this.#directory)
    this.#view = this.#store.latest()
    this.clock.advanceTo(this.#store.clockMs)
    former.view.release()
    if (this.#store !== former.store) void this.#retire(former.store)
    this.#isFresh = true
    setImmediate(() => {
      this.#isFresh = false
    })
  }

  get sharedModule(): string {
    return readerModule()
  }

  get failure(): StateError | undefined {
    return this.#commit?.failure
  }

  get isReadOnly(): boolean {
    return this.#writer === undefined
  }

  /** Throws `INVALID_ARGUMENT` where the store was opened for reading only, `STORAGE_ERROR` once a commit has failed. */
  assertWritable(operation: string): void {
    if (this.#writer === undefined) throw invalidArgument('options.readOnly', `forbids: ${operation}`)
    const { failure } = this
    if (failure === undefined) return
    const reason = `an earlier commit failed: ${failure.message}`
    const damaged = isStateError(failure, 'STORAGE_ERROR') && failure.details.memoryDamaged
    const details = { storage: 'lmdb', operation, reason, ...(damaged && { memoryDamaged: damaged }) }
    throw new StateError('STORAGE_ERROR', details, { cause: failure })
  }

  /** The part of the statistics that is the engine's. */
  figures(): EngineFigures {
    const { active, frozen } = this.buffer
    if (this.failure === undefined) this.#tableStats = this.#store.environment.meta.getStats()
    const { mapSize = 0, numReaders = 0 } = this.#tableStats ?? {}
    return {
      bufferHits: this.#lookup.bufferHits,
      storeReads: this.#lookup.storeReads,
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

  get(key: KeyBytes): Uint8Array | undefined {
    return this.read(plainKey(key), true)
  }

  has(key: KeyBytes): boolean {
    return this.read(plainKey(key), false) !== undefined
  }

  /** A copy of the value; undefined where there is none. `counts`: it is a get of the user's. */
  read(key: Uint8Array, counts: boolean): Uint8Array | undefined {
    return this.#lookup.read(key, counts)
  }

  expiredAtMs(key: Uint8Array): number | undefined {
    return this.#lookup.expiresAtMs(key)
  }

  /** Visible when it returns; durable with a later flush. */
  put(key: KeyBytes, value: Uint8Array, expiresAtMs: number): void {
    this.assertRoom(key.length + value.length)
    const bytes = isStretch(key) ? key.bytes : key
    const start = isStretch(key) ? key.offset : 0
    const address = this.#seek(bytes, start, key.length)
    this.active.write(address, value, 0, value.length, expiresAtMs)
    if (address === 0) this.#noteNew(bytes, start, key.length)
  }

  /** Writes what a put of a batch says. */
  putFrom({ bytes, keyStart, keyLength, valueStart, valueLength }: BatchCursor, expiresAtMs: number): void {
    const address = this.#seek(bytes, keyStart, keyLength)
    this.active.write(address, bytes, valueStart, valueLength, expiresAtMs)
    if (address === 0) this.#noteNew(bytes, keyStart, keyLength)
  }

  peek(key: KeyBytes, slot: Slot): boolean {
    return this.#lookup.show(plainKey(key), slot, true)
  }

  /** Changes the entry in the active generation: the one that is there, a copy of the one below it, or a new one. */
  update(key: KeyBytes, length: number, slot: Slot, expiresAtMs: number): boolean {
    const keyLength = key.length
    this.assertRoom(keyLength + length)
    const bytes = isStretch(key) ? key.bytes : key
    const start = isStretch(key) ? key.offset : 0
    const { active } = this
    active.settle()
    const address = this.#seek(bytes, start, keyLength)
    const below = this.#below
    const isBelow = address === 0 && this.#lookup.show(plainKey(key), below, false)
    const isThere = active.update(address, length, expiresAtMs, slot) || isBelow
    if (isBelow) {
      copyInto(slot.bytes, slot.offset, below.bytes, below.offset, Math.min(length, below.length))
    }
    if (address === 0) this.#noteNew(bytes, start, keyLength)
    this.#armFlush()
    return isThere
  }

  delete(key: KeyBytes): void {
    if (isStretch(key)) this.remove(key.bytes, key.offset, key.length)
    else this.remove(key, 0, key.length)
  }

  remove(bytes: Uint8Array, start: number, length: number): void {
    const address = this.#seek(bytes, start, length)
    this.active.remove(address)
    if (address === 0) this.#held.added(bytes, start, length)
  }

  write(batch: EngineBatch): void {
    applyBatch(this, batch)
  }

  /** The log that writes go to. */
  get active(): HashLog {
    return this.buffer.active.log
  }

  deleteRange(interval: KeyInterval): void {
    if (!isEverything(interval)) return this.removeStretch(interval)
    // What had expired counts as such.
    this.sweep(Infinity)
    this.clear()
  }

  /** What the buffer holds goes in this step, what only the store holds in slices: there may be any number. */
  deleteRangeInSlices(interval: KeyInterval): Promise<void> {
    if (isEverything(interval)) {
      this.deleteRange(interval)
      return Promise.resolve()
    }
    if (this.#removeBuffered(interval)) return Promise.resolve()
    return this.#removals.begin(interval, this.clock.now())
  }

  /** Removes the keys of a stretch, in this step: a tombstone for each that is there, or that has expired and is not removed yet. */
  removeStretch(stretch: KeyStretch): void {
    if (this.#removeBuffered(stretch)) return
    const { buffer } = this
    for (const page of this.#view.keyPages(stretch.from, stretch.until, REMOVED_PAGE_KEYS)) {
      for (const key of page) if (buffer.find(key, 0, key.length) === 0) this.remove(key, 0, key.length)
    }
  }

  /** The same for what the write buffer holds; returns whether nothing below it shows through. */
  #removeBuffered({ from, until }: KeyStretch): boolean {
    const { buffer } = this
    const { active, frozen } = buffer
    active.log.removeAll(latestBetween(active.log, from, until))
    if (active.cleared) return true
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
      if (cleared) return true
    }
    return false
  }

  /** Removes a key that the write buffer does not know, and of which nothing is to be reported. */
  #addTombstone(bytes: Uint8Array, start: number, length: number): void {
    const { active: log } = this
    log.remove(log.seek(bytes, start, length))
    this.#held.added(bytes, start, length)
  }

  /** When a key was deleted, with its range, that the write buffer does not know; undefined: it was not. */
  #deletedAtMs(bytes: Uint8Array, start: number, length: number): number | undefined {
    return this.#removals.isPending ? this.#removals.deletedAtMs(bytes, start, length) : undefined
  }

  /** Makes sure that `bytes` more fit in the store; throws `BACKEND_FULL`. */
  assertRoom(bytes: number): void {
    const { maxBytes } = this.#settings
    if (this.usedBytes + this.buffer.usedBytes + bytes <= maxBytes) return
    // What has expired makes room, also where no timer has a turn.
    this.sweep(Infinity)
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

  /**
   * Removes some of what has expired, begins a commit where one is due, and stops the thread for as long as the disk cannot keep
   * up.
   */
  afterWrite(): void {
    if (this.#sweeps) this.#expirySweep.pay()
    this.#commit?.afterWrite()
    this.#expirations.tell()
    this.#armFlush()
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

  clear(): void {
    this.sharing?.forgetBases()
    this.#removals.forget()
    this.buffer.clear()
    this.#held.reset(0)
    this.cache.clear()
  }

  snapshot(takenAtMs: number, options: SnapshotOptions): LmdbSnapshot {
    this.#removals.finish()
    const { generations, opaque } = this.buffer.layers()
    const layers = generations.map((generation) => layerOf(generation, generation === this.buffer.active))
    const view = opaque ? undefined : this.#view.retain()
    return new LmdbSnapshot({ layers, view, takenAtMs, sharing: this.sharing }, options)
  }

  /** Entries there are, with those that have expired and are not removed yet. */
  get entries(): number {
    // Where another process writes, nothing is buffered.
    return this.#writer === undefined ? this.#view.entryCount : this.#held.count()
  }

  get expired(): number {
    return this.#expirations.count
  }

  /** When the next entry expires that is not removed yet; Infinity: none does, or its removal is another process's. */
  get nextExpiryAtMs(): number {
    if (this.#writer === undefined) return Infinity
    let nextMs = this.active.nextExpiryAtMs
    for (const { log } of this.buffer.frozen) nextMs = Math.min(nextMs, log.nextExpiryAtMs)
    return this.buffer.opaque ? nextMs : Math.min(nextMs, this.#view.firstDeadlineMs)
  }

  /** Removes entries that have expired until none is left or `untilMs` has passed; returns whether none is left. */
  sweep(untilMs: number): boolean {
    return this.#sweeps ? this.#expirySweep.run(untilMs) : true
  }

  /** Whether removals of what has expired are written. */
  get #sweeps(): boolean {
    return this.#writer !== undefined && this.failure === undefined && !this.#isReplacing
  }

  /** Replaces what is in an interval by blocks in key order, while nothing is written. */
  async replace(
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    { clockMs }: EngineReplaceOptions,
  ): Promise<void> {
    const stretch = isEverything(interval) ? undefined : { from: interval.from, until: interval.until }
    await this.#compacting?.catch(() => {})
    this.#assertNotClosed()
    await this.#removals.done
    this.sweep(Infinity)
    this.#expirations.tell()
    this.#assertNotClosed()
    this.#isReplacing = true
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
      this.#isReplacing = false
      commit.resume()
    }
  }

  /** Gives back the disk space that is free within the data file. Whoever asks meanwhile waits for the same. */
  async compact(): Promise<void> {
    this.#compacting ??= this.flush()
      .then(() => this.#compact())
      .finally(() => {
        this.#compacting = undefined
      })
    await this.#compacting
  }

  async #compact(): Promise<void> {
    const { commitTimeoutMs } = this.#settings
    const replaced = this.#store
    let retired: Promise<void> | undefined
    await compactStore({
      directory: this.#directory,
      environment: replaced.environment,
      writer: this.#writer as WriterPort,
      commit: this.#commit as GroupCommit,
      timeoutMs: commitTimeoutMs,
      usedBytes: this.usedBytes,
      onSwitched: (dataPath, result) => {
        this.#store = new OpenStore(dataPath, { readOnly: false })
        this.#guard = new StoreGuard(dataPath, this.#directory.leaseMark)
        this.#switchView(result)
        retired = this.#retire(replaced)
      },
    })
    if (!replaced.inUse) await retired
  }

  /** Fires when the store is closed, for what that does not wait for. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /** Flushes first. `STORAGE_ERROR` where that fails, or where the writer thread hangs: the store stays open then. */
  async close(): Promise<void> {
    this.#cancelFlush?.()
    this.#closed.abort(new StateError('CLOSED', { component: 'lmdb backend' }))
    await this.#compacting?.catch(() => {})
    try {
      await this.flush()
      await this.#commitTime()
    } finally {
      await this.#release()
      await this.#directory.release()
    }
  }

  async #release(): Promise<void> {
    await this.#writer?.close()
    this.#absorption.finish()
    this.#removals.forget()
    this.#view.release()
    await this.#store.close()
    await Promise.all(this.#retiring)
  }

  /** Makes the time durable where something is to expire: what has expired must not revive with an earlier clock. */
  async #commitTime(): Promise<void> {
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
      .then(() => (this.#writer === undefined ? undefined : this.#directory.removeLeftovers()))
      .catch(() => {})
      .finally(() => this.#retiring.delete(retired))
    this.#retiring.add(retired)
    return retired
  }

  /** A key was put into the active generation that was not in it. */
  #noteNew(bytes: Uint8Array, start: number, length: number): void {
    this.#held.added(bytes, start, length)
    this.#expirySweep.keyAdded()
  }

  /** Seeks a key in the active generation to write over it. What had expired below that is reported. */
  #seek(bytes: Uint8Array, start: number, length: number): number {
    const address = this.active.seek(bytes, start, length)
    if (address === 0) this.#noteExpiredBelow(bytes, start, length)
    return address
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
      // What was deleted before it expired did not expire.
      const nowMs = this.#deletedAtMs(bytes, start, length) ?? this.clock.now()
      if (this.#view.firstDeadlineMs > nowMs) return
      const expiresAtMs = this.#view.expiryOf(bytes, start, length)
      if (expiresAtMs === -Infinity || expiresAtMs > nowMs) return
    }
    this.#expirations.add(() => copyBytes(bytes.subarray(start, start + length)))
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
      removals: this.#removals,
      gateTimeoutMs: GATE_TIMEOUT_MS,
      onCommitted: (generation, result, tookMs) => this.#committed(generation, result, tookMs),
      onFailed: (error) => this.#listeners.emit('failed', { error }),
    })
  }

  /** What waits is committed in time although nobody waits for it. */
  #armFlush(): void {
    const { flushIntervalMs, clock } = this.#settings
    if (flushIntervalMs === Infinity || this.#cancelFlush !== undefined || this.closed.aborted) return
    if (this.buffer.active.isEmpty) return
    const flush = () => {
      this.#cancelFlush = undefined
      this.#commit?.beginInTime()
    }
    this.#cancelFlush = setLongTimer(clock, flush, flushIntervalMs)
  }

  #assertNotClosed(): void {
    if (this.closed.aborted) throw this.closed.reason
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

function openForReading(directory: StoreDirectory): OpenStore {
  return new OpenStore(directory.dataPath, { readOnly: true })
}
