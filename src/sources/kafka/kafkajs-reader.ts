import { Sleeper } from '../../base/clock.js'
import { mayPass } from './broker-errors.js'
import type { KafkaFetched, KafkaFetchRequest, KafkaMessage, KafkaReader } from './kafka-client.js'

interface KafkajsMessage {
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly timestamp: string
  readonly offset: string
  readonly headers?: { readonly [name: string]: Buffer | string | (Buffer | string)[] | undefined }
}

export interface KafkajsEachBatch {
  readonly batch: {
    readonly topic: string
    readonly partition: number
    /** The offset that was asked for. Its types do not have it. */
    readonly fetchedOffset?: string
    readonly highWatermark: string
    readonly messages: readonly KafkajsMessage[]
    lastOffset(): string
  }
  resolveOffset(offset: string): void
  heartbeat(): Promise<void>
  isRunning(): boolean
}

interface ProcessedBatch {
  readonly partition: number
  readonly batchSize: number
  readonly firstOffset: string | null
  readonly lastOffset: string | null
}

interface KafkajsEvent {
  readonly payload: object
}

/** What is used of a consumer of kafkajs. */
export interface KafkajsConsumer {
  readonly events: {
    readonly GROUP_JOIN: 'consumer.group_join'
    readonly FETCH: 'consumer.fetch'
    readonly CRASH: 'consumer.crash'
    readonly END_BATCH_PROCESS: 'consumer.end_batch_process'
  }
  connect(): Promise<void>
  disconnect(): Promise<void>
  subscribe(options: { topics: string[]; fromBeginning: boolean }): Promise<void>
  run(options: {
    autoCommit: boolean
    eachBatchAutoResolve: boolean
    eachBatch: (payload: KafkajsEachBatch) => Promise<void>
  }): Promise<void>
  seek(place: { topic: string; partition: number; offset: string }): void
  pause(topics: { topic: string; partitions: number[] }[]): void
  resume(topics: { topic: string; partitions: number[] }[]): void
  on(
    event: KafkajsConsumer['events'][keyof KafkajsConsumer['events']],
    listener: (event: KafkajsEvent) => void,
  ): unknown
}

/** While it waits for room, a member of a group must be heard of. */
const HEARTBEAT_MS = 1_000
/** So many messages are fetched at once. */
const TAKEN_AT_ONCE = 1_000

/** A batch as it has come: its messages are made when their turn comes, so that few are in memory at a time. */
interface Arrival {
  readonly messages: readonly KafkajsMessage[]
  /** How many of them were fetched. */
  taken: number
  /** Where to go on behind it. */
  readonly next: number
  readonly isOutOfRange: boolean
}

/** What is known of a partition. */
interface Due {
  /** The offset that is due next from the client; `NaN` where that has gone on elsewhere. */
  next: number
  /** Where what is fetched next begins: elsewhere than whoever fetches knows where an attempt that was given up has fetched some. */
  nextFetched: number
  /** What has come and was not fetched, in order. */
  readonly arrived: Arrival[]
  isPaused: boolean
  /** The broker was asked whether `next` is there, and it is. */
  isVerified: boolean
  /** Since the broker was asked last: whether something has come. */
  hasCome: boolean
  /** It was asked at its broker, and had nothing. */
  hasNothing: boolean
}

const dueAt = (next: number): Due => ({
  next,
  nextFetched: next,
  arrived: [],
  isPaused: false,
  isVerified: false,
  hasCome: true,
  hasNothing: false,
})

/** The client goes on once half of its last batch is fetched: the next one is there in time, and no two of them lie in memory as a whole. */
function hasRoom({ arrived: [first, ...more] }: Due): boolean {
  if (first === undefined) return true
  return more.length === 0 && first.taken * 2 >= first.messages.length
}

interface JoinedGroup {
  readonly memberAssignment?: { readonly [topic: string]: readonly number[] }
}

export interface KafkajsReaderOptions {
  readonly topic: string
  /** Where each partition that is read begins. */
  readonly from: ReadonlyMap<number, number>
  /** The broker that a partition is read at. */
  readonly leaderOf: (partition: number) => number | undefined
}

/** Why nothing comes. */
interface Failure {
  readonly error: unknown
  /** There is another consumer, which has not had an answer yet. */
  isReplaced: boolean
}

