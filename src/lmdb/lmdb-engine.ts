// The engine under `LmdbStateBackend`: the entries (`buffer/`), the thread that commits them (`commit/`), and the file that they
// are committed to (`store/`), brought together.
//
// (1) When a commit is durable, the view is switched first; then what the commit held moves from the write buffer to the cache,
//     in slices; only then the buffer forgets it. So every moment shows each entry exactly once.
// (2) After a commit has failed nothing is written any more, and everything is still read.

import type { EntryBlock } from '../backend/entry-block.js'
import type {
  EngineBatch,
  EngineReplaceOptions,
  EngineStage,
  LocalEngine,
} from '../backend/facade/engines.js'
import { Expirations } from '../backend/facade/expirations.js'
import type { BlockPreparing, PreparedBlock } from '../backend/prepared-blocks.js'
import { isEverything, type KeyInterval } from '../backend/scan-range.js'
import type { KeyBytes } from '../backend/state-backend.js'
import type { SnapshotOptions } from '../backend/state-snapshot.js'
import type { BackendStats, BackendSupport } from '../backend/types.js'
import { ForwardClock, settlesWithin } from '../base/clock.js'
import { compiledModule } from '../base/compiled.js'
import { isStateError, StateError } from '../base/errors.js'
import type { Listeners } from '../base/events.js'
import { invalidArgument } from '../base/options.js'
import { isStretch, plainKey, type Slot } from '../base/slot.js'
import { afterCleanUp, storageError } from '../files/file-failure.js'
import { randomHashKey } from '../log/index/key-hash.js'
import { Absorption } from './buffer/absorption.js'
import type { Generation } from './buffer/generation.js'
import { LayeredEntries } from './buffer/layered-entries.js'
import { memorySharesOf } from './buffer/memory-shares.js'
import { Admission } from './commit/admission.js'
import { type AsideTarget, applyBatch, fillAside } from './commit/apply-batch.js'
import { CommitFigures } from './commit/commit-figures.js'
import { FlushTimer } from './commit/flush-timer.js'
import { GroupCommit } from './commit/group-commit.js'
import { StoreReplacement } from './commit/store-replacement.js'
import { type CommitStatus, StoreStatus } from './commit/store-status.js'
import type { CommitResult } from './commit/store-writer.js'
import { WriterPort } from './commit/writer-port.js'
import { EngineNotices } from './engine-notices.js'
import { LmdbSnapshot } from './lmdb-snapshot.js'
import { GroupLog } from './log/group-log.js'
import type { LogMark } from './log/log-identity.js'
import { LogOverlay } from './log/log-overlay.js'
import { LogRecovery } from './log/log-recovery.js'
import type { LogRequest } from './log/log-thread.js'
import type { LmdbSettings } from './settings.js'
import { readerModule } from './share/lent-snapshot.js'
import { SnapshotLender } from './share/snapshot-lender.js'
import { compactStore } from './store/compact-store.js'
import type { TableStats } from './store/environment.js'
import { FileCheck } from './store/file-check.js'
import { OpenStore } from './store/open-store.js'
import type { RecordPreparing } from './store/record-block.js'
import { openForReading, ServedStore } from './store/served-store.js'
import type { StoreDirectory } from './store/store-directory.js'
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

export class LmdbEngine implements LocalEngine {
  readonly name = 'lmdb'
  readonly supports: BackendSupport = SUPPORTS
  readonly clock: ForwardClock
  readonly ttlMs: number
  readonly #settings: LmdbSettings
  readonly #maxBytes: number
  readonly #directory: StoreDirectory
  readonly #notices: EngineNotices
  readonly #expirations: Expirations
  readonly #store: ServedStore
  readonly #status: StoreStatus
  readonly #entries: LayeredEntries
  readonly #admission: Admission
  /** Undefined where the store was opened for reading only, as all that commits. */
  readonly #writer: WriterPort | undefined
  readonly #commit: GroupCommit | undefined
  readonly #files: FileCheck | undefined
  readonly #sharing: SnapshotLender | undefined
  /** What is waited for becomes durable here first; undefined: in the store itself. */
  readonly #log: GroupLog | undefined
  readonly #recovery: LogRecovery
  /** Where another process writes. */
  readonly #overlay: LogOverlay | undefined
  readonly #absorption: Absorption
  readonly #flushTimer: FlushTimer
  readonly #figures = new CommitFigures()
  #isReplacing = false
  /** What a staged write has filled so far. */
  #aside: Generation | undefined
  #compacting: Promise<void> | undefined
  /** Ends what `close` does not wait for. */
  readonly #closed = new AbortController()
  /** What LMDB said of itself last: after a commit that failed it may refuse to say anything. */
  #tableStats: TableStats | undefined

