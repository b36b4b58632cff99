import { inspect } from 'node:util'
import { expect, it } from 'vitest'
import { AzureCheckpointStorage } from '../src/azure.js'
import type { Sink, Source } from '../src/job.js'
import { kafkaGroup, kafkajsClient, kafkaSink, kafkaSource } from '../src/kafka.js'
import { natsSink, natsSource } from '../src/nats.js'
import { PostgresStateBackend } from '../src/postgres.js'
import { postgresOutboxSource, postgresSink, postgresUpsertSink } from '../src/postgres-tables.js'
import { RedisStateBackend } from '../src/redis.js'
import { redisGroupSource, redisStreamSink, redisStreamSource } from '../src/redis-streams.js'
import { S3CheckpointStorage } from '../src/s3.js'
import { FakeKafka } from '../src/testing/fake-kafka.js'

// No secret of the caller's client is in an error of ours: not in what it says, its cause, what is printed of it, or its JSON.

const SECRET = 'hunter2-marked'

/** As bad as errors of clients get: everything that they were configured with, and the arguments of the command. */
function leaky(name = 'Error'): Error {
  const address = `rediss://user:${SECRET}@db.example:6379/0?password=${SECRET}`
  const inner = new Error(`connect ECONNREFUSED ${address}`)
  return Object.assign(new Error(`could not reach ${address}`, { cause: inner }), {
    name,
    code: 'ECONNREFUSED',
    command: { name: 'AUTH', args: [SECRET] },
    config: { password: SECRET, connectionString: address },
    errors: [inner],
    $metadata: { secretAccessKey: SECRET },
  })
}

const reject = () => Promise.reject(leaky())
const offline = { reconnectForMs: 0 }
const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
const opened = (source: Source<unknown>) => source.open({ positions: {} })
const begun = (sink: Sink<unknown>) => sink.open({ prepared: [], state })

/** Any method of anything, and of what it gives, fails. */
const failing = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, reject]))

const redis = { call: reject }
const pool = { connect: reject }
const brokenPool = {
  connect: async () => ({ query: reject, on: () => {}, removeListener: () => {}, release: () => {} }),
}
const nats = { publish: reject, jetstreamManager: reject, consumers: { get: reject } } as never
const unreachable = failing(['connect', 'disconnect', 'subscribe', 'run', 'send', 'transaction'])
const kafkajs = {
  admin: () => unreachable,
  producer: () => unreachable,
  consumer: () => ({ ...unreachable, on: () => {}, events: {} }),
} as never
const kafka = kafkajsClient(kafkajs)
const decode = () => null
const transactional = { guarantee: 'transactional', transactionalId: 'id' } as const
const blob = failing(['upload', 'download', 'deleteIfExists', 'stageBlock', 'commitBlockList'])
const container = {
  url: `https://account.blob.example/c?sig=${SECRET}`,
  containerName: 'c',
  getBlockBlobClient: () => blob,
  listBlobsFlat: () => ({
    byPage: () => ({ next: reject, [Symbol.asyncIterator]: () => ({ next: reject }) }),
  }),
} as never
const s3 = failing([
  'putObject',
  'getObject',
  'deleteObject',
  'listObjectsV2',
  'createMultipartUpload',
  'uploadPart',
])
const credentials = { accessKeyId: 'id', secretAccessKey: SECRET, sessionToken: SECRET }

