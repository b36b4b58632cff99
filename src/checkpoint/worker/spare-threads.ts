// Which work a job hands to the thread pool: as much as there are processors for beside its own thread and the one that it works for.
// With fewer processors than threads that have something to do, each of them waits for the others, also the one that nothing
// should hold up.

import { availableParallelism } from 'node:os'
import type { BlockCodec } from '../../codec/block-codec.js'

/** Calls that may be under way for each processor that is left: the next one is there when one has ended. */
const CALLS_PER_PROCESSOR = 2
/** What of a processor may be in use by others where it still counts as left. */
const TOLERATED_LOAD = 0.25

/** How many calls the pool may have at a time, beside a thread that is busy for this share of its time (0 to 1). */
export function callsToSpare(hostLoad: number, processors: number = availableParallelism()): number {
  return Math.max(0, Math.floor(processors - 1 - hostLoad + TOLERATED_LOAD)) * CALLS_PER_PROCESSOR
}

/** The calls of a thread's jobs that are in the thread pool. */
export class PoolCalls {
  #underWay = 0
  readonly #waiting: (() => void)[] = []

  /** Does it in the pool where that may have one call more, or else in this thread. */
  async hand<Result>(most: number, inPool: () => Promise<Result>, here: () => Result): Promise<Result> {
    if (this.#underWay >= most) return here()
    this.#underWay++
    return await this.#perform(inPool)
  }

  /**
   * The same of what takes this thread so long that the pool has nothing to do meanwhile: as many calls as the pool may have wait for it
   * to have one less, and only what is more is done in this thread.
   */
  async queue<Result>(most: number, inPool: () => Promise<Result>, here: () => Result): Promise<Result> {
    if (this.#underWay < most || this.#waiting.length >= most) return await this.hand(most, inPool, here)
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
    return await this.#perform(inPool)
  }

  /** Whoever waits next has the place of a call that has ended. */
  async #perform<Result>(inPool: () => Promise<Result>): Promise<Result> {
    try {
      return await inPool()
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#underWay--
      else next()
    }
  }
}

/** A codec that works in the pool as far as `most` allows at the time, and in the calling thread otherwise. */
export function sparingCodec(codec: BlockCodec, calls: PoolCalls, most: () => number): BlockCodec {
  return {
    ...codec,
    compress: (raw) =>
      calls.queue(
        most(),
        () => codec.compress(raw),
        () => codec.compressSync(raw),
      ),
    decompress: (stored, rawBytes) =>
      calls.hand(
        most(),
        () => codec.decompress(stored, rawBytes),
        () => codec.decompressSync(stored, rawBytes),
      ),
  }
}
