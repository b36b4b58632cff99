// What expires: which entries wait in the expiry queue, and who is told when their time has come.

import type { ForwardClock } from '../base/clock.js'
import { type Entries, GONE } from './entries.js'
import { ExpiryQueue, NO_BUCKET, type QueueImage } from './expiry-queue.js'
import type { HashLogOptions } from './hash-log-options.js'
import type { HashIndex } from './index/hash-index.js'

/** Is given the address of an entry that has expired, and may remove it. */
export type OnExpired = (address: number) => void

/** Entries looked at between two looks at the time. */
const SWEEP_STEP = 64
/** Hashes in the queue, for each key and beside them, from which on those of no use are looked for. */
const QUEUED_PER_KEY = 2
const MIN_QUEUED = 16 * 1024

export class EntryExpiry {
  readonly #queue: ExpiryQueue = new ExpiryQueue()
  readonly #entries: Entries
  readonly #index: HashIndex
  readonly #options: HashLogOptions
  readonly #clock: ForwardClock | undefined

  constructor(entries: Entries, index: HashIndex, options: HashLogOptions) {
    this.#entries = entries
    this.#index = index
    this.#options = options
    this.#clock = options.clock
  }

  /** Nothing expires before this time; Infinity: nothing at all. */
  get nextAtMs(): number {
    return this.#queue.nextAtMs
  }

  /** Hashes wait in the queue, of use or not. */
  get isWaiting(): boolean {
    return this.#queue.length > 0
  }

  get byteLength(): number {
    return this.#queue.byteLength
  }

  /** See `ExpiryQueue.image`. */
  image(): QueueImage {
    return this.#queue.image()
  }

  adopt(image: QueueImage): void {
    this.#queue.adopt(image)
  }

  /**
   * The key with this hash was just written at `address`. If the version that it takes the place of had expired, that is
   * reported; and if the new one expires, its hash is queued. `oldExpiresAtMs` is {@link GONE} where there was none.
   */
  written(address: number, hash: number, oldExpiresAtMs: number, expiresAtMs: number): void {
    if (expiresAtMs === Infinity && (oldExpiresAtMs === Infinity || oldExpiresAtMs === GONE)) return
    const nowMs = expiresAtMs === Infinity ? this.#options.now() : this.#justNow()
    if (oldExpiresAtMs !== GONE && oldExpiresAtMs <= nowMs) this.#options.onExpired(address)
    if (expiresAtMs === Infinity) return
    // An entry that is in the queue comes up by its old time at the latest, and then goes on to its new one.
    const bucket = this.#entries.bucket(address)
    if (bucket !== NO_BUCKET && oldExpiresAtMs !== GONE && oldExpiresAtMs <= expiresAtMs) return
    if (bucket !== NO_BUCKET && this.#queue.startOf(bucket) <= expiresAtMs) return
    this.#entries.setBucket(address, this.#queue.schedule(hash, expiresAtMs, nowMs))
  }

  /** Tells of entries that have expired until none is left or `performance.now()` passes `untilMs`; returns whether none is left. */
  sweep(untilMs: number, onExpired: OnExpired): boolean {
    const nowMs = this.#options.now()
    for (;;) {
      const looked = this.#lookAtDue(nowMs, SWEEP_STEP, onExpired)
      if (looked < SWEEP_STEP) return true
      if (performance.now() >= untilMs) return false
    }
  }

  /** Looks at so many hashes whose time has come, and, where there are too many that are of no use, at so many of the oldest. */
  look(most: number, onExpired: OnExpired): void {
    const queue = this.#queue
    if (queue.length === 0) return
    const nowMs = this.#options.now()
    this.#lookAtDue(nowMs, most, onExpired)
    if (queue.length <= MIN_QUEUED + this.#index.count * QUEUED_PER_KEY) return
    queue.lookAtOldest(most, (hash, bucket) => this.#lookAt(hash, bucket, nowMs, onExpired))
  }

  /** Looks at hashes whose time has come, at most this many; returns how many that were. */
  #lookAtDue(nowMs: number, most: number, onExpired: OnExpired): number {
    if (this.#queue.nextAtMs > nowMs) return 0
    return this.#queue.lookAtDue(nowMs, most, (hash, bucket) => this.#lookAt(hash, bucket, nowMs, onExpired))
  }

  /** Looks at the entries of a hash that the queue has held in this bucket: they are in none now. */
  #lookAt(hash: number, bucket: number, nowMs: number, onExpired: OnExpired): void {
    const entries = this.#entries
    for (const address of this.#index.collect(hash)) {
      if (entries.bucket(address) !== bucket) continue
      const expiresAtMs = entries.isTombstone(address) ? Infinity : entries.expiresAtMs(address)
      const isDue = expiresAtMs <= nowMs
      const isQueued = !isDue && expiresAtMs !== Infinity
      entries.setBucket(address, isQueued ? this.#queue.schedule(hash, expiresAtMs, nowMs) : NO_BUCKET)
      if (isDue) onExpired(address)
    }
  }

  /** What the clock has told last, in the same step, or what it tells now. */
  #justNow(): number {
    return this.#clock === undefined ? this.#options.now() : this.#clock.latest
  }
}
