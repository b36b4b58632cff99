// kafkajs. It reads only as a member of a group, pushes what it reads, and goes on elsewhere where an offset is not there any more: this file
// makes of that what a source needs.
//
// (1) Each reader is the only member of a group of its own, so nobody waits for a member that has died; after an outage it is one of another group. Offsets
//     are always set by us.
// (2) What arrives from another offset than the one that is due is not taken.
// (3) A topic without partitions is one that the client has lost sight of: it is asked again.
// (4) Offsets are committed for another group without being a member of it: by a transaction that does nothing else.
// (5) An admin client asks for all topics that it has ever heard of, and fails for all of them where one was deleted: then another one is asked.

import { randomUUID } from 'node:crypto'
import { pauseUnless } from '../../base/clock.js'
import { invalidArgument, requireSettings } from '../../base/options.js'
import { hasCode, mayPass, UNKNOWN_TOPIC_OR_PARTITION } from './broker-errors.js'
import { bufferOf } from './buffers.js'
import type {
  KafkaClient,
  KafkaGroupRequest,
  KafkaMark,
  KafkaMembership,
  KafkaOutput,
  KafkaProducer,
  KafkaReader,
  KafkaReaderOptions,
  KafkaTopic,
  KafkaTransaction,
  KafkaTransactionalProducer,
  KafkaTransactions,
} from './kafka-client.js'
import { type KafkajsConsumer, KafkajsReader } from './kafkajs-reader.js'

/** What is used of an instance of `Kafka` of kafkajs. */
export interface Kafkajs {
  admin(): KafkajsAdmin
  consumer(options: {
    groupId: string
    readUncommitted: boolean
    allowAutoTopicCreation: boolean
    maxWaitTimeInMs: number
    maxBytesPerPartition: number
    sessionTimeout: number
    heartbeatInterval: number
    metadataMaxAge: number
    retry: { restartOnFailure: () => Promise<boolean> }
  }): KafkajsConsumer
  producer(options: {
    allowAutoTopicCreation: boolean
    idempotent?: boolean
    transactionalId?: string
    maxInFlightRequests?: number
    transactionTimeout?: number
    retry?: { retries: number }
  }): KafkajsProducer
}

interface KafkajsAdmin {
  connect(): Promise<void>
  disconnect(): Promise<void>
  fetchTopicMetadata(options: { topics: string[] }): Promise<{
    readonly topics: readonly {
      readonly partitions: readonly { readonly partitionId: number; readonly leader: number }[]
    }[]
  }>
  fetchTopicOffsets(
    topic: string,
  ): Promise<readonly { readonly partition: number; readonly low: string; readonly high: string }[]>
  fetchOffsets(options: { groupId: string; topics: string[] }): Promise<
    readonly {
      readonly topic: string
      readonly partitions: readonly { readonly partition: number; readonly offset: string }[]
    }[]
  >
}

interface KafkajsRecords {
  topic: string
  acks?: number
  messages: {
    key: Buffer | null
    value: Buffer | null
    headers?: Record<string, Buffer>
    partition?: number
    timestamp?: string
  }[]
}

interface KafkajsProducer {
  connect(): Promise<void>
  disconnect(): Promise<void>
  /** What was written of each partition. */
  send(records: KafkajsRecords): Promise<readonly { readonly partition: number }[]>
  transaction(): Promise<KafkajsTransaction>
}

interface KafkajsTransaction {
  send(records: KafkajsRecords): Promise<readonly { readonly partition: number }[]>
  sendOffsets(options: {
    consumerGroupId: string
    topics: { topic: string; partitions: { partition: number; offset: string }[] }[]
  }): Promise<void>
  commit(): Promise<void>
  abort(): Promise<void>
}

const SESSION_TIMEOUT_MS = 30_000
const HEARTBEAT_INTERVAL_MS = 3_000
const MAX_WAIT_MS = 500
/** A member that has nothing to read looks for partitions that were added so often. */
const GROUP_METADATA_MAX_AGE_MS = 30_000
/** After a failure that passes and that kafkajs calls final. */
const REJOIN_AFTER_MS = 1_000
const TRANSACTION_TIMEOUT_MS = 60_000

