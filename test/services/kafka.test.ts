import { randomUUID } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import type { PolledEvents, SourceReader } from '../../src/job/source/source.js'
import type { KafkaClient } from '../../src/sources/kafka/kafka-client.js'
import { kafkaSink } from '../../src/sources/kafka/kafka-sink.js'
import { type KafkaSourceOptions, kafkaSource } from '../../src/sources/kafka/kafka-source.js'
import { textOf } from '../../src/testing/fake-kafka.js'
import { runSinkConformanceSuite } from '../../src/testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../src/testing/source-conformance.js'
import { exampleRuns } from './example.js'
import { guideProgramRuns, TOKENS_PER_MINUTE, USAGE_PER_MINUTE } from './guide-program.js'
import { type KafkaOfTests, kafkaOfTests, makeTopics } from './kafka-clients.js'
import { killCycles } from './kill-cycles.js'

const NONE: ReadonlySet<string> = new Set()
const GROUP = 'group'

const broker = kafkaOfTests(GROUP)
let service: KafkaOfTests['service']
let kafka: KafkaOfTests['kafka']
let admin: KafkaOfTests['admin']
let clients: KafkaOfTests['clients']
beforeAll(() => {
  ;({ service, kafka, admin, clients } = broker())
})

async function topicWith(partitions: number): Promise<string> {
  const topic = `t-${randomUUID()}`
  await makeTopics(admin, { topic, numPartitions: partitions })
  return topic
}

/** Appends values in transactions, of which some are aborted. */
async function append(
  topic: string,
  transactions: readonly (readonly [number, readonly string[], 'commit' | 'abort'])[],
) {
  const transactionalId = randomUUID()
  const producer = kafka.producer({ idempotent: true, transactionalId, maxInFlightRequests: 1 })
  await producer.connect()
  for (const [partition, values, end] of transactions) {
    const transaction = await producer.transaction()
    await transaction.send({ topic, messages: values.map((value) => ({ partition, value, key: value })) })
    await transaction[end]()
  }
  await producer.disconnect()
}

async function removeBefore(topic: string, offset: string): Promise<void> {
  // Otherwise the client does not know the topic.
  await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset }] })
}