const attempts: { readonly [name: string]: () => Promise<unknown> } = {
  redisStreamSource: () => opened(redisStreamSource({ client: redis, streams: ['s'], ...offline })),
  redisGroupSource: () =>
    opened(redisGroupSource({ client: redis, streams: ['s'], group: 'g', consumer: 'c', ...offline })),
  redisStreamSink: () => begun(redisStreamSink({ client: redis, stream: 's', ...offline })),
  RedisStateBackend: () => RedisStateBackend.open({ client: redis as never, name: 's', ...offline }),
  natsSource: () => opened(natsSource({ client: nats, stream: 's', ...offline })),
  natsSink: async () => {
    const writer = await begun(natsSink({ client: nats, subject: 's', ...offline }))
    await writer.commit({ epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } })
  },
  postgresOutboxSource: async () => {
    const reader = await opened(postgresOutboxSource({ pool, table: 't', ...offline }))
    try {
      await reader.poll({ maxEvents: 1, waitMs: 1, paused: new Set() })
    } finally {
      await reader.close()
    }
  },
  postgresSink: () => begun(postgresSink({ pool, name: 'n', write: async () => {}, ...offline })),
  'postgresSink on a connection that breaks': () =>
    begun(postgresSink({ pool: brokenPool, name: 'n', write: async () => {}, ...offline })),
  postgresUpsertSink: async () => {
    const row = ({ output }: { readonly output: unknown }) => ({ id: 1, output: String(output) })
    const writer = await begun(postgresUpsertSink({ pool, table: 't', key: ['id'], row, ...offline }))
    await writer.commit({ epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } })
  },
  PostgresStateBackend: () => PostgresStateBackend.open({ pool, name: 's', ...offline }),
  'PostgresStateBackend on a connection that breaks': () =>
    PostgresStateBackend.open({ pool: brokenPool, name: 's', ...offline }),
  kafkaSource: () => opened(kafkaSource({ client: kafka, topic: 't', groupId: 'g', decode, ...offline })),
  kafkaSink: () => begun(kafkaSink({ client: kafka, topic: 't', ...transactional, ...offline })),
  'kafkaSink that is fenced': () => {
    const client = new FakeKafka()
    client.failures.push(['open', Object.assign(leaky(), { code: 90 })])
    return begun(kafkaSink({ client, topic: 't', ...transactional, ...offline }))
  },
  'kafkaGroup that ends': async () => {
    const client = new FakeKafka()
    client.createTopic('t', 1)
    const failures: Error[] = []
    const owner = {
      assigned: async () => {},
      revoked: async () => {},
      lost: async () => {},
      failed: (error: Error) => void failures.push(error),
    }
    await kafkaGroup({ client, topic: 't', groupId: 'g', decode }).join(owner)
    client.members[0]?.onFailure(leaky())
    throw failures[0]
  },
  'kafkaGroup that cannot be joined': async () => {
    const failed = () => {}
    const owner = { assigned: async () => {}, revoked: async () => {}, lost: async () => {}, failed }
    await kafkaGroup({ client: kafka, topic: 't', groupId: 'g', decode }).join(owner)
  },
  'S3 by the SDK': async () =>
    new S3CheckpointStorage({ bucket: 'b', client: s3 as never, attempts: 1 }).acquire(),
  'S3 by fetch': async () =>
    new S3CheckpointStorage({
      bucket: 'b',
      attempts: 1,
      credentials,
      endpoint: 'http://127.0.0.1:1',
    }).acquire(),
  'S3 at an address with a password': async () =>
    new S3CheckpointStorage({ bucket: 'b', credentials, endpoint: `http://user:${SECRET}@127.0.0.1:1` }),
  Azure: () => new AzureCheckpointStorage({ container, attempts: 1 }).acquire(),
}

/** All that anybody may print of an error. */
function shownOf(error: unknown, depth = 0): string {
  const { message, stack, cause } = error as Error
  const all = [
    message,
    stack,
    inspect(error, { depth: Infinity, showHidden: true }),
    JSON.stringify(error),
    String(error),
  ]
  return all.join('\n') + (cause === undefined || depth > 9 ? '' : shownOf(cause, depth + 1))
}

for (const [name, attempt] of Object.entries(attempts)) {
  it(`no error of ${name} has a secret of its client`, async () => {
    const error = await attempt().then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ name: 'StateError' })
    expect(shownOf(error)).not.toContain(SECRET)
  })
}
