import type { EntryBlock } from '../backend/entry-block.js'
import { EntryBlockCursor } from '../backend/entry-block.js'
import type { EngineBatch, EngineReplaceOptions, LocalEngine } from '../backend/facade/engines.js'
import { LocalBackend } from '../backend/facade/local-backend.js'
import { isEverything, type KeyInterval } from '../backend/scan-range.js'
import type { KeyBytes } from '../backend/state-backend.js'
import type { SnapshotOptions } from '../backend/state-snapshot.js'
import type { BackendSupport } from '../backend/types.js'
import { type BatchCursor, isDelete, OperationKind } from '../backend/write-batch.js'
import { equalBytes } from '../base/bytes.js'
import { type Clock, ForwardClock, systemClock } from '../base/clock.js'
import { StateError } from '../base/errors.js'
import { rejectViolations, rules, violationsOf } from '../base/options.js'
import { fillSlot, plainKey, type Slot } from '../base/slot.js'
import {
  aliveEntries,
  entriesBeside,
  isAlive,
  keysIn,
  keyText,
  type ModelEntries,
  type ModelEntry,
  sizeBytes,
} from './model-entries.js'
import { ModelSnapshot } from './model-snapshot.js'

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

/**
 * The reference: a `Map`, sorted for every scan and copied for every snapshot. It keeps every promise of
 * `StateBackend` in the plainest way there is, so that engines can be compared with it. It is not fast.
 */
export class ModelStateBackend extends LocalBackend {
  readonly #engine: ModelEngine

  constructor(options: ModelStateBackendOptions = {}) {
    rejectViolations(violationsOf(options, optionRules))
    const { clock: timers = systemClock, sweepIntervalMs = 1_000 } = options
    const engine = new ModelEngine(options)
    super(engine, { timers, sweepIntervalMs })
    this.#engine = engine
  }

  /** Removes everything that has expired; the timer does this, too. Returns how many entries there were. */
  sweep(): number {
    this.assertOpen()
    const before = this.#engine.expired
    this.#engine.sweep()
    return this.#engine.expired - before
  }
}

class ModelEngine implements LocalEngine {
  readonly name = 'model'
  readonly supports: BackendSupport = SUPPORTS
  readonly clock: ForwardClock
  readonly ttlMs: number
  expired = 0
  readonly #maxBytes: number
  #entries: ModelEntries = new Map()
  /** Stands for the content: a new one after everything was replaced. */
  #content: object = {}

  constructor({ clock = systemClock, ttlMs = Infinity, maxBytes = Infinity }: ModelStateBackendOptions) {
    this.clock = new ForwardClock(clock)
    this.ttlMs = ttlMs
    this.#maxBytes = maxBytes
  }

  get entries(): number {
    return this.#entries.size
  }

