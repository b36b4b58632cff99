// The processes of bench:sources: `node sources-worker.js <work> <JSON of its settings>`. Each prints its figures as lines of JSON.

import { join } from 'node:path'
import { FileCheckpointStorage, MemoryStateBackend } from 'holdfast'
import { boundedDisorder, runJob, runJobPerPartition, type Source } from 'holdfast/job'
import {
  type KafkaClient,
  type KafkaMessage,
  kafkaGroup,
  kafkajsClient,
  kafkaSink,
  kafkaSource,
} from 'holdfast/kafka'
import { defineState, float64, utf8, value } from 'holdfast/state'
import { combined, count, sum, tumbling, windowed } from 'holdfast/window'
import { Kafka, logLevel } from 'kafkajs'

export interface SourcesSettings {
  readonly address: string
  readonly input: string
  readonly output: string
  /** Messages in the input, or keys whose state is taken over. */
  readonly events: number
  /** How many messages the client alone writes: as many as the job. */
  readonly outputs: number
  readonly folder: string
}

/** As a message has it; padded to 100 bytes. */
export interface BenchEvent {
  readonly key: string
  readonly atMs: number
  readonly amount: number
}

export interface Throughput {
  readonly events: number
  readonly outputs: number
  readonly seconds: number
  readonly cpuSeconds: number
}

const CHECKPOINT_EVERY_MS = 1_000
const WINDOW_MS = 10_000
const SENT_AT_ONCE = 1_000

const [work = '', json = '{}'] = process.argv.slice(2)
const settings = JSON.parse(json) as SourcesSettings
const { address, input, output, folder, events: total } = settings
const kafka = new Kafka({ brokers: [address], logLevel: logLevel.NOTHING })
const text = new TextDecoder()
const decode = ({ value: bytes }: Pick<KafkaMessage, 'value'>) => JSON.parse(text.decode(bytes)) as BenchEvent
const tell = (line: object) => void process.stdout.write(`${JSON.stringify(line)}\n`)
const checkpoints = (name: string) => ({
  storage: new FileCheckpointStorage(join(folder, name)),
  intervalMs: CHECKPOINT_EVERY_MS,
})

/** Times from the first message on: connecting is not what is measured. */
class Stopwatch {
  #startedAtMs = 0
  #cpu = process.cpuUsage()

