import { copyBytes } from '../../base/bytes.js'
import { type Clock, systemClock } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import { invalidArgument } from '../../base/options.js'
import { nextTurn, SLICE_MS } from '../../base/slices.js'
import { validateReplaceOptions } from '../block-options.js'
import { checkedBlocks } from '../block-stream.js'
import type { EntryBlock } from '../entry-block.js'
import { expiryOf } from '../expiry.js'
import { capturedInterval, isEmptyInterval, type KeyInterval, keyStretch } from '../scan-range.js'
import type { KeyBytes, Replaceable, SyncStateBackend } from '../state-backend.js'
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
  validateValue,
} from '../validate.js'
import { isWriteBatch, type WriteBatch } from '../write-batch.js'
import { BackgroundWork } from './background-work.js'
import { Counters } from './counters.js'
import type { LocalEngine } from './engines.js'
import { LifeCycle } from './life-cycle.js'
import { LocalSnapshot } from './local-snapshot.js'

export interface LocalBackendOptions {
  /** Whose timers drive the sweeps. Default: the machine's. */
  readonly timers?: Clock
  /** How often what has expired is removed, in milliseconds. Default 1,000; Infinity: never by itself. */
  readonly sweepIntervalMs?: number
}

/**
 * The public face of an engine in this process: checks arguments, knows whether it is open, counts, gives every synchronous
 * call its asynchronous twin, keeps the snapshots that are open, and sweeps by a timer. The engine behind it does the rest.
 *
 * @example
 * class MyBackend extends LocalBackend {
 *   constructor(options: MyOptions) {
 *     super(new MyEngine(options))
 *   }
 * }
 */
export class LocalBackend implements SyncStateBackend, Replaceable {
  readonly name: string
  readonly supports: BackendSupport
  readonly #engine: LocalEngine
  readonly #life: LifeCycle
  readonly #counters = new Counters()
  readonly #snapshots = new Set<LocalSnapshot>()
  readonly #upkeep: BackgroundWork

  constructor(
    engine: LocalEngine,
    { timers = systemClock, sweepIntervalMs = 1_000 }: LocalBackendOptions = {},
  ) {
    this.name = engine.name
    this.supports = engine.supports
    this.#engine = engine
    this.#life = new LifeCycle(engine.name)
    this.#upkeep = new BackgroundWork(timers, sweepIntervalMs, {
      hasWork: () => engine.nextExpiryAtMs !== Infinity,
      work: (untilMs) => engine.sweep(untilMs),
    })
  }

  getSync(key: KeyBytes): Uint8Array | undefined {
    this.#life.assertOpen()
    validateKeyOrStretch(key)
    return this.#read(key)
  }

  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.#life.assertOpen()
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
    this.#life.assertOpen()
    validateKeyOrStretch(key)
    return this.#engine.has(key)
  }

  putSync(key: KeyBytes, value: Uint8Array, options?: PutOptions): void {
    this.#life.assertWritable('put')
    validateKeyOrStretch(key)
    validateValue(value)
    validatePutOptions(options)
    this.#engine.put(key, value, this.#expiry(options?.ttlMs))
    this.#counters.notePut(key.length, value.length)
    this.#upkeep.arm()
  }

  deleteSync(key: KeyBytes): void {
    this.#life.assertWritable('delete')
    validateKeyOrStretch(key)
    this.#engine.delete(key)
    this.#counters.deletes++
  }

  writeSync(batch: WriteBatch): void {
    this.#life.assertWritable('write')
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    const cursor = batch.cursor()
    this.#engine.write({ cursor, expiry: (ttlMs) => this.#expiry(ttlMs) })
    this.#counters.noteBatch(cursor)
    this.#upkeep.arm()
  }

  deleteRangeSync(range: KeyRange): void {
    this.#life.assertWritable('deleteRange')
    const interval = keyStretch(range)
    if (!isEmptyInterval(interval)) this.#engine.deleteRange(interval)
    this.#counters.deletes++
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#scanSync(capturedInterval(range))
  }

  snapshotSync(options?: SnapshotOptions): LocalSnapshot {
    this.#life.assertOpen()
    validateSnapshotOptions(options)
    const takenAtMs = this.#engine.clock.now()
    const taken = this.#engine.snapshot(takenAtMs, options ?? {})
    const snapshot = new LocalSnapshot(taken, takenAtMs, (closed) => this.#snapshots.delete(closed))
    this.#snapshots.add(snapshot)
    return snapshot
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
    this.writeSync(batch)
  }

  async deleteRange(range: KeyRange): Promise<void> {
    this.deleteRangeSync(range)
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
    this.#life.assertOpen()
    while (!this.#engine.sweep(performance.now() + SLICE_MS)) {
      await nextTurn()
      this.#life.assertOpen()
    }
    return this.#engine.entries
  }

  async clear(): Promise<void> {
    this.#life.assertWritable('clear')
    // What had expired counts as such.
    this.#engine.sweep(Infinity)
    this.#engine.clear()
  }

  async snapshot(options?: SnapshotOptions): Promise<LocalSnapshot> {
    return this.snapshotSync(options)
  }

  async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    this.#life.assertWritable('replaceAll')
    validateBlocks(blocks)
    validateReplaceOptions(options)
    const engine = this.#engine
    if (engine.replace === undefined) {
      throw invalidArgument('replaceAll', `is not supported by '${this.name}' (supports.replace)`)
    }
    const interval = keyStretch(options?.range ?? {})
    const checked = checkedBlocks(blocks, interval, options?.signal, () => this.#life.assertOpen())
    await this.#life.whileReplacing(async () => await engine.replace?.(checked, interval, options?.clockMs))
    this.#upkeep.arm()
  }

  async flush(): Promise<void> {
    this.#life.assertOpen()
    await this.#engine.flush()
    this.#counters.flushes++
  }

  /** Removes everything that has expired; returns how many entries there were. */
  sweep(): number {
    this.#life.assertOpen()
    const before = this.#engine.expired
    this.#engine.sweep(Infinity)
    return this.#engine.expired - before
  }

  stats(): BackendStats {
    this.#life.assertOpen()
    const { entries, expired } = this.#engine
    return { ...this.#counters.read(), expired, entries, openSnapshots: this.#snapshots.size }
  }

  close(): Promise<void> {
    return this.#life.close(async () => {
      this.#upkeep.stop()
      for (const snapshot of this.#snapshots) snapshot.closeSync()
      await this.#engine.close()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The instant of a scan is that of its first step: a scan that nobody steps holds nothing. */
  *#scanSync(interval: () => KeyInterval): IterableIterator<Entry> {
    const snapshot = this.snapshotSync()
    try {
      yield* snapshot.walk(interval())
    } finally {
      snapshot.closeSync()
    }
  }

  async *#scan(interval: () => KeyInterval): AsyncIterableIterator<Entry> {
    yield* this.#scanSync(interval)
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
