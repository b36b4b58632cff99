// @platformatic/kafka. Its stream of messages gives also those of transactions that were aborted, so this file fetches by itself, from the
// brokers that have the partitions, and filters; no group is joined.

import { orAborted } from '../../base/abort.js'
import { invalidArgument, requireSettings } from '../../base/options.js'
import { hasCode, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION } from './broker-errors.js'
import { bufferOf } from './buffers.js'
import { type CommittedBatch, committedMessages } from './committed-messages.js'
import type {
  KafkaClient,
  KafkaFetched,
  KafkaFetchRequest,
  KafkaOutput,
  KafkaProducer,
  KafkaReader,
  KafkaReaderOptions,
  KafkaTopic,
} from './kafka-client.js'

/** What is used of a `Consumer` of @platformatic/kafka. */
export interface PlatformaticConsumer {
  readonly groupId: string
  generationId: number
  memberId: string | null
  metadata(options: { topics: string[]; forceUpdate?: boolean }): Promise<{
    readonly topics: ReadonlyMap<
      string,
      { readonly id: string; readonly partitions: readonly { readonly leader: number }[] }
    >
  }>
  listOffsets(options: {
    topics: string[]
    timestamp: bigint
    isolationLevel: 'READ_COMMITTED'
  }): Promise<ReadonlyMap<string, readonly bigint[]>>
  fetch(options: {
    node: number
    topics: {
      topicId: string
      partitions: {
        partition: number
        fetchOffset: bigint
        partitionMaxBytes: number
        currentLeaderEpoch: number
        lastFetchedEpoch: number
      }[]
    }[]
    minBytes: number
    maxBytes: number
    maxWaitTime: number
    isolationLevel: 'READ_COMMITTED'
  }): Promise<{
    readonly responses: readonly {
      readonly partitions: readonly {
        readonly partitionIndex: number
        readonly highWatermark: bigint
        readonly abortedTransactions: readonly {
          readonly producerId: bigint
          readonly firstOffset: bigint
        }[]
        readonly records?: readonly CommittedBatch[]
      }[]
    }[]
  }>
  commit(options: {
    offsets: { topic: string; partition: number; offset: bigint; leaderEpoch: number }[]
  }): Promise<void>
}

/** What is used of a `Producer` of @platformatic/kafka. */
export interface PlatformaticProducer {
  send(options: {
    messages: {
      topic: string
      key?: Buffer
      value?: Buffer
      headers?: Map<Buffer, Buffer>
      partition?: number
      timestamp?: bigint
    }[]
    acks: number
  }): Promise<unknown>
}

export interface PlatformaticKafkaClientOptions {
  /** For sources. Its group is the one to which offsets are committed. */
  readonly consumer?: PlatformaticConsumer
  /** For sinks. */
  readonly producer?: PlatformaticProducer
}

const EARLIEST = -2n
const LATEST = -1n
const MAX_BYTES = 10 * 1024 * 1024

/**
 * Makes a Kafka client for `kafkaSource` and `kafkaSink` of a `Consumer` and a `Producer` of @platformatic/kafka, with their brokers, TLS and
 * credentials, and without serializers. They stay the caller's to close. Its transactions are not used: see docs/kafka.md. A message without a value or
 * a key is read as one with an empty one.
 *
 * @example
 * const options = { clientId: 'tokens', bootstrapBrokers: ['localhost:9092'] }
 * const client = platformaticKafkaClient({ consumer: new Consumer({ ...options, groupId: 'tokens' }), producer: new Producer(options) })
 */
export function platformaticKafkaClient(options: PlatformaticKafkaClientOptions): KafkaClient {
  requireSettings(options)
  return new PlatformaticClient(options)
}

class PlatformaticClient implements KafkaClient {
  readonly name = '@platformatic/kafka'
  readonly transactions =
    'with @platformatic/kafka the process that comes later is fenced off, not the one that should be gone'
  readonly #options: PlatformaticKafkaClientOptions

  constructor(options: PlatformaticKafkaClientOptions) {
    this.#options = options
  }

  async describe(topic: string): Promise<KafkaTopic> {
    const consumer = this.#consumer()
    const request = { topics: [topic], isolationLevel: 'READ_COMMITTED' as const }
    try {
      const metadata = await consumer.metadata({ topics: [topic], forceUpdate: true })
      const first = await consumer.listOffsets({ ...request, timestamp: EARLIEST })
      const end = await consumer.listOffsets({ ...request, timestamp: LATEST })
      const partitions = (first.get(topic) ?? []).map((offset, partition) => ({
        partition,
        first: Number(offset),
        end: Number(end.get(topic)?.[partition] ?? offset),
      }))
      return { id: metadata.topics.get(topic)?.id, partitions }
    } catch (error) {
      if (hasCode(error, UNKNOWN_TOPIC_OR_PARTITION)) {
        throw invalidArgument('options.topic', `must be a topic of the brokers: ${topic} is none`)
      }
      throw error
    }
  }

  async openReader(options: KafkaReaderOptions): Promise<KafkaReader> {
    const consumer = this.#consumer()
    if (options.groupId !== consumer.groupId) {
      throw invalidArgument('options.groupId', `must be that of the consumer: ${consumer.groupId}`)
    }
    return new PlatformaticReader(consumer, options)
  }

