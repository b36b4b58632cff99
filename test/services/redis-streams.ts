import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { StateError } from '../../src/base/errors.js'
import { type RedisClient, redisStreamSink, redisStreamSource } from '../../src/redis-streams.js'
import { runSinkConformanceSuite } from '../../src/testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../src/testing/source-conformance.js'
import { exampleKeeps, exampleRuns } from './example.js'
import { guideProgramRuns, TOKENS_PER_MINUTE, USAGE_PER_MINUTE } from './guide-program.js'
import { killCycles } from './kill-cycles.js'
import { countsInRedis, outputsIn } from './redis-counts.js'
import { redisGroupsHold } from './redis-groups.js'

const runner = { describe, it }
const NONE: ReadonlySet<string> = new Set()

interface OpenClient {
  readonly client: RedisClient
  close(): Promise<void>
}

const clients: { readonly [name: string]: (address: string) => Promise<OpenClient> } = {
  ioredis: async (address) => {
    const client = new Redis(address, { maxRetriesPerRequest: 1 })
    client.on('error', () => {})
    return { client, close: async () => client.disconnect() }
  },
  'node-redis': async (address) => {
    const client = createClient({ url: address })
    client.on('error', () => {})
    await client.connect()
    return { client, close: async () => client.destroy() }
  },
}

