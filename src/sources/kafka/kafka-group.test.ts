import { expect, it } from 'vitest'
import { runJobPerPartition } from '../../job/partitions/run-job-per-partition.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { uint32 } from '../../state/codec/numbers.js'
import { value } from '../../state/kinds/definitions.js'
import { defineState } from '../../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FakeKafka, textOf } from '../../testing/fake-kafka.js'
import { kafkaGroup } from './kafka-group.js'
import { kafkaSink } from './kafka-sink.js'
import { platformaticKafkaClient } from './platformatic-client.js'

const decode = ({ value: bytes }: { readonly value: Uint8Array | undefined }) => textOf(bytes)

const schema = defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } })

/** Counts each text, in whatever process its partition is. */
function startMember(client: FakeKafka, storages: Map<string, MemoryCheckpointStorage>) {
  return runJobPerPartition<string, typeof schema, string>({
    name: 'counts',
    key: (text: string) => text,
    schema,
    process: (text, { state, emit }) => {
      const count = state.count.get() + 1
      state.count.put(count)
      emit(`${text}${count}`)
    },
    group: kafkaGroup({ client, topic: 't', groupId: 'g', decode }),
    place: (partition) => {
      const storage = storages.get(partition) ?? new MemoryCheckpointStorage()
      storages.set(partition, storage)
      return {
        backend: new MemoryStateBackend(),
        checkpoints: { storage },
        sink: kafkaSink<string>({
          client,
          topic: 'out',
          guarantee: 'transactional',
          transactionalId: partition,
        }),
      }
    },
  })
}

it('J10: a partition goes from one process to the other with its state, and its outputs come once', async () => {
  const client = new FakeKafka()
  client.createTopic('t', 2)
  client.createTopic('out', 1)
  client.append('t', 0, 'a', 'a')
  client.append('t', 1, 'x')
  const storages = new Map<string, MemoryCheckpointStorage>()
  const first = await startMember(client, storages)
  const second = await startMember(client, storages)
  const seen = (job: typeof first) =>
    Object.fromEntries(Object.entries(job.stats()).map(([partition, { events }]) => [partition, events]))
  client.members[0]?.onAssigned([0, 1])
  await expect.poll(() => seen(first)).toEqual({ 't-0': 2, 't-1': 1 })
  // The other one is told before the first has let go: it waits for that.
  client.members[1]?.onAssigned([0])
  client.members[0]?.onAssigned([1])
  client.append('t', 0, 'a')
  await expect.poll(() => seen(second)).toEqual({ 't-0': 1 })
  expect(seen(first)).toEqual({ 't-1': 1 })
  await second.stop()
  client.members[0]?.onAssigned([0, 1])
  client.append('t', 0, 'a')
  await expect.poll(() => seen(first)).toEqual({ 't-0': 1, 't-1': 1 })
  await first.stop()
  expect(client.valuesOf('out').toSorted()).toEqual(['"a1"', '"a2"', '"a3"', '"a4"', '"x1"'])
  expect(Object.fromEntries(client.offsets)).toMatchObject({ 'g/t/0': 4, 'g/t/1': 1 })
})

it('J10: what the group gives again is told again: the partition may have been given up here meanwhile', async () => {
  const client = new FakeKafka()
  client.createTopic('t', 2)
  const told: string[] = []
  const note = (what: string) => async (partitions: readonly (string | { partition: string })[]) => {
    const names = partitions.map((each) => (typeof each === 'string' ? each : each.partition))
    if (names.length > 0) told.push(`${what} ${names.join(' ')}`)
  }
  const owner = { assigned: note('given'), revoked: note('taken'), lost: note('lost'), failed: () => {} }
  const member = await kafkaGroup({ client, topic: 't', groupId: 'g', decode }).join(owner)
  client.members[0]?.onAssigned([0])
  client.members[0]?.onAssigned([0, 1])
  client.members[0]?.onAssigned([1])
  await member.leave()
  expect(told).toEqual(['given t-0', 'given t-0 t-1', 'taken t-0', 'given t-1'])
})

it('a group that has ended fails the job', async () => {
  const client = new FakeKafka()
  client.createTopic('t', 1)
  const job = await startMember(client, new Map())
  client.members[0]?.onFailure(new Error('not allowed'))
  await expect(job.finished).rejects.toMatchObject({
    code: 'STORAGE_ERROR',
    message: 'Kafka group g: cannot stay a member: not allowed',
  })
})

it('a client that cannot join a group, and wrong options, are refused', () => {
  const client = platformaticKafkaClient({})
  expect(() => kafkaGroup({ client, topic: 't', groupId: 'g', decode })).toThrow(
    /cannot join a group: @platformatic/,
  )
  const fake = new FakeKafka()
  const wrong = { client: fake, topic: '', groupId: 'g', decode, sessionTimeoutMs: 0 }
  expect(() => kafkaGroup(wrong)).toThrow(/sessionTimeoutMs/)
  expect(() => kafkaGroup({ ...wrong, sessionTimeoutMs: 6_000 })).toThrow(/topic/)
})
