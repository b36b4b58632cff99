import { validateReplaceOptions } from '../backend/block-options.js'
import { StreamOrder } from '../backend/block-stream.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import { expiryOf, wholeMs } from '../backend/expiry.js'
import { capturedInterval, isEverything, type KeyInterval, keyStretch } from '../backend/scan-range.js'
import type { InPlaceBackend, Replaceable } from '../backend/state-backend.js'
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
  validateBlocks,
  validateKeyOrStretch,
  validateKeys,
  validatePutOptions,
  validateSlot,
  validateValue,
  validateValueLength,
} from '../backend/validate.js'
import { type BatchCursor, isWriteBatch, OperationKind, type WriteBatch } from '../backend/write-batch.js'
import { copyBytes } from '../base/bytes.js'
import { type CancelTimer, type Clock, ForwardClock, setLongTimer, systemClock } from '../base/clock.js'
import { isStateError, StateError } from '../base/errors.js'
import { Listeners, type Unsubscribe } from '../base/events.js'
import { hasMethods, invalidArgument, rejectViolations, rules, violationsOf } from '../base/options.js'
import { isLocalBytes } from '../base/shapes.js'
import { nextTurn, runSliced, SLICE_MS } from '../base/slices.js'
import { isStretch, type Slot, type Stretch } from '../base/slot.js'
import { HashLog } from '../log/hash-log.js'
import { randomHashKey } from '../log/index/key-hash.js'
import type { LogMemory } from '../log/log-memory.js'
import { latestBetween } from '../log/order/keys-between.js'
import { checkExpectations, unitsAtMost, unitsNeeded } from './batch-plan.js'
import { MemorySnapshot, type MemorySnapshotHost } from './memory-snapshot.js'
import { RangeReplacement } from './range-replacement.js'

export interface MemoryStateBackendOptions {
  /** Time to live of entries whose put names none, in milliseconds. Default Infinity: they never expire. */
  readonly ttlMs?: number
  /**
   * Bound on the engine's memory in bytes, indices included; at least 64 KiB. Writes beyond it throw `BACKEND_FULL`.
   * Default Infinity; addresses end at 32 GiB. Deletes while a snapshot is open may pass it by their tombstones, and by what
   * another thread that reads the snapshot must be told of them. What has changed since a base is forgotten before a write
   * is refused.
   */
  readonly maxBytes?: number
  /** Default: the machine's clock. */
  readonly clock?: Clock
  /**
   * How often expired entries are removed and memory is tidied, in milliseconds. Default 1,000; Infinity: only when
   * `sweep()` is called. Expired entries are invisible at once in any case.
   */
  readonly sweepIntervalMs?: number
}

export interface MemoryStateBackendEvents {
  /** Entries whose time to live ended were removed or overwritten. Their keys are copied only while someone listens. */
  expired: { readonly keys: readonly Uint8Array[] }
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
  durable: false,
})

/** Smallest `maxBytes`: below it, the engine's own structures would leave no room for entries. */
const MIN_LIMIT_BYTES = 64 * 1024
/** Background work goes on after this pause when a slice was not enough: it takes a sixth of the time at most. */
const NEXT_SLICE_MS = 10
/** Entries that are loaded between two looks at the time. */
const LOAD_STEP = 128

const optionRules = {
  ttlMs: rules.positiveMs,
  maxBytes: (value: unknown) =>
    typeof value === 'number' && value >= MIN_LIMIT_BYTES
      ? undefined
      : `must be at least ${MIN_LIMIT_BYTES} bytes`,
  clock: hasMethods('now', 'setTimer'),
  sweepIntervalMs: rules.positiveMs,
}

/**
 * The memory engine: an off-heap hash log. Reads and writes are synchronous underneath; the asynchronous methods are the
 * same calls for code that runs on any backend. State is lost with the process unless a checkpoint coordinator saves it.
 *
 * It takes 30 to 40 bytes per entry beside key and value, none of them on the JavaScript heap, and holds up to 32 GiB.
 *
 * @example
 * const backend = new MemoryStateBackend({ ttlMs: 3_600_000 })
 * backend.putSync(Buffer.from('window:1'), Buffer.from('42'))
 */
