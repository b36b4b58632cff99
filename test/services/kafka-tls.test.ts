import { Consumer, Producer } from '@platformatic/kafka'
import { Kafka, logLevel } from 'kafkajs'
import { describe } from 'vitest'
import type { RunningService } from '../../scripts/services/services.mjs'
import {
  type KafkaClient,
  kafkajsClient,
  kafkaSink,
  kafkaSource,
  platformaticKafkaClient,
} from '../../src/kafka.js'
import { makeTopics } from './kafka-clients.js'
import { type SecuredSystem, securedHolds } from './secured.js'

const GROUP = 'counts'
const USER = 'job'
const numberOf = ({ value }: { readonly value: Uint8Array | undefined }) => Number(Buffer.from(value ?? []))

function kafkajsOf({ address, certificate = '' }: RunningService, password: string): Kafka {
  return new Kafka({
    brokers: [address],
    logLevel: logLevel.NOTHING,
    ssl: { ca: certificate },
    sasl: { mechanism: 'scram-sha-256', username: USER, password },
    retry: { retries: 1, initialRetryTime: 50 },
  })
}

/** What the two clients have in common. */
async function opened(
  service: RunningService,
  password: string,
  client: KafkaClient,
  close: () => Promise<unknown>,
): ReturnType<SecuredSystem['open']> {
  const kafka = kafkajsOf(service, password)
  // A wrong password is to be told soon; with the right one, the first answer of a topic that was just made may take a while.
  const common = { client, reconnectForMs: password.endsWith('-wrong') ? 500 : 20_000 }
  const source = (topic: string, endsAtEnd: boolean) =>
    kafkaSource<number>({ ...common, topic, groupId: GROUP, decode: numberOf, endsAtEnd })
  return {
    source: source('in', false),
    sink:
      typeof client.transactions === 'string'
        ? kafkaSink<number>({ ...common, topic: 'out', guarantee: 'idempotent' })
        : kafkaSink<number>({ ...common, topic: 'out', guarantee: 'transactional', transactionalId: GROUP }),
    send: async (events) => {
      const admin = kafka.admin()
      await admin.connect()
      await makeTopics(admin, { topic: 'in' }, { topic: 'out' })
      await admin.disconnect()
      const producer = kafka.producer()
      await producer.connect()
      await producer.send({ topic: 'in', messages: events.map((n) => ({ value: String(n) })) })
      await producer.disconnect()
    },
    outputs: async () => {
      const reader = await source('out', true).open({ positions: {} })
      const found: number[] = []
      for (let hasEnded = false; !hasEnded; ) {
        for (const polled of await reader.poll({ maxEvents: 9, waitMs: 1_000, paused: new Set() })) {
          found.push(...polled.events)
          hasEnded = polled.hasEnded === true
        }
      }
      await reader.close()
      return found
    },
    close,
  }
}

describe('kafkajs, by SCRAM-SHA-256', () => {
  securedHolds('kafka', {
    open: async (service, password) => {
      const client = kafkajsClient(kafkajsOf(service, password))
      return await opened(service, password, client, () => client.close())
    },
  })
})

describe('@platformatic/kafka, by PLAIN', () => {
  securedHolds('kafka', {
    open: async (service, password) => {
      const options = {
        clientId: 'counts',
        bootstrapBrokers: [service.address],
        tls: { ca: service.certificate ?? '' },
        sasl: { mechanism: 'PLAIN' as const, username: USER, password },
        retries: 1,
      }
      const consumer = new Consumer({ ...options, groupId: GROUP })
      const producer = new Producer(options)
      const client = platformaticKafkaClient({ consumer, producer })
      return await opened(service, password, client, () =>
        Promise.allSettled([consumer.close(true), producer.close()]),
      )
    },
  })
})