describe.each(['kafkajs', 'platformatic'])('with %s', (name) => {
  const client = () => clients[name] as KafkaClient
  const sourceOf = (topic: string, more: Partial<KafkaSourceOptions<string>> = {}) =>
    kafkaSource({ client: client(), topic, groupId: GROUP, decode: ({ value }) => textOf(value), ...more })

  async function pollUntil(reader: SourceReader<string>, count: number): Promise<PolledEvents<string>[]> {
    const polled: PolledEvents<string>[] = []
    for (let found = 0; found < count; ) {
      for (const each of await reader.poll({ maxEvents: 100, waitMs: 200, paused: NONE })) {
        polled.push(each)
        found += each.events.length
      }
    }
    return polled
  }
  const eventsOf = (polled: readonly PolledEvents<string>[]) => polled.flatMap(({ events }) => events)

  runSourceConformanceSuite({ describe, it }, `kafkaSource by ${name}`, async () => {
    const topic = await topicWith(2)
    await append(topic, [
      [0, ['a', 'b'], 'commit'],
      [1, ['0'], 'abort'],
      [0, ['c'], 'abort'],
      [1, ['1', '2', '3'], 'commit'],
      [0, ['d', 'e'], 'commit'],
      [0, ['f'], 'abort'],
    ])
    return {
      source: sourceOf(topic, { endsAtEnd: true }),
      waitMs: 20_000,
      events: { [`${topic}-0`]: ['a', 'b', 'd', 'e'], [`${topic}-1`]: ['1', '2', '3'] },
      dispose: async () => {},
    }
  })

  it('J6: a topic that was truncated under a source is no topic to go on in', async () => {
    const topic = await topicWith(1)
    await append(topic, [[0, ['a', 'b', 'c'], 'commit']])
    const reader = await sourceOf(topic, { lookEveryMs: 200 }).open({ positions: {} })
    await pollUntil(reader, 3)
    await removeBefore(topic, '3')
    await expect(sourceOf(topic).open({ positions: { [`${topic}-0`]: { offset: 1 } } })).rejects.toThrow(
      /"offset":1.*there are offsets 3 up to 4/,
    )
    await append(topic, [[0, ['d', 'e', 'f', 'g'], 'commit']])
    expect(eventsOf(await pollUntil(reader, 4))).toEqual(['d', 'e', 'f', 'g'])
    await reader.close()
    // What was never read is gone. A client that reads ahead has some of it, but not so much.
    const large = Array.from({ length: 8 }, (_, i) => [0, [String(i).repeat(400_000)], 'commit'] as const)
    await append(topic, large)
    const behind = await sourceOf(topic).open({ positions: { [`${topic}-0`]: { offset: 4 } } })
    await removeBefore(topic, '20')
    const polling = async () => {
      for (;;) await behind.poll({ maxEvents: 1, waitMs: 100, paused: NONE })
    }
    await expect(polling()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await behind.close()
  })

  it('a partition that is added is read from its beginning', async () => {
    const topic = await topicWith(1)
    const reader = await sourceOf(topic, { from: 'latest', lookEveryMs: 100 }).open({ positions: {} })
    await admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] })
    await append(topic, [[1, ['added'], 'commit']])
    expect(eventsOf(await pollUntil(reader, 1))).toEqual(['added'])
    await reader.close()
  })

  it('a broker that is killed and comes back is read on from where it was, and offsets are committed to it', async () => {
    const topic = await topicWith(1)
    await append(topic, [[0, ['a', 'b'], 'commit']])
    const reader = await sourceOf(topic).open({ positions: {} })
    expect(eventsOf(await pollUntil(reader, 2))).toEqual(['a', 'b'])
    await service.kill()
    const polling = pollUntil(reader, 1)
    await service.start()
    await append(topic, [[0, ['c'], 'commit']])
    expect(eventsOf(await polling)).toEqual(['c'])
    await client().commitOffsets(GROUP, topic, new Map([[0, 3]]))
    // A transaction's commit is answered a moment before what it committed can be read.
    const committed = async () => {
      const [ofTopic] = await admin.fetchOffsets({ groupId: GROUP, topics: [topic] })
      return ofTopic?.partitions
    }
    await expect.poll(committed, { timeout: 5_000 }).toMatchObject([{ partition: 0, offset: '3' }])
    await reader.close()
  })

  const guarantee = name === 'kafkajs' ? ('transactional' as const) : ('idempotent' as const)
  const sinkOf = (topic: string) =>
    guarantee === 'transactional'
      ? kafkaSink<unknown>({ client: client(), topic, guarantee, transactionalId: `sink of ${topic}` })
      : kafkaSink<unknown>({ client: client(), topic, guarantee })

  runSinkConformanceSuite({ describe, it }, `kafkaSink by ${name}, ${guarantee},`, async () => {
    const topic = await topicWith(1)
    return {
      sink: sinkOf(topic),
      output: (n) => ({ n }),
      read: async () => (await atRest(topic)).map((value) => JSON.parse(value) as unknown),
      committedAfterOlderCut: 'kept' as const,
      dispose: async () => {},
    }
  })
})

/** Waits until the last transaction of an id is there for those who read: a commit is answered a moment before. */
async function settled(transactionalId: string): Promise<void> {
  const { transactions } = clients['kafkajs'] as KafkaClient
  if (typeof transactions === 'string') throw new Error(transactions)
  await (await transactions.open(transactionalId)).close()
}

/**
 * What readers see once that has not changed for half a second: a commit is answered a moment before. (`settled` would fence a writer
 * that goes on.)
 */
async function atRest(topic: string): Promise<string[]> {
  let found = await committedIn(topic)
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const later = await committedIn(topic)
    if (later.length === found.length) return later
    found = later
  }
}

/** What a reader of committed messages sees of partition 0. */
async function committedIn(topic: string): Promise<string[]> {
  const source = kafkaSource({
    client: clients['kafkajs'] as KafkaClient,
    topic,
    groupId: GROUP,
    decode: ({ value }) => textOf(value),
    endsAtEnd: true,
  })
  const reader = await source.open({ positions: {} })
  const found: string[] = []
  try {
    for (;;) {
      const polled = await reader.poll({ maxEvents: 10_000, waitMs: 1_000, paused: NONE })
      found.push(...polled.flatMap(({ events }) => events))
      if (polled.some(({ hasEnded }) => hasEnded === true)) return found
    }
  } finally {
    await reader.close()
  }
}