export class MemoryStateBackend implements InPlaceBackend, Replaceable {
  readonly name = 'memory'
  readonly supports: BackendSupport = SUPPORTS
  readonly #ttlMs: number
  readonly #maxBytes: number
  readonly #sweepIntervalMs: number
  readonly #timers: Clock
  readonly #clock: ForwardClock
  readonly #listeners = new Listeners<MemoryStateBackendEvents>(['expired'])
  readonly #snapshots = new Set<MemorySnapshot>()
  /** Logs that `clear` or `replaceAll` have taken out of service and that open snapshots still read. */
  readonly #former = new Set<HashLog>()
  #log: HashLog
  #expiredKeys: Uint8Array[] = []
  #cancelTimer: CancelTimer | undefined
  /** Listeners are being told. */
  #emitting = false
  #replacing = false
  /** A stretch of keys is being replaced: what it began with is what is read. */
  #replacement: RangeReplacement | undefined
  #closed = false
  #gets = 0
  #hits = 0
  #puts = 0
  #deletes = 0
  #expired = 0
  #bytesWritten = 0
  #flushes = 0

  /** Throws `INVALID_ARGUMENT` with every wrong or unknown option. */
  constructor(options?: MemoryStateBackendOptions) {
    rejectViolations(violationsOf(options, optionRules))
    this.#ttlMs = options?.ttlMs ?? Infinity
    this.#maxBytes = options?.maxBytes ?? Infinity
    this.#sweepIntervalMs = options?.sweepIntervalMs ?? 1_000
    this.#timers = options?.clock ?? systemClock
    this.#clock = new ForwardClock(this.#timers)
    this.#log = this.#newLog()
  }

  getSync(key: Uint8Array | Stretch): Uint8Array | undefined {
    this.#assertOpen()
    validateKeyOrStretch(key)
    return this.#read(key)
  }

  /**
   * Shows the value of a key where it lies, without a copy; false: there is none, or it has expired. Counts as a get. The
   * slot is only to be read, and only until the next call of this backend, within the same synchronous step.
   */
  peekSync(key: Uint8Array | Stretch, slot: Slot): boolean {
    this.#assertOpen()
    validateKeyOrStretch(key)
    validateSlot(slot)
    this.#gets++
    const log = this.#log
    const address = this.#find(key)
    if (!log.isAlive(address)) return false
    this.#hits++
    log.show(address, slot)
    return true
  }

  /**
   * Finds or makes the entry of a key and shows its value, `length` bytes, to be changed where it lies: a put without a copy.
   * True: there was one, and the slot shows it; where it had another length, its head is kept and the rest is zeros. False:
   * there was none, or it had expired; the slot shows `length` zeros. Counts as a put and sets the time to live anew,
   * whatever is then written. An open snapshot keeps what it sees. The slot may be read and written until the next call of
   * this backend, within the same synchronous step. Throws `BACKEND_FULL` with nothing changed.
   *
   * @example
   * backend.updateSync(key, 8, slot)
   * slot.view.setFloat64(slot.offset, slot.view.getFloat64(slot.offset) + 1)
   */
  updateSync(key: Uint8Array | Stretch, length: number, slot: Slot, options?: PutOptions): boolean {
    this.#assertWritable('update')
    validateKeyOrStretch(key)
    validateValueLength(length)
    validateSlot(slot)
    validatePutOptions(options)
    this.#log.settle()
    if (this.#expiredKeys.length > 0) {
      this.#emitExpired()
      this.#assertWritable('update')
    }
    const log = this.#log
    const expiresAtMs = this.#expiry(options?.ttlMs)
    // Taken before the slot is filled, which may be the key as well.
    const keyLength = key.length
    const isThere = log.update(seek(log, key), length, expiresAtMs, slot)
    this.#puts++
    this.#bytesWritten += keyLength + length
    // Listeners are told later: what they do with the backend would make the slot void.
    if (this.#cancelTimer === undefined && (expiresAtMs !== Infinity || this.#expiredKeys.length > 0)) {
      this.#armTimer()
    }
    return isThere
  }

  getOrThrowSync(key: Uint8Array): Uint8Array {
    const value = this.getSync(key)
    if (value !== undefined) return value
    const address = this.#find(key)
    if (address === 0 || this.#log.entries.isTombstone(address)) {
      throw new StateError('KEY_NOT_FOUND', { key: copyBytes(key) })
    }
    const expiredAtMs = this.#log.entries.expiresAtMs(address)
    const expiredForMs = this.#clock.now() - expiredAtMs
    throw new StateError('STATE_EXPIRED', { key: copyBytes(key), expiredAtMs, expiredForMs })
  }

