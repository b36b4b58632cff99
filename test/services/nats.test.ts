import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { type NatsSourceOptions, natsSink, natsSource } from '../../src/nats.js'
import { runSinkConformanceSuite } from '../../src/testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../src/testing/source-conformance.js'
import type { CountedEvent } from './children/counted.js'
import { exampleRuns } from './example.js'
import { guideProgramRuns, USAGE_BEYOND_BUDGET } from './guide-program.js'
import { killCycles } from './kill-cycles.js'

const runner = { describe, it }
const NONE: ReadonlySet<string> = new Set()
const request = { maxEvents: 9, waitMs: 30_000, paused: NONE }

let service: RunningService
let connection: NatsConnection
let next = 0
beforeAll(async () => {
  service = await startService('nats')
  connection = await connect({
    servers: service.address,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
  })
  for (const stream of ['in', 'out']) await addStream(stream)
})
afterAll(async () => {
  await connection?.close()
  await service?.stop()
})

async function addStream(name: string, duplicateWindowMs = 120_000): Promise<string> {
  const manager = await jetstreamManager(connection)
  const duplicate_window = duplicateWindowMs * 1_000_000
  await manager.streams.add({ name, subjects: [name, `${name}.*`], duplicate_window })
  return name
}

async function publish(subject: string, ...events: readonly unknown[]): Promise<void> {
  const client = jetstream(connection)
  for (const event of events) await client.publish(subject, JSON.stringify(event))
}

async function readAll(stream: string): Promise<unknown[]> {
  const reader = await natsSource({ client: jetstream(connection), stream, follow: false }).open({
    positions: {},
  })
  const read: unknown[] = []
  for (let hasEnded = false; !hasEnded; ) {
    for (const polled of await reader.poll({ ...request, maxEvents: 1_000 })) {
      read.push(...polled.events)
      hasEnded = polled.hasEnded === true
    }
  }
  await reader.close()
  return read
}

runSourceConformanceSuite(runner, 'natsSource', async () => {
  const stream = await addStream(`source${next++}`)
  await publish(stream, 0, 1, 2, 3, 4)
  return {
    source: natsSource<unknown>({ client: jetstream(connection), stream, follow: false }),
    events: { [stream]: [0, 1, 2, 3, 4] },
    dispose: async () => {},
  }
})

runSourceConformanceSuite(runner, 'natsSource of some subjects', async () => {
  const stream = await addStream(`source${next++}`)
  for (const event of [0, 1, 2, 3]) {
    await publish(`${stream}.wanted`, event)
    await publish(`${stream}.other`, 'other')
  }
  return {
    source: natsSource<unknown>({
      client: jetstream(connection),
      stream,
      subjects: [`${stream}.wanted`],
      follow: false,
    }),
    events: { [stream]: [0, 1, 2, 3] },
    dispose: async () => {},
  }
})

runSinkConformanceSuite(runner, 'natsSink', async () => {
  const subject = await addStream(`sink${next++}`)
  return {
    sink: natsSink<unknown>({ client: jetstream(connection), subject }),
    output: (number) => ({ number }),
    read: () => readAll(subject),
    dispose: async () => {},
  }
})

describe('a JetStream stream', () => {
  const closing: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })
  const open = async (
    stream: string,
    options: Partial<NatsSourceOptions<unknown>> = {},
    position?: number,
  ) => {
    const source = natsSource<unknown>({ client: jetstream(connection), stream, ...options })
    const reader = await source.open({ positions: position === undefined ? {} : { [stream]: position } })
    closing.push(() => reader.close())
    return reader
  }

  it('wakes a source that waits', async () => {
    const stream = await addStream(`stream${next++}`)
    const reader = await open(stream)
    const polling = reader.poll(request)
    await publish(stream, 'a')
    expect(await polling).toMatchObject([{ events: ['a'] }])
  })

  it('J6: whose messages behind the position were removed is RESTORE_FAILED', async () => {
    const stream = await addStream(`stream${next++}`)
    await publish(stream, 'a', 'b', 'c', 'd')
    const manager = await jetstreamManager(connection)
    await manager.streams.purge(stream, { seq: 3 })
    await expect(open(stream, {}, 1)).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringContaining('message 2 is wanted and gone: it begins at 3'),
    })
    await expect(open(stream, {}, 9)).rejects.toThrow('it is not the one that was read')
    expect(await (await open(stream, { onTrimmed: 'continue' }, 1)).poll(request)).toMatchObject([
      { events: ['c'] },
    ])
    expect(await (await open(stream, {}, 2)).poll(request)).toMatchObject([{ events: ['c'] }])
  })

  it('drops outputs that come again within its window, and stores them again beyond it', async () => {
    const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
    const prepared = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }
    for (const [windowMs, expected] of [
      [120_000, ['x']],
      [100, ['x', 'x']],
    ] as const) {
      const subject = await addStream(`sink${next++}`, windowMs)
      const writer = await natsSink<string>({ client: jetstream(connection), subject }).open({
        prepared: [],
        state,
      })
      await writer.commit(prepared)
      // The server forgets ids some time after its window.
      await expect
        .poll(async () => {
          await writer.commit(prepared)
          return (await readAll(subject)).slice(0, 2)
        })
        .toEqual(expected)
    }
  })

  it('is read on, and written on, once the server is back', async () => {
    const stream = await addStream(`stream${next++}`)
    await publish(stream, 'a')
    const reader = await open(stream)
    expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
    await service.kill()
    const state = { put: () => {}, read: () => [[0, 'b']] as const, removeFrom: () => {} }
    const writer = await natsSink<string>({ client: jetstream(connection), subject: stream }).open({
      prepared: [],
      state,
    })
    const writing = writer.commit({ epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } })
    await service.start()
    await writing
    await expect.poll(async () => (await reader.poll(request))[0]?.events).toEqual(['b'])
  })

  it('that is not there is told of at once', async () => {
    await expect(open('nowhere')).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })
})

exampleRuns('nats', () => service)

guideProgramRuns('nats.md', {
  environment: () => ({ NATS_URL: service.address }),
  prepare: async () => {
    for (const stream of ['usage', 'alerts']) await addStream(stream)
  },
  feed: () => publish('usage', ...USAGE_BEYOND_BUDGET),
  outputs: () => readAll('alerts'),
  expected: [{ tenant: 'acme' }],
})

/** What is asked of a server while it is away has no answer, however long it is waited for. */
const ANSWER_WITHIN_MS = 500

killCycles({
  name: 'nats',
  service: () => service,
  pairs: [
    {
      name: 'nats',
      fill: async (events) => {
        const client = jetstream(connection)
        const send = (event: CountedEvent, expected: { readonly lastMsgID?: string }) => {
          const options = { msgID: `${event.n}`, timeout: ANSWER_WITHIN_MS, expect: expected }
          return client.publish('in', JSON.stringify(event), options)
        }
        // All at once, each of which is refused unless it follows the one before: so nothing is missing between those that are there. The
        // connection comes back by itself; then all are sent again under their ids, one behind the other.
        const all = events.map((event, place) =>
          send(event, place === 0 ? {} : { lastMsgID: `${event.n - 1}` }),
        )
        if ((await Promise.allSettled(all)).every(({ status }) => status === 'fulfilled')) return
        for (const event of events)
          for (let isSent = false; !isSent; )
            isSent = await send(event, {}).then(
              () => true,
              () => false,
            )
      },
      outputs: () => readAll('out'),
    },
  ],
})