  get nextExpiryAtMs(): number {
    let nextMs = Infinity
    for (const { expiresAtMs } of this.#entries.values()) nextMs = Math.min(nextMs, expiresAtMs)
    return nextMs
  }

  get(key: KeyBytes): Uint8Array | undefined {
    return this.#alive(key)?.value.slice()
  }

  has(key: KeyBytes): boolean {
    return this.#alive(key) !== undefined
  }

  expiredAtMs(key: Uint8Array): number | undefined {
    return this.#entries.get(keyText(key))?.expiresAtMs
  }

  put(key: KeyBytes, value: Uint8Array, expiresAtMs: number): void {
    this.#change((entries) => this.#set(entries, plainKey(key), { value: value.slice(), expiresAtMs }))
  }

  delete(key: KeyBytes): void {
    this.#change((entries) => this.#remove(entries, keyText(plainKey(key))))
  }

  write({ cursor, expiry }: EngineBatch): void {
    this.#checkExpectations(cursor)
    this.#change((entries) => {
      cursor.rewind()
      while (cursor.next()) {
        if (cursor.kind === OperationKind.PUT) {
          this.#set(entries, cursor.key(), {
            value: cursor.value().slice(),
            expiresAtMs: expiry(cursor.ttlMs),
          })
        } else if (cursor.kind === OperationKind.DELETE) this.#remove(entries, keyText(cursor.key()))
        else if (cursor.kind === OperationKind.DELETE_RANGE) {
          for (const key of keysIn(entries, cursor.interval())) this.#remove(entries, key)
        }
      }
    })
  }

  deleteRange(interval: KeyInterval): void {
    this.sweep()
    this.#entries = entriesBeside(this.#entries, interval)
  }

  clear(): void {
    this.#entries = new Map()
  }

  peek(key: KeyBytes, slot: Slot): boolean {
    const entry = this.#alive(key)
    if (entry !== undefined) fillSlot(slot, entry.value, 0, entry.value.length)
    return entry !== undefined
  }

  update(key: KeyBytes, length: number, slot: Slot, expiresAtMs: number): boolean {
    const before = this.#alive(key)?.value
    // A new array: the one before may be in a snapshot.
    const value = new Uint8Array(length)
    if (before !== undefined) value.set(before.subarray(0, length))
    this.#change((entries) => this.#set(entries, plainKey(key), { value, expiresAtMs }))
    fillSlot(slot, value, 0, length)
    return before !== undefined
  }

  snapshot(takenAtMs: number, options: SnapshotOptions): ModelSnapshot {
    return new ModelSnapshot(aliveEntries(this.#entries, takenAtMs), this.#content, options)
  }

  sweep(): boolean {
    const held = this.#entries.size
    this.#entries = aliveEntries(this.#entries, this.clock.now())
    this.expired += held - this.#entries.size
    return true
  }

  async replace(
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    { clockMs }: EngineReplaceOptions,
  ): Promise<void> {
    const loaded: ModelEntries = new Map()
    for await (const { bytes } of blocks) {
      const cursor = new EntryBlockCursor(bytes)
      while (cursor.next()) {
        const { expiresAtMs } = cursor
        loaded.set(keyText(cursor.key()), { value: cursor.value().slice(), expiresAtMs })
      }
    }
    this.sweep()
    const entries = new Map([...entriesBeside(this.#entries, interval), ...loaded])
    this.#requireRoom(entries)
    this.#entries = entries
    if (isEverything(interval)) this.#content = {}
    if (clockMs !== undefined) this.clock.advanceTo(clockMs)
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    this.#entries = new Map()
  }

  #alive(key: KeyBytes): ModelEntry | undefined {
    const entry = this.#entries.get(keyText(plainKey(key)))
    return entry !== undefined && isAlive(entry, this.clock.now()) ? entry : undefined
  }

  /** Changes a copy, which takes the place of the content once nothing can fail any more. */
  #change(change: (entries: ModelEntries) => void): void {
    const { expired } = this
    const entries = new Map(this.#entries)
    change(entries)
    try {
      const isLimited = this.#maxBytes !== Infinity
      if (isLimited && sizeBytes(entries) > sizeBytes(this.#entries)) this.#requireRoom(entries)
    } catch (error) {
      this.expired = expired
      throw error
    }
    this.#entries = entries
  }

  #set(entries: ModelEntries, key: Uint8Array, entry: ModelEntry): void {
    const text = keyText(key)
    this.#remove(entries, text)
    entries.set(text, entry)
  }

  #remove(entries: ModelEntries, text: string): void {
    const entry = entries.get(text)
    if (entry !== undefined && !isAlive(entry, this.clock.now())) this.expired++
    entries.delete(text)
  }

  #checkExpectations(cursor: BatchCursor): void {
    cursor.rewind()
    while (cursor.next()) {
      const { kind } = cursor
      if (kind === OperationKind.PUT || isDelete(kind)) continue
      const held = this.#alive(cursor.key())?.value
      const wanted = kind === OperationKind.EXPECT_VALUE ? cursor.value() : undefined
      const holds = held === undefined || wanted === undefined ? held === wanted : equalBytes(held, wanted)
      if (!holds) throw new StateError('CONCURRENT_MODIFICATION', { key: cursor.key().slice() })
    }
  }

  /** What has expired takes no room. */
  #requireRoom(entries: ModelEntries): void {
    const nowMs = this.clock.now()
    if (sizeBytes(aliveEntries(entries, nowMs)) <= this.#maxBytes) return
    const used = sizeBytes(aliveEntries(this.#entries, nowMs))
    throw new StateError('BACKEND_FULL', { used, capacity: this.#maxBytes })
  }
}