  getManySync(keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.#assertOpen()
    validateKeys(keys)
    return keys.map((key) => this.#read(key))
  }

  containsSync(key: Uint8Array | Stretch): boolean {
    this.#assertOpen()
    validateKeyOrStretch(key)
    return this.#log.isAlive(this.#find(key))
  }

  putSync(key: Uint8Array | Stretch, value: Uint8Array, options?: PutOptions): void {
    this.#assertWritable('put')
    validateKeyOrStretch(key)
    validateValue(value)
    validatePutOptions(options)
    const expiresAtMs = this.#expiry(options?.ttlMs)
    this.#log.write(seek(this.#log, key), value, 0, value.length, expiresAtMs)
    this.#puts++
    this.#bytesWritten += key.length + value.length
    this.#afterWrite(expiresAtMs)
  }

  deleteSync(key: Uint8Array | Stretch): void {
    this.#assertWritable('delete')
    validateKeyOrStretch(key)
    this.#log.remove(seek(this.#log, key))
    this.#deletes++
    this.#afterWrite(Infinity)
  }

  writeSync(batch: WriteBatch): void {
    this.#assertWritable('write')
    if (!isWriteBatch(batch)) throw invalidArgument('batch', 'must be a WriteBatch')
    const cursor = batch.cursor()
    checkExpectations(this.#log, cursor)
    try {
      this.#log.inOneStep(unitsAtMost(this.#log, cursor, this.#ttlMs), () => this.#apply(cursor))
    } catch (error) {
      // Nothing was written yet. To count only what does not fit in place takes a look at every entry: worth it now.
      if (!isStateError(error, 'BACKEND_FULL')) throw error
      this.#log.inOneStep(unitsNeeded(this.#log, cursor, this.#ttlMs), () => this.#apply(cursor))
    }
    this.#afterWrite(this.#log.nextExpiryAtMs)
  }

  deleteRangeSync(range: KeyRange): void {
    this.#assertWritable('deleteRange')
    this.#deleteStretch(keyStretch(range))
  }

  scanSync(range?: ScanRange): IterableIterator<Entry> {
    return this.#scanSync(capturedInterval(range))
  }

  snapshotSync(options?: SnapshotOptions): MemorySnapshot {
    this.#assertOpen()
    validateSnapshotOptions(options)
    this.#sweepLog(performance.now() + SLICE_MS)
    // A listener may clear or close the backend: only now is it the moment of the snapshot.
    this.#emitExpired()
    this.#assertOpen()
    const log = this.#log
    const host: MemorySnapshotHost = {
      closed: (closed) => this.#snapshots.delete(closed),
      released: () => {
        if (log.openSnapshots === 0) this.#former.delete(log)
        this.#armTimer()
      },
      // What had expired in a log was removed when it was taken out of service.
      sweepForAWhile: () => log !== this.#log || this.#sweepForAWhile(),
    }
    const snapshot = new MemorySnapshot(log, this.#clock.now(), options, host, this.#replacement)
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
    if (!isWriteBatch(batch) || !batch.deletesRanges) return this.writeSync(batch)
    const check = () => this.#assertWritable('write')
    check()
    const own = batch.copy()
    await this.#log.ordered.sorted(check)
    this.writeSync(own)
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
    this.#assertOpen()
    if (this.#replacement !== undefined) {
      const snapshot = this.snapshotSync()
      try {
        return await snapshot.count()
      } finally {
        snapshot.closeSync()
      }
    }
    while (!this.#sweepLog(performance.now() + SLICE_MS)) {
      this.#emitExpired()
      await nextTurn()
      this.#assertOpen()
    }
    this.#emitExpired()
    return this.#log.count
  }

  async clear(): Promise<void> {
    this.#assertWritable('clear')
    this.#swap(this.#newLog())
  }

  async deleteRange(range: KeyRange): Promise<void> {
    this.#assertWritable('deleteRange')
    const interval = keyStretch(range)
    // In slices where it takes long; what is left to do then is what is in the range.
    await this.#log.ordered.sorted(() => this.#assertWritable('deleteRange'))
    this.#deleteStretch(interval)
  }

  async snapshot(options?: SnapshotOptions): Promise<MemorySnapshot> {
    return this.snapshotSync(options)
  }

  async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    this.#assertWritable('replaceAll')
    validateBlocks(blocks)
    validateReplaceOptions(options)
    const interval = keyStretch(options?.range ?? {})
    this.#replacing = true
    try {
      // The old content stays until the new one is complete: both must fit.
      const log = this.#newLog()
      log.reserve(options?.expectedEntries ?? 0)
      await this.#load(log, blocks, interval, options?.signal)
      this.#assertOpen()
      if (options?.clockMs !== undefined) this.#clock.advanceTo(options.clockMs)
      if (isEverything(interval)) this.#swap(log)
      else await this.#replaceStretch(log, interval)
    } finally {
      this.#replacing = false
    }
  }

  async flush(): Promise<void> {
    this.#assertOpen()
    this.#flushes++
  }

  /** Removes every entry that has expired and tidies memory, at once; returns how many entries went. */
  sweep(): number {
    this.#assertOpen()
    const before = this.#expired
    this.#sweepLog(Infinity)
    this.#tidyLog(Infinity)
    this.#emitExpired()
    return this.#expired - before
  }

  stats(): BackendStats {
    this.#assertOpen()
    return {
      gets: this.#gets,
      hits: this.#hits,
      misses: this.#gets - this.#hits,
      puts: this.#puts,
      deletes: this.#deletes,
      expired: this.#expired,
      bytesWritten: this.#bytesWritten,
      flushes: this.#flushes,
      entries: this.#replacement?.entries ?? this.#log.count,
      openSnapshots: this.#snapshots.size,
    }
  }

  /** What the engine takes, in bytes; content that only snapshots still see is in `totalBytes`. */
  memoryUsage(): LogMemory {
    this.#assertOpen()
    const memory = this.#log.memory
    return { ...memory, totalBytes: memory.totalBytes + this.#formerBytes() }
  }

  on<Name extends keyof MemoryStateBackendEvents>(
    name: Name,
    listener: (event: MemoryStateBackendEvents[Name]) => void,
  ): Unsubscribe {
    return this.#listeners.on(name, listener)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#cancelTimer?.()
    for (const snapshot of this.#snapshots) snapshot.closeSync()
    this.#log = this.#newLog()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** What is read while a stretch of keys is replaced is left alone until the end. */
  #sweepLog(untilMs: number): boolean {
    return this.#replacement !== undefined || this.#log.sweep(untilMs)
  }

  #tidyLog(untilMs: number): boolean {
    return this.#replacement !== undefined || this.#log.tidy(untilMs)
  }

  #sweepForAWhile(): boolean {
    const isDone = this.#sweepLog(performance.now() + SLICE_MS)
    this.#emitExpired()
    return isDone
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
    if (this.#closed) throw new StateError('CLOSED', { component: 'memory backend' })
  }

  #assertWritable(operation: string): void {
    this.#assertOpen()
    if (this.#replacing) {
      throw new StateError('NOT_INITIALIZED', {
        component: 'memory backend, whose content is being replaced,',
        operation,
      })
    }
  }

  /** The version of a key that is to be read. */
  #find(key: Uint8Array | Stretch): number {
    const address = seek(this.#log, key)
    const replacement = this.#replacement
    return replacement === undefined ? address : this.#log.visible(address, replacement.epoch)
  }

  #read(key: Uint8Array | Stretch): Uint8Array | undefined {
    this.#gets++
    const log = this.#log
    const address = this.#find(key)
    if (!log.isAlive(address)) return undefined
    this.#hits++
    return log.entries.copyValue(address)
  }

  #expiry(ttlMs: number | undefined): number {
    return expiryOf(ttlMs ?? this.#ttlMs, this.#clock)
  }

  #apply(cursor: BatchCursor): void {
    const log = this.#log
    cursor.rewind()
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT) {
        const expiresAtMs = this.#expiry(cursor.ttlMs)
        const address = log.seek(cursor.bytes, cursor.keyStart, cursor.keyLength)
        log.write(address, cursor.bytes, cursor.valueStart, cursor.valueLength, expiresAtMs)
        this.#puts++
        this.#bytesWritten += cursor.keyLength + cursor.valueLength
      } else if (cursor.kind === OperationKind.DELETE) {
        log.remove(log.seek(cursor.bytes, cursor.keyStart, cursor.keyLength))
        this.#deletes++
      } else if (cursor.kind === OperationKind.DELETE_RANGE) {
        const { from, until } = cursor.interval()
        log.removeAll(latestBetween(log, from, until))
        this.#deletes++
      }
    }
  }

  async #load(
    log: HashLog,
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const order = new StreamOrder(interval)
    const check = () => {
      throwIfAborted(signal, 'replaceAll')
      this.#assertOpen()
    }
    let sliceEnd = performance.now() + SLICE_MS
    for await (const block of blocks) {
      check()
      const cursor = new EntryBlockCursor(block.bytes)
      for (let i = 1; cursor.next(); i++) {
        order.check(cursor)
        const { bytes, keyStart, keyLength, valueStart, valueLength } = cursor
        log.append(bytes, keyStart, keyLength, valueStart, valueLength, wholeMs(cursor.expiresAtMs))
        if (i % LOAD_STEP === 0 && performance.now() >= sliceEnd) {
          await nextTurn()
          check()
          sliceEnd = performance.now() + SLICE_MS
        }
      }
      if (log.appended.areEnough) await runSliced(log.indexAppended(), check)
    }
    await runSliced(log.indexAppended(), check)
  }

  #newLog(): HashLog {
    const log: HashLog = new HashLog({
      maxBytes: this.#maxBytes,
      hashKey: randomHashKey(),
      now: () => this.#clock.now(),
      clock: this.#clock,
      besideBytes: () => this.#formerBytes() + (log === this.#log ? 0 : this.#log.memory.totalBytes),
      onExpired: (address) => {
        // What expires while it is being restored has never been in service.
        if (log !== this.#log) return
        this.#expired++
        if (this.#listeners.has('expired')) this.#expiredKeys.push(log.entries.copyKey(address))
      },
    })
    return log
  }

  #deleteStretch({ from, until }: KeyInterval): void {
    this.#log.removeAll(latestBetween(this.#log, from, until))
    this.#deletes++
    this.#afterWrite(Infinity)
  }

  /** Puts what was loaded in the place of what is in a stretch of keys, in slices, of which nobody sees any but the last. */
  async #replaceStretch(loaded: HashLog, interval: KeyInterval): Promise<void> {
    const log = this.#log
    const check = () => this.#assertOpen()
    await log.ordered.sorted(check)
    check()
    const replacement = new RangeReplacement(log, loaded, interval)
    this.#replacement = replacement
    try {
      await replacement.run(check)
    } finally {
      this.#replacement = undefined
      replacement.end()
    }
    this.#afterWrite(log.nextExpiryAtMs)
  }

  /** Puts another log in service; the one before lives on while snapshots read it. What had expired in it counts as such. */
  #swap(log: HashLog): void {
    this.#log.sweep(Infinity)
    this.#emitExpired()
    if (this.#log.openSnapshots > 0) this.#former.add(this.#log)
    this.#log = log
    this.#armTimer()
  }

  #formerBytes(): number {
    let bytes = 0
    for (const log of this.#former) bytes += log.memory.totalBytes
    return bytes
  }

  #afterWrite(expiresAtMs: number): void {
    if (this.#expiredKeys.length > 0) this.#emitExpired()
    if (expiresAtMs !== Infinity && this.#cancelTimer === undefined) this.#armTimer()
  }

  /** Tells listeners what has expired. What expires in calls of theirs is told later, so that they are never nested. */
  #emitExpired(): void {
    if (this.#expiredKeys.length === 0 || this.#emitting) return
    const keys = this.#expiredKeys
    this.#expiredKeys = []
    this.#emitting = true
    try {
      this.#listeners.emit('expired', { keys })
    } finally {
      this.#emitting = false
    }
    if (this.#expiredKeys.length > 0) this.#armTimer()
  }

  /** Background work is scheduled only while there is any to come. */
  #armTimer(delayMs: number = this.#sweepIntervalMs): void {
    if (this.#closed || this.#cancelTimer !== undefined || this.#sweepIntervalMs === Infinity) return
    const isIdle = this.#log.nextExpiryAtMs === Infinity && !this.#log.hasChores
    if (isIdle && this.#expiredKeys.length === 0) return
    const work = () => {
      this.#cancelTimer = undefined
      const untilMs = performance.now() + SLICE_MS
      const done = this.#sweepLog(untilMs) && this.#tidyLog(untilMs)
      this.#emitExpired()
      this.#armTimer(done ? undefined : NEXT_SLICE_MS)
    }
    this.#cancelTimer = setLongTimer(this.#timers, work, delayMs)
  }
}

/** Loads a key, given whole or as a stretch, and finds it. */
function seek(log: HashLog, key: Uint8Array | Stretch): number {
  // What is of this realm is told fastest.
  if (isLocalBytes(key) || !isStretch(key)) return log.seek(key, 0, key.length)
  return log.seek(key.bytes, key.offset, key.length)
}
