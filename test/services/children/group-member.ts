// A member of a consumer group of Kafka, to be killed: `node group-member.js <address> <folder>`. It prints a line for each change of what it
// reads, and leaves the group at SIGTERM.

import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { runJobPerPartition } from '../../../src/job.js'
import { kafkaGroup, kafkajsClient, kafkaSink } from '../../../src/kafka.js'
import { MemoryStateBackend } from '../../../src/memory/memory-state-backend.js'
import { defineState, uint32, utf8, value } from '../../../src/state.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import type { CountedEvent, CountedOutput } from './counted.js'

const [address = '', folder = ''] = process.argv.slice(2)
const client = kafkajsClient(new Kafka({ brokers: [address], logLevel: logLevel.NOTHING }))
const schema = defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } })

const job = await runJobPerPartition<CountedEvent, typeof schema, CountedOutput>({
  name: 'counts',
  key: ({ key }) => key,
  schema,
  process({ key, n }, { state, emit }) {
    const count = state.count.get() + 1
    state.count.put(count)
    emit({ key, n, count })
  },
  group: kafkaGroup({
    client,
    topic: 'group-in',
    groupId: 'counts in a group',
    decode: ({ value: bytes }) => JSON.parse(new TextDecoder().decode(bytes)) as CountedEvent,
    sessionTimeoutMs: 6_000,
    lookEveryMs: 1_000,
  }),
  place: (partition) => ({
    backend: new MemoryStateBackend(),
    checkpoints: { storage: new FileCheckpointStorage(join(folder, partition)), intervalMs: 100 },
    sink: kafkaSink<CountedOutput>({
      client,
      topic: 'group-out',
      guarantee: 'transactional',
      transactionalId: `counts of ${partition}`,
    }),
  }),
})

const leaving = new AbortController()
process.once('SIGTERM', () => leaving.abort())
const finished = job.finished.then(
  () => 'stopped',
  (error: unknown) => error,
)
let shown = ''
while (!leaving.signal.aborted) {
  const reading = [...job.jobs.keys()].sort().join(' ')
  if (reading !== shown) process.stdout.write(`reads ${reading}\n`)
  shown = reading
  const outcome = await Promise.race([finished, sleep(20, undefined)])
  if (outcome === undefined) continue
  process.stderr.write(`${String((outcome as Error).stack)}\n${String((outcome as Error).cause)}\n`)
  process.exitCode = 1
  break
}
await job.stop().catch(() => {})
await client.close()