  async commitOffsets(_groupId: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void> {
    const consumer = this.#consumer()
    // As whoever is no member of a group commits for it.
    consumer.generationId = -1
    consumer.memberId = ''
    const commits = Array.from(offsets, ([partition, offset]) => ({
      topic,
      partition,
      offset: BigInt(offset),
      leaderEpoch: -1,
    }))
    await consumer.commit({ offsets: commits })
  }

  async openProducer(): Promise<KafkaProducer> {
    const { producer } = this.#options
    if (producer === undefined) throw invalidArgument('options.client', 'was made without a producer')
    return {
      send: async (topic, messages) => {
        await producer.send({ messages: messages.map((message) => recordOf(topic, message)), acks: -1 })
      },
      close: async () => {},
    }
  }

  async close(): Promise<void> {}

  #consumer(): PlatformaticConsumer {
    const { consumer } = this.#options
    if (consumer === undefined) throw invalidArgument('options.client', 'was made without a consumer')
    return consumer
  }
}

/** What a broker has answered. */
interface Arrived {
  /** The offset that it was asked for. */
  readonly from: number
  readonly of: KafkaFetched
}

/** Asks each broker for its partitions, and tells what has come first. */
class PlatformaticReader implements KafkaReader {
  readonly #consumer: PlatformaticConsumer
  readonly #options: KafkaReaderOptions
  /** What brokers are asked at the moment. */
  readonly #asked = new Map<number, Promise<void>>()
  readonly #arrived: Arrived[] = []
  readonly #closing = new AbortController()
  #failure: { readonly error: unknown } | undefined
  /** Something has failed: who leads a partition is asked anew. */
  #isStale = false

  constructor(consumer: PlatformaticConsumer, options: KafkaReaderOptions) {
    this.#consumer = consumer
    this.#options = options
  }

  async fetch(request: KafkaFetchRequest): Promise<readonly KafkaFetched[]> {
    const { signal } = this.#closing
    if (signal.aborted) return []
    if (this.#arrived.length === 0 && this.#failure === undefined) {
      const arriving = this.#ask(request).then((asked) => Promise.race(asked))
      await orAborted(arriving, signal, () => signal.reason as unknown).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
    }
    const failure = this.#failure
    this.#failure = undefined
    if (failure !== undefined && !signal.aborted) throw failure.error
    // A broker that was slow to answer was asked by an attempt before this one, which may have been for another offset.
    const arrived = this.#arrived.splice(0)
    return arrived.filter(({ from, of }) => from === request.from.get(of.partition)).map(({ of }) => of)
  }

  async close(): Promise<void> {
    this.#closing.abort()
  }

  /** Returns what brokers are asked then. */
  async #ask({ from, waitMs }: KafkaFetchRequest): Promise<Promise<void>[]> {
    const { topic } = this.#options
    const metadata = await this.#consumer.metadata({ topics: [topic], forceUpdate: this.#isStale })
    this.#isStale = false
    const description = metadata.topics.get(topic)
    const byLeader = new Map<number, (readonly [partition: number, offset: number])[]>()
    for (const each of from) {
      const leader = description?.partitions[each[0]]?.leader ?? -1
      byLeader.set(leader, [...(byLeader.get(leader) ?? []), each])
    }
    for (const [leader, wanted] of byLeader) {
      if (this.#asked.has(leader)) continue
      const asking = this.#fetchFrom(leader, description?.id ?? '', wanted, waitMs)
        .catch((error: unknown) => {
          this.#isStale = true
          this.#failure = { error }
        })
        .finally(() => this.#asked.delete(leader))
      this.#asked.set(leader, asking)
    }
    return [...this.#asked.values()]
  }

  async #fetchFrom(
    node: number,
    topicId: string,
    wanted: readonly (readonly [partition: number, offset: number])[],
    waitMs: number,
  ): Promise<void> {
    const { topic, maxPartitionBytes } = this.#options
    const partitions = wanted.map(([partition, offset]) => ({
      partition,
      fetchOffset: BigInt(offset),
      partitionMaxBytes: maxPartitionBytes,
      currentLeaderEpoch: -1,
      lastFetchedEpoch: -1,
    }))
    const asked = this.#consumer.fetch({
      node,
      topics: [{ topicId, partitions }],
      minBytes: 1,
      maxBytes: MAX_BYTES,
      maxWaitTime: Math.max(1, Math.round(waitMs)),
      isolationLevel: 'READ_COMMITTED',
    })
    const answer = await asked.catch((error: unknown) => {
      // Of several partitions it does not say which one.
      if (hasCode(error, OFFSET_OUT_OF_RANGE)) return undefined
      throw error
    })
    if (answer === undefined) {
      for (const [partition, next] of wanted)
        this.#arrive(next, { partition, messages: [], next, isAtEnd: false, isOutOfRange: true })
      return
    }
    const offsets = new Map(wanted)
    for (const each of answer.responses.flatMap(({ partitions: all }) => all)) {
      const partition = each.partitionIndex
      const from = offsets.get(partition)
      if (from === undefined) continue
      const { messages, next } = committedMessages({
        topic,
        partition,
        from,
        batches: each.records ?? [],
        aborted: each.abortedTransactions,
      })
      this.#arrive(from, { partition, messages, next, isAtEnd: BigInt(next) >= each.highWatermark })
    }
  }

  #arrive(from: number, of: KafkaFetched): void {
    this.#arrived.push({ from, of })
  }
}

function recordOf(topic: string, { key, value, headers, partition, timestampMs }: KafkaOutput) {
  const keyBytes = bufferOf(key)
  const valueBytes = bufferOf(value)
  // By bytes, as the values: the client takes names as text only where it was given serializers.
  const entries = new Map<Buffer, Buffer>()
  for (const [name, text] of Object.entries(headers ?? {})) {
    entries.set(Buffer.from(name), bufferOf(text) as Buffer)
  }
  return {
    topic,
    ...(keyBytes !== undefined && { key: keyBytes }),
    ...(valueBytes !== undefined && { value: valueBytes }),
    ...(entries.size > 0 && { headers: entries }),
    ...(partition !== undefined && { partition }),
    ...(timestampMs !== undefined && { timestamp: BigInt(timestampMs) }),
  }
}
