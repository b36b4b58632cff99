import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { RunningService } from '../../scripts/services/services.mjs'
import { StateError } from '../../src/base/errors.js'
import { seededRandom } from '../../src/base/random.js'
import { type RunningJob, runJob } from '../../src/job.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { type RedisGroupSourceOptions, redisGroupSource, redisStreamSink } from '../../src/redis-streams.js'
import { OPEN, PREPARE } from '../../src/sources/redis-streams/group-scripts.js'
import { defineState, uint32, utf8, value } from '../../src/state.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import { runs } from '../support/long.js'

const NONE: ReadonlySet<string> = new Set()
const request = { maxEvents: 9, waitMs: 1, paused: NONE }
const CRASHES = runs(100, 10)
const SEED = 20_261_127

/** What holds of consumer groups, on a real server of some kind. */
export function redisGroupsHold(service: () => RunningService): void {
  describe('a consumer group of Redis', () => {
    let client: Redis
    let next = 0
    const closing: (() => Promise<void>)[] = []
    beforeAll(() => {
      client = new Redis(service().address, { maxRetriesPerRequest: 1 })
      client.on('error', () => {})
    })
    afterEach(async () => {
      for (const close of closing.splice(0)) await close()
    })
    afterAll(() => client?.disconnect())

    const add = (stream: string, ...events: readonly unknown[]) =>
      Promise.all(events.map((event) => client.xadd(stream, '*', 'json', JSON.stringify(event))))
    const openConsumer = async (
      stream: string,
      consumer: string,
      position?: unknown,
      options: Partial<RedisGroupSourceOptions<unknown>> = {},
    ) => {
      const source = redisGroupSource<unknown>({
        client,
        streams: [stream],
        group: 'g',
        consumer,
        claimAfterMs: 40,
        ...options,
      })
      const reader = await source.open({
        positions: position === undefined ? {} : { [stream]: position as never },
      })
      closing.push(() => reader.close())
      const events = async (maxEvents = 9) => {
        const [polled] = await reader.poll({ ...request, maxEvents })
        return polled?.events ?? []
      }
      /** Until it is given something. */
      const given = async () => {
        const [polled] = await reader.poll({ ...request, waitMs: 10_000 })
        return polled?.events ?? []
      }
      /** A cut behind so many of the events of the next poll. */
      const cut = async (maxEvents: number, place: number) => {
        const [polled] = await reader.poll({ ...request, maxEvents })
        const found = polled?.positionAfter(place)
        await reader.prepareCut?.({ [stream]: found as never })
        return { events: polled?.events, position: JSON.parse(JSON.stringify(found)) as unknown }
      }
      return { reader, events, given, cut }
    }

    it('J6: gives each entry to one consumer, and acknowledges what a cut has', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3, 4)
      const first = await openConsumer(stream, 'first')
      const second = await openConsumer(stream, 'second')
      const { events, position } = await first.cut(2, 1)
      expect(events).toEqual([1, 2])
      expect(await second.events()).toEqual([3, 4])
      await first.reader.checkpointCompleted?.({ [stream]: position as never })
      const [pending] = (await client.xpending(stream, 'g')) as [number]
      expect(pending).toBe(2)
    })

    it('gives again what no cut has, and nothing that the cut has, also where it was not acknowledged', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3)
      const before = await openConsumer(stream, 'first')
      const { position } = await before.cut(3, 1)
      await before.reader.close()
      const after = await openConsumer(stream, 'first', position)
      expect(await after.events()).toEqual([3])
      // Back to the beginning: nothing was acknowledged but by the cut that was gone on from.
      await expect(openConsumer(stream, 'first')).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining('cut 1 was acknowledged'),
      })
    })

    it('J6: takes back what is in a cut that was not published', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3)
      const before = await openConsumer(stream, 'first')
      await before.cut(3, 1)
      await before.reader.close()
      expect(await (await openConsumer(stream, 'first')).events()).toEqual([1, 2, 3])
    })

    it('claims entries of a dead consumer, but for those that its cut may have; and that one can make no cut of them', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3)
      const dead = await openConsumer(stream, 'dead')
      const { position } = await dead.cut(3, 0)
      const heir = await openConsumer(stream, 'heir')
      expect(await heir.given()).toEqual([2, 3])
      await expect(
        dead.reader.prepareCut?.({ [stream]: { ...(position as object), cut: 2, read: 3 } as never }),
      ).rejects.toMatchObject({ code: 'FENCED', message: expect.stringContaining('claimed') })
      await dead.reader.close()
      const back = await openConsumer(stream, 'dead', position)
      expect(await back.events()).toEqual([])
      const [pending] = (await client.xpending(stream, 'g')) as [number]
      expect(pending).toBe(2)
    })

    it('counts entries once that were claimed from it while it stood still, and that it claims back', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3)
      const first = await openConsumer(stream, 'first')
      const [polled] = await first.reader.poll(request)
      expect(polled?.events).toEqual([1, 2, 3])
      const second = await openConsumer(stream, 'second')
      expect(await second.given()).toEqual([1, 2, 3])
      const pendingOf = async (consumer: string) =>
        (await client.xpending(stream, 'g', '-', '+', 9, consumer)).length
      const again: unknown[] = []
      const deadline = performance.now() + 5_000
      while ((await pendingOf('first')) < 3 && performance.now() < deadline)
        again.push(...(await first.events()))
      expect([again, await pendingOf('first')]).toEqual([[], 3])
      await first.reader.prepareCut?.({ [stream]: polled?.positionAfter(2) as never })
      await expect(second.reader.prepareCut?.({ [stream]: { cut: 1, read: 3 } })).rejects.toMatchObject({
        code: 'FENCED',
      })
    })

    it('claims entries of a dead consumer in time, though there are always new ones', async () => {
      const stream = `group-${next++}`
      const dead = await openConsumer(stream, 'dead')
      await add(stream, 'a', 'b', 'c')
      expect(await dead.events()).toEqual(['a', 'b', 'c'])
      const heir = await openConsumer(stream, 'heir', undefined, { claimAfterMs: 100 })
      const found = new Set<unknown>()
      const deadline = performance.now() + 5_000
      while (!found.has('c') && performance.now() < deadline) {
        await add(stream, 1, 2, 3)
        for (const event of await heir.events(2)) found.add(event)
      }
      expect([...found].filter((event) => typeof event === 'string')).toEqual(['a', 'b', 'c'])
    })

    it('is not opened by a job that was overtaken on its way', async () => {
      const stream = `group-${next++}`
      await add(stream, 1)
      const successor = await openConsumer(stream, 'first')
      const source = redisGroupSource<unknown>({ client, streams: [stream], group: 'g', consumer: 'first' })
      let looks = 0
      const checkOwner = async () => {
        if (looks++ > 0)
          throw new StateError('FENCED', { resource: 'the checkpoints', owner: 'another process' })
        // Overtaken between its look and its claim.
        await successor.reader.close()
        opened = await openConsumer(stream, 'first')
      }
      let opened: Awaited<ReturnType<typeof openConsumer>> | undefined
      await expect(source.open({ positions: {}, checkOwner })).rejects.toMatchObject({ code: 'FENCED' })
      expect(await opened?.events()).toEqual([1])
      expect(looks).toBe(2)
    })

    it('fences a consumer whose name another process has opened', async () => {
      const stream = `group-${next++}`
      await add(stream, 1)
      const zombie = await openConsumer(stream, 'first')
      await openConsumer(stream, 'first')
      await expect(zombie.events()).rejects.toMatchObject({ code: 'FENCED' })
      await expect(
        zombie.reader.checkpointCompleted?.({ [stream]: { cut: 1, read: 1 } }),
      ).rejects.toMatchObject({
        code: 'FENCED',
      })
    })

    it('J6: tells of entries that were trimmed away before anybody had them, and of those that are pending', async () => {
      const stream = `group-${next++}`
      const ids = await add(stream, 1, 2, 3, 4)
      const first = await openConsumer(stream, 'first')
      expect(await first.events(1)).toEqual([1])
      await client.xtrim(stream, 'MINID', ids[2] ?? '')
      await expect(first.events()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
      await first.reader.close()
      await expect((await openConsumer(stream, 'first')).events()).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining(String(ids[0])),
      })
      const anyway = await openConsumer(stream, 'first', undefined, { onTrimmed: 'continue' })
      expect(await anyway.events()).toEqual([3, 4])
      const position = { cut: 7, read: 9 }
      await expect(openConsumer(`group-${next++}`, 'first', position)).rejects.toThrow('no such group')
    })

    it('is opened by no attempt that arrives late: not what is in a cut is taken back, nor the name of whoever has it now', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2)
      const openings: (() => Promise<unknown>)[] = []
      const call = (command: string, ...args: string[]) => {
        if (args[0] === OPEN) openings.push(() => client.call(command, ...args))
        return client.call(command, ...args)
      }
      const first = await openConsumer(stream, 'first', undefined, { client: { call } })
      const { position } = await first.cut(2, 1)
      const [late] = openings
      await late?.()
      await first.reader.checkpointCompleted?.({ [stream]: position as never })
      expect(((await client.xpending(stream, 'g')) as [number])[0]).toBe(0)
      const heir = await openConsumer(stream, 'first', position)
      await late?.()
      await add(stream, 3)
      expect(await heir.events()).toEqual([3])
    })

    it('makes a cut of entries that were trimmed meanwhile, also where an answer is lost; they are wanted where it was not published', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3)
      let lost = 1
      const call = async (command: string, ...args: string[]) => {
        const answer = await client.call(command, ...args)
        if (args[0] === PREPARE && lost-- > 0) throw new Error('Connection is closed.')
        return answer
      }
      const first = await openConsumer(stream, 'first', undefined, { client: { call } })
      const [polled] = await first.reader.poll(request)
      await client.xtrim(stream, 'MAXLEN', 1)
      const position = JSON.parse(JSON.stringify(polled?.positionAfter(2))) as unknown
      await first.reader.prepareCut?.({ [stream]: position as never })
      await first.reader.close()
      await expect(openConsumer(stream, 'first')).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining('not there any more'),
      })
      const published = await openConsumer(stream, 'first', position)
      expect(await published.events()).toEqual([])
      await published.reader.close()
      expect(((await client.xpending(stream, 'g')) as [number])[0]).toBe(0)
      expect(await openConsumer(stream, 'first', position)).toBeDefined()
    })

    it('goes on without what was trimmed from a cut that was not published, where that is asked for', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2, 3)
      const first = await openConsumer(stream, 'first')
      const [polled] = await first.reader.poll(request)
      await client.xtrim(stream, 'MAXLEN', 1)
      await first.reader.prepareCut?.({ [stream]: polled?.positionAfter(2) as never })
      await first.reader.close()
      const anyway = await openConsumer(stream, 'first', undefined, { onTrimmed: 'continue' })
      expect(await anyway.events()).toEqual([3])
      await anyway.reader.close()
      expect(await (await openConsumer(stream, 'first')).events()).toEqual([3])
    })

    it('gives what a server was asked for that stood still for longer than an answer is waited for', async () => {
      const stream = `group-${next++}`
      const reader = await openConsumer(stream, 'first', undefined, { answerWithinMs: 60 })
      await reader.events()
      await client.call('CLIENT', 'PAUSE', '150', 'ALL')
      const adding = add(stream, 1)
      expect(await reader.given()).toEqual([1])
      await adding
    })

    it('goes on behind entries that were acknowledged and trimmed', async () => {
      const stream = `group-${next++}`
      await add(stream, 1, 2)
      const first = await openConsumer(stream, 'first')
      const { position } = await first.cut(2, 1)
      await first.reader.checkpointCompleted?.({ [stream]: position as never })
      await client.xtrim(stream, 'MAXLEN', 0)
      await add(stream, 3)
      expect(await first.events()).toEqual([3])
    })

    it(`J3: counts every entry once in jobs that crash while they run (${CRASHES} crashes of one of three)`, async () => {
      const stream = `group-${next++}`
      const random = seededRandom(SEED)
      const storages = [0, 1, 2].map(() => new MemoryCheckpointStorage())
      const jobs: (RunningJob<unknown> | undefined)[] = []
      const backends: MemoryStateBackend[] = []
      const start = async (i: number) => {
        const backend = new MemoryStateBackend()
        backends[i] = backend
        jobs[i] = await runJob({
          name: 'counts',
          source: redisGroupSource<number>({
            client,
            streams: [stream],
            group: 'g',
            consumer: `consumer-${i}`,
            claimAfterMs: 150,
          }),
          key: () => 'all',
          schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
          process: (n, { state, emit }) => {
            state.count.update((before) => before + 1)
            emit(n)
          },
          sink: redisStreamSink<number>({ client, stream: `${stream}-out`, name: `sink-${i}` }),
          backend,
          maxPollEvents: 7,
          checkpoints: { storage: storages[i] as MemoryCheckpointStorage, intervalMs: 20 },
        })
      }
      /** One that was taken for dead while it lived is fenced, and goes on from its cut. */
      const startFailed = async (crashed?: number) => {
        for (const [i, job] of jobs.entries()) {
          if (job?.health().state !== 'failed') continue
          if (i !== crashed) expect(job.health().error?.code).toBe('FENCED')
          // Until then it holds its checkpoints.
          await job.finished.catch(() => {})
          await backends[i]?.close()
          await start(i)
        }
      }
      let sent = 0
      const send = (count: number) => add(stream, ...Array.from({ length: count }, () => sent++))
      await Promise.all([start(0), start(1), start(2)])
      for (let crash = 0; crash < CRASHES; crash++) {
        await send(40)
        const one = Math.floor(random() * 3)
        await new Promise((resolve) => setTimeout(resolve, random() * 100))
        await jobs[one]?.abandon()
        await backends[one]?.close()
        await send(10)
        // Long enough for others to claim, or not.
        await new Promise((resolve) => setTimeout(resolve, random() * 400))
        await startFailed(one)
      }
      const outputs = async () =>
        (await client.xrange(`${stream}-out`, '-', '+')).map(([, [, json = '']]) => Number(json))
      const seen = async () => {
        await startFailed()
        return new Set(await outputs()).size
      }
      await expect.poll(seen).toBe(sent)
      for (const stopped of await Promise.allSettled(jobs.map((job) => job?.stop())))
        if (stopped.status === 'rejected') expect(stopped.reason).toMatchObject({ code: 'FENCED' })
      await Promise.all(backends.map((backend) => backend.close()))
      expect((await outputs()).toSorted((a, b) => a - b)).toEqual(Array.from({ length: sent }, (_, n) => n))
    })
  })
}
