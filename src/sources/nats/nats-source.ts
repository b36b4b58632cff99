// Messages of a JetStream stream by their sequences.
//
// (1) A position is the sequence of the last message that counts. Nothing is acknowledged: the server keeps nothing of us.
// (2) An ordered consumer begins behind it; where that ends for whatever reason, another one begins behind what has come.
// (3) Messages that were removed before they were read are told of (J6), where no filter hides them.
// (4) A consumer that waits is not told that its stream was deleted, and waits for ever where that is made again: where nothing comes, the stream is looked at.

import { oneOf, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Source,
  SourceReader,
} from '../../job/source/source.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import { Arrival } from '../shared/arrival.js'
import { decodeEach } from '../shared/decode-each.js'
import { restoreFailed } from '../shared/restore-failed.js'
import { mayPass, type NatsClient, type NatsMessage, type NatsMessages, natsClient } from './nats-client.js'

/** Messages that are asked for before they are wanted, and as many that wait here. */
const READ_AHEAD = 1_000
/** A consumer that ends after so long was well until then. */
const LIVED_MS = 5_000
/** A stream of which nothing has come for so long is looked at. */
const LOOK_AFTER_MS = 5_000

export interface NatsSourceOptions<Event> extends OutageOptions {
  /** `jetstream(connection)` of `@nats-io/jetstream`. Let the connection reconnect for ever: `maxReconnectAttempts: -1`. */
  readonly client: NatsClient
  /** The stream: it is the partition. */
  readonly stream: string
  /** Only messages of these subjects, with wildcards. Default: all of the stream. */
  readonly subjects?: readonly string[]
  /** Makes an event of a message. What it throws makes the event a bad one. Default: its JSON. */
  readonly decode?: (message: NatsMessage) => Event
  /** Whether the source waits for messages to come, for ever. `false`: it ends with the last one that was there when it was opened. Default true. */
  readonly follow?: boolean
  /** What happens where messages behind the position were removed: `'fail'`, the default, is `RESTORE_FAILED`; `'continue'` goes on with the first one there is. */
  readonly onTrimmed?: 'fail' | 'continue'
}

/**
 * Messages of a JetStream stream in the order of their sequences, by an ordered pull consumer: one job reads all of a stream, or of some subjects.
 *
 * @example natsSource<Usage>({ client: jetstream(await connect({ servers, maxReconnectAttempts: -1 })), stream: 'usage' })
 */
export function natsSource<Event>(options: NatsSourceOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: natsClient,
      stream: (name) =>
        typeof name === 'string' && name.length > 0 ? undefined : 'must be the name of a stream',
      subjects: (subjects) =>
        Array.isArray(subjects) &&
        subjects.length > 0 &&
        subjects.every((subject) => typeof subject === 'string')
          ? undefined
          : 'must be an array of one or more subjects',
      decode: rules.function,
      follow: rules.boolean,
      onTrimmed: oneOf('fail', 'continue'),
    }),
  )
  requireSettings(options, ['client', 'stream'])
  return Object.freeze({
    name: `NATS stream ${options.stream}`,
    open: (request: OpenSourceOptions) => StreamReader.open(options, request),
  })
}

class StreamReader<Event> implements SourceReader<Event> {
  readonly #options: NatsSourceOptions<Event>
  readonly #outage: Outage
  /** Of consumers, which fail after they were begun. */
  readonly #consuming: Outage
  readonly #looking: Outage
  readonly #closing = new AbortController()
  readonly #arrival = new Arrival(this.#closing.signal)
  readonly #waiting: NatsMessage[] = []
  /** Any message may be the first. */
  #isFresh: boolean
  /** The last sequence that was given out, and that has come. */
  #given: number
  #received: number
  /** The last sequence of the stream, where that is the end. */
  #end: number | undefined
  #hasEnded = false
  /** Nothing was behind what has come last. */
  #isAtEnd = false
  #messages: NatsMessages | undefined
  #beganAtMs = 0
  #failure: unknown
  /** When something was heard of the stream last. */
  #heardAtMs = performance.now()
  #isLooking = false
  /** When the stream was made. */
  #created: string | undefined
  #makeRoom: () => void = () => {}
  /** What takes messages, until the source is closed. */
  #pump: Promise<void> = Promise.resolve()

