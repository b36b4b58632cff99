import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { StateError } from '../../base/errors.js'
import type { PolledEvents, Positions, SourceReader } from '../../job/source/source.js'
import { FakeKafka, textOf } from '../../testing/fake-kafka.js'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import type { KafkaReader } from './kafka-client.js'
import { type KafkaSourceOptions, kafkaSource } from './kafka-source.js'

const NONE: ReadonlySet<string> = new Set()

function brokers(): FakeKafka {
  const kafka = new FakeKafka()
  kafka.createTopic('t', 2)
  return kafka
}

const options = (
  client: FakeKafka,
  more: Partial<KafkaSourceOptions<string>> = {},
): KafkaSourceOptions<string> => ({
  client,
  topic: 't',
  groupId: 'g',
  decode: ({ value }) => textOf(value),
  ...more,
})

const open = (client: FakeKafka, positions: Positions = {}, more: Partial<KafkaSourceOptions<string>> = {}) =>
  kafkaSource(options(client, more)).open({ positions })

async function pollUntil(
  reader: SourceReader<string>,
  count: number,
  paused = NONE,
): Promise<PolledEvents<string>[]> {
  const polled: PolledEvents<string>[] = []
  for (let found = 0; found < count; ) {
    for (const each of await reader.poll({ maxEvents: 100, waitMs: 50, paused })) {
      polled.push(each)
      found += each.events.length
    }
  }
  return polled
}

const eventsOf = (polled: readonly PolledEvents<string>[]) => polled.flatMap(({ events }) => events)

runSourceConformanceSuite({ describe, it }, 'kafkaSource', async () => {
  const client = brokers()
  client.append('t', 0, 'a', undefined, 'b', 'c', undefined)
  client.append('t', 1, '1', '2', '3', '4')
  return {
    source: kafkaSource(options(client, { endsAtEnd: true })),
    events: { 't-0': ['a', 'b', 'c'], 't-1': ['1', '2', '3', '4'] },
    dispose: async () => {},
  }
})

