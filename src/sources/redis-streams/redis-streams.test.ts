import { afterEach, describe, expect, it, vi } from 'vitest'
import { FakeRedis } from '../../../test/support/fake-redis.js'
import { runSinkConformanceSuite } from '../../testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { redisStreamSink } from './redis-stream-sink.js'
import { type RedisStreamSourceOptions, redisStreamSource } from './redis-stream-source.js'

// On a server in this process; test/services has the same and more on real ones.

const runner = { describe, it }
const NONE: ReadonlySet<string> = new Set()

for (const client of ['ioredis', 'nodeRedis'] as const) {
  runSourceConformanceSuite(runner, `redisStreamSource with ${client}`, async () => {
    const redis = new FakeRedis()
    const streams = ['a', 'b']
    for (const key of streams) for (let i = 0; i < 4; i++) redis.add(key, 'json', JSON.stringify({ key, i }))
    return {
      source: redisStreamSource<unknown>({ client: redis[client], streams, follow: false }),
      events: Object.fromEntries(streams.map((key) => [key, [0, 1, 2, 3].map((i) => ({ key, i }))])),
      dispose: async () => {},
    }
  })

  runSinkConformanceSuite(runner, `redisStreamSink with ${client}`, async () => {
    const redis = new FakeRedis()
    return {
      sink: redisStreamSink<unknown>({ client: redis[client], stream: 'out', maxOutputs: 2 }),
      output: (number) => ({ number }),
      read: async () => redis.entries('out').map(({ fields }) => JSON.parse(fields[1] ?? '') as unknown),
      committedAfterOlderCut: 'kept' as const,
      dispose: async () => {},
    }
  })
}

describe('a source of Redis streams', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  const open = (
    redis: FakeRedis,
    options: Partial<RedisStreamSourceOptions<unknown>> = {},
    position?: string,
  ) =>
    redisStreamSource({ client: redis.ioredis, streams: ['s'], ...options }).open({
      positions: position === undefined ? {} : { s: position },
    })
  const request = { maxEvents: 9, waitMs: 1, paused: NONE }

  it('tells of what cannot be decoded, in its place', async () => {
    const redis = new FakeRedis()
    for (const json of ['1', '{', '3']) redis.add('s', 'json', json)
    redis.add('s', 'other', '4')
    const [polled] = await (await open(redis)).poll(request)
    expect(polled?.events).toEqual([1, undefined, 3, undefined])
    expect([...(polled?.failures?.keys() ?? [])]).toEqual([1, 3])
  })

  it('goes on after a connection was lost', async () => {
    const redis = new FakeRedis()
    redis.add('s', 'json', '1')
    const reader = await open(redis)
    redis.failures = 2
    expect(await reader.poll(request)).toMatchObject([{ events: [1] }])
    await reader.close()
  })

  it('gives an entry once where an answer comes after it was given up', async () => {
    vi.useFakeTimers()
    const redis = new FakeRedis()
    const reader = await open(redis, { answerWithinMs: 5 })
    redis.add('s', 'json', '1')
    redis.lateRanges = 1
    const given: unknown[] = []
    const poll = async () => {
      for (const { events } of await reader.poll(request)) given.push(...events)
    }
    const polling = poll()
    await vi.advanceTimersByTimeAsync(6)
    // In the pause before the next attempt.
    redis.answerLate()
    await vi.advanceTimersByTimeAsync(100)
    await polling
    redis.add('s', 'json', '2')
    await poll()
    expect(given).toEqual([1, 2])
    await reader.close()
  })

  it('J6: says which entries are gone, unless it is to continue', async () => {
    const redis = new FakeRedis()
    for (let i = 1; i <= 5; i++) redis.add('s', 'json', String(i))
    redis.trim('s', '1-4')
    await expect(open(redis, {}, '1-2')).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringContaining('behind 1-2 are wanted and may be gone: it begins at 1-4'),
    })
    await expect(open(redis, {}, '1-9')).rejects.toThrow('it is not the one that was read')
    await expect(open(redis, {}, 'x')).rejects.toThrow('no id of an entry')
    const reader = await open(redis, { onTrimmed: 'continue' }, '1-2')
    expect(await reader.poll(request)).toMatchObject([{ events: [4, 5] }])
  })

  it('trims what a checkpoint has, where that is asked for', async () => {
    const redis = new FakeRedis()
    for (let i = 1; i <= 3; i++) redis.add('s', 'json', String(i))
    const reader = await open(redis, { trimAfterCut: true })
    await reader.checkpointCompleted?.({ s: '1-2', other: '1-1' })
    expect(redis.entries('s').map(({ id }) => id)).toEqual(['1-2', '1-3'])
  })

  it('lists everything that is wrong with the options', () => {
    const wrong = { client: {}, streams: ['a', 'a'], onTrimmed: 'x', follow: 1, reconnectForMs: -1, extra: 1 }
    expect(() => redisStreamSource(wrong as never)).toThrow(
      /client.*streams.*onTrimmed.*follow.*reconnectForMs.*extra/s,
    )
    expect(() => redisStreamSource({ streams: ['a'] } as never)).toThrow('options.client is required')
    const cluster = { masters: [], sendCommand: async () => undefined }
    expect(() => redisStreamSource({ client: cluster, streams: ['a'] } as never)).toThrow('node-redis 6.1')
    expect(() => redisStreamSink({ client: {}, stream: '', maxEntries: 0 } as never)).toThrow(
      /client.*stream.*maxEntries/s,
    )
  })
})

describe('a sink to a Redis stream', () => {
  const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
  const first = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }

  it('writes once where an answer was lost, and is refused once another one was opened', async () => {
    const redis = new FakeRedis()
    const sink = redisStreamSink<string>({ client: redis.ioredis, stream: 'out' })
    const zombie = await sink.open({ prepared: [], state })
    await zombie.commit(first)
    await zombie.commit(first)
    expect(redis.entries('out')).toHaveLength(1)
    await sink.open({ prepared: [first], state })
    await expect(zombie.commit(first)).rejects.toMatchObject({ code: 'FENCED' })
    expect(redis.entries('out')).toHaveLength(1)
  })

  it('J3: says that delivered outputs are not there any more', async () => {
    const client = new FakeRedis().ioredis
    const prepared = [{ epoch: { lineage: 'l', number: 3 }, token: { first: 7, next: 8 } }]
    const sink = redisStreamSink<string>({ client, stream: 'out' })
    await expect(sink.open({ prepared, state })).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await redisStreamSink<string>({ client, stream: 'out', onLostOutputs: 'continue' }).open({
      prepared,
      state,
    })
  })

  it('refuses fields that are no text', async () => {
    const fields = () => ({ a: 1 }) as never
    const sink = redisStreamSink<string>({ client: new FakeRedis().ioredis, stream: 'out', fields })
    const writer = await sink.open({ prepared: [], state })
    await expect(writer.commit(first)).rejects.toMatchObject({ code: 'SERIALIZATION_FAILED' })
  })
})
