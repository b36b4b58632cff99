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

it('J6: what a broker that was slow answers to an earlier offset is not taken for what is wanted by then', async () => {
  const answers = new Map<number, () => void>()
  const leaders = { 0: { leader: 1 }, 1: { leader: 2 } }
  const consumer = {
    groupId: 'group',
    metadata: async () => ({ topics: new Map([[topic, { id: 'id', partitions: leaders }]]) }),
    fetch: ({ node }: { node: number }) =>
      new Promise((resolve) => {
        const partition = { partitionIndex: node - 1, highWatermark: 9n, abortedTransactions: [] }
        answers.set(node, () => resolve({ responses: [{ partitions: [partition] }] }))
      }),
  } as unknown as PlatformaticConsumer
  const settings = { groupId: 'group', topic, maxPartitionBytes: 1_000, lookEveryMs: 60_000 }
  const reader = await platformaticKafkaClient({ consumer }).openReader({ ...settings, from: new Map() })
  const fetch = async (...from: [partition: number, offset: number][]) => {
    const fetched = await reader.fetch({ from: new Map(from), waitMs: 1 })
    return fetched.map(({ partition, next }) => [partition, next])
  }
  const answer = async (node: number) => {
    await new Promise(setImmediate)
    answers.get(node)?.()
  }
  const both = fetch([0, 5], [1, 7])
  await answer(1)
  expect(await both).toEqual([[0, 5]])
  const other = fetch([1, 2])
  await answer(2)
  expect(await other).toEqual([])
  const again = fetch([1, 2])
  await answer(2)
  expect(await again).toEqual([[1, 2]])
  await reader.close()
})
