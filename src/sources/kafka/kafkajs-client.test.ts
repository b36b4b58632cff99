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
