import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ExpiryQueue } from './expiry-queue.js'

/** Follows the queue like its log does: what is not due yet when it comes up is scheduled again. */
class Follower {
  readonly queue = new ExpiryQueue()
  readonly deadlines = new Map<number, number>()
  looks = 0

  add(hash: number, deadlineMs: number, nowMs: number): void {
    this.deadlines.set(hash, deadlineMs)
    this.queue.schedule(hash, deadlineMs, nowMs)
  }

  sweep(nowMs: number): void {
    for (;;) {
      const hash = this.queue.takeDue(nowMs)
      if (hash === undefined) return
      this.looks++
      const deadlineMs = this.deadlines.get(hash) as number
      if (deadlineMs <= nowMs) this.deadlines.delete(hash)
      else this.queue.schedule(hash, deadlineMs, nowMs)
    }
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

  it('takes few bytes for many entries of one lifetime', () => {
    const queue = new ExpiryQueue()
    for (let hash = 0; hash < 100_000; hash++) queue.schedule(hash, 1_000_000 + hash, hash)
    expect(queue.byteLength / 100_000).toBeLessThan(12)
  })
})
