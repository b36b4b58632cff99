import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { FakeNats } from '../../../test/support/fake-nats.js'
import { runSinkConformanceSuite } from '../../testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { mayPass } from './nats-client.js'
import { natsSink } from './nats-sink.js'
import { type NatsSourceOptions, natsSource } from './nats-source.js'

// On a server in this process; test/services has the same and more on a real one.

const runner = { describe, it }
const request = { maxEvents: 9, waitMs: 60_000, paused: new Set<string>() }

runSourceConformanceSuite(runner, 'natsSource', async () => {
  const nats = new FakeNats()
  nats.add(0, 1, 2, 3, 4)
  return {
    source: natsSource<unknown>({ client: nats.client, stream: 's', follow: false }),
    events: { s: [0, 1, 2, 3, 4] },
    dispose: async () => {},
  }
})

runSinkConformanceSuite(runner, 'natsSink', async () => {
  const nats = new FakeNats()
  return {
    sink: natsSink<unknown>({ client: nats.client, subject: 's' }),
    output: (number) => ({ number }),
    read: async () => nats.events(),
    dispose: async () => {},
  }
})

describe('a source of JetStream', () => {
  const open = (nats: FakeNats, options: Partial<NatsSourceOptions<unknown>> = {}, position?: unknown) =>
    natsSource<unknown>({ client: nats.client, stream: 's', ...options }).open({
      positions: position === undefined ? {} : { s: position as never },
    })

  it('goes on behind what has come where its consumer ends', async () => {
    const nats = new FakeNats()
    nats.add('a', 'b')
    const reader = await open(nats)
    expect(await reader.poll({ ...request, maxEvents: 1 })).toMatchObject([{ events: ['a'] }])
    nats.endConsumers()
    nats.add('c')
    const read: unknown[] = []
    while (read.length < 2) for (const { events } of await reader.poll(request)) read.push(...events)
    expect(read).toEqual(['b', 'c'])
    expect(nats.consumers).toBe(2)
    await reader.close()
  })

  it('leaves no consumer open that was begun too late', async () => {
    const nats = new FakeNats()
    nats.add('a')
    nats.lateConsumers = 1
    const reader = await open(nats, { answerWithinMs: 5 })
    expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
    nats.beginLate()
    await new Promise(setImmediate)
    expect(nats.open).toBe(1)
    nats.add('b')
    expect(await reader.poll(request)).toMatchObject([{ events: ['b'] }])
    nats.lateConsumers = 1
    nats.endConsumers()
    await new Promise(setImmediate)
    await reader.close()
    nats.beginLate()
    await new Promise(setImmediate)
    expect(nats.open).toBe(0)
  })

  it('ends with STORAGE_ERROR where one consumer after the other ends and gives nothing', async () => {
    const nats = new FakeNats()
    nats.add('a')
    nats.endsConsumers = true
    const reader = await open(nats, { reconnectForMs: 100 })
    await expect(reader.poll(request)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    // Each waits longer than the one before.
    expect(nats.consumers).toBeLessThan(8)
    await reader.close()
  })

  it('J6: says which message is gone, at opening and behind a gap', async () => {
    const nats = new FakeNats()
    nats.add('a', 'b', 'c')
    nats.purge(3)
    await expect(open(nats, {}, 1)).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringContaining('message 2 is wanted and gone: it begins at 3'),
    })
    await expect(open(nats, {}, 7)).rejects.toThrow('it is not the one that was read')
    await expect(open(nats, {}, '1')).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    const reader = await open(nats, {}, 2)
    expect(await reader.poll(request)).toMatchObject([{ events: ['c'] }])
    nats.addBehind(2, 'f')
    await expect(reader.poll(request)).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await reader.close()
  })

  describe('whose stream is trimmed in the very moment', () => {
    /** What is removed once the stream was looked at, and before a consumer is there. */
    function purgedInBetween(seq: number): FakeNats {
      const nats = new FakeNats()
      nats.add('a', 'b', 'c')
      const { get } = nats.client.consumers
      nats.client.consumers.get = async (...args) => {
        nats.purge(seq)
        return await get(...args)
      }
      return nats
    }

    it.each([
      { removed: 'some of what is wanted', follow: true, position: 0, seq: 3, message: 1 },
      { removed: 'some of what is wanted', follow: false, position: 1, seq: 3, message: 2 },
      { removed: 'all of it', follow: false, position: 1, seq: 4, message: 2 },
    ])(
      'says that it is gone: $removed, behind $position, follow: $follow',
      async ({ follow, position, seq, message }) => {
        const nats = purgedInBetween(seq)
        const reader = await open(nats, { follow }, position)
        await expect(reader.poll(request)).rejects.toMatchObject({
          code: 'RESTORE_FAILED',
          message: expect.stringContaining(`message ${message} is wanted and gone: it begins at ${seq}`),
        })
        await reader.close()
      },
    )

    it('goes on with what there is where it is to', async () => {
      const nats = purgedInBetween(3)
      const reader = await open(nats, { onTrimmed: 'continue' }, 0)
      expect(await reader.poll(request)).toMatchObject([{ events: ['c'] }])
      await reader.close()
    })

    it.each(['fail', 'continue'] as const)(
      'does not wait for what is gone, where it is to %s',
      async (onTrimmed) => {
        const nats = new FakeNats()
        nats.add('a', 'b', 'c')
        nats.onGiven = () => nats.purge(4)
        const reader = await open(nats, { follow: false, onTrimmed })
        expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
        const laterMs = performance.now() + 6_000
        const now = vi.spyOn(performance, 'now').mockImplementation(() => laterMs)
        onTestFinished(() => now.mockRestore())
        const next = reader.poll(request)
        if (onTrimmed === 'continue') expect(await next).toMatchObject([{ events: [], hasEnded: true }])
        else await expect(next).rejects.toThrow('message 2 is wanted and gone: it begins at 4')
        await reader.close()
      },
    )
  })

  it('is not taken for another one where messages come while it is looked at', async () => {
    const nats = new FakeNats()
    nats.add('a')
    const reader = await open(nats)
    expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
    const { jetstreamManager } = nats.client
    let arrive = () => {}
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve
    })
    const slowly = async () => {
      const { streams } = await jetstreamManager(false)
      const info = await streams.info('s')
      await arrived
      return { streams: { info: async () => info } }
    }
    Object.assign(nats.client, { jetstreamManager: slowly })
    const laterMs = performance.now() + 6_000
    const now = vi.spyOn(performance, 'now').mockImplementation(() => laterMs)
    onTestFinished(() => now.mockRestore())
    const polling = reader.poll(request)
    await new Promise(setImmediate)
    nats.add('b')
    expect(await polling).toMatchObject([{ events: ['b'] }])
    arrive()
    await new Promise(setImmediate)
    nats.add('c')
    expect(await reader.poll(request)).toMatchObject([{ events: ['c'] }])
    await reader.close()
  })

  it('tells of what cannot be decoded, in its place', async () => {
    const nats = new FakeNats()
    nats.add(1, 2, 3)
    const decode = (message: { string(): string }) => {
      if (message.string() === '2') throw new Error('no twos')
      return message.string()
    }
    const reader = await open(nats, { decode, follow: false })
    const read: unknown[] = []
    const reasons: unknown[] = []
    for (let hasEnded = false; !hasEnded; ) {
      for (const polled of await reader.poll(request)) {
        for (const [place, { message }] of polled.failures ?? []) reasons.push([read.length + place, message])
        read.push(...polled.events)
        hasEnded = polled.hasEnded === true
      }
    }
    expect([read, reasons]).toEqual([['1', undefined, '3'], [[1, 'no twos']]])
    await reader.close()
  })

  it('lists everything that is wrong with the options', () => {
    expect(() => natsSource({ client: {}, stream: '', subjects: [], onTrimmed: 1 } as never)).toThrow(
      /client.*stream.*subjects.*onTrimmed/s,
    )
    expect(() => natsSink({ client: {}, subject: '', payload: 1 } as never)).toThrow(
      /client.*subject.*payload/s,
    )
  })
})

