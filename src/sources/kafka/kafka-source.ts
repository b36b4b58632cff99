// Events of a topic. Where a job goes on is in its cuts; what the broker knows of a consumer group is a courtesy to those who watch its lag.
//
//   position := { offset, topicId? }      offset: that of the next message
//
// (1) A partition is read from exactly where its position says, or not at all (J6).
// (2) The partitions of a topic are read here and nowhere else: the state of the job belongs to all of them. One that is added is read from its
//     beginning.
// (3) A partition is told without events only where the broker was asked, and had nothing (T5).

import { Sleeper } from '../../base/clock.js'
import { isStateError, type StateError } from '../../base/errors.js'
import {
  hasMethods,
  invalidArgument,
  nonEmptyText,
  oneOf,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Position,
  Positions,
  Source,
  SourceReader,
} from '../../job/source/source.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import { Courtesy } from '../shared/courtesy.js'
import { decodeEach } from '../shared/decode-each.js'
import { restoreFailed } from '../shared/restore-failed.js'
import { hasCode, mayPass, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION } from './broker-errors.js'
import type {
  KafkaClient,
  KafkaFetched,
  KafkaMessage,
  KafkaPartition,
  KafkaReader,
  KafkaTopic,
} from './kafka-client.js'

const DEFAULT_MAX_PARTITION_BYTES = 1024 * 1024
const DEFAULT_LOOK_EVERY_MS = 30_000
/** A fetch may wait so long at the broker. */
const FETCH_WAIT_MS = 500
/** Where that is left to the source, a partition may have so many messages waiting while more are asked for. */
const MAX_WAITING = 10_000
/** A topic that brokers say is not there is gone where it stays so for so long, and is asked for so often. */
const GONE_AFTER_MS = 5_000
const GONE_LOOK_EVERY_MS = 500
const NONE: ReadonlySet<string> = new Set()

export interface KafkaSourceOptions<Event> extends OutageOptions {
  /** Made by `kafkajsClient`, `platformaticKafkaClient`, or by an adapter of your own. It stays the caller's to close. */
  readonly client: KafkaClient
  readonly topic: string
  /**
   * The consumer group to which offsets are committed once a cut is safe, for whoever watches lag. It does not decide what is read: that does the
   * cut of the job.
   */
  readonly groupId: string
  /** Makes an event of a message. What it throws makes the event a bad one (J7). */
  readonly decode: (message: KafkaMessage) => Event
  /** The partitions that are read. Default: all, also those that are added later. */
  readonly partitions?: readonly number[]
  /**
   * Where a job begins that has no position in a partition. Partitions that were added to the topic are always read from their beginning. Default
   * `'earliest'`.
   */
  readonly from?: 'earliest' | 'latest'
  /** Whether each partition ends where it ended when the source was opened. Default false: it never does. */
  readonly endsAtEnd?: boolean
  /**
   * What becomes of a partition in which the position is not there any more, because the topic was truncated, or deleted and made again: the job
   * fails with `RESTORE_FAILED`, or goes on with the first message that is there. Default `'fail'`.
   */
  readonly onTruncated?: 'fail' | 'earliest'
  /** How often it is looked for partitions that were added, in milliseconds. Default 30,000. */
  readonly lookEveryMs?: number
  /** Most bytes of a partition in one answer of a broker. Default 1 MiB. */
  readonly maxPartitionBytes?: number
}

/**
 * Events of a Kafka topic; each partition of the topic is one of the source, named `topic-0` and so on. Only what was committed is read. While
 * brokers do not answer they are asked again for `reconnectForMs`; then the job ends with `STORAGE_ERROR`.
 *
 * @example
 * kafkaSource({
 *   client: kafkajsClient(new Kafka({ brokers: ['localhost:9092'] })),
 *   topic: 'requests',
 *   groupId: 'token-usage',
 *   decode: ({ value }) => JSON.parse(new TextDecoder().decode(value)) as LlmRequest,
 * })
 */
export function kafkaSource<Event>(options: KafkaSourceOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: hasMethods('describe', 'openReader', 'commitOffsets'),
      topic: nonEmptyText,
      groupId: nonEmptyText,
      decode: rules.function,
      partitions: (numbers) =>
        Array.isArray(numbers) &&
        numbers.length > 0 &&
        numbers.every((each) => Number.isSafeInteger(each) && each >= 0)
          ? undefined
          : 'must be an array of one or more numbers of partitions',
      from: oneOf('earliest', 'latest'),
      endsAtEnd: rules.boolean,
      onTruncated: oneOf('fail', 'earliest'),
      lookEveryMs: rules.positiveMs,
      maxPartitionBytes: rules.positiveInteger,
    }),
  )
  requireSettings(options, ['client', 'topic', 'groupId', 'decode'])
  return Object.freeze({
    name: `Kafka topic ${options.topic}`,
    // A reader that was not read from has told no broker anything.
    opensAhead: true,
    open: (openOptions: OpenSourceOptions) => KafkaSourceReader.open(options, openOptions),
  })
}

