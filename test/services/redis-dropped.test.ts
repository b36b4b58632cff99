import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { RedisStateBackend } from '../../src/redis.js'
import { redisGroupSource, redisStreamSink, redisStreamSource } from '../../src/redis-streams.js'
import { endOf, oneOutput, readEvents } from './dropped.js'

let service: RunningService
let client: Redis
let next = 0
beforeAll(async () => {
  service = await startService('redis')
  client = new Redis(service.address, { maxRetriesPerRequest: 1 })
  client.on('error', () => {})
})
afterAll(async () => {
  client?.disconnect()
  await service?.stop()
})

const changes: { readonly [what: string]: (key: string) => Promise<unknown> } = {
  'is deleted': (key) => client.del(key),
  'is deleted, and begun again': async (key) => {
    await client.del(key)
    await client.xadd(key, '*', 'json', '"new"')
  },
  'gets another type': async (key) => {
    await client.del(key)
    await client.set(key, 'text')
  },
  'goes with all there is': () => client.flushall(),
}

describe('a stream that is read', () => {
  const sources = {
    redisStreamSource: (stream: string) => redisStreamSource<unknown>({ client, streams: [stream] }),
    redisGroupSource: (stream: string) =>
      redisGroupSource<unknown>({ client, streams: [stream], group: 'g', consumer: 'c' }),
  }
  const wanted: { readonly [source: string]: { readonly [what: string]: string } } = {
    redisStreamSource: {
      'is deleted': 'RESTORE_FAILED',
      'is deleted, and begun again': 'RESTORE_FAILED',
      'gets another type': 'STORAGE_ERROR',
      'goes with all there is': 'RESTORE_FAILED',
    },
    redisGroupSource: {
      'is deleted': 'RESTORE_FAILED',
      'is deleted, and begun again': 'RESTORE_FAILED',
      'gets another type': 'STORAGE_ERROR',
      'goes with all there is': 'FENCED',
    },
  }
  for (const [name, create] of Object.entries(sources)) {
    for (const [what, change] of Object.entries(changes)) {
      it(`and ${what} ends its ${name}`, async () => {
        const stream = `read-${next++}`
        for (const event of [1, 2]) await client.xadd(stream, '*', 'json', String(event))
        const reader = await create(stream).open({ positions: {} })
        expect(await readEvents(reader, 2)).toEqual([1, 2])
        await change(stream)
        const given: unknown[] = []
        const end = await endOf(reader, (events) => given.push(...events))
        expect(end).toMatchObject({ code: wanted[name]?.[what] })
        expect(String(end)).toMatch(
          new RegExp(what.includes('type') ? 'WRONGTYPE' : `${stream}|its note is gone`),
        )
        expect(given).toEqual([])
        await reader.close()
      })
    }
  }
})

describe('a stream that is written', () => {
  const opened = async (stream: string) => {
    const sink = redisStreamSink<unknown>({ client, stream })
    const writer = await sink.open({ prepared: [], state: oneOutput.state })
    await writer.commit(oneOutput.epochOf(0))
    return { sink, writer }
  }

  it('and gets another type ends its sink, and nothing is noted', async () => {
    const { writer } = await opened('typed')
    await changes['gets another type']?.('typed')
    await expect(writer.commit(oneOutput.epochOf(1))).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('WRONGTYPE'),
    })
    expect(await client.hget('{typed}:sink:typed:holdfast', ':l')).toBe('0 1')
  })

  it('and goes with all there is ends its sink, which is told so also when it is opened again', async () => {
    const { sink, writer } = await opened('flushed')
    await client.flushall()
    await expect(writer.commit(oneOutput.epochOf(1))).rejects.toMatchObject({
      code: 'FENCED',
      message: expect.stringContaining('its note is gone'),
    })
    const again = sink.open({ prepared: [oneOutput.epochOf(1)], state: oneOutput.state })
    await expect(again).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
  })
})

describe('state in Redis', () => {
  const key = Buffer.from('a')
  for (const [what, change, code] of [
    ['all there is is removed', () => client.flushall(), 'FENCED'],
    ['its entries are deleted', (name: string) => client.del(`{${name}}:data`), 'CORRUPTION'],
    ['one of its entries is', (name: string) => client.hdel(`{${name}}:data`, 'a'), 'CORRUPTION'],
    ['the order of its keys is', (name: string) => client.del(`{${name}}:order`), 'CORRUPTION'],
    ['its deadlines are', (name: string) => client.del(`{${name}}:due`), 'CORRUPTION'],
    ['its notes of writes are', (name: string) => client.del(`{${name}}:writes`), 'STORAGE_ERROR'],
    [
      'its entries get another type',
      (name: string) => changes['gets another type']?.(`{${name}}:data`),
      'STORAGE_ERROR',
    ],
  ] as const) {
    it(`is written no more where ${what}`, async () => {
      const name = `dropped-${next++}`
      const backend = await RedisStateBackend.open({ client, name, ordered: true })
      await backend.put(key, key)
      await backend.put(Buffer.from('b'), key, { ttlMs: 60_000 })
      await change(name)
      await expect(backend.put(Buffer.from('c'), key)).rejects.toMatchObject({ code })
      await backend.close()
    })
  }
})