  private constructor(options: NatsSourceOptions<Event>, position: number | undefined) {
    this.#options = options
    this.#isFresh = position === undefined
    this.#given = position ?? 0
    this.#received = position ?? 0
    const { stream } = options
    const settings = { ...outageOf(options), storage: `NATS stream ${stream}`, passes: mayPass }
    this.#outage = new Outage(settings)
    this.#consuming = new Outage(settings)
    this.#looking = new Outage(settings)
  }

  static async open<Event>(
    options: NatsSourceOptions<Event>,
    { positions, signal }: OpenSourceOptions,
  ): Promise<StreamReader<Event>> {
    const { stream, follow = true } = options
    const position = Object.hasOwn(positions, stream) ? positions[stream] : undefined
    if (position !== undefined && (!Number.isSafeInteger(position) || (position as number) < 0))
      throw restoreFailed(`${stream}: ${JSON.stringify(position)} is no sequence of a stream`)
    const reader = new StreamReader(options, position as number | undefined)
    try {
      const { first, last, created } = await reader.#outage.answerOf('open', () => reader.#bounds(), signal)
      reader.#created = created
      reader.#throwIfGone(first, last)
      if (!follow) reader.#end = last
      if (!follow && last <= reader.#received) reader.#isAtEnd = true
      else reader.#pump = reader.#take()
      return reader
    } catch (error) {
      await reader.close()
      throw error
    }
  }

  partitions(): readonly string[] {
    return [this.#options.stream]
  }

  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const { stream } = this.#options
    if (this.#hasEnded || this.#closing.signal.aborted) return []
    if (!this.#isOver && performance.now() - this.#heardAtMs >= LOOK_AFTER_MS) void this.#look()
    if (paused.has(stream) || (this.#waiting.length === 0 && !this.#isOver))
      await this.#arrival.wait(waitMs, signal)
    if (this.#closing.signal.aborted || paused.has(stream)) return []
    if (this.#failure !== undefined && this.#waiting.length === 0) throw this.#failure
    const messages = this.#waiting.splice(0, maxEvents)
    if (messages.length > 0) this.#makeRoom()
    return [this.#decoded(messages)]
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#outage.close()
    this.#consuming.close()
    this.#looking.close()
    this.#makeRoom()
    this.#waiting.length = 0
    await this.#messages?.close().catch(() => {})
    await this.#pump
  }

  get #isOver(): boolean {
    return this.#isAtEnd || this.#failure !== undefined
  }

  get #hasLived(): boolean {
    return performance.now() - this.#beganAtMs >= LIVED_MS
  }

  async #bounds(): Promise<{ first: number; last: number; created: string | undefined }> {
    const manager = await this.#options.client.jetstreamManager(false)
    const { state, created } = await manager.streams.info(this.#options.stream)
    return { first: state.first_seq, last: state.last_seq, created }
  }

  /** (4). While the server is away, whoever consumes knows. */
  async #look(): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    // Messages may come while the answer is on its way, which does not count them.
    const received = this.#received
    try {
      const found = await this.#looking.untilAnswered('look at the stream', () => this.#bounds())
      if (found !== undefined) this.#throwIfOther(found, received)
      // What was to come up to the end may be removed: another consumer says so.
      if (this.#end !== undefined && this.#waiting.length === 0 && this.#hasLived)
        await this.#messages?.close()
      this.#heardAtMs = performance.now()
    } catch (error) {
      this.#failure ??= error
      await this.#messages?.close().catch(() => {})
      this.#arrival.tell()
    } finally {
      this.#isLooking = false
    }
  }

  #throwIfOther(
    { last, created }: { readonly last: number; readonly created: string | undefined },
    received: number,
  ): void {
    const isOther = created !== this.#created || last < received
    if (!isOther) return
    throw restoreFailed(
      `NATS stream ${this.#options.stream}: what follows ${received} is wanted, and the stream was deleted and made again: it ends at ${last}`,
    )
  }

  #throwIfGone(first: number, last: number): void {
    const { stream, onTrimmed } = this.#options
    const wanted = this.#received + 1
    if (this.#isFresh) return
    if (last < this.#received)
      throw restoreFailed(
        `NATS stream ${stream} ends at ${last}, and what follows ${this.#received} is wanted: it is not the one that was read`,
      )
    if (first > wanted && onTrimmed !== 'continue')
      throw restoreFailed(
        `NATS stream ${stream}: message ${wanted} is wanted and gone: it begins at ${first}`,
      )
  }

  /** Takes messages as they come, by one consumer after the other. */
  async #take(): Promise<void> {
    try {
      while (!this.#closing.signal.aborted && !this.#isOver) {
        const begun = await this.#outage.untilAnswered(
          'consume',
          () => this.#begin(),
          undefined,
          (late) => late.messages?.close(),
        )
        if (begun === undefined) continue
        this.#messages = begun.messages
        this.#isAtEnd = begun.messages === undefined
        if (begun.messages === undefined) continue
        if (this.#closing.signal.aborted) await begun.messages.close()
        this.#beganAtMs = performance.now()
        const failure = await this.#takeAll(begun.messages)
        this.#messages = undefined
        if (this.#hasLived) this.#consuming.passed()
        if (failure !== undefined) await this.#consuming.failed('consume', failure)
      }
    } catch (error) {
      this.#failure ??= error
    }
    this.#arrival.tell()
  }

  /** No messages: what is wanted was given. An attempt that was given up goes on, so it changes nothing. */
  async #begin(): Promise<{ readonly messages: NatsMessages | undefined }> {
    const { client, stream, subjects } = this.#options
    const consumer = await client.consumers.get(stream, {
      opt_start_seq: this.#received + 1,
      deliver_policy: 'by_start_sequence',
      ...(subjects !== undefined && { filter_subjects: [...subjects] }),
    })
    const isAtEnd = this.#end !== undefined && (await consumer.info()).num_pending === 0
    // Behind that, as what was removed up to then is in no consumer.
    const { first, last, created } = await this.#bounds()
    this.#throwIfOther({ last, created }, this.#received)
    this.#throwIfGone(first, last)
    if (isAtEnd) return { messages: undefined }
    return { messages: await consumer.consume({ max_messages: READ_AHEAD }) }
  }

  /** Why it takes no more; `undefined` where the source has come to its end. */
  async #takeAll(messages: NatsMessages): Promise<unknown> {
    let failure: unknown = new Error('the consumer has ended')
    try {
      for await (const message of messages) {
        this.#heardAtMs = performance.now()
        // What a consumer before this one has given.
        if (message.seq <= this.#received) continue
        await this.#checkGap(message.seq)
        this.#received = message.seq
        this.#isFresh = false
        this.#consuming.passed()
        this.#waiting.push(message)
        const end = this.#end
        if (end !== undefined && (message.seq >= end || message.info.pending === 0)) this.#isAtEnd = true
        this.#arrival.tell()
        if (this.#isAtEnd) break
        await this.#room()
        if (this.#closing.signal.aborted) break
      }
    } catch (error) {
      failure = error
    }
    await messages.close().catch(() => {})
    return this.#isOver || this.#closing.signal.aborted ? undefined : failure
  }

  /** Without a filter, a message that is missing was deleted by itself, or removed with all before it. */
  async #checkGap(seq: number): Promise<void> {
    const { subjects } = this.#options
    if (seq === this.#received + 1 || this.#isFresh || subjects !== undefined) return
    const { first, last } = await this.#outage.answerOf('look at a gap', () => this.#bounds())
    this.#throwIfGone(first, last)
  }

  async #room(): Promise<void> {
    while (this.#waiting.length >= READ_AHEAD && !this.#closing.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#makeRoom = resolve
      })
    }
  }

  #decoded(messages: readonly NatsMessage[]): PolledEvents<Event> {
    const { stream, decode = (message: NatsMessage) => JSON.parse(message.string()) as Event } = this.#options
    const { events, failures } = decodeEach(messages, decode)
    const sequences = messages.map(({ seq }) => seq)
    this.#given = sequences.at(-1) ?? this.#given
    this.#hasEnded = this.#isAtEnd && this.#given >= this.#received
    return {
      partition: stream,
      events,
      positionAfter: (place) => sequences[place] as number,
      ...(failures.size > 0 && { failures }),
      ...(this.#hasEnded && { hasEnded: true }),
    }
  }
}