/** A partition that is read. */
interface ReadPartition {
  readonly number: number
  readonly id: string
  /** Of the topic that it is read from: one that is deleted and made again is another one. */
  topicId: string | undefined
  /** Messages that were read and not given away: those from `taken` on. */
  waiting: readonly KafkaMessage[]
  taken: number
  /** Where the next fetch goes on. */
  next: number
  /** Behind the last message that was given away, or where the job has begun; what a cut is to have. */
  told: number | undefined
  /** Where it ends for us. */
  readonly endsAt: number
  hasEnded: boolean
  /** It was asked for more, and had nothing. */
  isQuiet: boolean
}

interface ReaderParts<Event> {
  readonly options: KafkaSourceOptions<Event>
  readonly outage: Outage
  readonly reader: KafkaReader
}

class KafkaSourceReader<Event> implements SourceReader<Event> {
  readonly #options: KafkaSourceOptions<Event>
  readonly #reader: KafkaReader
  /** Of a partition that has so many messages waiting, no more are asked for. */
  readonly #mostWaiting: number
  readonly #partitions = new Map<string, ReadPartition>()
  readonly #closing = new AbortController()
  readonly #outage: Outage
  readonly #committing: Courtesy
  /** What is on its way from the broker. */
  #fetching: Promise<void> | undefined
  readonly #sleeper = new Sleeper()
  #failure: { readonly error: unknown } | undefined
  #wasPolled = false
  #isLooking = false
  #lookedAtMs = performance.now()
  /** What a look has found: that what is wanted is not there any more. */
  #lost: { readonly error: unknown } | undefined
  /** Since when brokers say that there is no such topic. */
  #goneSinceMs: number | undefined
  /** The partition that is given away first. */
  #turn = 0
  /** Once nothing is read any more. */
  #readerClosed: Promise<void> | undefined

  private constructor(parts: ReaderParts<Event>) {
    this.#options = parts.options
    this.#outage = parts.outage
    this.#committing = new Courtesy(parts.outage, () => true)
    this.#reader = parts.reader
    this.#mostWaiting = parts.reader.readsAhead === true ? 1 : MAX_WAITING
  }

  static async open<Event>(
    options: KafkaSourceOptions<Event>,
    { positions, signal }: OpenSourceOptions,
  ): Promise<KafkaSourceReader<Event>> {
    const {
      client,
      topic: topicName,
      groupId,
      maxPartitionBytes = DEFAULT_MAX_PARTITION_BYTES,
      lookEveryMs = DEFAULT_LOOK_EVERY_MS,
    } = options
    const outage = new Outage({ ...outageOf(options), storage: `Kafka topic ${topicName}`, passes: mayPass })
    const topic = await outage.answerOf('describe', () => client.describe(topicName), signal)
    const wanted = wantedOf(options, topic)
    const isFirst = Object.keys(positions).length === 0
    const starts = wanted.map((partition) => {
      const position = Object.hasOwn(positions, idOf(topicName, partition.partition))
        ? positions[idOf(topicName, partition.partition)]
        : undefined
      if (position !== undefined) return startAt(options, topic, partition, position)
      return isFirst && options.from === 'latest' ? partition.end : partition.first
    })
    refuseLost(options, topic, positions)
    const from = new Map(wanted.map(({ partition }, i) => [partition, starts[i] as number]))
    const settings = { topic: topicName, groupId, maxPartitionBytes, lookEveryMs, from }
    const reader = await outage.answerOf(
      'open a reader',
      () => client.openReader(settings),
      signal,
      (late) => late.close(),
    )
    const opened = new KafkaSourceReader({ options, outage, reader })
    for (const [i, partition] of wanted.entries()) opened.#add(topic, partition, starts[i] as number)
    // Whoever has opened it may have to do something else before it polls.
    opened.#fetch(NONE, FETCH_WAIT_MS)
    return opened
  }

