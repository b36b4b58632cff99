import type { StateBuilding } from '../backend/built-state.js'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import type { EngineBatch, EngineReplaceOptions, LocalEngine } from '../backend/facade/engines.js'
import { Expirations, type ExpiryListeners } from '../backend/facade/expirations.js'
import { isEverything, type KeyInterval } from '../backend/scan-range.js'
import type { KeyBytes } from '../backend/state-backend.js'
import type { SnapshotOptions } from '../backend/state-snapshot.js'
import type { BackendSupport } from '../backend/types.js'
import { OperationKind } from '../backend/write-batch.js'
import { type Clock, ForwardClock, wholeMs } from '../base/clock.js'
import { compiledModule } from '../base/compiled.js'
import { isStateError, StateError } from '../base/errors.js'
import { isLocalBytes } from '../base/shapes.js'
import { nextTurn, runSliced, SLICE_MS } from '../base/slices.js'
import { isStretch, type Slot, type Stretch, type ViewedBytes } from '../base/slot.js'
import { HashLog } from '../log/hash-log.js'
import { type HashKey, randomHashKey } from '../log/index/key-hash.js'
import type { LogMemory } from '../log/log-memory.js'
import { latestBetween } from '../log/order/keys-between.js'
import { ordinarySegmentBytes } from '../log/segment-table.js'
import type { LogImage } from '../log/share/log-image.js'
import { checkExpectations, unitsAtMost, unitsNeeded } from './batch-plan.js'
import type { LogBuilding } from './log-builder.js'
import { MemorySnapshot, type MemorySnapshotHost } from './memory-snapshot.js'
import { RangeReplacement } from './range-replacement.js'

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

/** Entries that are loaded between two looks at the time. */
const LOAD_STEP = 128

export interface MemoryEngineOptions {
  readonly ttlMs: number
  readonly maxBytes: number
  readonly clock: Clock
  readonly listeners: ExpiryListeners
}

/** A log behind the facade: which one is in service, what has expired in it, and which others snapshots still read. */
export class MemoryEngine implements LocalEngine {
  readonly name = 'memory'
  readonly supports: BackendSupport = SUPPORTS
  readonly clock: ForwardClock
  readonly ttlMs: number
  wake: () => void = () => {}
  readonly #options: MemoryEngineOptions
  /** Logs that `clear` or `replaceAll` have taken out of service and that open snapshots still read. */
  readonly #former = new Set<HashLog>()
  readonly #expirations: Expirations
  #log: HashLog
  /** A stretch of keys is being replaced: what it began with is what is read. */
  #replacement: RangeReplacement | undefined
  #closed = false

  constructor(options: MemoryEngineOptions) {
    this.#options = options
    this.ttlMs = options.ttlMs
    this.clock = new ForwardClock(options.clock)
    this.#expirations = new Expirations(options.listeners)
    this.#log = this.#newLog()
  }

  get entries(): number {
    return this.#replacement?.entries ?? this.#log.count
  }

  get expired(): number {
    return this.#expirations.count
  }

  /** A stretch of keys is being replaced: nothing is swept until then. */
  get isReplacingRange(): boolean {
    return this.#replacement !== undefined
  }

  get nextExpiryAtMs(): number {
    return this.#log.nextExpiryAtMs
  }

  get hasChores(): boolean {
    return this.#log.hasChores
  }

