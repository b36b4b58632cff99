import { throwIfAborted } from '../../base/abort.js'
import { copyBytes } from '../../base/bytes.js'
import { type Clock, systemClock } from '../../base/clock.js'
import { isStateError, StateError } from '../../base/errors.js'
import { invalidArgument, type Rule } from '../../base/options.js'
import { isLocalBytes } from '../../base/shapes.js'
import { nextTurn, SLICE_MS } from '../../base/slices.js'
import { isSlot, plainKey, type Slot, type Stretch, type ViewedBytes } from '../../base/slot.js'
import { validateReplaceOptions } from '../block-options.js'
import { checkedBlocks, watchedBlocks } from '../block-stream.js'
import { builtBy, type StateBuilding, type TakeBuilt } from '../built-state.js'
import type { EntryBlock } from '../entry-block.js'
import { expiryOf } from '../expiry.js'
import { type BlockPreparing, preparedOf } from '../prepared-blocks.js'
import {
  capturedInterval,
  isEmptyInterval,
  type KeyInterval,
  keyStretch,
  prefixRange,
} from '../scan-range.js'
import type {
  InPlaceBackend,
  KeyBytes,
  LookAheadBackend,
  Replaceable,
  StagedWrite,
  WriteBackBackend,
} from '../state-backend.js'
import { type SnapshotOptions, validateSnapshotOptions } from '../state-snapshot.js'
import type {
  BackendStats,
  BackendSupport,
  Entry,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../types.js'
import {
  validateBlocks,
  validateKeyOrStretch,
  validateKeys,
  validatePutOptions,
  validateSlot,
  validateValue,
  validateValueLength,
  validateViewedValue,
} from '../validate.js'
import { isWriteBatch, type WriteBatch } from '../write-batch.js'
import { BackgroundWork } from './background-work.js'
import { CountedStage } from './counted-stage.js'
import { Counters } from './counters.js'
import type { LocalEngine } from './engines.js'
import { LifeCycle } from './life-cycle.js'
import type { LocalSnapshot } from './local-snapshot.js'
import { OpenSnapshots } from './open-snapshots.js'

export interface LocalBackendOptions {
  /** Whose timers drive the sweeps. Default: the machine's. */
  readonly timers?: Clock
  /** How often what has expired is removed, in milliseconds. Default 1,000; Infinity: never by itself. */
  readonly sweepIntervalMs?: number
  /** Age at which an open snapshot is closed, in milliseconds. Default Infinity: never. */
  readonly maxSnapshotAgeMs?: number
  /** What a put takes beside `ttlMs`. */
  readonly putOptions?: { readonly [name: string]: Rule }
}

/**
 * The public face of an engine in this process: checks arguments, knows whether it is open, counts, gives every synchronous
 * call its asynchronous twin, keeps the snapshots that are open, and sweeps by a timer. The engine behind it does the rest; what it
 * lacks (`supports`) rejects with `INVALID_ARGUMENT`. A class that adds calls of its own begins them with `assertOpen` or
 * `assertWritable`.
 *
 * @example
 * class MyBackend extends LocalBackend {
 *   constructor(options: MyOptions) {
 *     super(new MyEngine(options))
 *   }
 * }
 */
export class LocalBackend implements InPlaceBackend, Replaceable, LookAheadBackend, WriteBackBackend {
  readonly name: string
  readonly supports: BackendSupport
  readonly #engine: LocalEngine
  readonly #life: LifeCycle
  readonly #counters = new Counters()
  readonly #snapshots: OpenSnapshots
  readonly #upkeep: BackgroundWork
  readonly #putOptions: { readonly [name: string]: Rule } | undefined

  constructor(engine: LocalEngine, options: LocalBackendOptions = {}) {
    const { timers = systemClock, sweepIntervalMs = 1_000, maxSnapshotAgeMs = Infinity } = options
    this.name = engine.name
    this.supports = engine.supports
    this.#engine = engine
    this.#life = new LifeCycle(engine.name)
    this.#upkeep = new BackgroundWork(timers, sweepIntervalMs, {
      hasWork: () => engine.nextExpiryAtMs !== Infinity || engine.hasChores === true,
      work: (untilMs) => this.#sweep(untilMs) && engine.doChores?.(untilMs) !== false,
    })
    if (engine.doChores !== undefined) engine.wake = () => this.#upkeep.arm()
    this.#snapshots = new OpenSnapshots(timers, maxSnapshotAgeMs)
    this.#putOptions = options.putOptions
    this.#upkeep.arm()
  }

  get sharedModule(): string | undefined {
    return this.#engine.sharedModule
  }

  get building(): StateBuilding | undefined {
    return this.#engine.building
  }

  get preparing(): BlockPreparing | undefined {
    return this.#engine.preparing
  }

  getSync(key: KeyBytes): Uint8Array | undefined {
    this.assertOpen()
    validateKeyOrStretch(key)
    return this.#read(key)
  }

  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.assertOpen()
    validateKeys(keys)
    return keys.map((key) => this.#read(key))
  }

  getOrThrowSync(key: Uint8Array): Uint8Array {
    const value = this.getSync(key)
    if (value !== undefined) return value
    const expiredAtMs = this.#engine.expiredAtMs(key)
    if (expiredAtMs === undefined) throw new StateError('KEY_NOT_FOUND', { key: copyBytes(key) })
    const expiredForMs = this.#engine.clock.now() - expiredAtMs
    throw new StateError('STATE_EXPIRED', { key: copyBytes(key), expiredAtMs, expiredForMs })
  }

  containsSync(key: KeyBytes): boolean {
    this.assertOpen()
    validateKeyOrStretch(key)
    return this.#engine.has(key)
  }

  putSync(key: KeyBytes, value: Uint8Array, options?: PutOptions): void {
    this.assertWritable('put')
    validateKeyOrStretch(key)
    validateValue(value)
    validatePutOptions(options, this.#putOptions)
    const engine = this.#engine
    const expiresAtMs = this.#expiry(options?.ttlMs)
    engine.put(key, value, expiresAtMs)
    this.#counters.notePut(key.length, value.length)
    engine.afterWrite?.()
    if (expiresAtMs !== Infinity) this.#upkeep.arm()
  }

  deleteSync(key: KeyBytes): void {
    this.assertWritable('delete')
    validateKeyOrStretch(key)
    this.#engine.delete(key)
    this.#counters.deletes++
    this.#afterWrite()
  }

  writeSync(batch: WriteBatch): void {
    this.assertWritable('write')
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    const cursor = batch.cursor()
    this.#engine.write({ cursor, expiry: (ttlMs) => this.#expiry(ttlMs) })
    this.#counters.noteBatch(cursor)
    this.#afterWrite()
  }

  deleteRangeSync(range: KeyRange): void {
    this.assertWritable('deleteRange')
    const interval = keyStretch(range)
    this.#deleteRange(interval)
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#scanSync(capturedInterval(range))
  }

  snapshotSync(options?: SnapshotOptions): LocalSnapshot {
    this.assertOpen()
    validateSnapshotOptions(options)
    const takenAtMs = this.#engine.clock.now()
    return this.#snapshots.open(this.#engine.snapshot(takenAtMs, options ?? {}), takenAtMs)
  }

  prepareSnapshot(options?: SnapshotOptions): Promise<void> | undefined {
    this.assertOpen()
    validateSnapshotOptions(options)
    return this.#engine.prepareSnapshot?.(options ?? {})
  }

  peekSync(key: KeyBytes, slot: Slot): boolean {
    this.assertOpen()
    validateKeyOrStretch(key)
    validateSlot(slot)
    const engine = this.#engine
    if (engine.peek === undefined) throw this.#unsupported('peekSync', 'inPlace')
    const isThere = engine.peek(key, slot)
    this.#counters.gets++
    if (isThere) this.#counters.hits++
    return isThere
  }

  updateSync(key: KeyBytes, length: number, slot: Slot, options?: PutOptions): boolean {
    this.assertWritable('update')
    validateKeyOrStretch(key)
    validateValueLength(length)
    validateSlot(slot)
    validatePutOptions(options, this.#putOptions)
    const engine = this.#engine
    if (engine.update === undefined) throw this.#unsupported('updateSync', 'inPlace')
    // A key that a slot shows lies in the engine's memory, which may be another's after what comes next; and this slot is filled.
    const ownKey = isLocalBytes(key) || !isSlot(key) ? key : copyBytes(plainKey(key))
    const keyLength = ownKey.length
    // What earlier updates are to be followed by: it may tell listeners, who may close the backend, or fill slots.
    engine.afterWrite?.()
    this.assertWritable('update')
    const expiresAtMs = this.#expiry(options?.ttlMs)
    const isThere = engine.update(ownKey, length, slot, expiresAtMs)
    this.#counters.notePut(keyLength, length)
    if (expiresAtMs !== Infinity) this.#upkeep.arm()
    return isThere
  }

  writeBackSync(slot: Slot, value: ViewedBytes, length: number, options?: PutOptions): boolean {
    this.assertWritable('put')
    validateSlot(slot)
    validateViewedValue(value, length)
    validatePutOptions(options, this.#putOptions)
    const expiresAtMs = this.#expiry(options?.ttlMs)
    const keyLength = this.#engine.writeBack?.(slot, value, length, expiresAtMs) ?? -1
    if (keyLength < 0) return false
    this.#counters.notePut(keyLength, length)
    if (expiresAtMs !== Infinity) this.#upkeep.arm()
    return true
  }

  get isFar(): boolean {
    return this.#engine.isFar === true
  }

  bringNear(keys: Uint8Array, ends: Int32Array, count: number): void {
    this.#engine.bringNear?.(keys, ends, count)
  }

  peekToldSync(place: number, key: Stretch, slot: Slot): boolean {
    this.assertOpen()
    validateSlot(slot)
    if (this.#engine.peekTold?.(place, key, slot) !== true) return this.peekSync(key, slot)
    this.#counters.gets++
    this.#counters.hits++
    return true
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

  async put(key: Uint8Array, value: Uint8Array, options?: PutOptions): Promise<void> {
    this.putSync(key, value, options)
  }

  async delete(key: Uint8Array): Promise<void> {
    this.deleteSync(key)
  }

  async contains(key: Uint8Array): Promise<boolean> {
    return this.containsSync(key)
  }

  async write(batch: WriteBatch): Promise<void> {
    const engine = this.#engine
    if (engine.prepareDeleteRange === undefined || !isWriteBatch(batch) || !batch.deletesRanges) {
      return this.writeSync(batch)
    }
    const check = () => this.assertWritable('write')
    check()
    const own = batch.copy()
    const prepared = engine.prepareDeleteRange(check)
    if (prepared !== undefined) await prepared
    this.writeSync(own)
  }

  async deleteRange(range: KeyRange): Promise<void> {
    const engine = this.#engine
    const check = () => this.assertWritable('deleteRange')
    check()
    const interval = keyStretch(range)
    if (engine.deleteRangeInSlices !== undefined && !isEmptyInterval(interval)) {
      const removed = engine.deleteRangeInSlices(interval)
      this.#counters.deletes++
      this.#afterWrite()
      return await removed
    }
    const prepared = engine.prepareDeleteRange?.(check)
    if (prepared !== undefined) await prepared
    this.#deleteRange(interval)
  }

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return this.#scan(capturedInterval(range))
  }

  async listKeys(prefix: Uint8Array): Promise<Uint8Array[]> {
    const keys: Uint8Array[] = []
    for await (const [key] of this.scan(prefixRange(prefix))) keys.push(key)
    return keys
  }

  async count(): Promise<number> {
    this.assertOpen()
    while (!this.#sweep(performance.now() + SLICE_MS)) {
      await nextTurn()
      this.assertOpen()
    }
    return this.#engine.entries
  }

  async clear(): Promise<void> {
    this.assertWritable('clear')
    // What had expired counts as such.
    this.#engine.sweep(Infinity)
    this.#engine.clear()
    this.#afterWrite()
  }

  async snapshot(options?: SnapshotOptions): Promise<LocalSnapshot> {
    return this.snapshotSync(options)
  }

  async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    this.assertWritable('replaceAll')
    validateBlocks(blocks)
    validateReplaceOptions(options)
    const engine = this.#engine
    if (engine.replace === undefined) throw this.#unsupported('replaceAll', 'replace')
    const { clockMs, expectedEntries } = options ?? {}
    const interval = keyStretch(options?.range ?? {})
    const takeBuilt = options?.range === undefined && engine.adopt !== undefined ? builtBy(blocks) : undefined
    const assertOpen = () => this.assertOpen()
    const replace = async () => {
      if (takeBuilt !== undefined && (await this.#adopt(takeBuilt, options))) return
      const takePrepared =
        options?.range === undefined && engine.preparing !== undefined ? preparedOf(blocks) : undefined
      const isPrepared = takePrepared !== undefined
      const checked = isPrepared
        ? watchedBlocks(takePrepared(), options?.signal, assertOpen)
        : checkedBlocks(blocks, interval, options?.signal, assertOpen)
      await engine.replace?.(checked, interval, { clockMs, expectedEntries, isPrepared })
    }
    await this.#life.whileReplacing(replace)
    this.#afterWrite()
  }

  /**
   * `replaceAll` by what another thread has put together. False where it found no room: this thread can make some, as for any write, and is to
   * iterate the blocks.
   */
  async #adopt(takeBuilt: TakeBuilt, { clockMs, signal }: ReplaceOptions = {}): Promise<boolean> {
    const check = () => {
      throwIfAborted(signal, 'replaceAll')
      this.assertOpen()
    }
    let hasRoom = true
    const state = await takeBuilt(check).catch((error: unknown) => {
      if (!isStateError(error, 'BACKEND_FULL')) throw error
      hasRoom = false
    })
    check()
    if (hasRoom) this.#engine.adopt?.(state, { clockMs })
    return hasRoom
  }

  async flush(): Promise<void> {
    this.assertOpen()
    await this.#engine.flush()
    this.#counters.flushes++
  }

  stats(): BackendStats {
    this.assertOpen()
    const { entries, expired } = this.#engine
    return { ...this.#counters.read(), expired, entries, openSnapshots: this.#snapshots.count }
  }

  close(): Promise<void> {
    return this.#life.close(async () => {
      this.#upkeep.stop()
      this.#snapshots.closeAll()
      await this.#engine.close()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** For backends whose engine can stage writes. */
  protected beginStage(): StagedWrite {
    this.assertWritable('stage')
    const engine = this.#engine
    if (engine.stage === undefined) throw new Error(`engine '${this.name}' does not stage writes`)
    return new CountedStage(engine.stage(), {
      assertWritable: () => this.assertWritable('stage'),
      expiry: (ttlMs) => this.#expiry(ttlMs),
      applied: (counts) => {
        this.#counters.add(counts)
        if (engine.nextExpiryAtMs !== Infinity) this.#upkeep.arm()
      },
    })
  }

  /** Throws `CLOSED` from the first call of `close` on. */
  protected assertOpen(): void {
    this.#life.assertOpen()
    this.#engine.refresh?.()
  }

  /** Throws `CLOSED`, `NOT_INITIALIZED` while the content is being replaced, or what the engine has against writes. */
  protected assertWritable(operation: string): void {
    this.#life.assertWritable(operation)
    this.#engine.assertWritable?.(operation)
  }

  /** Of the open snapshots, in milliseconds; 0: none is open. */
  protected get oldestSnapshotAgeMs(): number {
    return this.#snapshots.oldestAgeMs
  }

  /** The instant of a scan is that of its first step: a scan that nobody steps holds nothing. */
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

  #deleteRange(interval: KeyInterval): void {
    if (!isEmptyInterval(interval)) this.#engine.deleteRange(interval)
    this.#counters.deletes++
    this.#afterWrite()
  }

  #afterWrite(): void {
    const engine = this.#engine
    engine.afterWrite?.()
    // To look for chores would cost more than a write: an engine that has some says so (`wake`), or does them as it writes.
    if (engine.nextExpiryAtMs !== Infinity) this.#upkeep.arm()
  }

  #sweep(untilMs: number): boolean {
    const isDone = this.#engine.sweep(untilMs)
    this.#engine.afterWrite?.()
    return isDone
  }

  #unsupported(call: string, capability: keyof BackendSupport): StateError {
    return invalidArgument(call, `is not supported by '${this.name}' (supports.${capability})`)
  }

  #read(key: KeyBytes): Uint8Array | undefined {
    const value = this.#engine.get(key)
    this.#counters.noteRead(value)
    return value
  }

  #expiry(ttlMs: number | undefined): number {
    return expiryOf(ttlMs ?? this.#engine.ttlMs, this.#engine.clock)
  }
}
