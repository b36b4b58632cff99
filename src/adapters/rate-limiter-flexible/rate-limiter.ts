// value := points f64 · expiresAtMs f64
// Numbers are little-endian. expiresAtMs is Infinity for points that are kept until they are deleted.

import { RateLimiterRedis, RateLimiterRes, type RateLimiterStoreAbstract } from 'rate-limiter-flexible'
import { requireSettings, type SyncStateBackend, systemClock } from '../../engine.js'
import type { Clock, StateBackend } from '../../index.js'
import { syncBackend } from '../shared/backend.js'
import { KeySpace } from '../shared/key-space.js'

/** The base of the package's stores, which it does not export: the one of any of them. */
const StoreBase: typeof RateLimiterStoreAbstract = Object.getPrototypeOf(RateLimiterRedis)

type StoreOptions = ConstructorParameters<typeof RateLimiterStoreAbstract>[0]

export type HoldfastRateLimiterOptions = Omit<StoreOptions, 'storeClient' | 'storeType'> & {
  /** A backend that is synchronous; it stays the caller's to close. */
  readonly backend: StateBackend
  /** Keeps the keys of limiters apart from what else is in the backend; without zero bytes. Default `'rate-limiter'`. */
  readonly prefix?: string
  /** What tells how long is left. Default: the machine's; where the backend was given one, the same. */
  readonly clock?: Clock
}

interface Counted {
  readonly points: number
  readonly expiresAtMs: number
}

/**
 * A limiter of rate-limiter-flexible whose counters are in a backend: exact under concurrency, as each change is one synchronous step of
 * the only process that writes, removed when their time is over, and on LMDB there again after a restart. All options of
 * the package's stores but for `storeClient` hold.
 *
 * @example
 * const limiter = new HoldfastRateLimiter({ backend, points: 5, duration: 60 })
 * await limiter.consume(request.ip)
 */
export class HoldfastRateLimiter extends StoreBase {
  readonly #backend: SyncStateBackend
  readonly #space: KeySpace
  readonly #clock: Clock

  constructor(given: HoldfastRateLimiterOptions) {
    requireSettings(given)
    const { backend, prefix = 'rate-limiter', clock = systemClock, ...options } = given
    super({ ...options, storeClient: backend } as StoreOptions)
    this.#backend = syncBackend(backend)
    this.#space = new KeySpace(prefix)
    this.#clock = clock
  }

  _getRateLimiterRes(_key: string, changedPoints: number, { points, expiresAtMs }: Counted): RateLimiterRes {
    const { points: allowed } = this as unknown as { readonly points: number }
    const msBeforeNext = expiresAtMs === Infinity ? -1 : Math.max(expiresAtMs - this.#clock.now(), 0)
    return new RateLimiterRes(Math.max(allowed - points, 0), msBeforeNext, points, points === changedPoints)
  }

  async _upsert(key: string, points: number, durationMs: number, forceExpire = false): Promise<Counted> {
    const nowMs = this.#clock.now()
    const stored = this.#space.storedText(key)
    const held = forceExpire ? undefined : this.#alive(stored, nowMs)
    const counted =
      held === undefined
        ? { points, expiresAtMs: durationMs > 0 ? nowMs + durationMs : Infinity }
        : { points: held.points + points, expiresAtMs: held.expiresAtMs }
    const bytes = new DataView(new ArrayBuffer(16))
    bytes.setFloat64(0, counted.points, true)
    bytes.setFloat64(8, counted.expiresAtMs, true)
    this.#backend.putSync(stored, new Uint8Array(bytes.buffer), { ttlMs: counted.expiresAtMs - nowMs })
    return counted
  }

  async _get(key: string): Promise<Counted | null> {
    return this.#alive(this.#space.storedText(key), this.#clock.now()) ?? null
  }

  async _delete(key: string): Promise<boolean> {
    const stored = this.#space.storedText(key)
    const wasThere = this.#backend.containsSync(stored)
    this.#backend.deleteSync(stored)
    return wasThere
  }

  #alive(stored: Uint8Array, nowMs: number): Counted | undefined {
    const bytes = this.#backend.getSync(stored)
    if (bytes === undefined) return undefined
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const counted = { points: view.getFloat64(0, true), expiresAtMs: view.getFloat64(8, true) }
    return counted.expiresAtMs > nowMs ? counted : undefined
  }
}