  get memory(): LogMemory {
    const { memory } = this.#log
    return { ...memory, totalBytes: memory.totalBytes + this.#formerBytes() }
  }

  get(key: KeyBytes): Uint8Array | undefined {
    const log = this.#log
    const address = this.#find(key)
    return log.isAlive(address) ? log.entries.copyValue(address) : undefined
  }

  has(key: KeyBytes): boolean {
    return this.#log.isAlive(this.#find(key))
  }

  expiredAtMs(key: Uint8Array): number | undefined {
    const { entries } = this.#log
    const address = this.#find(key)
    return address === 0 || entries.isTombstone(address) ? undefined : entries.expiresAtMs(address)
  }

  put(key: KeyBytes, value: Uint8Array, expiresAtMs: number): void {
    const log = this.#log
    log.write(seek(log, key), value, 0, value.length, expiresAtMs)
  }

  delete(key: KeyBytes): void {
    this.#log.remove(seek(this.#log, key))
  }

  peek(key: KeyBytes, slot: Slot): boolean {
    const log = this.#log
    const address = this.#visible(seekAhead(log, key))
    if (!log.isAlive(address)) return false
    log.show(address, slot)
    return true
  }

  peekTold(place: number, { bytes, offset, length }: Stretch, slot: Slot): boolean {
    const log = this.#log
    const address = this.#visible(log.seekTold(place, bytes, offset, length))
    if (!log.isAlive(address)) return false
    log.show(address, slot)
    return true
  }

  update(key: KeyBytes, length: number, slot: Slot, expiresAtMs: number): boolean {
    const log = this.#log
    log.settle()
    return log.update(seek(log, key), length, expiresAtMs, slot)
  }

  writeBack(slot: Slot, value: ViewedBytes, length: number, expiresAtMs: number): number {
    return this.#log.writeBack(slot, value, length, expiresAtMs)
  }

  get isFar(): boolean {
    return this.#log.isFar
  }

  bringNear(keys: Uint8Array, ends: Int32Array, count: number): void {
    this.#log.bringNear(keys, ends, count)
  }

  write(batch: EngineBatch): void {
    const log = this.#log
    const { cursor } = batch
    checkExpectations(log, cursor)
    try {
      log.inOneStep(unitsAtMost(log, cursor, this.ttlMs), () => this.#apply(batch))
    } catch (error) {
      // Nothing was written yet. To count only what does not fit in place takes a look at every entry: worth it now.
      if (!isStateError(error, 'BACKEND_FULL')) throw error
      log.inOneStep(unitsNeeded(log, cursor, this.ttlMs), () => this.#apply(batch))
    }
  }

  afterWrite(): void {
    this.#expirations.tell()
  }

  deleteRange({ from, until }: KeyInterval): void {
    this.#log.removeAll(latestBetween(this.#log, from, until))
  }

  prepareDeleteRange(check: () => void): Promise<unknown> | undefined {
    // In slices where it takes long; what is left to do then is what is in the range.
    const { ordered } = this.#log
    return ordered.knowsBetween ? undefined : ordered.sorted(check)
  }

  clear(): void {
    this.#swap(this.#newLog())
  }

  snapshot(takenAtMs: number, options: SnapshotOptions): MemorySnapshot {
    const log = this.#log
    const host: MemorySnapshotHost = {
      released: () => {
        if (log.openSnapshots === 0) this.#former.delete(log)
        this.wake()
      },
      // What had expired in a log was removed when it was taken out of service.
      sweepForAWhile: () => log !== this.#log || this.#sweepForAWhile(),
    }
    return new MemorySnapshot(log, takenAtMs, options, host, this.#replacement)
  }

  /** What is read while a stretch of keys is replaced is left alone until the end. */
  sweep(untilMs: number): boolean {
    return this.#replacement !== undefined || this.#log.sweep(untilMs)
  }

  doChores(untilMs: number): boolean {
    return this.#replacement !== undefined || this.#log.tidy(untilMs)
  }

  async replace(
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    { clockMs, expectedEntries }: EngineReplaceOptions,
  ): Promise<void> {
    // The old content stays until the new one is complete: both must fit.
    const log = this.#newLog()
    log.reserve(expectedEntries ?? 0)
    await this.#load(log, blocks)
    if (clockMs !== undefined) this.clock.advanceTo(clockMs)
    // Where there is nothing beside the stretch, there is nothing to be kept either.
    if (isEverything(interval) || this.#log.isBlank) this.#swap(log)
    else await this.#replaceStretch(log, interval)
  }

  /** What is built is beside the content until it takes its place, and leaves a segment for compaction, as writes do. */
  get building(): StateBuilding {
    const { maxBytes } = this.#options
    const segmentBytes = ordinarySegmentBytes(maxBytes)
    const data: LogBuilding = {
      nowMs: this.clock.now(),
      hashKey: randomHashKey(),
      segmentBytes,
      roomBytes: maxBytes - this.memory.totalBytes - segmentBytes,
    }
    return { module: compiledModule('#memory/log-builder').href, data }
  }

  adopt(built: unknown, { clockMs }: Pick<EngineReplaceOptions, 'clockMs'>): void {
    const image = built as LogImage
    const log = this.#newLog(image.hashKey)
    log.adopt(image)
    const used = log.memory.totalBytes + this.memory.totalBytes
    if (used > this.#options.maxBytes) {
      throw new StateError('BACKEND_FULL', { used, capacity: this.#options.maxBytes })
    }
    if (clockMs !== undefined) this.clock.advanceTo(clockMs)
    this.#swap(log)
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#closed = true
    this.#log = this.#newLog()
  }

  #assertOpen(): void {
    if (this.#closed) throw new StateError('CLOSED', { component: 'memory backend' })
  }

  /** The version of a key that is to be read. */
  #find(key: KeyBytes): number {
    return this.#visible(seek(this.#log, key))
  }

  #visible(address: number): number {
    const replacement = this.#replacement
    return replacement === undefined ? address : this.#log.visible(address, replacement.epoch)
  }

  #sweepForAWhile(): boolean {
    const isDone = this.sweep(performance.now() + SLICE_MS)
    this.#expirations.tell()
    return isDone
  }

  #apply({ cursor, expiry }: EngineBatch): void {
    const log = this.#log
    cursor.rewind()
    while (cursor.next()) {
      if (cursor.kind === OperationKind.PUT) {
        const expiresAtMs = expiry(cursor.ttlMs)
        const address = log.seek(cursor.bytes, cursor.keyStart, cursor.keyLength)
        log.write(address, cursor.bytes, cursor.valueStart, cursor.valueLength, expiresAtMs)
      } else if (cursor.kind === OperationKind.DELETE) {
        log.remove(log.seek(cursor.bytes, cursor.keyStart, cursor.keyLength))
      } else if (cursor.kind === OperationKind.DELETE_RANGE) {
        const { from, until } = cursor.interval()
        log.removeAll(latestBetween(log, from, until))
      }
    }
  }

  async #load(log: HashLog, blocks: AsyncIterable<EntryBlock>): Promise<void> {
    const check = () => this.#assertOpen()
    let sliceEnd = performance.now() + SLICE_MS
    for await (const block of blocks) {
      const cursor = new EntryBlockCursor(block.bytes)
      for (let i = 1; cursor.next(); i++) {
        log.append(cursor, wholeMs(cursor.expiresAtMs))
        if (i % LOAD_STEP === 0 && performance.now() >= sliceEnd) {
          await nextTurn()
          check()
          sliceEnd = performance.now() + SLICE_MS
        }
      }
      if (log.appended.areEnough) await runSliced(log.indexAppended(), check)
    }
    await runSliced(log.indexAppended(), check)
    check()
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
  }

  #newLog(hashKey: HashKey = randomHashKey()): HashLog {
    const log: HashLog = new HashLog({
      maxBytes: this.#options.maxBytes,
      hashKey,
      now: () => this.clock.now(),
      clock: this.clock,
      besideBytes: () => this.#formerBytes() + (log === this.#log ? 0 : this.#log.memory.totalBytes),
      onExpired: (address) => {
        // What expires while it is being restored has never been in service.
        if (log !== this.#log) return
        this.#expirations.add(() => log.entries.copyKey(address))
      },
    })
    return log
  }

  /** Puts another log in service; the one before lives on while snapshots read it. What had expired in it counts as such. */
  #swap(log: HashLog): void {
    this.#log.sweep(Infinity)
    this.#expirations.tell()
    if (this.#log.openSnapshots > 0) this.#former.add(this.#log)
    this.#log = log
  }

  #formerBytes(): number {
    let bytes = 0
    for (const log of this.#former) bytes += log.memory.totalBytes
    return bytes
  }
}

/** Loads a key, given whole or as a stretch, and finds it. */
function seek(log: HashLog, key: KeyBytes): number {
  // What is of this realm is told fastest.
  if (isLocalBytes(key) || !isStretch(key)) return log.seek(key, 0, key.length)
  return log.seek(key.bytes, key.offset, key.length)
}

function seekAhead(log: HashLog, key: KeyBytes): number {
  if (isLocalBytes(key) || !isStretch(key)) return log.seekAhead(key, 0, key.length)
  return log.seekAhead(key.bytes, key.offset, key.length)
}