describe('a sink to JetStream', () => {
  it('publishes again under the same ids after a failure', async () => {
    const nats = new FakeNats()
    nats.failures = 1
    const state = { put: () => {}, read: () => [[0, 'x'] as const, [1, 'y'] as const], removeFrom: () => {} }
    const writer = await natsSink<string>({ client: nats.client, subject: 's', maxOutputs: 2 }).open({
      prepared: [],
      state,
    })
    await writer.commit({ epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 2 } })
    expect(nats.ids.toSorted()).toEqual(['l-0-0', 'l-0-1'])
  })

  it('takes a failure for one that passes, unless the server or the connection says no', () => {
    const named = (name: string, message = '', code = 0) => Object.assign(new Error(message), { name, code })
    expect(mayPass(named('TimeoutError'))).toBe(true)
    expect(mayPass(named('JetStreamApiError', 'JetStream system temporarily unavailable', 10_008))).toBe(true)
    expect(mayPass(named('JetStreamApiError', 'JetStream not enabled', 10_076))).toBe(true)
    expect(mayPass(named('JetStreamApiError', 'JetStream cluster can not handle request', 10_009))).toBe(true)
    const incomplete = Object.assign(named('JetStreamApiError', 'incomplete results', 10_004), {
      status: 503,
    })
    expect(mayPass(incomplete)).toBe(true)
    expect(
      mayPass(named('JetStreamApiError', 'replicas > 1 not supported in non-clustered mode', 10_074)),
    ).toBe(false)
    expect(mayPass(named('StreamNotFoundError', 'stream not found', 10_059))).toBe(false)
    expect(mayPass(named('ClosedConnectionError', 'closed connection'))).toBe(false)
    expect(mayPass(named('AuthorizationError', 'Authorization Violation'))).toBe(false)
  })
})