/**
 * Pulls from a consumer that pushes. Where that gives up, because brokers are away for longer than it tries, it is replaced by another one in a group
 * of its own: in its old group it would be a new member, which the broker keeps waiting until the session of the old one is over.
 */
export class KafkajsReader implements KafkaReader {
  readonly readsAhead = true
  readonly #create: () => KafkajsConsumer
  #consumer: KafkajsConsumer
  readonly #topic: string
  readonly #leaderOf: (partition: number) => number | undefined
  readonly #due = new Map<number, Due>()
  readonly #closing = new AbortController()
  #failure: Failure | undefined
  /** What somebody waits for of which nothing has come: the client may hold it back behind what nobody wants. */
  #awaited: ReadonlyMap<number, number> | undefined
  /** Ends the waits for something to arrive, and for it to be fetched. */
  readonly #waiting = new Set<Sleeper>()

  private constructor(create: () => KafkajsConsumer, { topic, from, leaderOf }: KafkajsReaderOptions) {
    this.#create = create
    this.#consumer = create()
    this.#topic = topic
    this.#leaderOf = leaderOf
    for (const [partition, offset] of from) this.#due.set(partition, dueAt(offset))
  }

  /** `create` makes a consumer of a new group. */
  static async open(create: () => KafkajsConsumer, options: KafkajsReaderOptions): Promise<KafkajsReader> {
    const reader = new KafkajsReader(create, options)
    try {
      await reader.#start(reader.#consumer)
      return reader
    } catch (error) {
      await reader.close().catch(() => {})
      throw error
    }
  }