  partitions(): readonly string[] {
    return Array.from(this.#partitions.keys())
  }

  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const deadlineMs = performance.now() + waitMs
    if (!this.#wasPolled) this.#beginToPoll()
    this.#look()
    for (;;) {
      if (this.#closing.signal.aborted) return []
      if (this.#lost !== undefined) throw this.#lost.error
      const given = this.#give(maxEvents, paused)
      this.#fetch(paused, Math.max(0, deadlineMs - performance.now()))
      if (given.some(({ hasEnded }) => hasEnded === true)) this.#closeReaderAtEnd()
      const leftMs = deadlineMs - performance.now()
      if (given.length > 0) return given
      if (leftMs <= 0 || signal?.aborted === true) return this.#quiet(paused)
      // For what is on its way.
      await this.#sleeper.sleep(leftMs, this.#closing.signal, signal)
      this.#throwIfFailed()
    }
  }

  /** Lag is a courtesy: that it cannot be told is no failure of the job, and outputs of later cuts do not wait long for it. */
  async checkpointCompleted(positions: Positions): Promise<void> {
    const { client, groupId, topic } = this.#options
    const offsets = new Map<number, number>()
    for (const { id, number } of this.#partitions.values()) {
      const position = positions[id]
      if (position !== undefined) offsets.set(number, offsetOf(id, position).offset)
    }
    if (offsets.size > 0)
      await this.#committing.show('commit offsets', () => client.commitOffsets(groupId, topic, offsets))
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#outage.close()
    await this.#closeReader()
    await this.#fetching
  }

  #closeReader(): Promise<void> {
    this.#readerClosed ??= this.#reader.close()
    return this.#readerClosed
  }

  /** A client may wait for brokers before it is closed, and nothing is asked of it any more: it does so beside the last cut. */
  #closeReaderAtEnd(): void {
    for (const { hasEnded } of this.#partitions.values()) if (!hasEnded) return
    // Whoever closes the source is told of a failure.
    this.#closeReader().catch(() => {})
  }

  #add({ id: topicId }: KafkaTopic, { partition, end }: KafkaPartition, start: number): void {
    const { topic, endsAtEnd = false } = this.#options
    const id = idOf(topic, partition)
    const endsAt = endsAtEnd ? end : Infinity
    const none = { waiting: [], taken: 0, next: start, told: undefined, hasEnded: false, isQuiet: false }
    this.#partitions.set(id, { number: partition, id, topicId, endsAt, ...none })
  }

  /** Messages that wait, of one partition after the other. */
  #give(maxEvents: number, paused: ReadonlySet<string>): PolledEvents<Event>[] {
    const all = Array.from(this.#partitions.values())
    const given: PolledEvents<Event>[] = []
    let left = maxEvents
    this.#turn = (this.#turn + 1) % Math.max(1, all.length)
    for (let i = 0; i < all.length && left > 0; i++) {
      const partition = all[(this.#turn + i) % all.length] as ReadPartition
      if (partition.hasEnded || paused.has(partition.id)) continue
      const polled = this.#take(partition, left)
      if (polled === undefined) continue
      left -= polled.events.length
      given.push(polled)
    }
    return given
  }

  /** What of a partition is worth telling. */
  #take(partition: ReadPartition, most: number): PolledEvents<Event> | undefined {
    const { waiting, taken, endsAt, id, topicId } = partition
    let until = Math.min(waiting.length, taken + most)
    while (until > taken && (waiting[until - 1] as KafkaMessage).offset >= endsAt) until--
    const messages = taken === 0 && until === waiting.length ? waiting : waiting.slice(taken, until)
    partition.taken = until
    const isEmpty = until === waiting.length
    if (isEmpty) {
      partition.waiting = []
      partition.taken = 0
    }
    const last = messages.at(-1)
    const behind = isEmpty ? partition.next : last === undefined ? partition.told : last.offset + 1
    const hasEnded = endsAt <= (isEmpty ? partition.next : (waiting[until] as KafkaMessage).offset)
    const isNews = messages.length > 0 || hasEnded || behind !== partition.told
    if (!isNews) return undefined
    partition.told = behind
    partition.hasEnded = hasEnded
    const { events, failures } = decodeEach(messages, this.#options.decode)
    return {
      partition: id,
      events,
      positionAfter: (place) => positionAt((messages[place] as KafkaMessage).offset + 1, topicId),
      ...(behind !== undefined && { position: positionAt(behind, topicId) }),
      ...(failures.size > 0 && { failures }),
      ...(hasEnded && { hasEnded }),
    }
  }

  /** Partitions that had nothing when they were asked. */
  #quiet(paused: ReadonlySet<string>): PolledEvents<Event>[] {
    const quiet: PolledEvents<Event>[] = []
    for (const partition of this.#partitions.values()) {
      if (!partition.isQuiet || partition.hasEnded || paused.has(partition.id)) continue
      partition.isQuiet = false
      quiet.push({ partition: partition.id, events: [], positionAfter: noEvent })
    }
    return quiet
  }

  /** Asks for more of the partitions that have little left, beside the work on what there is. */
  #fetch(paused: ReadonlySet<string>, waitMs: number): void {
    if (this.#fetching !== undefined || this.#failure !== undefined || this.#closing.signal.aborted) return
    const from = new Map<number, number>()
    for (const { id, number, next, endsAt, hasEnded, waiting, taken } of this.#partitions.values()) {
      const isWanted =
        !hasEnded && next < endsAt && !paused.has(id) && waiting.length - taken < this.#mostWaiting
      if (isWanted) from.set(number, next)
    }
    if (from.size === 0) return
    const request = { from, waitMs: Math.min(FETCH_WAIT_MS, Math.max(1, waitMs)) }
    this.#fetching = this.#outage
      .untilAnswered('read', () =>
        this.#reader.fetch(request).catch((error: unknown) => {
          // Whether it was deleted is looked for at once.
          if (hasCode(error, UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID)) this.#lookedAtMs = -Infinity
          throw error
        }),
      )
      .then((fetched) => this.#arrive(fetched ?? [], from))
      .catch((error: unknown) => {
        this.#failure = { error }
      })
      .finally(() => {
        this.#fetching = undefined
        this.#sleeper.wake()
      })
  }

  async #arrive(fetched: readonly KafkaFetched[], from: ReadonlyMap<number, number>): Promise<void> {
    const byNumber = new Map(Array.from(this.#partitions.values(), (each) => [each.number, each]))
    for (const { partition, messages, next, isAtEnd, isOutOfRange = false } of fetched) {
      const own = byNumber.get(partition)
      if (own === undefined || from.get(partition) !== own.next) continue
      if (isOutOfRange) {
        await this.#onOutOfRange(own)
        continue
      }
      if (messages.length > 0) {
        const rest = own.waiting.slice(own.taken)
        own.waiting = rest.length === 0 ? messages : rest.concat(messages)
        own.taken = 0
      }
      own.next = Math.max(own.next, next)
      own.isQuiet = isAtEnd && messages.length === 0
    }
  }

  /** What the broker does not have any more it is asked for itself: a client may be wrong. */
  async #onOutOfRange(own: ReadPartition): Promise<void> {
    const { client, topic: name } = this.#options
    const { next } = own
    const topic = await this.#outage.answerOf('describe', () => client.describe(name))
    const isOther = topic.id !== own.topicId
    // It was read on meanwhile, or a place to go on was found: the answer does not know of that yet.
    if (own.next !== next && !isOther) return
    const partition = topic.partitions.find((each) => each.partition === own.number)
    if (partition === undefined) throw lost(own.id, own.next, 'the partition is not there')
    own.next = startAt(this.#options, topic, partition, positionAt(own.next, own.topicId))
    if (!isOther) return
    // What was read and not given away is of a topic that is not there any more: its offsets mean something else by now.
    own.topicId = topic.id
    own.waiting = []
    own.taken = 0
  }

  /** What was asked for ahead may have failed a while ago, by an outage that is over. */
  #beginToPoll(): void {
    this.#wasPolled = true
    if (this.#failure === undefined) return
    this.#failure = undefined
    this.#outage.passed()
  }

  #throwIfFailed(): void {
    const failure = this.#failure
    if (failure !== undefined && !this.#closing.signal.aborted) throw failure.error
  }

  /** Brokers that come back do not know a topic for a moment: one that stays unknown was deleted. */
  #onNoTopic(error: unknown, askedAtMs: number): undefined {
    if (!isStateError(error, 'INVALID_ARGUMENT')) return
    // A client may have asked again and again before it says so. One answer alone may be that of a broker that has come back a moment ago.
    if (this.#goneSinceMs === undefined) {
      this.#goneSinceMs = askedAtMs
      return
    }
    const [partition] = this.#partitions.values()
    if (partition === undefined || performance.now() - this.#goneSinceMs < GONE_AFTER_MS) return
    throw lost(
      partition.id,
      positionAt(partition.told ?? partition.next, partition.topicId),
      'the topic is not there any more',
    )
  }

  /** Beside polls: brokers may take long to answer, and what waits is given away meanwhile. */
  #look(): void {
    const { lookEveryMs = DEFAULT_LOOK_EVERY_MS } = this.#options
    const nowMs = performance.now()
    const everyMs = this.#goneSinceMs === undefined ? lookEveryMs : Math.min(lookEveryMs, GONE_LOOK_EVERY_MS)
    if (this.#isLooking || nowMs - this.#lookedAtMs < everyMs) return
    this.#lookedAtMs = nowMs
    this.#isLooking = true
    this.#lookForPartitions(nowMs)
      .catch((error: unknown) => {
        this.#lost = { error }
      })
      .finally(() => {
        this.#isLooking = false
        this.#sleeper.wake()
      })
  }

  /** Partitions that were added to the topic; and whether what is there still is what is read. */
  async #lookForPartitions(nowMs: number): Promise<void> {
    const { client, topic: name, partitions, endsAtEnd = false } = this.#options
    // What is read while the answer is on its way may be behind the end that it tells.
    const asked = new Map(Array.from(this.#partitions.values(), ({ id, next }) => [id, next]))
    const topic = await this.#outage
      .once('look for partitions', () => client.describe(name))
      .catch((error: unknown) => this.#onNoTopic(error, nowMs))
    if (topic === undefined || this.#closing.signal.aborted) return
    this.#goneSinceMs = undefined
    for (const partition of topic.partitions) {
      const own = this.#partitions.get(idOf(name, partition.partition))
      if (own !== undefined) {
        const isGone = (asked.get(own.id) ?? 0) > partition.end || topic.id !== own.topicId
        if (isGone) await this.#onOutOfRange(own)
      } else if (partitions === undefined && !endsAtEnd) {
        this.#add(topic, partition, partition.first)
      }
    }
  }
}

function positionAt(offset: number, topicId: string | undefined): Position {
  return { offset, ...(topicId !== undefined && { topicId }) }
}

const idOf = (topic: string, partition: number): string => `${topic}-${partition}`

function noEvent(): never {
  throw new RangeError('there is no event')
}

function wantedOf(
  { partitions, topic: name }: Pick<KafkaSourceOptions<never>, 'partitions' | 'topic'>,
  topic: KafkaTopic,
): readonly KafkaPartition[] {
  if (partitions === undefined) return topic.partitions
  return partitions.map((number) => {
    const found = topic.partitions.find(({ partition }) => partition === number)
    if (found === undefined) {
      throw invalidArgument(
        'options.partitions',
        `has ${number}, and topic ${name} has ${topic.partitions.length} partitions`,
      )
    }
    return found
  })
}

/** A position in a partition that is not read: it would be lost in silence. */
function refuseLost(
  {
    topic: name,
    partitions,
    onTruncated,
  }: Pick<KafkaSourceOptions<never>, 'topic' | 'partitions' | 'onTruncated'>,
  topic: KafkaTopic,
  positions: Positions,
): void {
  if (onTruncated === 'earliest') return
  const known = new Set(
    [...topic.partitions.map(({ partition }) => partition), ...(partitions ?? [])].map((each) =>
      idOf(name, each),
    ),
  )
  const unknown = Object.keys(positions).find((id) => !known.has(id))
  if (unknown !== undefined) throw lost(unknown, positions[unknown], `topic ${name} has no such partition`)
}

/** Where to go on from a position; (1). */
function startAt(
  { topic: name, onTruncated = 'fail' }: Pick<KafkaSourceOptions<never>, 'topic' | 'onTruncated'>,
  topic: KafkaTopic,
  { partition, first, end }: KafkaPartition,
  position: Position,
): number {
  const id = idOf(name, partition)
  const { offset, topicId } = offsetOf(id, position)
  const isOther = topicId !== undefined && topic.id !== undefined && topicId !== topic.id
  if (!isOther && offset >= first && offset <= end) return offset
  if (onTruncated === 'earliest') return first
  const there = `there are offsets ${first} up to ${end}`
  throw lost(id, position, isOther ? `the topic was deleted and made again; ${there}` : there)
}

function offsetOf(
  id: string,
  position: Position,
): { readonly offset: number; readonly topicId: string | undefined } {
  const { offset, topicId } = (position ?? {}) as { readonly offset?: unknown; readonly topicId?: unknown }
  if (!Number.isSafeInteger(offset) || (offset as number) < 0)
    throw lost(id, position, 'that is no position in Kafka')
  return { offset: offset as number, topicId: typeof topicId === 'string' ? topicId : undefined }
}

function lost(id: string, position: Position | undefined, available: string): StateError<'RESTORE_FAILED'> {
  const reason = `partition ${id}: ${JSON.stringify(position)} is wanted, and ${available}`
  return restoreFailed(reason)
}