/**
 * Makes a Kafka client for `kafkaSource` and `kafkaSink` of an instance of `Kafka` of kafkajs, with its brokers, TLS and credentials. Readers are
 * members of groups named `GROUP.holdfast.UUID`, and offsets are committed by transactions of the id `GROUP.holdfast.offsets`: where
 * the brokers have access control, they must allow both.
 *
 * @example const client = kafkajsClient(new Kafka({ brokers: ['localhost:9092'] }))
 */
export function kafkajsClient(kafka: Kafkajs): KafkaClient {
  requireSettings(kafka, [], 'kafka')
  return new KafkajsClient(kafka)
}

class KafkajsClient implements KafkaClient, KafkaTransactions {
  readonly name = 'kafkajs'
  readonly transactions: KafkaTransactions = this
  readonly #kafka: Kafkajs
  #admin: Promise<KafkajsAdmin> | undefined
  /** Topics that the admin client has heard of. */
  readonly #heard = new Set<string>()
  /** By topic and partition, as they were when the topic was described last. */
  readonly #leaders = new Map<string, ReadonlyMap<number, number>>()
  /** By group: for its offsets. */
  readonly #offsetProducers = new Map<string, Promise<KafkajsProducer>>()
  /** A transaction at a time. */
  #committing: Promise<void> = Promise.resolve()

  constructor(kafka: Kafkajs) {
    this.#kafka = kafka
  }

