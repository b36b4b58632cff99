import { describe, expect, it } from 'vitest'
import type { Sink } from '../../job/sink/sink.js'
import type { Source } from '../../job/source/source.js'
import { FakeKafka } from '../../testing/fake-kafka.js'
import { kafkaSink } from '../kafka/kafka-sink.js'
import { kafkaSource } from '../kafka/kafka-source.js'
import { natsSink } from '../nats/nats-sink.js'
import { natsSource } from '../nats/nats-source.js'
import { postgresOutboxSource } from '../postgres-tables/postgres-outbox-source.js'
import { postgresSink } from '../postgres-tables/postgres-sink.js'
import { postgresUpsertSink } from '../postgres-tables/postgres-upsert-sink.js'
import { redisGroupSource } from '../redis-streams/redis-group-source.js'
import { redisStreamSink } from '../redis-streams/redis-stream-sink.js'
import { redisStreamSource } from '../redis-streams/redis-stream-source.js'

const neverAnswers = () => new Promise<never>(() => {})

function silentKafka(): FakeKafka {
  const client = new FakeKafka()
  client.createTopic('t', 1)
  return Object.assign(client, {
    openProducer: neverAnswers,
    transactions: { open: neverAnswers, readMark: neverAnswers },
  })
}

const silentNats = {
  publish: neverAnswers,
  jetstreamManager: neverAnswers,
  consumers: { get: neverAnswers },
}
const pool = { connect: neverAnswers }
const sinks: { readonly [name: string]: () => Sink<string> } = {
  'an idempotent kafkaSink': () => kafkaSink({ client: silentKafka(), topic: 't', guarantee: 'idempotent' }),
  'a transactional kafkaSink': () =>
    kafkaSink({ client: silentKafka(), topic: 't', guarantee: 'transactional', transactionalId: 'job' }),
  natsSink: () => natsSink({ client: silentNats, subject: 's' }),
  postgresSink: () => postgresSink({ pool, name: 's', write: async () => {} }),
  postgresUpsertSink: () => postgresUpsertSink({ pool, table: 't', key: ['id'], row: ({ id }) => ({ id }) }),
  redisStreamSink: () => redisStreamSink({ client: { call: neverAnswers }, stream: 'out' }),
}

const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
const prepared = [{ epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }]

const sources: { readonly [name: string]: () => Source<unknown> } = {
  kafkaSource: () =>
    kafkaSource({
      client: Object.assign(silentKafka(), { describe: neverAnswers }),
      topic: 't',
      groupId: 'g',
      decode: () => 0,
    }),
  natsSource: () => natsSource({ client: silentNats, stream: 's' }),
  postgresOutboxSource: () => postgresOutboxSource({ pool, table: 't', follow: false }),
  redisStreamSource: () => redisStreamSource({ client: { call: neverAnswers }, streams: ['s'] }),
  redisGroupSource: () =>
    redisGroupSource({ client: { call: neverAnswers }, streams: ['s'], group: 'g', consumer: 'c' }),
}

describe('a source whose server does not answer', () => {
  for (const [name, create] of Object.entries(sources)) {
    it(`ends soon where its opening is given up: ${name}`, async () => {
      const giving = new AbortController()
      const opening = create().open({ positions: {}, signal: giving.signal })
      setImmediate(() => giving.abort())
      await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
    })

    it(`does not begin where that was given up before: ${name}`, async () => {
      const opening = create().open({ positions: {}, signal: AbortSignal.abort() })
      await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
    })
  }
})

describe('a sink whose server does not answer', () => {
  for (const [name, create] of Object.entries(sinks)) {
    it(`ends soon where its opening is given up: ${name}`, async () => {
      const giving = new AbortController()
      const opening = create().open({ prepared, state, signal: giving.signal })
      setImmediate(() => giving.abort())
      await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
    })

    it(`does not begin where that was given up before: ${name}`, async () => {
      const opening = create().open({ prepared, state, signal: AbortSignal.abort() })
      await expect(opening).rejects.toMatchObject({ code: 'ABORTED' })
    })
  }
})
