import { setImmediate, setTimeout } from 'node:timers/promises'

/** Sleeping for less is not worth it: timers are not that exact. */
const SHORTEST_SLEEP_MS = 2

/** Holds a job back to so many events a second, and lets the event loop run between its batches. */
export class Pacer {
  readonly #eventsPerSecond: number
  readonly #startedAtMs: number = performance.now()

  constructor(eventsPerSecond: number) {
    this.#eventsPerSecond = eventsPerSecond
  }

  get elapsedMs(): number {
    return performance.now() - this.#startedAtMs
  }

  /** Waits until it is time for more than `events` events since the start; at least until the next turn of the loop. */
  async pause(events: number): Promise<void> {
    const earlyMs = (events / this.#eventsPerSecond) * 1000 - this.elapsedMs
    await (earlyMs < SHORTEST_SLEEP_MS ? setImmediate() : setTimeout(earlyMs))
  }
}
