import { LocalBackend } from '../backend/facade/local-backend.js'
import type { PacedBackend, StagedWrite, StagingBackend } from '../backend/state-backend.js'
import type { KeyRange } from '../backend/types.js'
import type { WriteBatch } from '../backend/write-batch.js'
import { isStateError, reasonOf } from '../base/errors.js'
import { Listeners, type Unsubscribe } from '../base/events.js'
import { invalidArgument } from '../base/options.js'
import { nextTurn, SLICE_MS } from '../base/slices.js'
import { Turns } from './commit/turns.js'
import { LmdbEngine } from './lmdb-engine.js'
import { type LmdbSettings, putRules, settingsFrom, validateLmdbWriteOptions } from './settings.js'
import { loadLmdb } from './store/environment.js'
import { StoreDirectory } from './store/store-directory.js'
import { unreadable, verifyStore } from './store/verify-process.js'
import type { VerifyReport } from './store/verify-store.js'
import type {
  LmdbPutOptions,
  LmdbStateBackendEvents,
  LmdbStateBackendOptions,
  LmdbStats,
  LmdbWriteOptions,
} from './types.js'

/**
 * The persistent engine: LMDB under a write buffer. Writes are visible at once and become durable in groups; `flush()`,
 * or the option `durable` of a write, waits for that. After a crash the store holds a prefix of the writes in their
 * order, batches whole, with everything that was flushed. A synchronous write stops the thread for as long as the disk
 * cannot keep up, an asynchronous one resolves later.
 *
 * @example
 * const backend = await LmdbStateBackend.open({ path: 'state' })
 * backend.putSync(Buffer.from('window:1'), Buffer.from('42'))
 * await backend.flush()
 */
export class LmdbStateBackend extends LocalBackend implements StagingBackend, PacedBackend {
  readonly #directory: StoreDirectory
  readonly #engine: LmdbEngine
  readonly #listeners: Listeners<LmdbStateBackendEvents>
  readonly #turns = new Turns()

  private constructor(
    settings: LmdbSettings,
    directory: StoreDirectory,
    engine: LmdbEngine,
    listeners: Listeners<LmdbStateBackendEvents>,
  ) {
    const { clock: timers, sweepIntervalMs, maxSnapshotAgeMs } = settings
    super(engine, { timers, sweepIntervalMs, maxSnapshotAgeMs, putOptions: putRules })
    this.#directory = directory
    this.#engine = engine
    this.#listeners = listeners
  }

  get isReadOnly(): boolean {
    return this.#engine.isReadOnly
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

  /** A store in a directory of its own among temporary files (`TMPDIR`), removed by `close()`. `STORAGE_ERROR` where there can be none. */
  static async temporary(
    options?: Omit<LmdbStateBackendOptions, 'path' | 'readOnly'>,
  ): Promise<LmdbStateBackend> {
    settingsFrom({ ...options, path: '.' })
    loadLmdb()
    const directory = await StoreDirectory.temporary()
    return await LmdbStateBackend.#over(settingsFrom({ ...options, path: directory.path }), directory)
  }

  /**
   * Reads a whole store, in a process of its own, and checks every record, the order of the keys, the expiry index, and, where it has a log, that
   * this is whole and fits what else is there.
   * Damage is in the report, not an error; it is safe beside a process that writes. `STORAGE_ERROR` where the store could not be
   * checked: the file system refuses, or no process can be started or kept going. That says nothing about the store.
   * `INCOMPATIBLE` for one that a newer version wrote.
   */
  static async verify(path: string): Promise<VerifyReport> {
    if (typeof path !== 'string' || path === '') throw invalidArgument('path', 'must be a path')
    try {
      return await verifyStore(path, () => StoreDirectory.dataPathIn(path))
    } catch (error) {
      if (!isStateError(error, 'CORRUPTION')) throw error
      return unreadable(reasonOf(error))
    }
  }

  static async #over(settings: LmdbSettings, directory: StoreDirectory): Promise<LmdbStateBackend> {
    const listeners = new Listeners<LmdbStateBackendEvents>(['expired', 'failed', 'logUnavailable'])
    try {
      const open = settings.readOnly ? LmdbEngine.openReadOnly : LmdbEngine.open
      const engine = await open({ settings, directory, listeners })
      if (!settings.readOnly) await directory.markReady()
      return new LmdbStateBackend(settings, directory, engine, listeners)
    } catch (error) {
      await directory.release()
      throw error
    }
  }