/** What holds of Redis streams, on a real server of some kind. */
export function redisStreamsHold(system: string): void {
  let service: RunningService
  let admin: Redis
  let next = 0
  beforeAll(async () => {
    service = await startService(system)
    // By itself it waits a second for a server that has not loaded everything yet.
    admin = new Redis(service.address, { enableReadyCheck: false, retryStrategy: () => 20 })
    admin.on('error', () => {})
  })
  afterAll(async () => {
    admin?.disconnect()
    await service?.stop()
  })

  const add = (stream: string, event: unknown) => admin.xadd(stream, '*', 'json', JSON.stringify(event))
  for (const [name, connect] of Object.entries(clients)) {
    runSourceConformanceSuite(runner, `redisStreamSource with ${name}`, async () => {
      const keys = [`source-${next++}`, `source-${next++}`]
      for (const key of keys) for (let i = 0; i < 5; i++) await add(key, { key, i })
      const { client, close } = await connect(service.address)
      return {
        source: redisStreamSource<unknown>({ client, streams: keys, follow: false }),
        events: Object.fromEntries(keys.map((key) => [key, [0, 1, 2, 3, 4].map((i) => ({ key, i }))])),
        dispose: close,
      }
    })

    runSinkConformanceSuite(runner, `redisStreamSink with ${name}`, async () => {
      const stream = `sink-${next++}`
      const { client, close } = await connect(service.address)
      return {
        sink: redisStreamSink<unknown>({ client, stream, maxOutputs: 2 }),
        output: (number) => ({ number }),
        read: () => outputsIn(admin, stream),
        committedAfterOlderCut: 'kept' as const,
        dispose: close,
      }
    })

    describe(`Redis streams with ${name}`, () => {
      let opened: OpenClient
      beforeAll(async () => {
        opened = await connect(service.address)
      })
      afterAll(() => opened.close())
      const closing: (() => Promise<void>)[] = []
      afterEach(async () => {
        for (const close of closing.splice(0)) await close()
      })
      const openSource = async (
        options: Partial<Parameters<typeof redisStreamSource>[0]>,
        position?: string,
      ) => {
        const [stream = `stream-${next++}`] = options.streams ?? []
        const source = redisStreamSource<unknown>({ client: opened.client, streams: [stream], ...options })
        const reader = await source.open({ positions: position === undefined ? {} : { [stream]: position } })
        closing.push(() => reader.close())
        return reader
      }

      it('wake a source that waits', async () => {
        const stream = `stream-${next++}`
        const reader = await openSource({ streams: [stream] })
        expect(await reader.poll({ maxEvents: 9, waitMs: 1, paused: NONE })).toMatchObject([{ events: [] }])
        const polling = reader.poll({ maxEvents: 9, waitMs: 60_000, paused: NONE })
        await add(stream, 'a')
        expect(await polling).toMatchObject([{ events: ['a'] }])
      })

      it('J6: that were trimmed behind the position are RESTORE_FAILED, at opening and while they are read', async () => {
        const stream = `stream-${next++}`
        const ids: string[] = []
        for (const event of 'abcde') ids.push((await add(stream, event)) ?? '')
        const [, second = '', third = '', fourth = ''] = ids
        await admin.xtrim(stream, 'MINID', fourth)
        await expect(openSource({ streams: [stream] }, second)).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
          message: expect.stringMatching(new RegExp(`${stream}.*${second}.*${fourth}`)),
        })
        await expect(openSource({ streams: [stream] }, third)).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
        })
        await expect(openSource({ streams: [stream] }, '99999999999999-0')).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
        })
        const anyway = await openSource({ streams: [stream], onTrimmed: 'continue' }, second)
        const polled = await anyway.poll({ maxEvents: 9, waitMs: 1, paused: NONE })
        expect(polled).toMatchObject([{ events: ['d', 'e'] }])
        const reader = await openSource({ streams: [stream] }, fourth)
        await add(stream, 'f')
        await admin.xtrim(stream, 'MAXLEN', 1)
        await expect(reader.poll({ maxEvents: 9, waitMs: 1, paused: NONE })).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
        })
      })

      it('that were trimmed up to the position are read on, also where nothing is left', async () => {
        const stream = `stream-${next++}`
        const id = (await add(stream, 'a')) ?? ''
        await admin.xtrim(stream, 'MAXLEN', 0)
        const reader = await openSource({ streams: [stream] }, id)
        expect(await reader.poll({ maxEvents: 9, waitMs: 1, paused: NONE })).toMatchObject([{ events: [] }])
      })

      it('are trimmed by the source once a checkpoint has them, but for the last one', async () => {
        const stream = `stream-${next++}`
        const ids: string[] = []
        for (const event of 'abc') ids.push((await add(stream, event)) ?? '')
        const reader = await openSource({ streams: [stream], trimAfterCut: true })
        await reader.poll({ maxEvents: 9, waitMs: 1, paused: NONE })
        await reader.checkpointCompleted?.({ [stream]: ids[1] ?? '' })
        expect((await admin.xrange(stream, '-', '+')).map(([id]) => id)).toEqual(ids.slice(1))
      })

      it('do not take a sink from whoever has it, where its job was overtaken between look and claim', async () => {
        const sink = redisStreamSink<string>({ client: opened.client, stream: `stream-${next++}` })
        const prepared = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }
        const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
        let looks = 0
        let successor: Awaited<ReturnType<typeof sink.open>> | undefined
        const checkOwner = async () => {
          if (looks++ > 0)
            throw new StateError('FENCED', { resource: 'the checkpoints', owner: 'another process' })
          successor = await sink.open({ prepared: [], state })
        }
        await expect(sink.open({ prepared: [], state, checkOwner })).rejects.toMatchObject({ code: 'FENCED' })
        await successor?.commit(prepared)
        expect(looks).toBe(2)
      })

      it('refuse what comes of a sink that was opened before', async () => {
        const stream = `stream-${next++}`
        const sink = redisStreamSink<string>({ client: opened.client, stream })
        const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
        const zombie = await sink.open({ prepared: [], state })
        const heir = await sink.open({ prepared: [], state })
        const prepared = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }
        await expect(zombie.commit(prepared)).rejects.toMatchObject({ code: 'FENCED' })
        await heir.commit(prepared)
        await heir.commit(prepared)
        expect(await outputsIn(admin, stream)).toEqual(['x'])
      })

      it('J3: outputs that are not there any more are RESTORE_FAILED', async () => {
        const stream = `stream-${next++}`
        const state = { put: () => {}, read: () => [], removeFrom: () => {} }
        const prepared = [{ epoch: { lineage: 'l', number: 3 }, token: { first: 0, next: 1 } }]
        const options = { client: opened.client, stream }
        await expect(redisStreamSink(options).open({ prepared, state })).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
          message: expect.stringContaining('epoch 3'),
        })
        await redisStreamSink({ ...options, onLostOutputs: 'continue' }).open({ prepared, state })
      })

      it('come again once the server is back', async () => {
        const stream = `stream-${next++}`
        await add(stream, 'a')
        const reader = await openSource({ streams: [stream] })
        expect(await reader.poll({ maxEvents: 9, waitMs: 1, paused: NONE })).toMatchObject([
          { events: ['a'] },
        ])
        const polling = reader.poll({ maxEvents: 9, waitMs: 60_000, paused: NONE })
        await service.kill()
        await service.start()
        await add(stream, 'b')
        expect(await polling).toMatchObject([{ events: ['b'] }])
      })
    })
  }

  redisGroupsHold(() => service)

  if (system === 'redis') exampleRuns(system, () => service)
  exampleKeeps(
    (address) => ['--backend', 'redis', '--backend-address', address],
    () => service,
  )

  guideProgramRuns('redis-streams.md', {
    environment: () => ({ REDIS_URL: service.address }),
    prepare: async () => {},
    feed: async () => {
      for (const usage of USAGE_PER_MINUTE) await add('usage', usage)
    },
    outputs: () => outputsIn(admin, 'tokens-per-minute'),
    expected: TOKENS_PER_MINUTE,
  })

  guideProgramRuns('redis-streams.md', {
    place: 1,
    environment: () => ({ REDIS_URL: service.address }),
    prepare: () => admin.del('usage'),
    feed: async () => {
      for (const tokens of [1, 100_001, 5]) await add('usage', { tenant: 'a', tokens })
    },
    outputs: () => outputsIn(admin, 'alerts'),
    expected: [{ tenant: 'a', tokens: 100_001, seenHere: 100_002 }],
  })

  killCycles({
    name: system,
    service: () => service,
    pairs: [
      { name: system, ...countsInRedis(() => admin, { from: 'in', to: 'out' }) },
      {
        name: `${system}-group`,
        ...countsInRedis(() => admin, { from: 'in-group', to: 'out-group' }),
        isOrdered: false,
      },
      {
        name: `${system}-engine`,
        ...countsInRedis(() => admin, { from: 'in-engine', to: 'out-engine' }),
        keeper: 'engine',
      },
    ],
  })
}
