// Lanes that write numbered batches, one behind the other, and what each was told.

import type { StateBackend } from '../../src/backend/state-backend.js'
import { WriteBatch } from '../../src/backend/write-batch.js'

const LANES = 8
const bytes = (text: string) => Buffer.from(text)

export class LaneWriters {
  readonly acknowledged: number[] = Array.from({ length: LANES }, () => 0)
  longestStallMs = 0
  #lastMs = performance.now()
  #isEnding = false
  readonly #backend: StateBackend
  readonly #done: Promise<unknown>

  constructor(backend: StateBackend) {
    this.#backend = backend
    this.#done = Promise.all(this.acknowledged.map((_, lane) => this.#write(lane)))
    this.#done.catch(() => {})
  }

  get count(): number {
    return this.acknowledged.reduce((sum, count) => sum + count, 0)
  }

  /** Resolves once so many more batches were acknowledged. */
  async more(count: number): Promise<void> {
    const enough = this.count + count
    while (this.count < enough)
      await Promise.race([this.#done, new Promise((resolve) => setTimeout(resolve, 5))])
  }

  async end(): Promise<void> {
    this.#isEnding = true
    await this.#done
  }

  /** Lanes of which the store does not have what they were told last. */
  async lost(): Promise<string[]> {
    const lost: string[] = []
    for (const [lane, last] of this.acknowledged.entries()) {
      const held = await this.#backend.getMany([bytes(`lane ${lane}`), bytes(`lane ${lane} ${last % 100}`)])
      const numbers = held.map((value) => Number(Buffer.from(value ?? bytes('0'))))
      if (numbers.some((number) => number !== last))
        lost.push(`lane ${lane}: ${last} is ${numbers.join(' ')}`)
    }
    return lost
  }

  /** The longest time without an answer since this was asked last. */
  takeStall(): number {
    const longest = this.longestStallMs
    this.longestStallMs = 0
    return longest
  }

  async #write(lane: number): Promise<void> {
    for (let i = 1; !this.#isEnding; i++) {
      const batch = new WriteBatch().put(bytes(`lane ${lane}`), bytes(String(i)))
      await this.#backend.write(batch.put(bytes(`lane ${lane} ${i % 100}`), bytes(String(i))))
      this.acknowledged[lane] = i
      const nowMs = performance.now()
      this.longestStallMs = Math.max(this.longestStallMs, nowMs - this.#lastMs)
      this.#lastMs = nowMs
    }
  }
}
