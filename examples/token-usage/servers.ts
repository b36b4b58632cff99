// Servers that requests may be read from: a topic of Kafka, a stream of NATS JetStream, a stream of Redis.

import { connect as connectTo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { Source } from 'holdfast/job'
import type { LlmRequest } from './events.js'
import { InputError } from './input-error.js'

/** Another one needs a name here, and a line in `clients`. */
export const serverNames = ['kafka', 'nats', 'redis'] as const
export type ServerName = (typeof serverNames)[number]

const DEFAULT_ADDRESSES = { kafka: '127.0.0.1:9092', nats: '127.0.0.1:4222', redis: '127.0.0.1:6379' }
const ANSWER_WITHIN_MS = 10_000
/** A topic that was made is known to the brokers by then. */
const KNOWN_WITHIN_MS = 30_000

/** A topic or stream of a server. */
export interface ServerPlace {
  readonly server: ServerName
  /** `HOST:PORT`, or a URL as the client takes it, also with credentials. */
  readonly address: string
  readonly stream: string
}

/** A topic or stream, by a client as a gateway would have it. */
export interface RequestStream {
  create(): Promise<unknown>
  append(requests: readonly LlmRequest[]): Promise<unknown>
  remove(): Promise<unknown>
  /** It ends with the last request that is there when it is opened. */
  readonly source: Source<LlmRequest>
  close(): Promise<unknown>
}

export const addressOf = (server: ServerName, address?: string): string =>
  address ?? DEFAULT_ADDRESSES[server]

/** Connects. Where nothing answers there, one line says so. */
export async function openStream(place: ServerPlace): Promise<RequestStream> {
  const { server } = place
  const url = urlOf(place)
  try {
    await requireListener(
      url.hostname.replace(/^\[|\]$/g, ''),
      Number(url.port || addressOf(server).split(':')[1]),
    )
    const late = setTimeout(ANSWER_WITHIN_MS, undefined, { ref: false }).then(() => {
      throw new Error('it does not answer as such a server does')
    })
    return await Promise.race([clients[server](place, url), late])
  } catch (error) {
    const reason = (error as Error).message.split('\n')[0]
    throw new InputError(`no ${server} at ${url.host}: ${reason}; name a server that runs with --address`)
  }
}

/** A URL may have a password: of one that is none, nothing is shown. */
function urlOf({ server, address }: ServerPlace): URL {
  const text = address.includes('://') ? address : `${server}://${address}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || url.hostname === '') {
    throw new InputError(`--address must be HOST:PORT or a URL of ${server}, with a port below 65536`)
  }
  return url
}

/** Resolves once somebody listens there. */
export function requireListener(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connectTo({ host, port, timeout: ANSWER_WITHIN_MS })
    socket.once('connect', resolve).once('error', reject)
    socket.once('timeout', () => reject(new Error('no answer')))
    socket.once('connect', () => socket.destroy())
  })
}

const clients: { readonly [Name in ServerName]: (place: ServerPlace, url: URL) => Promise<RequestStream> } = {
  kafka: async ({ stream: topic }, { host }) => {
    const { Kafka, logLevel } = await import('kafkajs')
    const { kafkajsClient, kafkaSource } = await import('holdfast/kafka')
    const kafka = new Kafka({ brokers: [host], logLevel: logLevel.NOTHING, retry: { retries: 3 } })
    const client = kafkajsClient(kafka)
    const admin = kafka.admin()
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await Promise.all([admin.connect(), producer.connect()])
    return {
      create: async () => {
        await admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: false })
        // A broker that has come up a moment ago may not know at once what it has made: a client that waits for its leader would fail.
        const endMs = performance.now() + KNOWN_WITHIN_MS
        while (!(await admin.listTopics()).includes(topic)) {
          if (performance.now() > endMs)
            throw new Error(`the brokers do not know topic ${topic}, which was made`)
          await setTimeout(50)
        }
      },
      append: (requests) =>
        producer.send({ topic, messages: requests.map((request) => ({ value: JSON.stringify(request) })) }),
      remove: () => admin.deleteTopics({ topics: [topic] }),
      source: kafkaSource({
        client,
        topic,
        groupId: topic,
        decode: ({ value }) => JSON.parse(new TextDecoder().decode(value)) as LlmRequest,
        endsAtEnd: true,
      }),
      close: () => Promise.all([client.close(), admin.disconnect(), producer.disconnect()]),
    }
  },

  nats: async ({ address, stream }) => {
    const { connect } = await import('@nats-io/transport-node')
    const { jetstream, jetstreamManager } = await import('@nats-io/jetstream')
    const { natsSource } = await import('holdfast/nats')
    const connection = await connect({ servers: address, maxReconnectAttempts: -1 })
    const client = jetstream(connection)
    const { streams } = await jetstreamManager(connection)
    return {
      create: () => streams.add({ name: stream, subjects: [stream] }),
      append: (requests) =>
        Promise.all(requests.map((request) => client.publish(stream, JSON.stringify(request)))),
      remove: () => streams.delete(stream),
      source: natsSource<LlmRequest>({ client, stream, follow: false }),
      close: () => connection.close(),
    }
  },

  redis: async ({ stream }, { href }) => {
    const { Redis } = await import('ioredis')
    const { redisStreamSource } = await import('holdfast/redis-streams')
    const client = new Redis(href, { maxRetriesPerRequest: 1 })
    client.on('error', () => {})
    await client.ping()
    return {
      create: async () => {},
      append: async (requests) => {
        const commands = client.pipeline()
        for (const request of requests) commands.xadd(stream, '*', 'json', JSON.stringify(request))
        for (const [error] of (await commands.exec()) ?? []) if (error !== null) throw error
      },
      remove: () => client.del(stream),
      source: redisStreamSource<LlmRequest>({ client, streams: [stream], follow: false }),
      close: async () => client.disconnect(),
    }
  },
}