  start(): void {
    if (this.#startedAtMs > 0) return
    this.#startedAtMs = performance.now()
    this.#cpu = process.cpuUsage()
  }

  figures(events: number, outputs: number): Throughput {
    const { user, system } = process.cpuUsage(this.#cpu)
    const seconds = (performance.now() - this.#startedAtMs) / 1_000
    return { events, outputs, seconds, cpuSeconds: (user + system) / 1_000_000 }
  }
}

/** kafkajs reads all messages, decodes each, and writes messages as large as results, as many. */
async function clientAlone(): Promise<void> {
  const watch = new Stopwatch()
  const consumer = kafka.consumer({ groupId: `alone-${process.pid}`, readUncommitted: false })
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await Promise.all([consumer.connect(), producer.connect()])
  await consumer.subscribe({ topics: [input], fromBeginning: true })
  let seen = 0
  let written = 0
  let amounts = 0
  await new Promise<void>((resolve, reject) => {
    const eachBatch = async ({ batch }: { batch: { messages: readonly { value: Buffer | null }[] } }) => {
      watch.start()
      for (const message of batch.messages) amounts += decode({ value: message.value ?? undefined }).amount
      seen += batch.messages.length
      const due = Math.floor((settings.outputs * seen) / total)
      while (written < due) {
        const size = Math.min(SENT_AT_ONCE, due - written)
        const result = JSON.stringify({
          key: 'key 000000',
          startMs: 1_800_000_000_000,
          count: seen,
          sum: amounts,
        })
        await producer.send({
          topic: output,
          messages: Array.from({ length: size }, () => ({ value: result })),
        })
        written += size
      }
      if (seen >= total) resolve()
    }
    consumer.run({ eachBatch }).catch(reject)
  })
  tell(watch.figures(seen, written))
  await Promise.all([consumer.disconnect(), producer.disconnect()])
}

/** The same messages into windows, and their results into a topic, with a checkpoint and a transaction each second. */
async function windows(): Promise<void> {
  const watch = new Stopwatch()
  const client = kafkajsClient(kafka)
  const source = kafkaSource({ client, topic: input, groupId: 'windows', decode, endsAtEnd: true })
  const job = await runJob({
    name: 'windows',
    source: watched(source, () => watch.start()),
    key: ({ key }) => key,
    timestamp: ({ atMs }) => atMs,
    time: { watermarks: boundedDisorder(0), maxAheadMs: Infinity },
    schema: defineState({ key: utf8, states: {} }),
    windows: {
      amounts: windowed({
        windows: tumbling({ sizeMs: WINDOW_MS }),
        aggregate: combined({ count: count(), sum: sum((event: BenchEvent) => event.amount) }),
        output: ({ key, window, value: amounts }) => ({
          key: key as string,
          startMs: window.startMs,
          ...amounts,
        }),
      }),
    },
    sink: kafkaSink({ client, topic: output, guarantee: 'transactional', transactionalId: output }),
    backend: new MemoryStateBackend(),
    checkpoints: checkpoints('windows'),
  })
  await job.finished
  const { events, outputs } = job.stats()
  tell(watch.figures(events, outputs))
  await client.close()
}

function watched<Event>(source: Source<Event>, onFirst: () => void): Source<Event> {
  return {
    name: source.name,
    open: async (options) => {
      const reader = await source.open(options)
      const poll = reader.poll.bind(reader)
      reader.poll = async (request) => {
        const polled = await poll(request)
        if (polled.some(({ events }) => events.length > 0)) onFirst()
        return polled
      }
      return reader
    },
  }
}

/** Passes each message on: what is measured is how long it is on its way. */
async function passOn(): Promise<void> {
  const client = kafkajsClient(kafka)
  const job = await runJob({
    name: 'pass on',
    source: kafkaSource({ client, topic: input, groupId: 'pass on', decode }),
    key: ({ key }) => key,
    schema: defineState({ key: utf8, states: { sum: value(float64, { default: () => 0 }) } }),
    process: ({ key, atMs, amount }, { state, emit }) => {
      state.sum.update((before) => before + amount)
      emit({ key, atMs, sum: state.sum.get() })
    },
    sink: kafkaSink({ client, topic: output, guarantee: 'transactional', transactionalId: output }),
    backend: new MemoryStateBackend(),
    checkpoints: checkpoints('pass on'),
  })
  tell({ isReading: true })
  await job.finished
}

const sums = defineState({ key: utf8, states: { sum: value(float64, { default: () => 0 }) } })

/** A member of a group that has a state of many keys; tells when a partition is given to it, and of its first event. */
async function member(): Promise<void> {
  const client = kafkajsClient(kafka)
  let assignedAtMs = 0
  const told: KafkaClient = {
    name: client.name,
    transactions: client.transactions,
    describe: (topic) => client.describe(topic),
    openReader: (options) => client.openReader(options),
    commitOffsets: (groupId, topic, offsets) => client.commitOffsets(groupId, topic, offsets),
    openProducer: () => client.openProducer(),
    close: () => client.close(),
    joinGroup: (request) => {
      const onAssigned = (partitions: readonly number[]) => {
        if (partitions.length > 0) assignedAtMs = Date.now()
        tell({ hasJoined: 1 })
        request.onAssigned(partitions)
      }
      return client.joinGroup?.({ ...request, onAssigned }) ?? Promise.reject(new Error('it joins no groups'))
    },
  }
  let seen = 0
  let hasTold = false
  let cuts = 0
  const job = await runJobPerPartition<BenchEvent, typeof sums, BenchEvent>({
    name: 'sums',
    key: ({ key }) => key,
    schema: sums,
    process: ({ key, amount }, { state }) => {
      state.sum.update((before) => before + amount)
      seen++
      if (seen > 1 || hasTold) return
      hasTold = true
      // A key that was there before the process was killed.
      tell({ assignedAtMs, firstAtMs: Date.now(), sum: state.sum.get(), key: Number(key.slice(4)) })
    },
    group: kafkaGroup({ client: told, topic: input, groupId: 'sums', decode, sessionTimeoutMs: 6_000 }),
    place: (partition) => {
      seen = 0
      hasTold = false
      return {
        backend: new MemoryStateBackend(),
        checkpoints: checkpoints(partition),
        sink: kafkaSink<BenchEvent>({
          client,
          topic: output,
          guarantee: 'transactional',
          transactionalId: partition,
        }),
      }
    },
  })
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    const [one] = job.jobs.values()
    tell({ reads: one === undefined ? 0 : 1 })
    const found = one?.stats().cuts ?? 0
    if (found > cuts && seen >= total) tell({ hasAll: 1 })
    cuts = found
  }
}

const works: { readonly [name: string]: () => Promise<void> } = { clientAlone, windows, passOn, member }
await works[work]?.()