  /** Resolves at once, or with `durable` when it is on stable storage. */
  override async put(key: Uint8Array, value: Uint8Array, options?: LmdbPutOptions): Promise<void> {
    this.putSync(key, value, options)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  override async delete(key: Uint8Array, options?: LmdbWriteOptions): Promise<void> {
    validateLmdbWriteOptions(options)
    this.deleteSync(key)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  override async write(batch: WriteBatch, options?: LmdbWriteOptions): Promise<void> {
    validateLmdbWriteOptions(options)
    this.writeSync(batch)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  override async deleteRange(range: KeyRange, options?: LmdbWriteOptions): Promise<void> {
    validateLmdbWriteOptions(options)
    await super.deleteRange(range)
    const wait = this.#toWaitFor(options)
    if (wait !== undefined) await wait
  }

  /** Counts what is in memory and what has expired; the store knows the rest. */
  override async count(): Promise<number> {
    const snapshot = this.snapshotSync()
    try {
      return await snapshot.count()
    } finally {
      snapshot.closeSync()
    }
  }

  /** Begins a large write that is made in slices and is there, and durable, in one step. `TRANSACTION_FAILED` where another one is open. */
  stage(): StagedWrite {
    return this.beginStage()
  }

  /**
   * For synchronous writers that can wait: resolves when the disk has caught up so far that some thousand small writes will not stop this
   * thread; `undefined`: it has. Asynchronous writes wait for it by themselves. Never rejects.
   */
  room(): Promise<void> | undefined {
    return this.#engine.room()
  }

  /** Removes every entry that has expired; returns how many. */
  async sweep(): Promise<number> {
    this.assertWritable('sweep')
    const before = this.#engine.expired
    while (!this.#engine.sweep(performance.now() + SLICE_MS)) {
      this.#engine.afterWrite()
      await nextTurn()
      this.assertWritable('sweep')
    }
    this.#engine.afterWrite()
    return this.#engine.expired - before
  }

  /** Bytes that the store's files take on disk. */
  async sizeOnDisk(): Promise<number> {
    this.assertOpen()
    return await this.#directory.sizeOnDisk()
  }

  /** Flushes, then checks the store as {@link LmdbStateBackend.verify} does. `CLOSED` where the store is closed meanwhile. */
  async verify(): Promise<VerifyReport> {
    this.assertOpen()
    if (this.#engine.failure === undefined) await this.#engine.flushToStore()
    const directory = this.#directory
    return await verifyStore(directory.path, () => directory.dataPath, this.#engine.closed)
  }

  /**
   * Rewrites the store without the space that deleted and overwritten entries have left in its file, and gives that back to
   * the file system: afterwards `sizeOnDisk()` is about what the entries take, and the log, where the store has one. Needs disk space for the copy meanwhile. Reads
   * and writes go on; commits wait, and with them `flush()` and durable writes. The copy is verified before it counts, and
   * snapshots that are open keep the old file until they are closed.
   *
   * `TRANSACTION_FAILED` where more is written meanwhile than a quarter of `cacheBytes` holds, or than may fit in `maxBytes`, and `STORAGE_ERROR`, for lack
   * of disk space for instance: the store is then as it was. `CORRUPTION` where a record is damaged.
   */
  async compact(): Promise<void> {
    this.assertWritable('compact')
    await this.#engine.compact()
  }

  override stats(): LmdbStats {
    const stats = super.stats()
    return { ...stats, oldestSnapshotAgeMs: this.oldestSnapshotAgeMs, ...this.#engine.figures() }
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
  override close(): Promise<void> {
    return super.close()
  }

  /** What an asynchronous write still waits for when it is visible; undefined: nothing. */
  #toWaitFor(options: LmdbWriteOptions | undefined): Promise<void> | undefined {
    if (options?.durable === true) return this.#engine.flush()
    return this.#engine.room() ?? this.#turns.due()
  }
}
