import { describe, expect, it } from 'vitest'
import { FakeRedis } from '../../../test/support/fake-redis.js'
import { hasHashTag, hashTagOf } from './hash-tag.js'
import { redisGroupSource } from './redis-group-source.js'
import { redisStreamSink } from './redis-stream-sink.js'

describe('the hash tag of a key', () => {
  it.each([
    ['stream', 'stream'],
    ['a{b}c', 'b'],
    ['a{b}{c}', 'b'],
    ['a{{b}}', '{b'],
    ['a{b', 'a{b'],
    ['}{b}', 'b'],
  ])('is by the rule of the Cluster: of %s it is %s', (key, tag) => {
    expect(hashTagOf(key)).toBe(tag)
    expect(hasHashTag(key)).toBeUndefined()
    // What is hashed of a key that has it.
    expect(hashTagOf(`{${tag}}:more{x}`)).toBe(tag)
  })

  it.each(['a}b', 'x{}y', 'x{}{b}', '{}'])('is none for %s, which is refused', (key) => {
    const { ioredis: client } = new FakeRedis()
    const refused = expect.objectContaining({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(key),
    })
    expect(() => redisGroupSource({ client, streams: ['s', key], group: 'g', consumer: 'c' })).toThrow(
      refused,
    )
    expect(() => redisStreamSink({ client, stream: key })).toThrow(refused)
  })
})
