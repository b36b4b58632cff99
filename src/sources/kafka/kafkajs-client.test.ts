import { expect, it } from 'vitest'
import { type Kafkajs, kafkajsClient } from './kafkajs-client.js'

// What a real broker is needed for is in test/services.

/** An admin client that has lost sight of a topic, as it may while it asks for another one. */
function blindKafkajs() {
  const admin = {
    connect: async () => {},
    disconnect: async () => {},
    fetchTopicMetadata: async () => ({ topics: [{ partitions: [] }] }),
    fetchTopicOffsets: async () => [],
    fetchOffsets: async () => [{ topic: 'out', partitions: [] }],
  }
  return kafkajsClient({ admin: () => admin } as unknown as Kafkajs)
}

it('J3: a mark that the client has not asked for is not taken for none', async () => {
  const { transactions } = blindKafkajs()
  if (typeof transactions === 'string') throw new Error(transactions)
  await expect(transactions.readMark('group', 'out')).rejects.toThrow('partition 0 of out')
})

it('J3: messages for a partition that the client does not know of are not taken for written', async () => {
  // It leaves them out, and says which partitions it has written.
  const producer = {
    connect: async () => {},
    disconnect: async () => {},
    send: async () => [{ topicName: 'out', partition: 0 }],
  }
  const client = kafkajsClient({ producer: () => producer } as unknown as Kafkajs)
  const sender = await client.openProducer()
  const messages = [
    { value: 'a', partition: 0 },
    { value: 'b', partition: 1 },
  ]
  await expect(sender.send('out', messages)).rejects.toThrow('partition 1 of out')
  await sender.send('out', messages.slice(0, 1))
  await sender.send('out', [{ value: 'c' }])
})

it('J6: a topic of which the client knows no partitions is not taken for one that has none', async () => {
  await expect(blindKafkajs().describe('in')).rejects.toThrow('partitions of in')
})

it('a topic that was deleted hides no other one', async () => {
  let admins = 0
  const admin = () => {
    admins++
    const heard = new Set<string>()
    const hear = (topic: string) => {
      heard.add(topic)
      if (heard.has('deleted')) throw Object.assign(new Error('unknown'), { code: 3 })
    }
    return {
      connect: async () => {},
      disconnect: async () => {},
      fetchTopicOffsets: async (topic: string) => {
        hear(topic)
        return [{ partition: 0, low: '0', high: '7' }]
      },
      fetchTopicMetadata: async () => ({ topics: [{ partitions: [{ partitionId: 0, leader: 1 }] }] }),
      fetchOffsets: async ({ topics: [topic = ''] }: { topics: string[] }) => {
        hear(topic)
        return [{ topic, partitions: [{ partition: 0, offset: '3' }] }]
      },
    }
  }
  const client = kafkajsClient({ admin } as unknown as Kafkajs)
  const { transactions } = client
  if (typeof transactions === 'string') throw new Error(transactions)
  expect((await client.describe('in')).partitions).toMatchObject([{ end: 7 }])
  await expect(client.describe('deleted')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect((await client.describe('in')).partitions).toMatchObject([{ end: 7 }])
  expect(await transactions.readMark('group', 'in')).toBe(3)
  // The first one, another one that fails for the deleted topic alone, and one for the rest.
  expect(admins).toBe(3)
})
