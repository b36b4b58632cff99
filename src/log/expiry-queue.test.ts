import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ExpiryQueue } from './expiry-queue.js'

/** Follows the queue like its log does: what is not due yet when it comes up is scheduled again. */
class Follower {
  readonly queue = new ExpiryQueue()
  readonly deadlines = new Map<number, number>()
  readonly buckets = new Map<number, number>()
  looks = 0

  add(hash: number, deadlineMs: number, nowMs: number): void {
    this.deadlines.set(hash, deadlineMs)
    this.buckets.set(hash, this.queue.schedule(hash, deadlineMs, nowMs))
  }

  sweep(nowMs: number): void {
    this.queue.lookAtDue(nowMs, Infinity, (hash, bucket) => this.#lookAt(hash, bucket, nowMs))
  }

  prune(nowMs: number, most: number): void {
    this.queue.lookAtOldest(most, (hash, bucket) => this.#lookAt(hash, bucket, nowMs))
  }

  #lookAt(hash: number, bucket: number, nowMs: number): void {
    this.looks++
    if (this.buckets.get(hash) !== bucket) return
    const deadlineMs = this.deadlines.get(hash) as number
    this.buckets.delete(hash)
    if (deadlineMs <= nowMs) this.deadlines.delete(hash)
    else this.buckets.set(hash, this.queue.schedule(hash, deadlineMs, nowMs))
  }
}

describe('ExpiryQueue', () => {
  it('at every moment has given out all that is due, and keeps all that is not', () => {
    const step = fc.record({
      lifeMs: fc.integer({ min: 0, max: 10_000_000 }),
      passMs: fc.integer({ min: 0, max: 2_000_000 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const follower = new Follower()
        let nowMs = 1_700_000_000_000
        for (const [hash, { lifeMs, passMs }] of steps.entries()) {
          follower.add(hash, nowMs + lifeMs, nowMs)
          nowMs += passMs
          if (passMs % 3 === 0) follower.prune(nowMs, passMs % 50)
          follower.sweep(nowMs)
          for (const deadlineMs of follower.deadlines.values()) expect(deadlineMs).toBeGreaterThan(nowMs)
          expect(follower.queue.length).toBe(follower.deadlines.size)
          expect(follower.queue.nextAtMs).toBeGreaterThan(nowMs)
        }
        follower.sweep(Infinity)
        expect(follower.deadlines.size).toBe(0)
      }),
    )
  })

  it('looks at an entry a few times in its life, however long that is', () => {
    for (const lifeMs of [1, 1_000, 3_600_000, 30 * 86_400_000]) {
      const follower = new Follower()
      const bornMs = 1_700_000_000_123
      for (let hash = 0; hash < 100; hash++) follower.add(hash, bornMs + lifeMs, bornMs)
      while (follower.queue.length > 0) follower.sweep(follower.queue.nextAtMs)
      expect(follower.looks / 100).toBeLessThanOrEqual(5)
      expect(follower.deadlines.size).toBe(0)
    }
  })

  it('drops items of no use early, and keeps the others', () => {
    const follower = new Follower()
    const nowMs = 1_700_000_000_000
    // Each hash is scheduled again and again for an earlier time: only its last item is of use.
    for (let round = 0; round < 50; round++) {
      for (let hash = 0; hash < 100; hash++) follower.add(hash, nowMs + 3_600_000 - round * 60_000, nowMs)
    }
    expect(follower.queue.length).toBe(5_000)
    const { byteLength } = follower.queue
    follower.prune(nowMs, 5_000)
    expect(follower.queue.length).toBe(100)
    expect(follower.queue.byteLength).toBeLessThan(byteLength / 10)
    for (const [hash, bucket] of follower.buckets) {
      expect(follower.queue.startOf(bucket)).toBeLessThanOrEqual(follower.deadlines.get(hash) as number)
    }
    follower.sweep(nowMs + 3_600_000)
    expect([follower.deadlines.size, follower.queue.length, follower.queue.byteLength]).toEqual([0, 0, 0])
    expect(follower.queue.nextAtMs).toBe(Infinity)
  })

  it('takes few bytes for many entries of one lifetime', () => {
    const queue = new ExpiryQueue()
    for (let hash = 0; hash < 100_000; hash++) queue.schedule(hash, 1_000_000 + hash, hash)
    expect(queue.byteLength / 100_000).toBeLessThan(12)
  })
})
