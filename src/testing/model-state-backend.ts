import { validateReplaceOptions } from '../backend/block-options.js'
import type { EntryBlock } from '../backend/entry-block.js'
import { isEverything, type KeyInterval, keyInterval, keyStretch } from '../backend/scan-range.js'
import type { InPlaceBackend, KeyBytes, Replaceable } from '../backend/state-backend.js'
import { type SnapshotOptions, validateSnapshotOptions } from '../backend/state-snapshot.js'
import type {
  BackendStats,
  BackendSupport,
  Entry,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from '../backend/types.js'
import {
  throwIfAborted,
  validateKey,
  validateKeyOrStretch,
  validateKeys,
  validatePutOptions,
  validateSlot,
  validateValue,
  validateValueLength,
} from '../backend/validate.js'
import { type BatchCursor, isWriteBatch, OperationKind, WriteBatch } from '../backend/write-batch.js'
import { copyBytes, equalBytes } from '../base/bytes.js'
import { type CancelTimer, type Clock, ForwardClock, setLongTimer, systemClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { invalidArgument, rejectViolations, rules, violationsOf } from '../base/options.js'
import { isBytes } from '../base/shapes.js'
import { plainKey, type Slot } from '../base/slot.js'
import { readBlocks } from './model-blocks.js'
import {
  aliveEntries,
  entriesBeside,
  isAlive,
  keyText,
  type ModelEntries,
  type ModelEntry,
  sizeBytes,
} from './model-entries.js'
import { asyncEntries, ModelSnapshot } from './model-snapshot.js'

const DEFAULT_SWEEP_INTERVAL_MS = 1_000

const SUPPORTS: BackendSupport = Object.freeze({
  sync: true,
  ttl: true,
  orderedScan: 'instant',
  snapshots: true,
  changes: true,
  sharing: true,
  replace: true,
  inPlace: true,
  durable: false,
})

export interface ModelStateBackendOptions {
  /** Time to live of puts that name none. Default `Infinity`. */
  readonly ttlMs?: number
  /** Most key and value bytes that it holds. Default: no limit. */
  readonly maxBytes?: number
  /** Default: the machine's. */
  readonly clock?: Clock
  /** How often expired entries are removed. Default 1,000. */
  readonly sweepIntervalMs?: number
}

const optionRules = {
  ttlMs: rules.positiveMs,
  maxBytes: rules.positiveInteger,
  clock: rules.object,
  sweepIntervalMs: rules.positiveMs,
}

function show(value: Uint8Array, slot: Slot): void {
  slot.bytes = value
  slot.view = new DataView(value.buffer, value.byteOffset, value.byteLength)
  slot.offset = 0
  slot.length = value.length
}

type Counters = { -readonly [Name in Exclude<keyof BackendStats, 'entries' | 'openSnapshots'>]: number }

/**
 * The reference: a `Map`, sorted for every scan and copied for every snapshot. It keeps every promise of
 * `StateBackend` in the plainest way there is, so that engines can be compared with it. It is not fast.
 */
export class ModelStateBackend implements InPlaceBackend, Replaceable {
  readonly name: string = 'model'
  readonly supports: BackendSupport = SUPPORTS
  readonly #ttlMs: number
  readonly #maxBytes: number
  readonly #sweepIntervalMs: number
  readonly #clock: Clock
  readonly #time: ForwardClock
  readonly #snapshots = new Set<ModelSnapshot>()
  readonly #counters: Counters = {
    gets: 0,
    hits: 0,
    misses: 0,
    puts: 0,
    deletes: 0,
    expired: 0,
    bytesWritten: 0,
    flushes: 0,
  }
  #entries: ModelEntries = new Map()
  /** Stands for the content: a new one after each `replaceAll`. */
  #content: object = {}
  #cancelSweep: CancelTimer = () => {}
  #replacing = false
  #closed = false

  constructor(options: ModelStateBackendOptions = {}) {
    rejectViolations(violationsOf(options, optionRules))
    this.#ttlMs = options.ttlMs ?? Infinity
    this.#maxBytes = options.maxBytes ?? Infinity
    this.#sweepIntervalMs = options.sweepIntervalMs ?? DEFAULT_SWEEP_INTERVAL_MS
    this.#clock = options.clock ?? systemClock
    this.#time = new ForwardClock(this.#clock)
    this.#scheduleSweep()
  }

  getSync(key: KeyBytes): Uint8Array | undefined {
    this.#requireOpen()
    validateKeyOrStretch(key)
    return this.#lookUp(plainKey(key), this.#time.now())
  }

  getOrThrowSync(key: Uint8Array): Uint8Array {
    this.#requireOpen()
    validateKey(key)
    const nowMs = this.#time.now()
    const value = this.#lookUp(key, nowMs)
    if (value !== undefined) return value
    const expiredAtMs = this.#entries.get(keyText(key))?.expiresAtMs
    if (expiredAtMs === undefined) throw new StateError('KEY_NOT_FOUND', { key: copyBytes(key) })
    throw new StateError('STATE_EXPIRED', {
      key: key.slice(),
      expiredAtMs,
      expiredForMs: nowMs - expiredAtMs,
    })
  }

  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.#requireOpen()
    validateKeys(keys)
    return keys.map((key) => this.getSync(key))
  }

  putSync(key: KeyBytes, value: Uint8Array, options?: PutOptions): void {
    this.#requireOpen()
    validateKeyOrStretch(key)
    validateValue(value)
    validatePutOptions(options)
    this.#apply(new WriteBatch().put(plainKey(key), value, options), 'put')
  }

  deleteSync(key: KeyBytes): void {
    this.#requireOpen()
    validateKeyOrStretch(key)
    this.#apply(new WriteBatch().delete(plainKey(key)), 'delete')
  }

  containsSync(key: KeyBytes): boolean {
    this.#requireOpen()
    validateKeyOrStretch(key)
    return this.#alive(plainKey(key), this.#time.now()) !== undefined
  }

  writeSync(batch: WriteBatch): void {
    this.#requireOpen()
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    this.#apply(batch, 'write')
  }

  peekSync(key: KeyBytes, slot: Slot): boolean {
    this.#requireOpen()
    validateKeyOrStretch(key)
    validateSlot(slot)
    const entry = this.#alive(plainKey(key), this.#time.now())
    this.#counters.gets++
    if (entry === undefined) this.#counters.misses++
    else this.#counters.hits++
    if (entry !== undefined) show(entry.value, slot)
    return entry !== undefined
  }

  updateSync(key: KeyBytes, length: number, slot: Slot, options?: PutOptions): boolean {
    this.#requireOpen()
    validateKeyOrStretch(key)
    validateValueLength(length)
    validateSlot(slot)
    const plain = plainKey(key)
    const before = this.#alive(plain, this.#time.now())?.value
    const value = new Uint8Array(length)
    if (before !== undefined) value.set(before.subarray(0, length))
    this.#apply(new WriteBatch().put(plain, value, options), 'update')
    // What was just put is this backend's own: it is in no snapshot yet.
    show((this.#entries.get(keyText(plain)) as ModelEntry).value, slot)
    return before !== undefined
  }

  deleteRangeSync(range: KeyRange): void {
    this.#requireWritable('deleteRange')
    const interval = keyStretch(range)
    this.sweep()
    this.#entries = entriesBeside(this.#entries, interval)
    this.#counters.deletes++
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    this.#requireOpen()
    return this.#scan(keyInterval(range))
  }

  snapshotSync(options: SnapshotOptions = {}): ModelSnapshot {
    this.#requireOpen()
    validateSnapshotOptions(options)
    const nowMs = this.#time.now()
    const entries = aliveEntries(this.#entries, nowMs)
    const snapshot = new ModelSnapshot(entries, nowMs, this.#content, options, (closed) =>
      this.#snapshots.delete(closed),
    )
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

  scan(range?: ScanRange): AsyncIterableIterator<Entry> {
    return asyncEntries(this.scanSync(range))
  }

  async listKeys(prefix: Uint8Array): Promise<Uint8Array[]> {
    this.#requireOpen()
    if (!isBytes(prefix)) throw invalidArgument('prefix', 'must be a Uint8Array')
    return [...this.scanSync({ prefix })].map(([key]) => key)
  }

  async count(): Promise<number> {
    this.sweep()
    return this.#entries.size
  }

  async clear(): Promise<void> {
    this.#requireWritable('clear')
    this.sweep()
    this.#entries = new Map()
  }

  async deleteRange(range: KeyRange): Promise<void> {
    this.deleteRangeSync(range)
  }

  async snapshot(options?: SnapshotOptions): Promise<ModelSnapshot> {
    return this.snapshotSync(options)
  }

  async replaceAll(blocks: AsyncIterable<EntryBlock>, options: ReplaceOptions = {}): Promise<void> {
    this.#requireWritable('replaceAll')
    if (typeof blocks?.[Symbol.asyncIterator] !== 'function') {
      throw invalidArgument('blocks', 'must be an async iterable')
    }
    validateReplaceOptions(options)
    const interval = keyStretch(options.range ?? {})
    const proceed = () => {
      this.#requireOpen()
      throwIfAborted(options.signal, 'replaceAll')
    }
    this.#replacing = true
    try {
      const loaded = await readBlocks(blocks, interval, proceed)
      this.sweep()
      const entries = new Map([...entriesBeside(this.#entries, interval), ...loaded])
      this.#requireRoom(entries, this.#time.now())
      this.#entries = entries
      if (isEverything(interval)) this.#content = {}
      if (options.clockMs !== undefined) this.#time.advanceTo(options.clockMs)
    } finally {
      this.#replacing = false
    }
  }

  async flush(): Promise<void> {
    this.#requireOpen()
    this.#counters.flushes++
  }

  stats(): BackendStats {
    this.#requireOpen()
    return { ...this.#counters, entries: this.#entries.size, openSnapshots: this.#snapshots.size }
  }

  /** Removes everything that has expired; the timer calls this, too. Returns how many entries there were. */
  sweep(): number {
    this.#requireOpen()
    const held = this.#entries.size
    this.#entries = aliveEntries(this.#entries, this.#time.now())
    const removed = held - this.#entries.size
    this.#counters.expired += removed
    return removed
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#cancelSweep()
    for (const snapshot of this.#snapshots) snapshot.closeSync()
    this.#entries = new Map()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The instant of a scan is that of its first step: a scan that nobody steps holds nothing. */
  *#scan(interval: KeyInterval): Generator<Entry, undefined> {
    const snapshot = this.snapshotSync()
    try {
      yield* snapshot.scanSync({
        gte: interval.from,
        reverse: interval.reverse,
        limit: interval.limit,
        ...(interval.until && { lt: interval.until }),
        ...(interval.signal && { signal: interval.signal }),
      })
    } finally {
      snapshot.closeSync()
    }
  }

  #lookUp(key: Uint8Array, nowMs: number): Uint8Array | undefined {
    const value = this.#alive(key, nowMs)?.value.slice()
    this.#counters.gets++
    if (value === undefined) this.#counters.misses++
    else this.#counters.hits++
    return value
  }

  #alive(key: Uint8Array, nowMs: number): ModelEntry | undefined {
    const entry = this.#entries.get(keyText(key))
    return entry !== undefined && isAlive(entry, nowMs) ? entry : undefined
  }

  /** Applies everything to a copy, which takes the place of the content once nothing can fail any more. */
  #apply(batch: WriteBatch, operation: string): void {
    this.#requireWritable(operation)
    const nowMs = this.#time.now()
    this.#checkExpectations(batch.cursor(), nowMs)
    const entries = new Map(this.#entries)
    const counters = { ...this.#counters }
    const cursor = batch.cursor()
    let puts = 0
    while (cursor.next()) {
      const isPut = cursor.kind === OperationKind.PUT
      if (!isPut && cursor.kind !== OperationKind.DELETE) continue
      const text = keyText(cursor.key())
      const replaced = entries.get(text)
      if (replaced !== undefined && !isAlive(replaced, nowMs)) counters.expired++
      if (isPut) {
        puts++
        counters.puts++
        counters.bytesWritten += cursor.keyLength + cursor.valueLength
        entries.set(text, {
          value: cursor.value().slice(),
          expiresAtMs: nowMs + (cursor.ttlMs ?? this.#ttlMs),
        })
      } else {
        counters.deletes++
        entries.delete(text)
      }
    }
    if (puts > 0) this.#requireRoom(aliveEntries(entries, nowMs), nowMs)
    this.#entries = entries
    Object.assign(this.#counters, counters)
  }

  #checkExpectations(cursor: BatchCursor, nowMs: number): void {
    while (cursor.next()) {
      const held = this.#alive(cursor.key(), nowMs)?.value
      const holds =
        cursor.kind === OperationKind.EXPECT_ABSENT
          ? held === undefined
          : cursor.kind !== OperationKind.EXPECT_VALUE ||
            (held !== undefined && equalBytes(held, cursor.value()))
      if (!holds) throw new StateError('CONCURRENT_MODIFICATION', { key: cursor.key().slice() })
    }
  }

  #requireRoom(entries: ModelEntries, nowMs: number): void {
    if (sizeBytes(entries) <= this.#maxBytes) return
    const used = sizeBytes(aliveEntries(this.#entries, nowMs))
    throw new StateError('BACKEND_FULL', { used, capacity: this.#maxBytes })
  }

  #scheduleSweep(): void {
    const sweep = () => {
      this.sweep()
      this.#scheduleSweep()
    }
    this.#cancelSweep = setLongTimer(this.#clock, sweep, this.#sweepIntervalMs)
  }

  #requireOpen(): void {
    if (this.#closed) throw new StateError('CLOSED', { component: 'model backend' })
  }

  #requireWritable(operation: string): void {
    this.#requireOpen()
    if (this.#replacing) throw new StateError('NOT_INITIALIZED', { component: 'model backend', operation })
  }
}
