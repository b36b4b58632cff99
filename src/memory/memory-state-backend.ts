import { LocalBackend } from '../backend/facade/local-backend.js'
import type { LocalSnapshot } from '../backend/facade/local-snapshot.js'
import type { KeyFilter } from '../backend/state-backend.js'
import type { SnapshotOptions } from '../backend/state-snapshot.js'
import type { Entry, ExpiryEvents } from '../backend/types.js'
import { type Clock, systemClock } from '../base/clock.js'
import { Listeners, type Unsubscribe } from '../base/events.js'
import { hasMethods, rejectViolations, rules, violationsOf } from '../base/options.js'
import { SLICE_MS } from '../base/slices.js'
import type { LogMemory } from '../log/log-memory.js'
import { MemoryEngine } from './memory-engine.js'

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
   * How often expired entries are removed and memory is tidied by a timer, in milliseconds. Default 1,000; Infinity: only by
   * writes, which pay for some, and when `sweep()` is called. Expired entries are invisible at once in any case.
   */
  readonly sweepIntervalMs?: number
}

/** A snapshot of the memory engine: it can always be shared. */
export type MemoryStateSnapshot = LocalSnapshot & Required<Pick<LocalSnapshot, 'share'>>

/** What `on` of the memory engine tells, by the name of the event. */
export type MemoryStateBackendEvents = ExpiryEvents

/** Smallest `maxBytes`: below it, the engine's own structures would leave no room for entries. */
const MIN_LIMIT_BYTES = 64 * 1024
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
export class MemoryStateBackend extends LocalBackend {
  readonly #engine: MemoryEngine
  readonly #listeners: Listeners<MemoryStateBackendEvents>

  /** Throws `INVALID_ARGUMENT` with every wrong or unknown option. */
  constructor(options?: MemoryStateBackendOptions) {
    rejectViolations(violationsOf(options, optionRules))
    const { ttlMs = Infinity, maxBytes = Infinity, sweepIntervalMs = 1_000 } = options ?? {}
    const clock = options?.clock ?? systemClock
    const listeners = new Listeners<MemoryStateBackendEvents>(['expired'])
    const engine = new MemoryEngine({ ttlMs, maxBytes, clock, listeners })
    super(engine, { timers: clock, sweepIntervalMs })
    this.#engine = engine
    this.#listeners = listeners
  }

  override snapshotSync(options?: SnapshotOptions): MemoryStateSnapshot {
    this.assertOpen()
    // What has expired need not be kept for the snapshot. A listener may clear or close the backend: the moment comes after.
    this.#engine.sweep(performance.now() + SLICE_MS)
    this.#engine.afterWrite()
    return super.snapshotSync(options) as MemoryStateSnapshot
  }

  /** As a scan of all keys that are wanted, in any order: to sort a million keys takes as long as to read them. */
  *unsortedSync(isWanted: KeyFilter): IterableIterator<Entry | undefined> {
    const snapshot = this.snapshotSync()
    try {
      yield* snapshot.walkUnsorted(isWanted)
    } finally {
      snapshot.closeSync()
    }
  }

  override async count(): Promise<number> {
    this.assertOpen()
    if (!this.#engine.isReplacingRange) return await super.count()
    const snapshot = this.snapshotSync()
    try {
      return await snapshot.count()
    } finally {
      snapshot.closeSync()
    }
  }

  /** Removes every entry that has expired and tidies memory, at once; returns how many entries went. */
  sweep(): number {
    this.assertOpen()
    const before = this.#engine.expired
    this.#engine.sweep(Infinity)
    this.#engine.doChores(Infinity)
    this.#engine.afterWrite()
    return this.#engine.expired - before
  }

  /** What the engine takes, in bytes; content that only snapshots still see is in `totalBytes`. */
  memoryUsage(): LogMemory {
    this.assertOpen()
    return this.#engine.memory
  }

  on<Name extends keyof MemoryStateBackendEvents>(
    name: Name,
    listener: (event: MemoryStateBackendEvents[Name]) => void,
  ): Unsubscribe {
    return this.#listeners.on(name, listener)
  }
}
