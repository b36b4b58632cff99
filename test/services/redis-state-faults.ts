// What breaks on the way to a Redis server, and what is then in the store.

import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { CLAIM } from '../../src/redis/scripts.js'
import { RedisStateBackend, type RedisStateBackendOptions } from '../../src/redis.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { runs } from '../support/long.js'
import { Proxy } from './proxy.js'
import { contentsOf, holdsRandomBatches } from './random-batches.js'

const bytes = (text: string) => Buffer.from(text)

export function redisStateSurvives(system: string): void {
  let service: RunningService
  let admin: Redis
  let next = 0
  const nextName = () => `faults-${next++}`
  beforeAll(async () => {
    service = await startService(system)
    admin = new Redis(service.address)
    admin.on('error', () => {})
  })
  afterAll(async () => {
    admin?.disconnect()
    await service?.stop()
  })
  const connectTo = (address: string, { gathers = false } = {}) => {
    const options = { maxRetriesPerRequest: 1, retryStrategy: () => 20, enableAutoPipelining: gathers }
    const client = new Redis(address, options)
    client.on('error', () => {})
    return client
  }
  const opened = async (options: Partial<RedisStateBackendOptions> = {}) => {
    const client = connectTo(service.address)
    const backend = await RedisStateBackend.open({ client, name: nextName(), ...options })
    const close = async () => {
      await backend.close()
      client.disconnect()
    }
    return { backend, close }
  }

  async function worksThrough(
    address: string,
    disturb: (random: () => number) => Promise<void>,
    rounds: number,
  ) {
    const client = connectTo(address)
    const options = { client, name: nextName(), ordered: true, answerWithinMs: 2_000 }
    const backend = await RedisStateBackend.open(options)
    const written = await holdsRandomBatches(backend, disturb, rounds)
    await backend.close()
    client.disconnect()
    return written
  }

  describe(`state on ${system}`, () => {
    it('is what was written, each batch once and in order, while connections are cut and answers delayed', async () => {
      const proxy = new Proxy(service.port)
      const address = `redis://127.0.0.1:${await proxy.listen()}`
      const disturb = async (random: () => number) => {
        proxy.delayMs = random() < 0.5 ? 0 : 5
        await new Promise((resolve) => setTimeout(resolve, Math.floor(random() * 4)))
        proxy.cut(random() < 0.5 ? 'near' : 'far')
      }
      const written = await worksThrough(address, disturb, runs(200, 15))
      process.stdout.write(`${system}: ${proxy.cuts} cuts, ${written} batches, none lost, none twice\n`)
      proxy.close()
      expect(proxy.cuts).toBeGreaterThan(0)
    })

    it('is what was written while its server is killed', async () => {
      let kills = 0
      const disturb = async () => {
        if (kills++ % 3 !== 0) return
        await service.kill()
        await service.start()
      }
      const written = await worksThrough(service.address, disturb, runs(50, 6))
      process.stdout.write(
        `${system}: ${Math.ceil(kills / 3)} kills of the server, ${written} batches, none lost, none twice\n`,
      )
      expect(kills).toBeGreaterThan(0)
    })

    it('belongs to who opened it last: writes of an owner before are FENCED, and change nothing', async () => {
      const name = nextName()
      const [old, heir] = [await opened({ name, nearCacheBytes: 10_000 }), await opened()]
      await old.backend.put(bytes('a'), bytes('1'))
      const successor = await opened({ name })
      const refused = await Promise.allSettled(
        ['2', '3'].map((value) => old.backend.put(bytes('a'), bytes(value))),
      )
      for (const result of refused) expect(result).toMatchObject({ reason: { code: 'FENCED' } })
      await expect(old.backend.clear()).rejects.toMatchObject({ code: 'FENCED' })
      expect(await contentsOf(successor.backend)).toEqual([['a', '1']])
      await successor.backend.put(bytes('a'), bytes('4'))
      await expect(opened({ name, shared: true })).rejects.toMatchObject({ code: 'FENCED' })
      await expect(opened({ name, ordered: true })).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
      expect(await contentsOf(successor.backend)).toEqual([['a', '4']])
      for (const each of [old, heir, successor]) await each.close()
    })

    for (const when of ['its owner goes on', 'another one has it'] as const) {
      it(`is not taken by a claim that was given up and arrives late, when ${when}`, async () => {
        const name = nextName()
        const client = connectTo(service.address)
        let arrive = () => {}
        let late: Promise<unknown> | undefined
        const callBuffer = async (command: string, args: (string | Buffer)[]) => {
          const isClaim = args[0] === CLAIM.sha || args[0] === CLAIM.text
          if (!isClaim || late !== undefined) return await client.callBuffer(command, args)
          const isReleased = new Promise<void>((resolve) => {
            arrive = resolve
          })
          late = isReleased.then(() => client.callBuffer('EVAL', [CLAIM.text, ...args.slice(1)]))
          return await late
        }
        const slow = { callBuffer, pipeline: () => client.pipeline() }
        const owner = await RedisStateBackend.open({ client: slow, name, answerWithinMs: 300 })
        await owner.put(bytes('a'), bytes('1'))
        const successor = when === 'another one has it' ? await opened({ name }) : undefined
        arrive()
        await late
        const writer = successor?.backend ?? owner
        await writer.put(bytes('b'), bytes('2'))
        const expected = [
          ['a', '1'],
          ['b', '2'],
        ]
        expect(await contentsOf(writer)).toEqual(expected)
        if (successor !== undefined)
          await expect(owner.put(bytes('c'), bytes('3'))).rejects.toMatchObject({ code: 'FENCED' })
        await successor?.close()
        await owner.close()
        client.disconnect()
      })
    }

    it('has a token of its own where an owner of the version before has come between a lost answer and the next attempt', async () => {
      const name = nextName()
      const client = connectTo(service.address)
      let claims = 0
      const callBuffer = async (command: string, args: (string | Buffer)[]) => {
        const answer = await client.callBuffer(command, args)
        const isClaim = args[0] === CLAIM.sha || args[0] === CLAIM.text
        if (!isClaim || claims++ > 0) return answer
        // It takes the next token, and notes nothing of who it is.
        await admin.hincrby(`{${name}}:meta`, 'owner', 1)
        throw new Error('the connection was lost')
      }
      const slow = { callBuffer, pipeline: () => client.pipeline() }
      const owner = await RedisStateBackend.open({ client: slow, name })
      expect(await admin.hget(`{${name}}:meta`, 'owner')).toBe('3')
      await owner.put(bytes('a'), bytes('1'))
      await owner.close()
      client.disconnect()
    })

    it('asks its server for little where a batch puts one entry and none has a deadline', async () => {
      const { backend, close } = await opened()
      await backend.put(bytes('a'), bytes('1'))
      await admin.config('RESETSTAT')
      for (let i = 0; i < 100; i++) await backend.put(bytes('a'), bytes(String(i)))
      const calls = new Map<string, number>()
      for (const [, command = '', count] of (await admin.info('commandstats')).matchAll(
        /^cmdstat_(\w+):calls=(\d+)/gm,
      ))
        calls.set(command, Number(count))
      const perBatch = (...commands: string[]) =>
        commands.reduce((sum, command) => sum + (calls.get(command) ?? 0), 0) / 100
      expect(perBatch('zcard', 'zrange', 'zrangebyscore', 'exists')).toBe(1)
      expect(perBatch('hmget', 'hget', 'hlen', 'hset', 'hdel')).toBe(7)
      await close()
    })

    it('of two that open it again and again at once, one has all of it in the end', async () => {
      const name = nextName()
      for (let round = 0; round < 5; round++) {
        // One that meets the later one's token while it opens is FENCED there and then.
        const opening = await Promise.allSettled([0, 1].map(() => opened({ name, keyGroups: 4 })))
        const both = opening.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
        for (const each of opening)
          if (each.status === 'rejected') expect(each.reason).toMatchObject({ code: 'FENCED' })
        const results = await Promise.all(
          both.map(async ({ backend }) => {
            const writes = [0, 1, 2, 3].map((group) => backend.put(Uint8Array.of(0, group), bytes('x')))
            return (await Promise.allSettled(writes)).every(({ status }) => status === 'fulfilled')
          }),
        )
        expect(results.filter(Boolean)).toHaveLength(1)
        for (const each of both) await each.close()
      }
    })

    it('is shared by several: expectations keep them apart', async () => {
      const name = nextName()
      const all = await Promise.all([0, 1, 2].map(() => opened({ name, shared: true })))
      const key = bytes('counter')
      let conflicts = 0
      await Promise.all(
        all.map(async ({ backend }) => {
          for (let added = 0; added < 20; ) {
            const seen = await backend.get(key)
            const value = bytes(String(Number(seen === undefined ? 0 : Buffer.from(seen)) + 1))
            try {
              await backend.write(new WriteBatch().expect(key, seen).put(key, value))
              added++
            } catch {
              conflicts++
            }
          }
        }),
      )
      expect(String(Buffer.from((await all[0]?.backend.get(key)) ?? bytes('')))).toBe('60')
      expect(conflicts).toBeGreaterThan(0)
      for (const each of all) await each.close()
    })

    it('touches one key group in a batch, unless it need not be atomic', async () => {
      const name = nextName()
      const batch = () =>
        new WriteBatch().put(Uint8Array.of(0, 1), bytes('a')).put(Uint8Array.of(0, 2), bytes('b'))
      const strict = await opened({ name, keyGroups: 4, ordered: true })
      await expect(strict.backend.write(batch())).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
      expect(await strict.backend.count()).toBe(0)
      const loose = await opened({ name, keyGroups: 4, ordered: true, atomic: false })
      await loose.backend.write(batch())
      await loose.backend.put(Uint8Array.of(9), bytes('c'))
      const keys = async (reverse: boolean) => {
        const found: number[][] = []
        for await (const [key] of loose.backend.scan({ reverse })) found.push([...key])
        return found
      }
      expect(await keys(false)).toEqual([[0, 1], [0, 2], [9]])
      expect(await keys(true)).toEqual([[9], [0, 2], [0, 1]])
      await loose.backend.deleteRange({ prefix: Uint8Array.of(0) })
      expect(await keys(false)).toEqual([[9]])
      for (const each of [strict, loose]) await each.close()
    })

    it('is INCOMPATIBLE with other key groups than it was made with, or with none, or with some', async () => {
      for (const made of [0, 4]) {
        const name = nextName()
        const { backend, close } = await opened({ name, keyGroups: made })
        await backend.put(Uint8Array.of(0, 9), bytes('a'))
        for (const keyGroups of [0, 3, 4, 8].filter((other) => other !== made)) {
          const opening = RedisStateBackend.open({ client: admin, name, keyGroups })
          await expect(opening).rejects.toMatchObject({
            code: 'INCOMPATIBLE',
            details: { found: `1 unordered ${made}` },
          })
        }
        await backend.put(Uint8Array.of(0, 9), bytes('b'))
        await close()
      }
    })

    it('is one store where two open it at once, with key groups and without: one of them is INCOMPATIBLE, or both are', async () => {
      const key = Uint8Array.of(0, 9)
      for (const [first, second] of [
        [0, 4],
        [4, 0],
      ] as const) {
        const name = nextName()
        let other: Promise<RedisStateBackend> | undefined
        const client = {
          callBuffer: async (command: string, args: (string | Buffer)[]) => {
            // It has looked, and found nothing; then the other one comes.
            if (command.startsWith('EVAL')) {
              other ??= RedisStateBackend.open({ client: admin, name, keyGroups: first })
              await other
            }
            return await admin.callBuffer(command, args)
          },
          pipeline: () => admin.pipeline(),
        }
        const late = RedisStateBackend.open({ client, name, keyGroups: second })
        await expect(late).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
        await (await other)?.put(key, bytes('a'))
        await (await other)?.close()
        const again = await RedisStateBackend.open({ client: admin, name, keyGroups: first })
        expect(await again.count()).toBe(1)
        await again.close()
      }
    })

    it('is the same by a client that gathers commands (enableAutoPipelining)', async () => {
      const client = connectTo(service.address, { gathers: true })
      const backend = await RedisStateBackend.open({ client, name: nextName() })
      const keys = Array.from({ length: 20 }, (_, i) => Buffer.from([0xff, i]))
      await Promise.all(keys.map((key) => backend.put(key, key)))
      const values = await Promise.all(keys.map((key) => backend.get(key)))
      expect(values.map((value) => Buffer.from(value ?? []))).toEqual(keys)
      await backend.close()
      client.disconnect()
    })

    it('is BACKEND_FULL where the server has no memory left, and can be read and deleted', async () => {
      const { backend, close } = await opened()
      await backend.put(bytes('a'), bytes('1'))
      await backend.put(bytes('b'), bytes('2'))
      const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1])
      await admin.config('SET', 'maxmemory', String(used - 100_000))
      const refused = await Promise.allSettled([
        backend.put(bytes('c'), Buffer.alloc(1_000)),
        backend.put(bytes('a'), Buffer.alloc(1_000)),
      ])
      for (const result of refused)
        expect(result).toMatchObject({
          reason: { code: 'BACKEND_FULL', details: { capacity: used - 100_000 } },
        })
      await expect(
        backend.write(new WriteBatch().expect(bytes('a'), undefined).put(bytes('c'), bytes('3'))),
      ).rejects.toMatchObject({ code: 'CONCURRENT_MODIFICATION' })
      await backend.delete(bytes('b'))
      expect(await contentsOf(backend)).toEqual([['a', '1']])
      await admin.config('SET', 'maxmemory', '0')
      await backend.put(bytes('c'), bytes('3'))
      expect(await contentsOf(backend)).toEqual([
        ['a', '1'],
        ['c', '3'],
      ])
      await admin.config('SET', 'maxmemory-policy', 'allkeys-lru')
      await expect(opened()).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
      await admin.config('SET', 'maxmemory-policy', 'noeviction')
      await close()
    })

    it('takes a batch of 70,000 entries, and is read by as many keys at once', async () => {
      const { backend, close } = await opened()
      const keys = Array.from({ length: 70_000 }, (_, i) => bytes(`key ${i}`))
      const batch = new WriteBatch()
      for (const key of keys) batch.put(key, key)
      await backend.write(batch)
      const values = await backend.getMany([...keys, ...keys])
      expect(values.every((value, i) => keys[i % keys.length]?.equals(value ?? bytes('')))).toBe(true)
      await close()
    })

    it('is removed when it has expired though nobody reads or writes, also where much has', async () => {
      const clock = new ManualClock()
      const { backend, close } = await opened({ clock, ordered: true })
      const batch = new WriteBatch().put(bytes('stays'), bytes('1'))
      for (let i = 0; i < 2_600; i++) batch.put(bytes(`key ${i}`), bytes('x'), { ttlMs: 1_000 })
      await backend.write(batch)
      clock.advance(1_000)
      // One batch sweeps a part of them; what it touches beyond that was expired as well, and is counted once.
      await backend.write(new WriteBatch().put(bytes('key 1'), bytes('new')).delete(bytes('key 2599')))
      expect(await backend.count()).toBe(2)
      while (backend.stats().entries > 2) {
        clock.advance(1_000)
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
      expect(backend.stats().expired).toBe(2_600)
      expect((await contentsOf(backend)).map(([key]) => key)).toEqual(['key 1', 'stays'])
      await close()
    })

    it('that another client has emptied is FENCED, and not begun anew', async () => {
      const { backend, close } = await opened()
      await backend.put(bytes('a'), bytes('1'))
      await admin.flushall()
      await expect(backend.put(bytes('b'), bytes('1'))).rejects.toMatchObject({ code: 'FENCED' })
      await close()
    })

    it('shows no password where the server refuses it', async () => {
      const client = connectTo(service.address.replace('redis://', 'redis://me:secret-word@'))
      const opening = RedisStateBackend.open({ client, name: nextName(), reconnectForMs: 0 })
      const error = await opening.catch((thrown: unknown) => thrown as Error)
      expect(error).toMatchObject({ code: 'STORAGE_ERROR' })
      expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain('secret-word')
      client.disconnect()
    })
  })
}