  async describe(topic: string): Promise<KafkaTopic> {
    const found = await this.#ask(topic, (admin) => admin.fetchTopicOffsets(topic)).catch(
      (error: unknown) => {
        if (hasCode(error, UNKNOWN_TOPIC_OR_PARTITION))
          throw invalidArgument('options.topic', `must be a topic of the brokers: ${topic} is none`)
        throw error
      },
    )
    // As in `readMark`: every topic has partitions.
    if (found.length === 0) throw new Error(`kafkajs has not asked for the partitions of ${topic}`)
    const { topics } = await this.#ask(topic, (admin) => admin.fetchTopicMetadata({ topics: [topic] }))
    const leaders = topics[0]?.partitions.map(({ partitionId, leader }) => [partitionId, leader] as const)
    this.#leaders.set(topic, new Map(leaders))
    const partitions = found
      .map(({ partition, low, high }) => ({ partition, first: Number(low), end: Number(high) }))
      .sort((left, right) => left.partition - right.partition)
    return { id: undefined, partitions }
  }

  async openReader({
    topic,
    groupId,
    maxPartitionBytes,
    lookEveryMs,
    from,
  }: KafkaReaderOptions): Promise<KafkaReader> {
    const create = () =>
      this.#kafka.consumer({
        groupId: `${groupId}.holdfast.${randomUUID()}`,
        readUncommitted: false,
        allowAutoTopicCreation: false,
        maxWaitTimeInMs: MAX_WAIT_MS,
        maxBytesPerPartition: maxPartitionBytes,
        sessionTimeout: SESSION_TIMEOUT_MS,
        heartbeatInterval: HEARTBEAT_INTERVAL_MS,
        metadataMaxAge: lookEveryMs,
        // The reader makes another one. One that began anew while it is closed would read on for ever.
        retry: { restartOnFailure: async () => false },
      })
    const leaderOf = (partition: number) => this.#leaders.get(topic)?.get(partition)
    return await KafkajsReader.open(create, { topic, from, leaderOf })
  }

  async joinGroup(request: KafkaGroupRequest): Promise<KafkaMembership> {
    const { groupId, topic, sessionTimeoutMs, onAssigned, onFailure } = request
    const leaving = new AbortController()
    const consumer = this.#kafka.consumer({
      groupId,
      readUncommitted: false,
      allowAutoTopicCreation: false,
      maxWaitTimeInMs: MAX_WAIT_MS,
      maxBytesPerPartition: 1,
      sessionTimeout: sessionTimeoutMs,
      heartbeatInterval: Math.ceil(sessionTimeoutMs / 10),
      metadataMaxAge: GROUP_METADATA_MAX_AGE_MS,
      // One that has left stays away, also where it fails while it leaves.
      retry: { restartOnFailure: async () => !leaving.signal.aborted },
    })
    const { GROUP_JOIN, CRASH } = consumer.events
    const leave = async () => {
      leaving.abort()
      await consumer.disconnect()
    }
    consumer.on(GROUP_JOIN, ({ payload }) => {
      const { memberAssignment } = payload as {
        readonly memberAssignment: { readonly [topic: string]: readonly number[] }
      }
      const partitions = memberAssignment[topic] ?? []
      // It is a member, and reads nothing: each partition has a reader of its own.
      if (partitions.length > 0) consumer.pause([{ topic, partitions: [...partitions] }])
      onAssigned(partitions)
    })
    const run = () =>
      consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch: async () => {} })
    const runAgain = async () => {
      await pauseUnless(REJOIN_AFTER_MS, leaving.signal)
      if (leaving.signal.aborted) return
      await run()
      if (leaving.signal.aborted) await consumer.disconnect()
    }
    consumer.on(CRASH, ({ payload }) => {
      const { error, restart } = payload as { readonly error: unknown; readonly restart: boolean }
      if (!mayPass(error)) onFailure(error)
      // kafkajs calls some failures final that pass, such as that no broker knows the coordinator of a group yet.
      else if (!restart) runAgain().catch(onFailure)
    })
    try {
      await consumer.connect()
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await run()
      return { leave }
    } catch (error) {
      await leave().catch(() => {})
      throw error
    }
  }

  commitOffsets(groupId: string, topic: string, offsets: ReadonlyMap<number, number>): Promise<void> {
    const commit = async () => {
      const producer = await this.#offsetProducer(groupId)
      try {
        const transaction = await producer.transaction()
        const partitions = Array.from(offsets, ([partition, offset]) => ({ partition, offset: `${offset}` }))
        await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions }] })
        await transaction.commit()
      } catch (error) {
        // A transaction that has failed cannot be gone on from; the next one begins with a producer of its own.
        this.#offsetProducers.delete(groupId)
        await producer.disconnect().catch(() => {})
        throw error
      }
    }
    this.#committing = this.#committing.catch(() => {}).then(commit)
    return this.#committing
  }

  async openProducer(): Promise<KafkaProducer> {
    const producer = await connected(this.#kafka.producer({ allowAutoTopicCreation: false }))
    return {
      send: (topic, messages) => sendAll(producer, topic, messages),
      close: () => producer.disconnect(),
    }
  }

  async open(transactionalId: string): Promise<KafkaTransactionalProducer> {
    const producer = await this.#connectedProducer(transactionalId)
    try {
      // The first transaction asks for the id, by which everybody else is fenced off.
      await (await producer.transaction()).abort()
    } catch (error) {
      await producer.disconnect().catch(() => {})
      throw error
    }
    return {
      begin: async () => transactionOf(await producer.transaction()),
      close: () => producer.disconnect(),
    }
  }

  async readMark(groupId: string, topic: string): Promise<number | undefined> {
    const [found] = await this.#ask(topic, async (admin) => {
      // An admin client that knows of no brokers yet asks none: without retries it fails, and otherwise only its second attempt is of use.
      await admin.fetchTopicMetadata({ topics: [topic] })
      return await admin.fetchOffsets({ groupId, topics: [topic] })
    })
    const first = found?.partitions.find(({ partition }) => partition === 0)
    // Its calls may hide a topic from one another for a moment: then it has asked for nothing, which is not to have found nothing.
    if (first === undefined) throw new Error(`kafkajs has not asked for partition 0 of ${topic}`)
    const offset = Number(first.offset)
    return offset < 0 ? undefined : offset
  }

  async close(): Promise<void> {
    const admin = this.#admin
    const producers = [...this.#offsetProducers.values()]
    this.#admin = undefined
    this.#offsetProducers.clear()
    await this.#committing.catch(() => {})
    const connected = [admin, ...producers].filter((each) => each !== undefined)
    await Promise.allSettled(connected.map(async (each) => (await each).disconnect()))
  }

  /** (5). */
  async #ask<Answer>(topic: string, ask: (admin: KafkajsAdmin) => Promise<Answer>): Promise<Answer> {
    for (let isFirst = true; ; isFirst = false) {
      const asked = this.#connectedAdmin()
      this.#heard.add(topic)
      const isOnlyOne = this.#heard.size === 1
      try {
        return await ask(await asked)
      } catch (error) {
        if (!hasCode(error, UNKNOWN_TOPIC_OR_PARTITION)) throw error
        if (this.#admin === asked) {
          this.#admin = undefined
          this.#heard.clear()
        }
        await asked.then((admin) => admin.disconnect()).catch(() => {})
        if (isOnlyOne || !isFirst) throw error
      }
    }
  }

  #connectedAdmin(): Promise<KafkajsAdmin> {
    const connect = async () => {
      return await connected(this.#kafka.admin())
    }
    this.#admin ??= connect().catch((error: unknown) => {
      this.#admin = undefined
      throw error
    })
    return this.#admin
  }

  #offsetProducer(groupId: string): Promise<KafkajsProducer> {
    const known = this.#offsetProducers.get(groupId)
    if (known !== undefined) return known
    const connecting = this.#connectedProducer(`${groupId}.holdfast.offsets`)
    this.#offsetProducers.set(groupId, connecting)
    connecting.catch(() => this.#offsetProducers.delete(groupId))
    return connecting
  }

  async #connectedProducer(transactionalId: string): Promise<KafkajsProducer> {
    const options = {
      allowAutoTopicCreation: false,
      idempotent: true,
      transactionalId,
      maxInFlightRequests: 1,
      transactionTimeout: TRANSACTION_TIMEOUT_MS,
    }
    const create = () => {
      try {
        return this.#kafka.producer(options)
      } catch {
        // Where the client was made without retries: kafkajs makes no idempotent producer without one.
        return this.#kafka.producer({ ...options, retry: { retries: 1 } })
      }
    }
    return await connected(create())
  }
}