  async #start(consumer: KafkajsConsumer): Promise<void> {
    const { GROUP_JOIN, FETCH, CRASH, END_BATCH_PROCESS } = consumer.events
    const isCurrent = () => this.#consumer === consumer
    const on = (event: Parameters<KafkajsConsumer['on']>[0], listener: (payload: object) => void) =>
      consumer.on(event, ({ payload }) => {
        if (isCurrent()) listener(payload)
      })
    await consumer.connect()
    await consumer.subscribe({ topics: [this.#topic], fromBeginning: true })
    on(GROUP_JOIN, (payload) => this.#onJoin(payload as JoinedGroup))
    on(FETCH, (payload) => this.#onFetch((payload as { readonly nodeId: number }).nodeId))
    // kafkajs calls some failures final that pass, such as that no broker knows the coordinator of a group yet: it makes no difference here.
    on(CRASH, (payload) => this.#fail((payload as { readonly error: unknown }).error))
    on(END_BATCH_PROCESS, (payload) => this.#onProcessed(payload as ProcessedBatch))
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async (payload) => {
        if (isCurrent()) await this.#onBatch(payload)
      },
    })
  }

  /** The failure lasts until a broker has answered. */
  #fail(error: unknown): void {
    this.#failure = { error, isReplaced: false }
    this.#wake()
  }

  #replace(failure: Failure): void {
    const before = this.#consumer
    const consumer = this.#create()
    failure.isReplaced = true
    this.#consumer = consumer
    // What the one before was asked for is asked for anew.
    for (const due of this.#due.values()) due.hasCome = true
    before.disconnect().catch(() => {})
    this.#start(consumer)
      .catch((error: unknown) => {
        if (this.#consumer === consumer) this.#fail(error)
      })
      .finally(async () => {
        if (this.#closing.signal.aborted) await consumer.disconnect().catch(() => {})
      })
  }

  async fetch({ from, waitMs }: KafkaFetchRequest): Promise<readonly KafkaFetched[]> {
    this.#throwIfFailed()
    for (const [partition, offset] of from) this.#want(partition, offset)
    const endMs = performance.now() + waitMs
    for (;;) {
      this.#throwIfFailed()
      const fetched = this.#take(from)
      const leftMs = endMs - performance.now()
      if (fetched.length > 0 || leftMs <= 0 || this.#closing.signal.aborted) return fetched
      this.#awaited = from
      this.#wake()
      await this.#news(leftMs)
      this.#awaited = undefined
    }
  }

  #throwIfFailed(): void {
    const failure = this.#failure
    if (failure === undefined) return
    if (!failure.isReplaced && mayPass(failure.error) && !this.#closing.signal.aborted) this.#replace(failure)
    throw failure.error
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    this.#wake()
    await this.#consumer.disconnect()
  }

  #want(partition: number, offset: number): void {
    const due = this.#due.get(partition)
    if (due?.nextFetched === offset && (due.arrived.length > 0 || due.next === offset)) return
    const isVerified = due !== undefined
    // Whoever waits for room for it need not wait any more.
    if (due !== undefined) due.arrived.length = 0
    this.#wake()
    // A consumer that is giving up takes neither position nor partition. Whoever joins in its place begins with what is noted here, and reads it.
    this.#due.set(partition, { ...dueAt(offset), isVerified })
    this.#seek(partition, offset)
    this.#resume(partition)
  }

  #take(from: ReadonlyMap<number, number>): KafkaFetched[] {
    const fetched: KafkaFetched[] = []
    for (const partition of from.keys()) {
      const due = this.#due.get(partition)
      const [first] = due?.arrived ?? []
      if (due !== undefined && first !== undefined) {
        const taken = this.#takeFrom(first, partition)
        due.nextFetched = taken.next
        fetched.push(taken)
        if (first.taken === first.messages.length) due.arrived.shift()
        if (due.isPaused && !Number.isNaN(due.next) && hasRoom(due)) this.#resume(partition)
      } else if (due?.hasNothing === true) {
        fetched.push({ partition, messages: [], next: due.next, isAtEnd: true })
        due.hasNothing = false
      }
    }
    if (fetched.length > 0) this.#wake()
    return fetched
  }

  #takeFrom(arrival: Arrival, partition: number): KafkaFetched {
    const { messages: batch, taken, isOutOfRange } = arrival
    arrival.taken = Math.min(batch.length, taken + TAKEN_AT_ONCE)
    const messages = messagesOf(this.#topic, partition, batch, taken, arrival.taken)
    const last = messages.at(-1)
    const next = arrival.taken === batch.length || last === undefined ? arrival.next : last.offset + 1
    return { partition, messages, next, isAtEnd: false, ...(isOutOfRange && { isOutOfRange }) }
  }

  async #onBatch({ batch, resolveOffset, heartbeat, isRunning }: KafkajsEachBatch): Promise<void> {
    const { partition, fetchedOffset, highWatermark } = batch
    const due = this.#due.get(partition)
    if (due === undefined || Number.isNaN(due.next)) {
      this.#pause(partition)
      return
    }
    due.hasCome = true
    if (Number(fetchedOffset) > due.next || Number(highWatermark) < due.next) {
      this.#loseTrack(partition, due)
      return
    }
    const lastOffset = batch.lastOffset()
    this.#arrive(due, batch.messages, Number(lastOffset) + 1)
    resolveOffset(lastOffset)
    // Nobody takes it: the job is busy, or wants nothing of this partition for a while.
    await this.#untilRoom(partition, due, HEARTBEAT_MS)
    if (!hasRoom(due)) this.#pause(partition)
    if (isRunning()) await heartbeat()
  }

  /** A batch of which nothing is told, as all of it was filtered out. */
  #onProcessed({ partition, batchSize, firstOffset, lastOffset }: ProcessedBatch): void {
    const due = this.#due.get(partition)
    if (batchSize > 0 || due === undefined || Number.isNaN(due.next) || lastOffset === null) return
    due.hasCome = true
    // A gap: what was compacted away, or what the client has passed over by itself.
    if (firstOffset !== null && Number(firstOffset) > due.next && !due.isVerified)
      this.#loseTrack(partition, due)
    else this.#arrive(due, [], Number(lastOffset) + 1)
  }

  #arrive(due: Due, messages: readonly KafkajsMessage[], next: number): void {
    if (next <= due.next) return
    // What the client has read may begin before what is due.
    const isDue = ({ offset }: KafkajsMessage) => Number(offset) >= due.next
    const from = messages.findIndex(isDue)
    const taken = from < 0 ? messages.length : from
    due.arrived.push({ messages, taken, next, isOutOfRange: false })
    due.next = next
    due.isVerified = false
    this.#wake()
  }

  /** The client has gone on elsewhere: whoever fetches looks whether the offset is there. */
  #loseTrack(partition: number, due: Due): void {
    const { arrived, next } = due
    if (arrived.length === 0) arrived.push({ messages: [], taken: 0, next, isOutOfRange: true })
    due.next = Number.NaN
    this.#pause(partition)
    this.#wake()
  }