describe('a transactional sink', () => {
  const state = (n: number) => ({
    put: () => {},
    read: (from: number, until: number) => (from < until ? [[from, { n }] as const] : []),
    removeFrom: () => {},
  })
  const epochOf = (number: number) => ({ epoch: { lineage: 'l', number }, token: { first: 0, next: 1 } })

  it('J3: is fenced off by the one that was opened later, whose outputs are there once', async () => {
    const topic = await topicWith(1)
    const client = clients['kafkajs'] as KafkaClient
    const sink = kafkaSink({ client, topic, guarantee: 'transactional', transactionalId: topic })
    const zombie = await sink.open({ prepared: [], state: state(0) })
    await zombie.commit(epochOf(0))
    const heir = await sink.open({ prepared: [epochOf(0)], state: state(1) })
    await expect(zombie.commit(epochOf(1))).rejects.toMatchObject({ code: 'FENCED' })
    await heir.commit(epochOf(1))
    await settled(topic)
    expect(await committedIn(topic)).toEqual(['{"n":0}', '{"n":1}'])
    await Promise.allSettled([zombie.close(), heir.close()])
  })

  it('J3: that owns its job goes on where the id is opened by one that was overtaken, and once only', async () => {
    const topic = await topicWith(1)
    const client = clients['kafkajs'] as KafkaClient
    const sink = kafkaSink({ client, topic, guarantee: 'transactional', transactionalId: topic })
    const writer = await sink.open({ prepared: [], state: state(0), checkOwner: async () => {} })
    await writer.commit(epochOf(0))
    const late = await sink.open({ prepared: [], state: state(9) })
    await writer.commit(epochOf(1))
    await expect(late.commit(epochOf(2))).rejects.toMatchObject({ code: 'FENCED' })
    const again = await sink.open({ prepared: [], state: state(9) })
    await expect(writer.commit(epochOf(2))).rejects.toMatchObject({ code: 'FENCED' })
    await Promise.allSettled([writer.close(), late.close(), again.close()])
  })

  it('J3: a transaction that a dead one has left open is aborted', async () => {
    const topic = await topicWith(1)
    const client = clients['kafkajs'] as KafkaClient
    const { transactions } = client
    if (typeof transactions === 'string') throw new Error(transactions)
    const dead = await transactions.open(topic)
    const transaction = await dead.begin()
    await transaction.send(topic, [{ value: 'half' }])
    const sink = kafkaSink({ client, topic, guarantee: 'transactional', transactionalId: topic })
    const heir = await sink.open({ prepared: [epochOf(0)], state: state(0) })
    await settled(topic)
    expect(await committedIn(topic)).toEqual(['{"n":0}'])
    await expect(transaction.commit()).rejects.toThrow(/epoch|fenced|unknown/i)
    await Promise.allSettled([dead.close(), heir.close()])
  })
})

exampleRuns('kafka', () => service)

guideProgramRuns('kafka.md', {
  environment: () => ({ KAFKA: service.address }),
  prepare: async () => {
    const topics = ['usage', 'tokens-per-minute'].map((topic) => ({ topic, numPartitions: 1 }))
    await makeTopics(admin, ...topics)
  },
  feed: () => append('usage', [[0, USAGE_PER_MINUTE.map((each) => JSON.stringify(each)), 'commit']]),
  outputs: async () => (await committedIn('tokens-per-minute')).map((value) => JSON.parse(value) as unknown),
  expected: TOKENS_PER_MINUTE,
})

describe('kills', () => {
  beforeAll(async () => {
    await makeTopics(admin, { topic: 'in', numPartitions: 1 }, { topic: 'out', numPartitions: 1 })
  })

  killCycles({
    name: 'kafka',
    service: () => service,
    killsPerServer: 25,
    pairs: [
      {
        name: 'kafka',
        fill: async (events) => {
          const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
          await producer.connect()
          await producer.send({
            topic: 'in',
            messages: events.map((event) => ({ value: JSON.stringify(event) })),
          })
          await producer.disconnect()
        },
        outputs: async () => {
          await settled('counts')
          return (await committedIn('out')).map((value) => JSON.parse(value) as unknown)
        },
      },
    ],
  })
})
