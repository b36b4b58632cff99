// The engine under `LmdbStateBackend`: write buffer over read cache over a view of the store, and their upkeep.
//
// (1) A read asks the write buffer, then the cache, then the view. A snapshot is the buffer's layers and the view of one
//     moment; the cache holds nothing that they do not.
// (2) When a commit is durable, the view is switched first; then what the commit held moves from the buffer to the cache,
//     in slices; only then the buffer forgets it. So every moment shows each entry exactly once.
// (3) An entry that has expired is removed by a tombstone in the write buffer, so that removals are in the write order
//     like everything else.

import { randomInt } from 'node:crypto'
import type { EntryBlock } from '../backend/entry-block.js'
import type { BackendStats } from '../backend/types.js'
import { copyBytes } from '../base/bytes.js'
import { ForwardClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { latestAddresses } from '../log/latest-addresses.js'
import { SegmentTable } from '../log/segment-table.js'
import { runSliced, runThrough, type SlicedWork } from '../log/slices.js'
import { keysPerCommit } from './commit-size.js'
import { type Environment, openEnvironment } from './environment.js'
import type { Generation } from './generation.js'
import { GroupCommit } from './group-commit.js'
import { Latencies } from './latencies.js'
import type { Layer } from './merged-scan.js'
import { ReadCache } from './read-cache.js'
import type { LmdbSettings } from './settings.js'
import { type Deadline, StoreView } from './store-view.js'
import type { CommitResult } from './store-writer.js'
import type { LmdbStats } from './types.js'
import { WriteBuffer } from './write-buffer.js'
import { Writer } from './writer.js'

export type EngineFigures = Omit<LmdbStats, keyof BackendStats | 'oldestSnapshotAgeMs'>

export interface EngineEvents {
  readonly onExpired: (key: () => Uint8Array) => void
  readonly onFailed: (error: StateError) => void
}

/** Shares of `cacheBytes`: what is kept for reading, what a commit is begun at, and what a writer is held back at. */
const CACHE_SHARE = 1 / 2
const FLUSH_SHARE = 1 / 16
const HOLD_SHARE = 1 / 4
/** Reads from the store that are remembered, as checksums of their keys. */
const RECENT_READS = 65_536
const SWEEP_PAGE = 64
const ABSORB_STEP = 64
/** Address space beside `maxBytes`: LMDB copies pages before it writes them, and a replacement holds both contents. */
const SPARE_MAP_BYTES = 64 * 1024 * 1024

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
  readonly #environment: Environment
  /** Undefined where the store was opened for reading only. */
  readonly #writer: Writer | undefined
  readonly #commit: GroupCommit | undefined
  #view: StoreView
  /** Goes on until the generation's entries are in the cache; it is then dropped from the buffer. */
  #absorbing: SlicedWork<void> | undefined
  /** What is due in the view and not looked at yet. */
  #due: Generator<readonly Deadline[], void, undefined> | undefined
  /** Everything in the view up to this time was looked at; -1: nothing. */
  #sweptUntilMs = -1
  #dueUntilMs = -1
  #isFresh = false
  /** Keys that a writer may be ahead of the disk. */
  #holdKeys = Infinity
  readonly #recentReads = new Uint32Array(RECENT_READS)

  private constructor(
    settings: LmdbSettings,
    events: EngineEvents,
    environment: Environment,
    writer: Writer | undefined,
    view: StoreView,
    clockMs: number,
  ) {
    this.#settings = settings
    this.#events = events
    this.#environment = environment
    this.#writer = writer
    this.#view = view
    this.clock = new ForwardClock(settings.clock)
    this.clock.advanceTo(clockMs)
    const seed = randomInt(2 ** 32)
    const now = () => this.clock.now()
    this.#now = now
    this.buffer = new WriteBuffer({ seed, now, onExpired: events.onExpired })
    this.cache = new ReadCache(settings.cacheBytes * CACHE_SHARE, seed, now)
    this.#commit = writer === undefined ? undefined : this.#newCommit(writer)
  }

  static async open(settings: LmdbSettings, events: EngineEvents): Promise<LmdbEngine> {
    const mapBytes = mapBytesOf(settings)
    // The databases must all be there before the writer thread opens them, and before this thread reads.
    const environment = openEnvironment(settings.path, { readOnly: false, mapBytes })
    let writer: Writer | undefined
    try {
      // What is wrong with the store is found here first: on its way between threads an error loses its code.
      StoreView.latest(environment).release()
      writer = new Writer(
        { path: settings.path, mapBytes, compression: settings.compression },
        settings.commitTimeoutMs,
      )
      const opened = await writer.ask({ kind: 'open' })
      const view = StoreView.latest(environment)
      const engine = new LmdbEngine(settings, events, environment, writer, view, opened?.clockMs ?? 0)
      engine.usedBytes = opened?.usedBytes ?? 0
      engine.#holdKeys = keysPerCommit(engine.usedBytes, settings)
      return engine
    } catch (error) {
      await writer?.close()
      await environment.root.close()
      throw error
    }
  }

  static async openReadOnly(settings: LmdbSettings, events: EngineEvents): Promise<LmdbEngine> {
    const environment = openEnvironment(settings.path, { readOnly: true, mapBytes: mapBytesOf(settings) })
    try {
      return new LmdbEngine(settings, events, environment, undefined, StoreView.latest(environment), 0)
    } catch (error) {
      await environment.root.close()
      throw error
    }
  }

  /** Where the store was opened for reading only: sees what the writer has flushed, anew in every turn of the event loop. */
  refresh(): void {
    if (this.#writer !== undefined || this.#isFresh) return
    this.#view.release()
    this.#view = StoreView.latest(this.#environment)
    this.#isFresh = true
    setImmediate(() => {
      this.#isFresh = false
    })
  }

  get failure(): StateError | undefined {
    return this.#commit?.failure
  }

  get view(): StoreView {
    return this.#view
  }

  get environment(): Environment {
    return this.#environment
  }

  /** The part of the statistics that is the engine's. */
  figures(): EngineFigures {
    const { active, frozen } = this.buffer
    const { mapSize = 0, numReaders = 0 } = this.#environment.meta.getStats()
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

  /** A copy of the value; undefined where there is none. */
  read(key: Uint8Array): Uint8Array | undefined {
    const { buffer, cache } = this
    const address = buffer.find(key, 0, key.length)
    if (address !== 0) {
      const { log } = buffer.found
      if (!log.isAlive(address)) return undefined
      this.bufferHits++
      return log.entries.copyValue(address)
    }
    if (buffer.opaque) return undefined
    if (!cache.isEmpty) {
      const cached = cache.find(key)
      if (cached !== 0) {
        const { log } = cache
        if (!log.isAlive(cached)) return undefined
        this.bufferHits++
        return log.entries.copyValue(cached)
      }
    }
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
  }

  remove(bytes: Uint8Array, start: number, length: number): void {
    const { log } = this.buffer.active
    const address = log.seek(bytes, start, length)
    if (address === 0) this.#noteExpiredBelow(bytes, start, length)
    log.remove(address)
  }

  /** Makes sure that `bytes` more fit in the store; throws `BACKEND_FULL`. */
  assertRoom(bytes: number): void {
    const { maxBytes } = this.#settings
    if (this.usedBytes + this.buffer.usedBytes + bytes <= maxBytes) return
    // What waits may be fewer bytes on disk than in the buffer: look again when all of it is there.
    const commit = this.#commit as GroupCommit
    commit.begin()
    while (commit.failure === undefined && commit.busy) {
      commit.waitSync()
      this.#finishAbsorbing()
      commit.begin()
    }
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

  flush(): Promise<void> {
    return this.#commit?.flush() ?? Promise.resolve()
  }

  /** Begins a commit without waiting for it. */
  beginFlush(): void {
    this.#commit?.begin()
  }

  clear(): void {
    this.buffer.clear()
    this.cache.clear()
  }

  /** The layers of this moment over the view, which the caller releases. */
  capture(): { readonly layers: Layer[]; readonly view: StoreView | undefined } {
    const { generations, opaque } = this.buffer.layers()
    const layers = generations.map(({ log }) => ({
      log,
      epoch: log === this.buffer.active.log ? log.openSnapshot() : Infinity,
    }))
    return { layers, view: opaque ? undefined : this.#view.retain() }
  }

  /** When the next entry expires that is not removed yet; Infinity: none does. */
  get nextExpiryAtMs(): number {
    let nextMs = this.buffer.active.log.nextExpiryAtMs
    for (const { log } of this.buffer.frozen) nextMs = Math.min(nextMs, log.nextExpiryAtMs)
    return this.buffer.opaque ? nextMs : Math.min(nextMs, this.#view.firstDeadlineMs)
  }

  /**
   * Removes entries that have expired until none is left or `untilMs` has passed; returns whether none is left.
   * Those that are being committed are looked at only if `thorough`: they are found in the store soon.
   */
  sweep(untilMs: number, thorough: boolean): boolean {
    if (this.#writer === undefined || this.failure !== undefined) return true
    if (!this.buffer.active.log.sweep(untilMs)) return false
    if (thorough) this.#sweepFrozen()
    if (this.buffer.opaque || this.#view.firstDeadlineMs > this.clock.now()) return true
    for (;;) {
      const page = this.#nextDue()
      if (page === undefined) return true
      for (const { key } of page) {
        if (this.buffer.find(key, 0, key.length) !== 0) continue
        this.#events.onExpired(() => key)
        this.cache.remove(key, 0, key.length)
        const { log } = this.buffer.active
        log.remove(log.seek(key, 0, key.length))
      }
      this.#commit?.afterWrite()
      if (performance.now() >= untilMs) return false
    }
  }

  /** Replaces all content by blocks in key order; the caller has made sure that nothing is written meanwhile. */
  async replaceAll(blocks: AsyncIterable<EntryBlock>, clockMs: number | undefined): Promise<void> {
    const writer = this.#writer as Writer
    const commit = this.#commit as GroupCommit
    try {
      await writer.ask({ kind: 'beginReplace' })
      await this.#fillOtherSlot(writer, blocks)
      // What was written before belongs to the content that goes.
      await commit.pause()
      if (clockMs !== undefined) this.clock.advanceTo(clockMs)
      const result = await writer.ask({ kind: 'finishReplace', clockMs: this.clock.now() })
      this.#finishAbsorbing()
      this.#switchView(result as CommitResult)
      this.buffer.reset()
      this.cache.clear()
    } catch (error) {
      // The writer may be gone; what is left in the other slot is then cleared when the store is opened next.
      await writer.ask({ kind: 'abandonReplace' }).catch(() => {})
      throw error
    } finally {
      commit.resume()
    }
  }

  async close(): Promise<void> {
    await this.#writer?.close()
    this.#finishAbsorbing()
    this.#view.release()
    await this.#environment.root.close()
  }

  #readStore(key: Uint8Array): Uint8Array | undefined {
    this.storeReads++
    const view = this.#view
    const value = view.read(key, this.#now)
    if (value !== undefined && this.#isReadAgain(view.sumOfKey)) {
      this.cache.put(key, 0, key.length, value, 0, value.length, view.expiresAtMs)
    }
    return value
  }

  /** Whether the key of this checksum was read from the store not long ago: only then is it worth its place in the cache. */
  #isReadAgain(sumOfKey: number): boolean {
    const place = sumOfKey % RECENT_READS
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

  async #fillOtherSlot(writer: Writer, blocks: AsyncIterable<EntryBlock>): Promise<void> {
    const { maxBytes } = this.#settings
    let bytes = 0
    for await (const block of blocks) {
      bytes += block.bytes.length
      if (bytes > maxBytes) throw new StateError('BACKEND_FULL', { used: bytes, capacity: maxBytes })
      await writer.ask({ kind: 'replaceBlock', bytes: block.bytes })
    }
  }

  #newCommit(writer: Writer): GroupCommit {
    const { cacheBytes, flushEvery } = this.#settings
    return new GroupCommit(this.buffer, writer, {
      flushEvery,
      flushBytes: cacheBytes * FLUSH_SHARE,
      holdKeys: () => this.#holdKeys,
      holdBytes: cacheBytes * HOLD_SHARE,
      now: () => this.clock.now(),
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
    this.#finishAbsorbing()
    const work = this.#absorb(generation)
    this.#absorbing = work
    void runSliced(work)
  }

  #switchView(result: CommitResult): void {
    this.usedBytes = result.usedBytes
    this.#holdKeys = keysPerCommit(this.usedBytes, this.#settings)
    this.#view.release()
    this.#view = new StoreView(this.#environment, result.generation, result.entries)
    this.#due = undefined
    this.#sweptUntilMs = -1
  }

  /** Moves a committed generation's entries to the cache, then drops it. */
  *#absorb(generation: Generation): SlicedWork<void> {
    if (generation.cleared) this.cache.clear()
    const { entries } = generation.log
    const addresses = latestAddresses(SegmentTable.attach(generation.log.share()))
    for (let i = 0; i < addresses.length; i++) {
      if (i % ABSORB_STEP === 0) yield
      const address = addresses[i] as number
      const bytes = entries.segmentBytes(address)
      const keyStart = entries.keyStart(address)
      const keyLength = entries.keyLength(address)
      if (entries.isTombstone(address)) {
        this.cache.remove(bytes, keyStart, keyLength)
      } else {
        const valueStart = entries.valueStart(address)
        const expiresAtMs = entries.expiresAtMs(address)
        this.cache.put(
          bytes,
          keyStart,
          keyLength,
          bytes,
          valueStart,
          entries.valueLength(address),
          expiresAtMs,
        )
      }
    }
    this.buffer.drop(generation)
    this.#absorbing = undefined
  }

  #finishAbsorbing(): void {
    if (this.#absorbing !== undefined) runThrough(this.#absorbing)
  }

  /** Removes what has expired while it waits to be committed: looks at every key there. */
  #sweepFrozen(): void {
    const nowMs = this.clock.now()
    for (const { log } of this.buffer.frozen) {
      if (log.nextExpiryAtMs > nowMs) continue
      const { entries } = log
      for (const address of latestAddresses(SegmentTable.attach(log.share()))) {
        if (entries.isTombstone(address) || entries.expiresAtMs(address) > nowMs) continue
        const bytes = entries.segmentBytes(address)
        const keyStart = entries.keyStart(address)
        const keyLength = entries.keyLength(address)
        const isNewest =
          this.buffer.find(bytes, keyStart, keyLength) === address && this.buffer.found.log === log
        if (isNewest) this.remove(bytes, keyStart, keyLength)
      }
    }
  }

  /** Entries of the view that are due and were not looked at since the view was switched; undefined: none is left. */
  #nextDue(): readonly Deadline[] | undefined {
    const nowMs = this.clock.now()
    if (this.#due === undefined) {
      if (nowMs <= this.#sweptUntilMs) return undefined
      this.#dueUntilMs = nowMs
      this.#due = this.#view.duePages(this.#sweptUntilMs, nowMs, SWEEP_PAGE)
    }
    const page = this.#due.next()
    if (page.done !== true) return page.value
    this.#sweptUntilMs = this.#dueUntilMs
    this.#due = undefined
    return undefined
  }
}

function mapBytesOf({ maxBytes }: LmdbSettings): number {
  return maxBytes * 2 + SPARE_MAP_BYTES
}