  /** Partitions of a broker that has answered. What comes with an answer comes before the next one. */
  #onFetch(nodeId: number): void {
    if (this.#failure !== undefined && mayPass(this.#failure.error)) this.#failure = undefined
    for (const [partition, due] of this.#due) {
      if (due.isPaused || this.#leaderOf(partition) !== nodeId) continue
      if (!due.hasCome && due.arrived.length === 0) due.hasNothing = true
      due.hasCome = false
    }
    this.#wake()
  }

  /**
   * Comes before anything is read, and again where the group is joined anew: a member that joins has forgotten where it was. It is given all
   * partitions of the topic, also those that nobody has asked for here.
   */
  #onJoin({ memberAssignment }: JoinedGroup): void {
    for (const [partition, { next }] of this.#due) if (!Number.isNaN(next)) this.#seek(partition, next)
    const others = (memberAssignment?.[this.#topic] ?? []).filter((partition) => !this.#due.has(partition))
    const paused = [...this.#due].filter(([, { isPaused }]) => isPaused).map(([partition]) => partition)
    const unwanted = others.concat(paused)
    if (unwanted.length > 0) this.#consumer.pause([{ topic: this.#topic, partitions: unwanted }])
  }

  #seek(partition: number, offset: number): void {
    this.#consumer.seek({ topic: this.#topic, partition, offset: `${offset}` })
  }

  #pause(partition: number): void {
    const due = this.#due.get(partition)
    if (due !== undefined) due.isPaused = true
    this.#consumer.pause([{ topic: this.#topic, partitions: [partition] }])
  }

  #resume(partition: number): void {
    const due = this.#due.get(partition)
    if (due !== undefined) due.isPaused = false
    this.#consumer.resume([{ topic: this.#topic, partitions: [partition] }])
  }

  async #untilRoom(partition: number, due: Due, limitMs: number): Promise<void> {
    const endMs = performance.now() + limitMs
    for (let leftMs = limitMs; leftMs > 0 && !hasRoom(due); leftMs = endMs - performance.now()) {
      if (this.#closing.signal.aborted || this.#awaited?.has(partition) === false) return
      await this.#news(leftMs)
    }
  }

  /** Waits for whatever happens next. */
  async #news(waitMs: number): Promise<void> {
    const sleeper = new Sleeper()
    this.#waiting.add(sleeper)
    await sleeper.sleep(waitMs)
    this.#waiting.delete(sleeper)
  }

  #wake(): void {
    for (const sleeper of this.#waiting) sleeper.wake()
  }
}

/** Some of a batch. */
function messagesOf(
  topic: string,
  partition: number,
  batch: readonly KafkajsMessage[],
  from: number,
  until: number,
): KafkaMessage[] {
  const messages: KafkaMessage[] = []
  // Messages that follow one another are often of the same millisecond: to read the text again costs more than to compare it.
  let timestampText: string | undefined
  let timestampMs = Number.NaN
  for (let i = from; i < until; i++) {
    const { offset, timestamp, key, value, headers } = batch[i] as KafkajsMessage
    if (timestamp !== timestampText) {
      timestampText = timestamp
      timestampMs = Number(timestamp)
    }
    messages.push({
      topic,
      partition,
      offset: Number(offset),
      timestampMs,
      key: key ?? undefined,
      value: value ?? undefined,
      headers: headers === undefined ? NO_HEADERS : headersOf(headers),
    })
  }
  return messages
}

const NO_HEADERS: KafkaMessage['headers'] = Object.freeze({})

function headersOf(given: NonNullable<KafkajsMessage['headers']>): KafkaMessage['headers'] {
  // Most messages have none, and the client gives each of them an object of its own.
  const names = Object.keys(given)
  if (names.length === 0) return NO_HEADERS
  const headers: [string, Uint8Array][] = []
  for (const name of names) {
    const text = given[name]
    const last = Array.isArray(text) ? text.at(-1) : text
    if (last !== undefined) headers.push([name, typeof last === 'string' ? Buffer.from(last) : last])
  }
  return headers.length === 0 ? NO_HEADERS : Object.fromEntries(headers)
}
