import { type CancelTimer, type Clock, setLongTimer } from '../../base/clock.js'
import type { EngineSnapshot } from './engines.js'
import { LocalSnapshot } from './local-snapshot.js'

interface OpenSnapshot {
  readonly openedAt: number
  readonly cancelTimer: CancelTimer
}

/** The snapshots of a backend that are not closed: each keeps something of its engine from being reused. */
export class OpenSnapshots {
  readonly #clock: Clock
  readonly #maxAgeMs: number
  readonly #open = new Map<LocalSnapshot, OpenSnapshot>()

  /** Closes each at the age of `maxAgeMs`; Infinity: never. */
  constructor(clock: Clock, maxAgeMs: number) {
    this.#clock = clock
    this.#maxAgeMs = maxAgeMs
  }

  get count(): number {
    return this.#open.size
  }

  /** In milliseconds; 0: none is open. */
  get oldestAgeMs(): number {
    const nowMs = performance.now()
    return Math.max(0, ...[...this.#open.values()].map(({ openedAt }) => nowMs - openedAt))
  }

  open(engine: EngineSnapshot, takenAtMs: number): LocalSnapshot {
    const maxAgeMs = this.#maxAgeMs
    const snapshot = new LocalSnapshot(engine, takenAtMs, (closed) => {
      this.#open.get(closed)?.cancelTimer()
      this.#open.delete(closed)
    })
    const expire = () => snapshot.closeBecause(`older than ${maxAgeMs} ms`)
    const cancelTimer = setLongTimer(this.#clock, expire, maxAgeMs)
    this.#open.set(snapshot, { openedAt: performance.now(), cancelTimer })
    return snapshot
  }

  closeAll(): void {
    for (const snapshot of this.#open.keys()) snapshot.closeSync()
  }
}