describe('a source of a Kafka topic', () => {
  it('tells where it stands also behind what is no message, and where there is nothing', async () => {
    const client = brokers()
    client.append('t', 0, 'a', undefined)
    const reader = await open(client)
    const polled = [
      ...(await pollUntil(reader, 1)),
      ...(await reader.poll({ maxEvents: 9, waitMs: 20, paused: NONE })),
    ]
    const positions = new Map(
      polled.flatMap(({ partition, position }) => (position === undefined ? [] : [[partition, position]])),
    )
    expect(Object.fromEntries(positions)).toEqual({
      't-0': { offset: 2, topicId: 'id-0' },
      't-1': { offset: 0, topicId: 'id-0' },
    })
    await reader.close()
  })

  it('begins at the end where that is wanted, and later goes on from there also where nothing had come', async () => {
    const client = brokers()
    client.append('t', 0, 'old')
    client.append('t', 1, 'old')
    const first = await open(client, {}, { from: 'latest' })
    client.append('t', 0, 'new')
    const polled = await pollUntil(first, 1)
    expect(eventsOf(polled)).toEqual(['new'])
    await first.close()
    const told = polled.find(({ partition }) => partition === 't-1')?.position
    client.append('t', 1, 'between')
    const positions = { 't-0': { offset: 2 }, 't-1': told as { offset: number } }
    const second = await open(client, positions, { from: 'latest' })
    expect(eventsOf(await pollUntil(second, 1))).toEqual(['between'])
    await second.close()
  })

  it('gives its client up as soon as all partitions have ended, once, and tells of a failure when it is closed', async () => {
    for (const failure of [undefined, new Error('no answer')]) {
      const client = brokers()
      client.append('t', 0, 'a')
      client.append('t', 1, 'b')
      let closes = 0
      const openReader = client.openReader.bind(client)
      client.openReader = async (settings) => {
        const reader = await openReader(settings)
        const close = reader.close.bind(reader)
        reader.close = async () => {
          closes++
          await close()
          if (failure !== undefined) throw failure
        }
        return reader
      }
      const reader = await open(client, {}, { endsAtEnd: true })
      await pollUntil(reader, 1, new Set(['t-1']))
      expect(closes).toBe(0)
      await pollUntil(reader, 1)
      expect(closes).toBe(1)
      await reader.checkpointCompleted?.({ 't-0': { offset: 1 } })
      if (failure === undefined) await reader.close()
      else await expect(reader.close()).rejects.toBe(failure)
      expect(closes).toBe(1)
    }
  })

  it('J6: fails where a position is not there any more, naming partition, wanted and available', async () => {
    const client = brokers()
    client.append('t', 0, 'a', 'b', 'c')
    client.truncate('t', 0, 2)
    await expect(open(client, { 't-0': { offset: 1 } })).rejects.toThrow(
      /partition t-0: {"offset":1} is wanted, and there are offsets 2 up to 3/,
    )
    await expect(open(client, { 't-0': { offset: 4 } })).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await expect(open(client, { 't-7': { offset: 0 } })).rejects.toThrow(/t-7.*no such partition/)
    await expect(open(client, { 't-0': { offset: 2, topicId: 'other' } })).rejects.toThrow(
      /deleted and made again/,
    )
    for (const position of [null, 'x', { offset: -1 }, { offset: 1.5 }])
      await expect(open(client, { 't-0': position })).rejects.toThrow(/no position in Kafka/)
  })

  it('J6: goes on with the first message that is there only where that was asked for', async () => {
    const client = brokers()
    client.append('t', 0, 'a', 'b', 'c')
    client.truncate('t', 0, 2)
    const reader = await open(client, { 't-0': { offset: 0 } }, { onTruncated: 'earliest' })
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['c'])
    await reader.close()
  })

  it('J6: fails where the topic is truncated under it', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    const reader = await open(client)
    await pollUntil(reader, 1)
    client.append('t', 0, 'b', 'c')
    client.truncate('t', 0, 3)
    client.failures.push(['fetch', new Error('meanwhile')])
    await expect(pollUntil(reader, 9)).rejects.toThrow(
      /partition t-0.*"offset":1.*there are offsets 3 up to 3/,
    )
    await reader.close()
  })

  it('reads a partition that is added from its beginning', async () => {
    const client = brokers()
    const reader = await open(client, {}, { from: 'latest', lookEveryMs: 1 })
    await reader.poll({ maxEvents: 1, waitMs: 5, paused: NONE })
    client.topics.get('t')?.partitions.push({ first: 0, messages: [] })
    client.append('t', 2, 'added')
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['added'])
    expect(reader.partitions()).toEqual(['t-0', 't-1', 't-2'])
    await reader.close()
  })

  it('does not keep a job that waits for offsets to be told to those who watch lag', async () => {
    const client = brokers()
    const reader = await open(client)
    const known = client.commitOffsets.bind(client)
    let [asked, answer] = [0, () => {}]
    client.commitOffsets = (...args) => {
      asked++
      return new Promise((resolve) => {
        answer = () => resolve(known(...args))
      })
    }
    await reader.checkpointCompleted?.({ 't-0': { offset: 1 } })
    await reader.checkpointCompleted?.({ 't-0': { offset: 2 } })
    expect(asked).toBe(1)
    answer()
    await new Promise(setImmediate)
    client.commitOffsets = known
    await reader.checkpointCompleted?.({ 't-0': { offset: 3 } })
    expect(client.offsets.get('g/t/0')).toBe(3)
    await reader.close()
  })

  it('gives away what waits, and ends a poll, while brokers do not say which partitions there are', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    const reader = await open(client, {}, { lookEveryMs: 1 })
    client.describe = () => new Promise(() => {})
    await new Promise((resolve) => setTimeout(resolve, 2))
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['a'])
    client.append('t', 0, 'b')
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['b'])
    const ending = new AbortController()
    const polling = reader.poll({ maxEvents: 9, waitMs: 2_000_000_000, paused: NONE, signal: ending.signal })
    ending.abort()
    await polling
    await reader.close()
  })

  it('does not ask again whether what it has read while brokers were asked for the end is behind it', async () => {
    const client = brokers()
    const reader = await open(client, {}, { lookEveryMs: 1, partitions: [0] })
    const [known, answers] = [client.describe.bind(client), [] as (() => void)[]]
    client.describe = async (topic) => {
      const described = await known(topic)
      await new Promise<void>((resolve) => answers.push(resolve))
      return described
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
    await reader.poll({ maxEvents: 9, waitMs: 0, paused: NONE })
    await expect.poll(() => answers).toHaveLength(1)
    client.append('t', 0, 'a', 'b')
    expect(eventsOf(await pollUntil(reader, 2))).toEqual(['a', 'b'])
    answers[0]?.()
    await new Promise(setImmediate)
    expect(answers).toHaveLength(1)
    await reader.close()
  })

  it('J6: reads a topic that was made again from its beginning once, where it is to go on', async () => {
    const client = brokers()
    client.append('t', 0, 'a', 'b')
    const reader = await open(client, {}, { lookEveryMs: 1, onTruncated: 'earliest', partitions: [0] })
    expect(eventsOf(await pollUntil(reader, 2))).toEqual(['a', 'b'])
    client.createTopic('t', 1)
    client.append('t', 0, 'c', 'd')
    const polled = await pollUntil(reader, 2)
    expect(eventsOf(polled)).toEqual(['c', 'd'])
    const { id } = await client.describe('t')
    expect(polled.at(-1)?.positionAfter(1)).toEqual({ offset: 2, topicId: id })
    for (let look = 0; look < 5; look++) {
      await new Promise((resolve) => setTimeout(resolve, 2))
      expect(eventsOf(await reader.poll({ maxEvents: 9, waitMs: 5, paused: NONE }))).toEqual([])
    }
    client.append('t', 0, 'e')
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['e'])
    await reader.close()
  })

  it('does not take a topic for deleted by the one answer of a broker that has come back', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    const reader = await open(client, {}, { lookEveryMs: 1 })
    await pollUntil(reader, 1)
    const startMs = performance.now()
    let laterMs = 1_000
    const now = vi.spyOn(performance, 'now').mockImplementation(() => startMs + laterMs)
    onTestFinished(() => void now.mockRestore())
    const known = client.describe.bind(client)
    const unknown = async () => {
      // It has asked again and again.
      laterMs += 6_000
      throw new StateError('INVALID_ARGUMENT', { violations: [{ argument: 'topic', reason: 'is none' }] })
    }
    const look = async () => {
      await reader.poll({ maxEvents: 1, waitMs: 0, paused: NONE })
      await new Promise(setImmediate)
    }
    client.describe = unknown
    await look()
    client.describe = known
    laterMs += 1_000
    await look()
    client.describe = unknown
    laterMs += 1_000
    await look()
    laterMs += 1_000
    await look()
    await expect(look()).rejects.toThrow('the topic is not there any more')
    await reader.close()
  })

  it('J7: tells what cannot be decoded in its place', async () => {
    const client = brokers()
    client.append('t', 0, '1', 'x', '3')
    const decode = ({ value }: { readonly value: Uint8Array | undefined }) => `${JSON.parse(textOf(value))}`
    const reader = await open(client, {}, { decode })
    const polled = (await pollUntil(reader, 3)).find(({ events }) => events.length > 0)
    expect([...(polled?.failures?.keys() ?? [])]).toEqual([1])
    expect(polled?.positionAfter(1)).toMatchObject({ offset: 2 })
    await reader.close()
  })

  it('asks again where a broker does not answer, and gives up in time', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    client.failures.push(
      ['describe', new Error('gone')],
      ['openReader', new Error('gone')],
      ['fetch', new Error('gone')],
    )
    const reader = await open(client)
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['a'])
    await reader.close()
    for (let i = 0; i < 50; i++) client.failures.push(['fetch', new Error('gone')])
    const impatient = await open(client, {}, { reconnectForMs: 1 })
    await expect(pollUntil(impatient, 1)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: 'Kafka topic t: cannot read: gone (for 1 ms)',
    })
    await impatient.close()
  })

  it('has asked for messages before it is polled, from where each partition stands', async () => {
    const client = brokers()
    client.append('t', 0, 'a', 'b')
    const openReader = client.openReader.bind(client)
    const asked: unknown[] = []
    client.openReader = async (settings) => {
      asked.push([...settings.from])
      return await openReader(settings)
    }
    const reader = await open(client, { 't-0': { offset: 1 } })
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
    expect(asked).toEqual([
      [
        [0, 1],
        [1, 0],
      ],
    ])
    expect(client.calls).toEqual(['describe', 'openReader', 'fetch'])
    expect(eventsOf(await reader.poll({ maxEvents: 9, waitMs: 0, paused: NONE }))).toEqual(['b'])
    await reader.close()
  })

  it.each([true, false])(
    'asks for more once nothing waits, or beside what waits: where its client reads ahead by itself, %s',
    async (readsAhead) => {
      const client = brokers()
      client.append('t', 0, 'a', 'b', 'c')
      const asked = new Set<number | undefined>()
      const openReader = client.openReader.bind(client)
      client.openReader = async (settings): Promise<KafkaReader> => {
        const reader = await openReader(settings)
        const fetch = async (request: Parameters<KafkaReader['fetch']>[0]) => {
          asked.add(request.from.get(0))
          return await reader.fetch(request)
        }
        return { readsAhead, fetch, close: () => reader.close() }
      }
      const reader = await open(client, {}, { partitions: [0] })
      const next = async () => {
        const polled = await reader.poll({ maxEvents: 2, waitMs: 1_000, paused: NONE })
        return eventsOf(polled)
      }
      // The first poll tells only where the partition stands, or has events already.
      const first = await next()
      expect(first.length > 0 ? first : await next()).toEqual(['a', 'b'])
      expect(asked.has(3)).toBe(!readsAhead)
      expect(await next()).toEqual(['c'])
      expect(asked.has(3)).toBe(true)
      await reader.close()
    },
  )

  it('goes on where what it asked for before it is polled has failed, by an outage that is over then', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    client.failures.push(['fetch', new Error('gone')])
    const reader = await open(client, {}, { reconnectForMs: 0 })
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['a'])
    await reader.close()
  })

  it('leaves no reader open that was opened too late', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    let late = (_reader: KafkaReader) => {}
    let closed = 0
    const openReader = client.openReader.bind(client)
    const made = async () => ({
      ...(await openReader({ topic: 't' } as never)),
      close: async () => void closed++,
    })
    client.openReader = () => {
      client.openReader = openReader
      return new Promise((resolve) => {
        late = resolve
      })
    }
    const reader = await open(client, {}, { answerWithinMs: 5 })
    late(await made())
    await new Promise(setImmediate)
    expect(closed).toBe(1)
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['a'])
    await reader.close()
  })

  it('T5: a partition is quiet only where the broker had nothing, not where it was not asked', async () => {
    const client = brokers()
    const reader = await open(client)
    const quiet = async (paused: ReadonlySet<string>) => {
      for (;;) {
        const polled = await reader.poll({ maxEvents: 9, waitMs: 10, paused })
        if (polled.every(({ position }) => position === undefined))
          return polled.map(({ partition }) => partition)
      }
    }
    await quiet(NONE)
    expect(await quiet(NONE)).toEqual(['t-0', 't-1'])
    expect(await quiet(new Set(['t-0']))).toEqual(['t-1'])
    await reader.close()
  })

  it('commits offsets to its group as a courtesy: that this fails is no failure of the job', async () => {
    const client = brokers()
    const reader = await open(client)
    await reader.checkpointCompleted?.({ 't-0': { offset: 5 }, 'other-0': { offset: 9 } })
    expect(Object.fromEntries(client.offsets)).toEqual({ 'g/t/0': 5 })
    client.failures.push(['commitOffsets', new Error('gone')])
    await reader.checkpointCompleted?.({ 't-0': { offset: 6 } })
    await reader.close()
  })

  it('reads only some partitions where that is wanted', async () => {
    const client = brokers()
    client.append('t', 0, 'a')
    client.append('t', 1, 'b')
    const reader = await open(client, {}, { partitions: [1] })
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['b'])
    expect(reader.partitions()).toEqual(['t-1'])
    await reader.close()
    await expect(open(client, {}, { partitions: [2] })).rejects.toThrow(/has 2, and topic t has 2 partitions/)
  })

  it('lists everything that is wrong with the options', () => {
    const wrong = {
      client: {},
      topic: '',
      groupId: 1,
      decode: 1,
      partitions: [],
      from: 'x',
      onTruncated: 'x',
      reconnectForMs: -1,
    }
    expect(() => kafkaSource(wrong as never)).toThrow(
      /client.*topic.*groupId.*decode.*partitions.*from.*onTruncated.*reconnectForMs/s,
    )
    expect(() => kafkaSource({ topic: 't' } as never)).toThrow(/client is required/)
  })
})
