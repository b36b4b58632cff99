import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { HoldfastRateLimiter, type HoldfastRateLimiterOptions } from './rate-limiter.js'

function open(options: Omit<HoldfastRateLimiterOptions, 'backend'>) {
  const clock = new ManualClock()
  const backend = new MemoryStateBackend({ clock })
  return { clock, backend, limiter: new HoldfastRateLimiter({ backend, clock, ...options }) }
}

describe('a limiter of rate-limiter-flexible', () => {
  it('lets exactly as many through as it may, however many ask at once', async () => {
    const { backend, clock, limiter } = open({ points: 7, duration: 10 })
    const second = new HoldfastRateLimiter({ backend, clock, points: 7, duration: 10 })
    const asked = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? limiter : second).consume('ip'))
    const outcomes = await Promise.allSettled(asked)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(7)
    expect((await limiter.get('ip'))?.consumedPoints).toBe(50)
    await backend.close()
  })

  it('refuses keys that are no text rather than count them as one', async () => {
    const { backend, limiter } = open({ points: 1, duration: 10 })
    for (const half of ['\ud83d', '\ud83e']) {
      await expect(limiter.consume(half)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    expect((await limiter.consume('\ud83d\ude00')).consumedPoints).toBe(1)
    expect((await limiter.consume('\ud83e\udd80')).consumedPoints).toBe(1)
    await backend.close()
  })

  it('begins anew when the time is over, and not before', async () => {
    const { clock, backend, limiter } = open({ points: 2, duration: 10 })
    const first = await limiter.consume('ip')
    expect(first.toJSON()).toMatchObject({
      remainingPoints: 1,
      msBeforeNext: 10_000,
      isFirstInDuration: true,
    })
    clock.advance(9_999)
    const second = await limiter.consume('ip')
    expect(second.toJSON()).toMatchObject({ remainingPoints: 0, msBeforeNext: 1, consumedPoints: 2 })
    await expect(limiter.consume('ip')).rejects.toMatchObject({ consumedPoints: 3, msBeforeNext: 1 })
    clock.advance(1)
    expect((await limiter.consume('ip')).consumedPoints).toBe(1)
    clock.advance(10_000)
    await expect.poll(() => backend.stats().entries).toBe(0)
    await backend.close()
  })

  it('penalises, rewards, sets, blocks and deletes', async () => {
    const { clock, backend, limiter } = open({ points: 5, duration: 0 })
    expect((await limiter.penalty('ip', 3)).consumedPoints).toBe(3)
    expect((await limiter.reward('ip', 2)).consumedPoints).toBe(1)
    expect((await limiter.get('ip'))?.msBeforeNext).toBe(-1)
    await limiter.block('ip', 60)
    await expect(limiter.consume('ip')).rejects.toMatchObject({ msBeforeNext: 60_000 })
    clock.advance(60_000)
    expect(await limiter.get('ip')).toBeNull()
    await limiter.set('ip', 4, 2 ** 32)
    expect((await limiter.get('ip'))?.remainingPoints).toBe(1)
    expect(await limiter.delete('ip')).toBe(true)
    expect(await limiter.delete('ip')).toBe(false)
    await backend.close()
  })

  it('asks its insurance where the backend is closed', async () => {
    const { backend, limiter } = open({ points: 1, duration: 1 })
    const insurance = open({ points: 9, duration: 1 })
    const insured = new HoldfastRateLimiter({
      backend,
      points: 1,
      duration: 1,
      insuranceLimiter: insurance.limiter as never,
    })
    await backend.close()
    await expect(limiter.consume('ip')).rejects.toMatchObject({ code: 'CLOSED' })
    expect((await insured.consume('ip')).remainingPoints).toBe(8)
    await insurance.backend.close()
  })
})