  private constructor(options: EngineOptions, store: OpenStore, writer?: WriterPort, status?: CommitStatus) {
    const { settings, directory, listeners } = options
    this.#settings = settings
    this.#maxBytes = settings.maxBytes
    this.#directory = directory
    this.#notices = new EngineNotices(listeners, this.name, directory.path)
    this.#expirations = new Expirations(listeners)
    this.ttlMs = settings.ttlMs
    this.#writer = writer
    const isReadOnly = writer === undefined
    this.#store = new ServedStore(store, directory, { readOnly: isReadOnly })
    if (!isReadOnly) this.#files = new FileCheck(directory, (error) => this.#commit?.fail(error))
    this.clock = new ForwardClock(settings.clock)
    this.clock.advanceTo(this.#store.clockMs)
    this.#status = new StoreStatus(settings, status)
    const hashKey = randomHashKey()
    const shares = memorySharesOf(settings)
    const entries = new LayeredEntries(shares, hashKey, {
      isReadOnly,
      now: () => this.clock.now(),
      view: () => this.#store.view,
      // Of another process's entries, that one tells.
      onExpired: (key) => (isReadOnly ? undefined : this.#expirations.add(key)),
      afterSweepPage: () => this.#commit?.afterWrite(),
      rangesRemoved: () => {
        this.#commit?.beginDue()
        this.#armFlush()
      },
      failed: (error) => this.#commit?.fail(error),
    })
    this.#entries = entries
    this.#admission = new Admission(entries.buffer, this.#status, {
      maxBytes: settings.maxBytes,
      aside: () => this.#aside,
      sweep: () => void this.sweep(Infinity),
      drain: () => this.#drain(),
    })
    this.#recovery = new LogRecovery(directory)
    this.#overlay = isReadOnly ? new LogOverlay(directory, this.#store, entries) : undefined
    this.#log = !isReadOnly && settings.log ? this.#newLog() : undefined
    const commit = writer === undefined ? undefined : this.#newCommit(writer)
    this.#commit = commit
    this.#flushTimer = new FlushTimer(settings.clock, settings.flushIntervalMs, () => commit?.beginInTime())
    this.#sharing =
      commit === undefined
        ? undefined
        : new SnapshotLender({
            hashKey,
            maxBytes: shares.changesBytes,
            dataPath: () => directory.dataPath,
            waitFor: (gate) => commit.waitFor(gate),
            seal: () => {
              commit.seal()
              return entries.buffer.frozen
            },
          })
    const { buffer, cache } = entries
    this.#absorption = new Absorption(
      buffer,
      cache,
      (generation, bytes, start, length) => this.#sharing?.noteChanged(generation, bytes, start, length),
      () => this.#log?.isWriting ?? false,
    )
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
      const { replaceBytes } = memorySharesOf(settings)
      const lease = directory.leaseMark
      const data = { dataPath, lease, compression, replaceBytes }
      writer = new WriterPort(
        { module: '#lmdb/writer-thread', name: 'holdfast writer', data },
        commitTimeoutMs,
      )
      let opened = await writer.ask({ kind: 'open' })
      if (directory.log !== undefined) {
        // A transaction of this owner: from then on the one before cannot commit any more, and the store stays as it is read here.
        const clockMs = opened?.clockMs ?? 0
        const nothing = { segments: [], cleared: false, clockMs, log: undefined, uncounted: true } as const
        opened = await writer.ask({ kind: 'commit', ...nothing })
      }
      const engine = new LmdbEngine(options, store, writer, opened)
      try {
        await engine.#recover(store)
      } catch (error) {
        engine.#store.view.release()
        throw error
      }
      return engine
    } catch (error) {
      await writer?.close()
      await store.close()
      throw error
    }
  }

  /** Takes over what a former owner has logged and the store does not hold yet; the store takes it behind. */
  async #recover({ state }: OpenStore): Promise<void> {
    const clockMs = await this.#recovery.replay(this.#entries, state)
    if (clockMs === undefined) return
    this.clock.advanceTo(clockMs)
    this.#commit?.beginInTime()
  }

  static async openReadOnly(options: EngineOptions): Promise<LmdbEngine> {
    const store = openForReading(options.directory)
    try {
      const engine = new LmdbEngine(options, store)
      try {
        engine.#layLogOver()
      } catch (error) {
        engine.#overlay?.close()
        engine.#store.view.release()
        throw error
      }
      return engine
    } catch (error) {
      await store.close()
      throw error
    }
  }

  /** Where the store was opened for reading only: sees what the writer has flushed, anew in every turn of the event loop. */
  refresh(): void {
    if (this.#writer === undefined) this.#store.refresh(this.#layLogOver)
  }

  readonly #layLogOver = (): void => {
    const loggedMs = this.#overlay?.refresh() ?? 0
    this.clock.advanceTo(Math.max(this.#store.clockMs, loggedMs))
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
    const { buffer, cache, lookups } = this.#entries
    if (this.failure === undefined) this.#tableStats = this.#store.environment.meta.getStats()
    const { mapSize = 0, numReaders = 0 } = this.#tableStats ?? {}
    return {
      ...this.#figures.read(),
      bufferHits: lookups.bufferHits,
      storeReads: lookups.storeReads,
      bufferedKeys: buffer.keys,
      bufferBytes: buffer.bytes,
      cacheBytes: cache.bytes,
      log: this.#log?.state ?? 'none',
      readers: numReaders,
      usedBytes: this.#status.usedBytes,
      mapBytes: mapSize,
    }
  }

  get entries(): number {
    return this.#entries.count
  }

  get expired(): number {
    return this.#expirations.count
  }

  get nextExpiryAtMs(): number {
    return this.#entries.nextExpiryAtMs
  }

  get(key: KeyBytes): Uint8Array | undefined {
    return this.#entries.read(plainKey(key), true)
  }

  has(key: KeyBytes): boolean {
    return this.#entries.read(plainKey(key), false) !== undefined
  }

  expiredAtMs(key: Uint8Array): number | undefined {
    return this.#entries.expiresAtMs(key)
  }

  peek(key: KeyBytes, slot: Slot): boolean {
    return this.#entries.peek(key, slot)
  }

  /** Visible when it returns; durable with a later flush. */
  put(key: KeyBytes, value: Uint8Array, expiresAtMs: number): void {
    this.#admission.assertRoom(1, key.length + value.length)
    this.#entries.put(key, value, expiresAtMs)
  }

  update(key: KeyBytes, length: number, slot: Slot, expiresAtMs: number): boolean {
    this.#admission.assertRoom(1, key.length + length)
    const isThere = this.#entries.update(key, length, slot, expiresAtMs)
    this.#armFlush()
    return isThere
  }

  delete(key: KeyBytes): void {
    if (isStretch(key)) this.#entries.remove(key.bytes, key.offset, key.length)
    else this.#entries.remove(key, 0, key.length)
  }

  write(batch: EngineBatch): void {
    try {
      applyBatch(this.#entries, batch, (keys, bytes) => this.#admission.assertRoom(keys, bytes))
    } finally {
      // Not before all of the batch is there: when the ranges are removed, a commit may begin.
      void this.#entries.removals.begin()
    }
    this.#assertRangesRemoved()
  }

  /** Fills a generation that no read knows of, and then puts it above all others: neither step grows with what it holds. */
  stage(): EngineStage {
    if (this.#aside !== undefined) {
      throw new StateError('TRANSACTION_FAILED', {
        operation: 'stage',
        reason: 'another staged write is open',
      })
    }
    const entries = this.#entries
    const generation = entries.beginAside()
    this.#aside = generation
    const target: AsideTarget = {
      log: generation.log,
      seek: (bytes, start, length) => entries.seekAside(generation, bytes, start, length),
    }
    return {
      add: (batch) => {
        fillAside(target, batch, (keys, bytes) => this.#admission.assertRoom(keys, bytes))
        if (this.#sweeps) entries.payForSweep()
        this.#expirations.tell()
      },
      apply: () => {
        this.#aside = undefined
        if (generation.isEmpty) {
          entries.endAside(undefined)
          generation.release()
          return
        }
        this.#commit?.adopt(generation)
        entries.endAside(generation)
        this.#armFlush()
      },
      drop: () => {
        this.#aside = undefined
        entries.endAside(undefined)
        generation.release()
      },
    }
  }

  deleteRange(interval: KeyInterval): void {
    void this.deleteRangeInSlices(interval)
    this.#assertRangesRemoved()
  }

  deleteRangeInSlices(interval: KeyInterval): Promise<void> {
    if (!isEverything(interval)) {
      this.#entries.removeStretch(interval)
      return this.#entries.removals.begin()
    }
    // What had expired counts as such.
    this.sweep(Infinity)
    this.clear()
    return Promise.resolve()
  }

  /** Part of a range was removed, and the rest cannot be read: whoever does not wait for it is told as well. */
  #assertRangesRemoved(): void {
    if (this.failure !== undefined) throw this.failure
  }

  clear(): void {
    this.#sharing?.forgetBases()
    this.#entries.clear()
  }

  prepareSnapshot({ track, since }: SnapshotOptions): Promise<void> | undefined {
    const { removals } = this.#entries
    if (!removals.isPending || (track !== true && since === undefined)) return undefined
    // Where it fails, the snapshot tells no changes.
    return removals.done.catch(() => {})
  }

  snapshot(takenAtMs: number, options: SnapshotOptions): LmdbSnapshot {
    const { removals } = this.#entries
    // What has changed is told key by key.
    if (options.track === true || options.since !== undefined) removals.finish()
    const source = { ...this.#entries.layers(), takenAtMs, sharing: this.#sharing }
    return new LmdbSnapshot(source, removals.isPending ? {} : options)
  }

  /** Removes entries that have expired until none is left or `untilMs` has passed; returns whether none is left. */
  sweep(untilMs: number): boolean {
    return this.#sweeps ? this.#entries.sweep(untilMs) : true
  }

  /** Whether removals of what has expired are written. */
  get #sweeps(): boolean {
    return this.#writer !== undefined && this.failure === undefined && !this.#isReplacing
  }

  /** Stops the thread until all that was written is committed; false where something waits all the same. */
  #drain(): boolean {
    const commit = this.#commit as GroupCommit
    const isKnown = commit.drainSync(() => this.#absorption.finish())
    this.#absorption.finish()
    return isKnown
  }

  /**
   * Removes some of what has expired, begins a commit where one is due, and stops the thread for as long as the disk cannot keep
   * up.
   */
  afterWrite(): void {
    if (this.#sweeps) this.#entries.payForSweep()
    this.#commit?.afterWrite()
    this.#expirations.tell()
    this.#armFlush()
  }

  /** For writers that can wait: resolves when there is room; undefined: there is. */
  room(): Promise<void> | undefined {
    return this.#commit?.room()
  }

  /** Resolves when everything written before is on stable storage: in the log where that can be, otherwise in the store. */
  flush(): Promise<void> {
    if (this.#log === undefined || this.failure !== undefined) return this.flushToStore()
    const { removals } = this.#entries
    if (removals.isPending) return removals.done.then(() => this.flush())
    return this.#log.flush() ?? this.flushToStore()
  }

  /** Resolves when the store holds everything that was written before, without a log. */
  flushToStore(): Promise<void> {
    const durable = this.#commit?.flushToStore() ?? Promise.resolve()
    return this.#files?.checkAfter(durable) ?? durable
  }

  /** Records are made where the checkpoint is read, which spares the writer's thread nearly half of what it does. */
  get preparing(): BlockPreparing | undefined {
    if (this.#writer === undefined) return undefined
    const data: RecordPreparing = { compression: this.#settings.compression }
    return { module: compiledModule('#lmdb/record-block').href, data }
  }

  /** Replaces what is in an interval by blocks in key order, while nothing is written. */
  async replace(
    blocks: AsyncIterable<EntryBlock | PreparedBlock>,
    interval: KeyInterval,
    { clockMs, isPrepared = false }: EngineReplaceOptions,
  ): Promise<void> {
    const stretch = isEverything(interval) ? undefined : { from: interval.from, until: interval.until }
    await this.#compacting?.catch(() => {})
    this.#assertNotClosed()
    await this.#entries.removals.done
    this.sweep(Infinity)
    this.#expirations.tell()
    this.#assertNotClosed()
    this.#isReplacing = true
    const writer = this.#writer as WriterPort
    const commit = this.#commit as GroupCommit
    const replacement = new StoreReplacement(writer, commit, {
      maxBytes: this.#maxBytes,
      aheadBytes: memorySharesOf(this.#settings).replaceBytes,
    })
    try {
      await replacement.fill(blocks, isPrepared)
      // What was written before belongs to the content that goes, or must be in the store beside what comes.
      if (stretch !== undefined) await commit.flushToStore()
      await commit.pause({ yielding: false })
      if (clockMs !== undefined) this.clock.advanceTo(clockMs)
      const mark = this.#mark
      const result = await replacement.finish(this.clock.now(), stretch, mark)
      if (mark !== undefined) this.#log?.inTree(mark)
      this.#absorption.finish()
      this.#show(result, () => this.#store.showCommit(result))
      this.#entries.reset(result.entries)
      commit.forgetSealed()
      this.#sharing?.forgetBases()
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
    this.#compacting ??= this.flushToStore()
      .then(() => this.#compact())
      .finally(() => {
        this.#compacting = undefined
      })
    await this.#compacting
  }

  async #compact(): Promise<void> {
    let former: Promise<void> | undefined
    await compactStore({
      directory: this.#directory,
      environment: this.#store.environment,
      writer: this.#writer as WriterPort,
      commit: this.#commit as GroupCommit,
      timeoutMs: this.#settings.commitTimeoutMs,
      usedBytes: this.#status.usedBytes,
      onSwitched: (dataPath, result) => {
        this.#files?.follow(dataPath)
        this.#show(result, () => {
          former = this.#store.showCopy(dataPath, result)
        })
      },
    })
    await former
  }

  /** Fires when the store is closed, for what that does not wait for. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  /** Flushes first. `STORAGE_ERROR` where that fails, or where the writer thread hangs: the store stays open then. */
  async close(): Promise<void> {
    this.#flushTimer.stop()
    this.#closed.abort(new StateError('CLOSED', { component: 'lmdb backend' }))
    await this.#compacting?.catch(() => {})
    let isStuck = false
    const letGo = async () => {
      await this.#release()
      await this.#directory.release()
    }
    try {
      await this.flushToStore()
      await this.#commitTime()
      await this.#log?.close()
      if (this.#writer !== undefined) {
        const ending = this.#directory.endLog()
        isStuck = !(await settlesWithin(ending, this.#settings.commitTimeoutMs))
        if (isStuck) throw this.#stuck()
        await ending
      }
    } catch (error) {
      // What is still to be removed is the owner's.
      if (isStuck) throw error
      // On a full disk, for instance, the lease cannot be let go of either.
      throw await afterCleanUp(error, 'lmdb', letGo)
    }
    await letGo()
  }

  #stuck(): StateError {
    const cause = new Error('the file system does not answer; the store stays owned until this process ends')
    return storageError('lmdb', 'remove the log', this.#directory.path, cause)
  }

  async #release(): Promise<void> {
    this.#overlay?.close()
    await this.#log?.close()
    await this.#writer?.close()
    this.#absorption.forget()
    this.#entries.removals.forget()
    await this.#store.close()
  }

  /** Makes the time durable where something is to expire: what has expired must not revive with an earlier clock. */
  async #commitTime(): Promise<void> {
    const clockMs = this.clock.now()
    if (this.failure !== undefined || clockMs <= this.#status.clockMs) return
    if (this.#store.view.firstDeadlineMs === Infinity) return
    await this.#writer?.ask({ kind: 'commit', segments: [], cleared: false, clockMs, log: this.#mark })
  }

  /** Up to where the store holds a log with a commit of everything that was written so far. */
  get #mark(): LogMark | undefined {
    return this.#log?.mark ?? this.#recovery.mark
  }

  #newLog(): GroupLog {
    const { nonce: id, token } = this.#directory.leaseMark
    const log = { id, token }
    const { logFileBytes: fileBytes } = this.#settings
    return new GroupLog(this.#entries.buffer, {
      id,
      fileBytes,
      now: () => this.clock.now(),
      dataPath: () => this.#directory.dataPath,
      commits: () => this.#status.commits,
      mayCut: () => this.#commit?.mayLog ?? false,
      commitAll: () => this.flushToStore(),
      // Its thread looks whether the data file is in its place: while the store is compacted that becomes another one.
      mayBegin: () => this.#recovery.isOver && (this.#commit?.mayLog ?? false),
      begun: () => this.#directory.beginLog(log),
      newPort: (memory) => {
        const { path, dataPath, leaseMark: lease } = this.#directory
        const data = { directory: path, log, fileBytes, lease, dataPath, memory }
        const thread = { module: '#lmdb/log-thread', name: 'holdfast log', data } as const
        return new WriterPort<LogRequest>(thread, this.#settings.commitTimeoutMs)
      },
      unavailable: (error) => this.#notices.logUnavailable(error),
      failed: (error) => this.#commit?.fail(error),
    })
  }

  #newCommit(writer: WriterPort): GroupCommit {
    const { flushBytes, holdBytes } = memorySharesOf(this.#settings)
    return new GroupCommit(this.#entries.buffer, writer, {
      dueKeys: () => this.#status.commitSize.dueKeys,
      flushBytes,
      holdKeys: () => this.#status.commitSize.holdKeys,
      holdBytes,
      now: () => this.clock.now(),
      removals: this.#entries.removals,
      gateTimeoutMs: GATE_TIMEOUT_MS,
      log: this.#log,
      mark: () => this.#mark,
      onAllBegun: () => this.#flushTimer.disarm(),
      onCommitted: (generation, result, tookMs) => this.#committed(generation, result, tookMs),
      onFailed: (error) => this.#notices.failed(error),
      onHeld: (durationMs) => this.#notices.held(durationMs),
    })
  }

  /** What waits is committed in time although nobody waits for it. */
  #armFlush(): void {
    if (!this.#entries.buffer.active.isEmpty) this.#flushTimer.arm()
  }

  #assertNotClosed(): void {
    if (this.closed.aborted) throw this.closed.reason
  }

  #committed(generation: Generation, result: CommitResult, tookMs: number): void {
    this.#figures.note(result, tookMs)
    this.#show(result, () => this.#store.showCommit(result))
    const { mark } = generation
    if (mark !== undefined) {
      this.#log?.inTree(mark)
      // Where it cannot be removed now, it goes on closing, or when the store is opened next.
      this.#recovery.committed(mark).catch(() => {})
    }
    this.#absorption.begin(generation)
    this.#notices.committed(result, tookMs)
  }

  /** Poisons the engine where the commit cannot be shown: writes go on only as long as what they have changed can be seen. */
  #show(result: CommitResult, show: () => void): void {
    try {
      show()
    } catch (failure) {
      this.#commit?.fail(failure as StateError)
      throw failure
    }
    this.#status.note(result)
  }
}
