import { validateReplaceOptions } from '../backend/block-options.js'
import { checkedBlocks } from '../backend/block-stream.js'
import type { EntryBlock } from '../backend/entry-block.js'
import { expiryOf } from '../backend/expiry.js'
import {
  capturedInterval,
  isEmptyInterval,
  isEverything,
  type KeyInterval,
  keyStretch,
} from '../backend/scan-range.js'
import type { KeyBytes, Replaceable, SyncStateBackend } from '../backend/state-backend.js'
import { type SnapshotOptions, validateSnapshotOptions } from '../backend/state-snapshot.js'
import type {
  BackendSupport,
  Entry,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../backend/types.js'
import { validateBlocks, validateKeyOrStretch, validateKeys, validateValue } from '../backend/validate.js'
import { isWriteBatch, type WriteBatch } from '../backend/write-batch.js'
import { copyBytes } from '../base/bytes.js'
import { type CancelTimer, setLongTimer } from '../base/clock.js'
import { isStateError, reasonOf, StateError } from '../base/errors.js'
import { Listeners, type Unsubscribe } from '../base/events.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn, SLICE_MS } from '../base/slices.js'
import { isStretch, plainKey } from '../base/slot.js'
import { Expirations } from './buffer/expirations.js'
import { applyBatch, assertExpectations, putBytes } from './commit/apply-batch.js'
import { Turns } from './commit/turns.js'
import { LmdbEngine } from './lmdb-engine.js'
import type { LmdbSnapshot } from './lmdb-snapshot.js'
import { OpenSnapshots } from './open-snapshots.js'
import {
  type LmdbSettings,
  settingsFrom,
  validateLmdbPutOptions,
  validateLmdbWriteOptions,
} from './settings.js'
import { loadLmdb } from './store/environment.js'
import { StoreDirectory } from './store/store-directory.js'
import { unreadable, verifyDataFile } from './store/verify-process.js'
import type { VerifyReport } from './store/verify-store.js'
import type {
  LmdbPutOptions,
  LmdbStateBackendEvents,
  LmdbStateBackendOptions,
  LmdbStats,
  LmdbWriteOptions,
} from './types.js'

const SUPPORTS: BackendSupport = Object.freeze({
  sync: true,
  ttl: true,
  orderedScan: 'instant',
  snapshots: true,
  changes: true,
  sharing: true,
  replace: true,
  inPlace: false,
  durable: true,
})

/** Background work goes on after this pause when a slice was not enough. */
const NEXT_SLICE_MS = 10

/**
 * The persistent engine: LMDB under a write buffer. Writes are visible at once and become durable in groups; `flush()`,
 * or the option `durable` of a write, waits for that. After a crash the store holds a prefix of the writes in their
 * order, batches whole, with everything that was flushed.
 *
 * @example
 * const backend = await LmdbStateBackend.open({ path: 'state' })
 * backend.putSync(Buffer.from('window:1'), Buffer.from('42'))
 * await backend.flush()
 */
export class LmdbStateBackend implements SyncStateBackend, Replaceable {
  readonly name = 'lmdb'
  readonly supports: BackendSupport = SUPPORTS
  readonly #settings: LmdbSettings
  readonly #directory: StoreDirectory
  readonly #listeners: Listeners<LmdbStateBackendEvents>
  readonly #expirations: Expirations
  readonly #engine: LmdbEngine
  readonly #snapshots: OpenSnapshots
  readonly #turns = new Turns()
  #cancelSweep: CancelTimer | undefined
  #cancelFlush: CancelTimer | undefined
  #closing: Promise<void> | undefined
  #compacting: Promise<void> | undefined
  /** Ends what `close` does not wait for. */
  readonly #closed = new AbortController()
  #replacing = false
  #gets = 0
  #hits = 0
  #puts = 0
  #deletes = 0
  #bytesWritten = 0
  #flushes = 0

  private constructor(
    settings: LmdbSettings,
    directory: StoreDirectory,
    engine: LmdbEngine,
    listeners: Listeners<LmdbStateBackendEvents>,
    expirations: Expirations,
  ) {
    this.#settings = settings
    this.#directory = directory
    this.#engine = engine
    this.#listeners = listeners
    this.#expirations = expirations
    this.#snapshots = new OpenSnapshots(settings.clock, settings.maxSnapshotAgeMs)
    this.#armSweep()
  }

  /**
   * Opens the store in a directory, made where it is missing. Only one process at a time may open it for writing: for
   * the second one, `FENCED`. `CORRUPTION` for a damaged store and `INCOMPATIBLE` for another format or for a
   * directory of something else: nothing is changed then. `STORAGE_ERROR` where the file system refuses.
   */
  static async open(options: LmdbStateBackendOptions): Promise<LmdbStateBackend> {
    const settings = settingsFrom(options)
    loadLmdb()
    const directory = await StoreDirectory.open(settings.path, settings)
    return await LmdbStateBackend.#over(settings, directory)
  }

  /** A store in a directory of its own for temporary files, removed by `close()`. */
  static async temporary(
    options?: Omit<LmdbStateBackendOptions, 'path' | 'readOnly'>,
  ): Promise<LmdbStateBackend> {
    settingsFrom({ ...options, path: '.' })
    loadLmdb()
    const directory = await StoreDirectory.temporary()
    return await LmdbStateBackend.#over(settingsFrom({ ...options, path: directory.path }), directory)
  }

  /**
   * Reads a whole store, in a process of its own, and checks every record, the order of the keys and the expiry index.
   * Damage is in the report, not an error; it is safe beside a process that writes. `STORAGE_ERROR` where the store could not be
   * checked: the file system refuses, or no process can be started or kept going. That says nothing about the store.
   * `INCOMPATIBLE` for one that a newer version wrote.
   */
  static async verify(path: string): Promise<VerifyReport> {
    let dataPath: string
    try {
      dataPath = await StoreDirectory.dataPathIn(path)
    } catch (error) {
      if (!isStateError(error, 'CORRUPTION')) throw error
      return unreadable(reasonOf(error))
    }
    return await verifyDataFile(dataPath)
  }

  static async #over(settings: LmdbSettings, directory: StoreDirectory): Promise<LmdbStateBackend> {
    const listeners = new Listeners<LmdbStateBackendEvents>(['expired', 'failed'])
    const expirations = new Expirations(listeners)
    const events = {
      onExpired: (key: () => Uint8Array) => expirations.add(key),
      onFailed: (error: StateError) => listeners.emit('failed', { error }),
    }
    try {
      const open = settings.readOnly ? LmdbEngine.openReadOnly : LmdbEngine.open
      const engine = await open({ settings, directory, events })
      if (!settings.readOnly) await directory.markReady()
      return new LmdbStateBackend(settings, directory, engine, listeners, expirations)
    } catch (error) {
      await directory.release()
      throw error
    }
  }

  getSync(key: KeyBytes): Uint8Array | undefined {
    this.#assertOpen()
    validateKeyOrStretch(key)
    return this.#read(plainKey(key))
  }

  getOrThrowSync(key: Uint8Array): Uint8Array {
    const value = this.getSync(key)
    if (value !== undefined) return value
    const expiredAtMs = this.#engine.expiredAtMs(key)
    if (expiredAtMs === undefined) throw new StateError('KEY_NOT_FOUND', { key: copyBytes(key) })
    const expiredForMs = this.#engine.clock.now() - expiredAtMs
    throw new StateError('STATE_EXPIRED', { key: copyBytes(key), expiredAtMs, expiredForMs })
  }

  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.#assertOpen()
    validateKeys(keys)
    return keys.map((key) => this.#read(key))
  }

  containsSync(key: KeyBytes): boolean {
    this.#assertOpen()
    validateKeyOrStretch(key)
    return this.#engine.read(plainKey(key), false) !== undefined
  }

  /** Visible when it returns; durable with a later flush. Stops the thread for as long as the disk cannot keep up. */
  putSync(key: KeyBytes, value: Uint8Array, options?: PutOptions): void {
    this.#assertWritable('put')
    validateKeyOrStretch(key)
    validateValue(value)
    if (options !== undefined) validateLmdbPutOptions(options)
    this.#engine.assertRoom(key.length + value.length)
    const expiresAtMs = this.#expiry(options?.ttlMs)
    const bytes = isStretch(key) ? key.bytes : key
    const start = isStretch(key) ? key.offset : 0
    this.#engine.put(bytes, start, key.length, value, 0, value.length, expiresAtMs)
    this.#puts++
    this.#bytesWritten += key.length + value.length
    this.#afterWrite()
  }

  deleteSync(key: KeyBytes): void {
    this.#assertWritable('delete')
    validateKeyOrStretch(key)
    if (isStretch(key)) this.#engine.remove(key.bytes, key.offset, key.length)
    else this.#engine.remove(key, 0, key.length)
    this.#deletes++
    this.#afterWrite()
  }

  writeSync(batch: WriteBatch): void {
    this.#assertWritable('write')
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    const cursor = batch.cursor()
    assertExpectations(this.#engine, cursor)
    this.#engine.assertRoom(putBytes(cursor))
    const tally = applyBatch(this.#engine, cursor, (ttlMs) => this.#expiry(ttlMs))
    this.#puts += tally.puts
    this.#deletes += tally.deletes
    this.#bytesWritten += tally.bytesWritten
    this.#afterWrite()
  }

  deleteRangeSync(range: KeyRange): void {
    this.#assertWritable('deleteRange')
    const interval = keyStretch(range)
    if (isEverything(interval)) {
      this.#sweepNow()
      this.#assertWritable('deleteRange')
      this.#engine.clear()
    } else if (!isEmptyInterval(interval)) {
      this.#engine.removeStretch(interval)
    }
    this.#deletes++
    this.#afterWrite()
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#scanSync(capturedInterval(range))
  }

  snapshotSync(options?: SnapshotOptions): LmdbSnapshot {
    this.#assertOpen()
    validateSnapshotOptions(options)
    this.#expirations.emit()
    this.#assertOpen()
    const { clock, sharing } = this.#engine
    return this.#snapshots.open({ ...this.#engine.capture(), takenAtMs: clock.now(), sharing, options })
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.getSync(key)
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.getManySync(keys)
  }

  async getOrThrow(key: Uint8Array): Promise<Uint8Array> {
    return this.getOrThrowSync(key)
  }

  /** Resolves at once, or with `durable` when it is on stable storage; later where the disk cannot keep up. */
  async put(key: Uint8Array, value: Uint8Array, options?: LmdbPutOptions): Promise<void> {
    this.putSync(key, value, options)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  async delete(key: Uint8Array, options?: LmdbWriteOptions): Promise<void> {
    validateLmdbWriteOptions(options)
    this.deleteSync(key)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return this.containsSync(key)
  }

  async write(batch: WriteBatch, options?: LmdbWriteOptions): Promise<void> {
    validateLmdbWriteOptions(options)
    this.writeSync(batch)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#scan(capturedInterval(range))
  }

  async listKeys(prefix: Uint8Array): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = []
    for await (const [key] of this.scan({ prefix })) keys.push(key)
    return keys
  }

  async count(): Promise<number> {
    const snapshot = this.snapshotSync()
    try {
      return await snapshot.count()
    } finally {
      snapshot.closeSync()
    }
  }

  async clear(): Promise<void> {
    this.#assertWritable('clear')
    this.#sweepNow()
    this.#assertWritable('clear')
    this.#engine.clear()
    this.#afterWrite()
  }

  async deleteRange(range: KeyRange, options?: LmdbWriteOptions): Promise<void> {
    validateLmdbWriteOptions(options)
    this.deleteRangeSync(range)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  async snapshot(options?: SnapshotOptions): Promise<LmdbSnapshot> {
    return this.snapshotSync(options)
  }

  async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    this.#assertWritable('replaceAll')
    validateBlocks(blocks)
    validateReplaceOptions(options)
    const interval = keyStretch(options?.range ?? {})
    const stretch = isEverything(interval) ? undefined : { from: interval.from, until: interval.until }
    this.#replacing = true
    try {
      await this.#compacting?.catch(() => {})
      this.#assertOpen()
      this.#sweepNow()
      const checked = checkedBlocks(blocks, interval, options?.signal, () => this.#assertOpen())
      await this.#engine.replaceAll(checked, stretch, options?.clockMs)
    } finally {
      this.#replacing = false
    }
    this.#armSweep()
  }

  /** Resolves when everything written before is on stable storage. `STORAGE_ERROR` where it cannot be put there. */
  async flush(): Promise<void> {
    this.#assertOpen()
    await this.#engine.flush()
    this.#flushes++
  }

  /** Removes every entry that has expired; returns how many. */
  async sweep(): Promise<number> {
    this.#assertWritable('sweep')
    const before = this.#expirations.count
    while (!this.#engine.sweep(performance.now() + SLICE_MS)) {
      this.#afterSweep()
      await nextTurn()
      this.#assertWritable('sweep')
    }
    this.#afterSweep()
    return this.#expirations.count - before
  }

  /** Bytes that the store's files take on disk. */
  async sizeOnDisk(): Promise<number> {
    this.#assertOpen()
    return await this.#directory.sizeOnDisk()
  }

  /** Flushes, then checks the store as {@link LmdbStateBackend.verify} does. `CLOSED` where the store is closed meanwhile. */
  async verify(): Promise<VerifyReport> {
    this.#assertOpen()
    if (this.#engine.failure === undefined) await this.#engine.flush()
    return await verifyDataFile(this.#directory.dataPath, { signal: this.#closed.signal })
  }

  /**
   * Rewrites the store without the space that deleted and overwritten entries have left in its file, and gives that back to
   * the file system: afterwards `sizeOnDisk()` is about what the entries take. Needs disk space for the copy meanwhile. Reads
   * and writes go on; commits wait, and with them `flush()` and durable writes. The copy is verified before it counts, and
   * snapshots that are open keep the old file until they are closed.
   *
   * `TRANSACTION_FAILED` where more is written meanwhile than a quarter of `cacheBytes` holds, or than may fit in `maxBytes`, and `STORAGE_ERROR`, for lack
   * of disk space for instance: the store is then as it was. `CORRUPTION` where a record is damaged.
   */
  async compact(): Promise<void> {
    this.#assertWritable('compact')
    this.#compacting ??= this.#compact()
    await this.#compacting
  }

  stats(): LmdbStats {
    this.#assertOpen()
    return {
      gets: this.#gets,
      hits: this.#hits,
      misses: this.#gets - this.#hits,
      puts: this.#puts,
      deletes: this.#deletes,
      expired: this.#expirations.count,
      bytesWritten: this.#bytesWritten,
      flushes: this.#flushes,
      entries: this.#engine.countHeld(),
      openSnapshots: this.#snapshots.count,
      oldestSnapshotAgeMs: this.#snapshots.oldestAgeMs,
      ...this.#engine.figures(),
    }
  }

  on<Name extends keyof LmdbStateBackendEvents>(
    name: Name,
    listener: (event: LmdbStateBackendEvents[Name]) => void,
  ): Unsubscribe {
    return this.#listeners.on(name, listener)
  }

  /**
   * Flushes and releases everything. Idempotent. `STORAGE_ERROR` where what was written cannot be flushed; where the file
   * system does not answer at all, the store then stays open, and owned, until the process ends.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #compact(): Promise<void> {
    try {
      await this.#engine.flush()
      await this.#engine.compact()
    } finally {
      this.#compacting = undefined
    }
  }

  async #close(): Promise<void> {
    this.#cancelSweep?.()
    this.#cancelFlush?.()
    this.#snapshots.closeAll()
    this.#closed.abort(new StateError('CLOSED', { component: 'lmdb backend' }))
    await this.#compacting?.catch(() => {})
    try {
      await this.#engine.flush()
      await this.#engine.commitTime()
    } finally {
      await this.#engine.close()
      await this.#directory.release()
    }
  }

  *#scanSync(interval: () => KeyInterval): IterableIterator<Entry> {
    const snapshot = this.snapshotSync()
    try {
      yield* snapshot.walkSync(interval())
    } finally {
      snapshot.closeSync()
    }
  }

  async *#scan(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    const snapshot = this.snapshotSync()
    try {
      yield* snapshot.walk(interval())
    } finally {
      snapshot.closeSync()
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw new StateError('CLOSED', { component: 'lmdb backend' })
    this.#engine.refresh()
  }

  #assertWritable(operation: string): void {
    this.#assertOpen()
    if (this.#settings.readOnly) throw invalidArgument('options.readOnly', `forbids: ${operation}`)
    const { failure } = this.#engine
    if (failure !== undefined) {
      const reason = `an earlier commit failed: ${failure.message}`
      throw new StateError('STORAGE_ERROR', { storage: 'lmdb', operation, reason }, { cause: failure })
    }
    if (this.#replacing) {
      const component = 'lmdb backend, whose content is being replaced,'
      throw new StateError('NOT_INITIALIZED', { component, operation })
    }
  }

  #read(key: Uint8Array): Uint8Array | undefined {
    this.#gets++
    const value = this.#engine.read(key, true)
    if (value !== undefined) this.#hits++
    return value
  }

  #expiry(ttlMs: number | undefined): number {
    return expiryOf(ttlMs ?? this.#settings.ttlMs, this.#engine.clock)
  }

  #afterWrite(): void {
    this.#engine.afterWrite()
    this.#expirations.emit()
    this.#armFlush()
    if (this.#cancelSweep === undefined) this.#armSweep()
  }

  /** What an asynchronous write still waits for when it is visible; undefined: nothing. */
  #toWaitFor(options: LmdbWriteOptions | undefined): Promise<void> | undefined {
    if (options?.durable === true) return this.#engine.flush()
    return this.#engine.room() ?? this.#turns.due()
  }

  #sweepNow(): void {
    this.#engine.sweep(Infinity)
    this.#afterSweep()
  }

  #afterSweep(): void {
    this.#expirations.emit()
    if (this.#closing === undefined) this.#armFlush()
  }

  #armFlush(): void {
    const { flushIntervalMs, clock } = this.#settings
    if (flushIntervalMs === Infinity || this.#cancelFlush !== undefined) return
    if (this.#engine.buffer.active.isEmpty) return
    const flush = () => {
      this.#cancelFlush = undefined
      this.#engine.beginFlush()
    }
    this.#cancelFlush = setLongTimer(clock, flush, flushIntervalMs)
  }

  /** Sweeps are scheduled only while something is to expire. */
  #armSweep(delayMs: number = this.#settings.sweepIntervalMs): void {
    const { readOnly, sweepIntervalMs, clock } = this.#settings
    if (readOnly || this.#closing !== undefined || this.#cancelSweep !== undefined) return
    if (sweepIntervalMs === Infinity || this.#engine.nextExpiryAtMs === Infinity) return
    const sweep = () => {
      this.#cancelSweep = undefined
      const done = this.#replacing || this.#engine.sweep(performance.now() + SLICE_MS)
      this.#afterSweep()
      this.#armSweep(done ? undefined : NEXT_SLICE_MS)
    }
    this.#cancelSweep = setLongTimer(clock, sweep, delayMs)
  }
}
