import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer, Producer } from '@platformatic/kafka'
import { type Admin, type ITopicConfig, Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { type KafkaClient, kafkajsClient, platformaticKafkaClient } from '../../src/kafka.js'

/** A broker of the tests of a file, and clients of it. */
export interface KafkaOfTests {
  readonly service: RunningService
  readonly kafka: Kafka
  readonly admin: Admin
  /** By their names. */
  readonly clients: { readonly [name: string]: KafkaClient }
}

/** Starts a broker for the tests of a file, and ends it behind them. What it returns is there once they run. */
export function kafkaOfTests(groupId: string): () => KafkaOfTests {
  let started: KafkaOfTests | undefined
  const opened: (() => Promise<unknown>)[] = []
  beforeAll(async () => {
    const service = await startService('kafka')
    opened.push(() => service.stop())
    // As often as for users, with shorter pauses: where NODE_ENV is 'test' it would ask fifteen times again, for ten seconds.
    const retry = { initialRetryTime: 50, multiplier: 2, factor: 0.2, retries: 5 }
    const kafka = new Kafka({ brokers: [service.address], logLevel: logLevel.NOTHING, retry })
    const admin = kafka.admin()
    await admin.connect()
    opened.unshift(() => admin.disconnect())
    const options = { clientId: 'test', bootstrapBrokers: [service.address] }
    const consumer = new Consumer({ ...options, groupId })
    const producer = new Producer(options)
    const kafkajs = kafkajsClient(kafka)
    opened.unshift(
      () => kafkajs.close(),
      async () => consumer.close(true),
      async () => producer.close(),
    )
    const clients = { kafkajs, platformatic: platformaticKafkaClient({ consumer, producer }) }
    started = { service, kafka, admin, clients }
  })
  afterAll(async () => {
    for (const close of opened) await close().catch(() => {})
  })
  return () => started as KafkaOfTests
}

/** Makes topics, and waits until the broker knows them. A client that is to wait for their leaders fails where the broker does not know them at once, as one that came up a moment ago. */
export async function makeTopics(admin: Admin, ...topics: readonly ITopicConfig[]): Promise<void> {
  await admin.createTopics({ topics: [...topics], waitForLeaders: false })
  for (;;) {
    const known = new Set(await admin.listTopics())
    if (topics.every(({ topic }) => known.has(topic))) return
    await sleep(20)
  }
}