/** Connects, or leaves nothing open: a producer asks for an id once it has a connection, and that may fail. */
async function connected<Client extends Pick<KafkajsProducer, 'connect' | 'disconnect'>>(
  client: Client,
): Promise<Client> {
  try {
    await client.connect()
    return client
  } catch (error) {
    await client.disconnect().catch(() => {})
    throw error
  }
}

function transactionOf(transaction: KafkajsTransaction): KafkaTransaction {
  return {
    send: (topic, messages) => sendAll(transaction, topic, messages),
    setMark: ({ groupId, topic, offset }: KafkaMark) =>
      transaction.sendOffsets({
        consumerGroupId: groupId,
        topics: [{ topic, partitions: [{ partition: 0, offset: `${offset}` }] }],
      }),
    commit: () => transaction.commit(),
    abort: () => transaction.abort(),
  }
}

/** Messages for a partition that the client does not know of, because it was added a moment ago, it leaves out without a word. */
async function sendAll(
  sender: Pick<KafkajsProducer, 'send'>,
  topic: string,
  messages: readonly KafkaOutput[],
): Promise<void> {
  const answer = await sender.send(recordsOf(topic, messages))
  const written = new Set(answer.map(({ partition }) => partition))
  const left = messages.find(({ partition }) => partition !== undefined && !written.has(partition))
  if (left !== undefined)
    throw new Error(`kafkajs has not written to partition ${left.partition} of ${topic}`)
}

function recordsOf(topic: string, messages: readonly KafkaOutput[]): KafkajsRecords {
  return {
    topic,
    acks: -1,
    messages: messages.map(({ key, value, headers, partition, timestampMs }) => ({
      key: bufferOf(key) ?? null,
      value: bufferOf(value) ?? null,
      ...(headers !== undefined && {
        headers: Object.fromEntries(
          Object.entries(headers).map(([name, text]) => [name, bufferOf(text) as Buffer]),
        ),
      }),
      ...(partition !== undefined && { partition }),
      ...(timestampMs !== undefined && { timestamp: `${timestampMs}` }),
    })),
  }
}
