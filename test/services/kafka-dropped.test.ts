import { randomUUID } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { type KafkaClient, kafkaSink, kafkaSource } from '../../src/kafka.js'
import { endOf, oneOutput, readEvents } from './dropped.js'
import { type KafkaOfTests, kafkaOfTests, makeTopics } from './kafka-clients.js'

const GROUP = 'group'
const broker = kafkaOfTests(GROUP)
let kafka: KafkaOfTests['kafka']
let admin: KafkaOfTests['admin']
let clients: KafkaOfTests['clients']
beforeAll(() => {
  ;({ kafka, admin, clients } = broker())
})

async function topicWith(...values: readonly string[]): Promise<string> {
  const topic = `t-${randomUUID()}`
  await make(topic, ...values)
  return topic
}

async function make(topic: string, ...values: readonly string[]): Promise<void> {
  await makeTopics(admin, { topic, numPartitions: 1 })
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, messages: values.map((value) => ({ value })) })
  await producer.disconnect()
}

describe.each(['kafkajs', 'platformatic'])('a topic that is deleted under %s', (name) => {
  const client = () => clients[name] as KafkaClient
  const sourceOf = (topic: string) =>
    kafkaSource<string>({
      client: client(),
      topic,
      groupId: GROUP,
      decode: ({ value }) => Buffer.from(value ?? []).toString(),
      lookEveryMs: 500,
      reconnectForMs: 20_000,
    })

  it('ends its source, which names the partition', async () => {
    const topic = await topicWith('a', 'b')
    const reader = await sourceOf(topic).open({ positions: {} })
    expect(await readEvents(reader, 2)).toEqual(['a', 'b'])
    await admin.deleteTopics({ topics: [topic] })
    const end = await endOf(reader)
    expect(end).toMatchObject({ code: 'RESTORE_FAILED', message: expect.stringContaining(`${topic}-0`) })
    await reader.close()
  })

  it('and made again is not taken for the one that was read', async () => {
    const topic = await topicWith('a', 'b')
    const reader = await sourceOf(topic).open({ positions: {} })
    expect(await readEvents(reader, 2)).toEqual(['a', 'b'])
    await admin.deleteTopics({ topics: [topic] })
    await make(topic, 'new')
    const given: unknown[] = []
    const end = await endOf(reader, (events) => given.push(...events))
    expect(end).toMatchObject({ code: 'RESTORE_FAILED', message: expect.stringContaining(`${topic}-0`) })
    expect(given).toEqual([])
    await reader.close()
  })

  for (const guarantee of name === 'kafkajs'
    ? (['transactional', 'idempotent'] as const)
    : (['idempotent'] as const)) {
    it(`ends its sink (${guarantee})`, async () => {
      const topic = await topicWith('a')
      const common = { client: client(), topic, reconnectForMs: 2_000 }
      const sink =
        guarantee === 'idempotent'
          ? kafkaSink<unknown>({ ...common, guarantee })
          : kafkaSink<unknown>({ ...common, guarantee, transactionalId: topic })
      const writer = await sink.open({ prepared: [], state: oneOutput.state })
      await writer.commit(oneOutput.epochOf(0))
      await admin.deleteTopics({ topics: [topic] })
      const end = await writer.commit(oneOutput.epochOf(1)).catch((error: unknown) => error)
      expect(end).toMatchObject({ code: 'STORAGE_ERROR', message: expect.stringContaining(topic) })
      await writer.close()
    })
  }
})
