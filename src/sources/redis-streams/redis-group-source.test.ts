import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { FakeRedisGroup } from '../../../test/support/fake-redis-group.js'
import type { SourceReader } from '../../job/source/source.js'
import { type RedisGroupSourceOptions, redisGroupSource } from './redis-group-source.js'

// What becomes of lost and late answers; test/services has the rest on real servers.

const request = { maxEvents: 9, waitMs: 1, paused: new Set<string>() }
const now = { ...request, waitMs: 0 }

function sourceOf(redis: FakeRedisGroup, options: Partial<RedisGroupSourceOptions<unknown>> = {}) {
  return redisGroupSource<unknown>({
    client: redis.client,
    streams: ['s'],
    group: 'g',
    consumer: 'c',
    answerWithinMs: 5,
    ...options,
  })
}

describe('a consumer of a group of Redis', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  /** A poll whose first attempt is answered in the pause before the next one. */
  const pollLate = async (redis: FakeRedisGroup, reader: SourceReader<unknown>) => {
    redis.lateAnswers = 1
    const polling = reader.poll(request)
    await vi.advanceTimersByTimeAsync(6)
    redis.answerLate()
    await vi.advanceTimersByTimeAsync(100)
    return [...(await polling)]
  }

  it('gives what a call was given whose answer comes after it was given up', async () => {
    const redis = new FakeRedisGroup()
    const reader = await sourceOf(redis).open({ positions: {} })
    await reader.poll(now)
    redis.add('a')
    const polled = [...(await pollLate(redis, reader)), ...(await reader.poll(now))]
    const [given, ...others] = polled.filter(({ events }) => events.length > 0)
    expect([given?.events, others]).toEqual([['a'], []])
    expect(given?.positionAfter(0)).toEqual({ cut: 1, read: 1 })
    await reader.close()
  })

  it('has not ended before what such a call was given is counted', async () => {
    const redis = new FakeRedisGroup()
    redis.add('a')
    const reader = await sourceOf(redis, { follow: false }).open({ positions: {} })
    const polled = await pollLate(redis, reader)
    while (polled.at(-1)?.hasEnded !== true) polled.push(...(await reader.poll(now)))
    expect(polled.flatMap(({ events }) => events)).toEqual(['a'])
    await reader.close()
  })

  for (const claimAfterMs of [60_000, Infinity]) {
    it(`finds what a call was given that was carried out after it was given up, also with claimAfterMs ${claimAfterMs}`, async () => {
      const redis = new FakeRedisGroup()
      const reader = await sourceOf(redis, { claimAfterMs }).open({ positions: {} })
      await reader.poll(now)
      redis.lostAttempts = 1
      const polling = reader.poll(now)
      await vi.advanceTimersByTimeAsync(100)
      await polling
      await reader.poll(now)
      redis.add('a')
      redis.arrive()
      expect(await reader.poll(now)).toMatchObject([{ events: [] }])
      await vi.advanceTimersByTimeAsync(15_001)
      await reader.poll(now)
      expect(await reader.poll(now)).toMatchObject([{ events: ['a'] }])
      await reader.close()
    })
  }
})
