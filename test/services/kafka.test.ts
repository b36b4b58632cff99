import { randomUUID } from 'node:crypto'
import { Consumer, Producer } from '@platformatic/kafka'
import { type Admin, Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import type { PolledEvents, SourceReader } from '../../src/job/source/source.js'
import type { KafkaClient } from '../../src/sources/kafka/kafka-client.js'
import { type KafkaSourceOptions, kafkaSource } from '../../src/sources/kafka/kafka-source.js'
import { kafkajsClient } from '../../src/sources/kafka/kafkajs-client.js'
import { platformaticKafkaClient } from '../../src/sources/kafka/platformatic-client.js'
import { textOf } from '../../src/testing/fake-kafka.js'
import { runSourceConformanceSuite } from '../../src/testing/source-conformance.js'

const NONE: ReadonlySet<string> = new Set()
const GROUP = 'group'

let service: RunningService
let kafka: Kafka
let admin: Admin
let clients: { readonly [name: string]: KafkaClient }
const opened: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  service = await startService('kafka')
  kafka = new Kafka({ brokers: [service.address], logLevel: logLevel.NOTHING })
  admin = kafka.admin()
  await admin.connect()
  const options = { clientId: 'test', bootstrapBrokers: [service.address] }
  const consumer = new Consumer({ ...options, groupId: GROUP })
  const producer = new Producer(options)
  const kafkajs = kafkajsClient(kafka)
  clients = { kafkajs, platformatic: platformaticKafkaClient({ consumer, producer }) }
  opened.push(
    () => kafkajs.close(),
    async () => consumer.close(true),
    async () => producer.close(),
  )
})
afterAll(async () => {
  await Promise.allSettled(opened.map((close) => close()))
  await admin?.disconnect()
  await service?.stop()
})

async function topicWith(partitions: number): Promise<string> {
  const topic = `t-${randomUUID()}`
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions }], waitForLeaders: true })
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
    // What was never read is gone.
    const behind = await sourceOf(topic).open({ positions: { [`${topic}-0`]: { offset: 4 } } })
    await removeBefore(topic, '6')
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
    const [committed] = await admin.fetchOffsets({ groupId: GROUP, topics: [topic] })
    expect(committed?.partitions).toMatchObject([{ partition: 0, offset: '3' }])
    await reader.close()
  })
})
