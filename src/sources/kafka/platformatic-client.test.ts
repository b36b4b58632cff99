import { expect, it } from 'vitest'
import { type PlatformaticConsumer, platformaticKafkaClient } from './platformatic-client.js'

const topic = 'clicks'

it('a reader by @platformatic/kafka tells what a broker has answered, and waits for none that is silent once it is closed', async () => {
  let isSilent = false
  const partition = { leader: 1, leaderEpoch: 0, replicas: [] }
  const consumer = {
    groupId: 'group',
    metadata: async () => ({ topics: new Map([[topic, { id: 'id', partitions: { 0: partition } }]]) }),
    fetch: async () => {
      if (isSilent) await new Promise(() => {})
      return {
        responses: [{ partitions: [{ partitionIndex: 0, highWatermark: 7n, abortedTransactions: [] }] }],
      }
    },
  } as unknown as PlatformaticConsumer
  const client = platformaticKafkaClient({ consumer })
  const reader = await client.openReader({
    groupId: 'group',
    topic,
    maxPartitionBytes: 1_000,
    lookEveryMs: 60_000,
    from: new Map(),
  })
  const request = { from: new Map([[0, 7]]), waitMs: 1 }
  expect(await reader.fetch(request)).toMatchObject([{ partition: 0, next: 7, isAtEnd: true }])
  isSilent = true
  const fetching = reader.fetch(request)
  await new Promise(setImmediate)
  await reader.close()
  expect(await fetching).toEqual([])
  expect(await reader.fetch(request)).toEqual([])
})
