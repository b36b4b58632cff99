// The client of a system is loaded where it is used: a job that is killed again and again loads none of the others.

import type { StateBackend } from '../../../src/index.js'
import type { Sink, Source } from '../../../src/job.js'
import { kafkajsClient, kafkaSink, kafkaSource } from '../../../src/kafka.js'
import { natsSink, natsSource } from '../../../src/nats.js'
import { PostgresStateBackend } from '../../../src/postgres.js'
import { postgresOutboxSource, postgresSink } from '../../../src/postgres-tables.js'
import { RedisStateBackend } from '../../../src/redis.js'
import { redisGroupSource, redisStreamSink, redisStreamSource } from '../../../src/redis-streams.js'
import type { CountedEvent, CountedOutput } from './counted.js'

/** Fewer than a cut has of them: it is put out in parts, and killed between them. */
const MAX_OUTPUTS = 5

const clients = {
  redis: () => import('ioredis'),
  nats: async () => ({
    ...(await import('@nats-io/transport-node')),
    ...(await import('@nats-io/jetstream')),
  }),
  postgres: () => import('pg'),
  kafka: () => import('kafkajs'),
}

/** A source and a sink on one server, and the state too, where it is there. */
export interface OpenSystem {
  readonly source: Source<CountedEvent>
  readonly sink: Sink<CountedOutput>
  readonly backend?: StateBackend
  close(): Promise<void>
}

/** It looks for a server that is back at once: by itself it waits a second for one that has not loaded everything yet. */
async function connectRedis(address: string, options: { readonly socketTimeout?: number } = {}) {
  const { Redis } = await clients.redis()
  const client = new Redis(address, {
    maxRetriesPerRequest: 1,
    enableReadyCheck: false,
    retryStrategy: () => 20,
    ...options,
  })
  client.on('error', () => {})
  return client
}

async function openRedis(address: string, suffix = ''): Promise<OpenSystem> {
  const client = await connectRedis(address)
  return {
    source: redisStreamSource<CountedEvent>({ client, streams: [`in${suffix}`] }),
    sink: redisStreamSink<CountedOutput>({ client, stream: `out${suffix}`, maxOutputs: MAX_OUTPUTS }),
    close: async () => client.disconnect(),
  }
}

async function openRedisWithEngine(address: string): Promise<OpenSystem> {
  const system = await openRedis(address, '-engine')
  const client = await connectRedis(address, { socketTimeout: 5_000 })
  return {
    ...system,
    backend: await RedisStateBackend.open({ client, name: 'counts', ordered: true, fsync: 'always' }),
    close: async () => {
      await system.close()
      client.disconnect()
    },
  }
}

async function openRedisGroup(address: string): Promise<OpenSystem> {
  const client = await connectRedis(address)
  return {
    source: redisGroupSource<CountedEvent>({
      client,
      streams: ['in-group'],
      group: 'counts',
      consumer: 'one',
    }),
    sink: redisStreamSink<CountedOutput>({ client, stream: 'out-group', maxOutputs: MAX_OUTPUTS }),
    close: async () => client.disconnect(),
  }
}

/** What was asked of a server that was killed has no answer: it is asked again. */
const ANSWER_WITHIN_MS = 1_000

async function openNats(address: string): Promise<OpenSystem> {
  const { connect, jetstream } = await clients.nats()
  const connection = await connect({ servers: address, maxReconnectAttempts: -1, reconnectTimeWait: 50 })
  const client = jetstream(connection)
  return {
    source: natsSource<CountedEvent>({ client, stream: 'in', answerWithinMs: ANSWER_WITHIN_MS }),
    // One at a time: so the order is that of the job, whatever fails.
    sink: natsSink<CountedOutput>({
      client,
      subject: 'out',
      maxOutputs: 1,
      answerWithinMs: ANSWER_WITHIN_MS,
    }),
    close: () => connection.close(),
  }
}

async function connectPostgres(address: string) {
  const { Pool } = await clients.postgres()
  const pool = new Pool({ connectionString: address, connectionTimeoutMillis: 2_000 })
  pool.on('error', () => {})
  return pool
}

async function openPostgres(address: string, suffix = ''): Promise<OpenSystem> {
  const pool = await connectPostgres(address)
  const [table, outputsTable] = [`events${suffix}`, `outputs${suffix}`]
  return {
    source: postgresOutboxSource<CountedEvent>({ pool, table, channel: table, pollEveryMs: 20 }),
    sink: postgresSink<CountedOutput>({
      pool,
      name: `counts${suffix}`,
      maxOutputs: MAX_OUTPUTS,
      // As whoever adds to what is there: twice would be seen.
      write: async (client, outputs) => {
        const texts = outputs.map(({ output }) => JSON.stringify(output))
        await client.query(
          `INSERT INTO ${outputsTable} (output) SELECT value::jsonb FROM unnest($1::text[]) WITH ORDINALITY AS t (value, place) ORDER BY place`,
          [texts],
        )
      },
    }),
    close: () => pool.end(),
  }
}

async function openPostgresWithEngine(address: string): Promise<OpenSystem> {
  const system = await openPostgres(address, '_engine')
  const pool = await connectPostgres(address)
  return {
    ...system,
    backend: await PostgresStateBackend.open({ pool, name: 'counts' }),
    close: async () => {
      await system.close()
      await pool.end()
    },
  }
}

async function openKafka(address: string): Promise<OpenSystem> {
  const { Kafka, logLevel } = await clients.kafka()
  // As often as for users, with shorter pauses: where NODE_ENV is 'test' it would ask fifteen times again.
  const retry = { initialRetryTime: 50, multiplier: 2, factor: 0.2, retries: 5 }
  const client = kafkajsClient(new Kafka({ brokers: [address], logLevel: logLevel.NOTHING, retry }))
  return {
    source: kafkaSource({
      client,
      topic: 'in',
      groupId: 'counts',
      decode: ({ value }) => JSON.parse(new TextDecoder().decode(value)) as CountedEvent,
    }),
    sink: kafkaSink({ client, topic: 'out', guarantee: 'transactional', transactionalId: 'counts' }),
    close: () => client.close(),
  }
}

interface System {
  load(): Promise<unknown>
  open(address: string): Promise<OpenSystem>
}

const systems: { readonly [name: string]: System } = {
  nats: { load: clients.nats, open: openNats },
  postgres: { load: clients.postgres, open: openPostgres },
  'postgres-engine': { load: clients.postgres, open: openPostgresWithEngine },
  kafka: { load: clients.kafka, open: openKafka },
  redis: { load: clients.redis, open: openRedis },
  'redis-group': { load: clients.redis, open: openRedisGroup },
  'redis-engine': { load: clients.redis, open: openRedisWithEngine },
  valkey: { load: clients.redis, open: openRedis },
  'valkey-group': { load: clients.redis, open: openRedisGroup },
  'valkey-engine': { load: clients.redis, open: openRedisWithEngine },
}

function systemNamed(name: string): System {
  const system = systems[name]
  if (system === undefined) throw new Error(`there is no job for ${name}`)
  return system
}

/** Loads what speaks to a system, before anything is opened. */
export async function loadClient(name: string): Promise<void> {
  await systemNamed(name).load()
}

export async function openSystem(name: string, address: string): Promise<OpenSystem> {
  return await systemNamed(name).open(address)
}
