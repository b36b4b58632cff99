// Entries of Redis streams by their ids.
//
// (1) A position is the id of the last entry that counts.
// (2) Each read begins with that entry: where it is gone, others behind it may be gone as well, and that is told (J6).
// (3) One command that waits on the server is under way at most; what it answers only wakes.

import { Sleeper } from '../../base/clock.js'
import {
  oneOf,
  type Rule,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import { isErrorLike } from '../../base/shapes.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Positions,
  Source,
  SourceReader,
} from '../../job/source/source.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import {
  commandsOf,
  compareIds,
  entriesOf,
  isEntryId,
  mayPass,
  type OwnConnection,
  ownConnection,
  type RedisClient,
  redisClient,
  type SendCommand,
  type StreamEntry,
} from '../../remote/redis-client.js'
import { Courtesy } from '../shared/courtesy.js'
import { decodeEach } from '../shared/decode-each.js'
import { restoreFailed } from '../shared/restore-failed.js'

const BEGINNING = '0-0'
/** How often streams are looked at where the client cannot wait on the server. */
const LOOK_EVERY_MS = 20
/** A command waits on the server no longer than this, so that a connection that died in silence is noticed. */
const LONGEST_WAIT_MS = 5_000

export interface RedisStreamSourceOptions<Event> extends OutageOptions {
  /** Of `ioredis` or `redis`. What waits on the server goes through a duplicate of it, where it can be duplicated. */
  readonly client: RedisClient
  /** Keys of the streams: each is a partition. In a cluster they must be in one slot; others are joined by `mergedSource`. */
  readonly streams: readonly string[]
  /** Makes an event of an entry. What it throws makes the event a bad one. Default: the JSON in the field `json`. */
  readonly decode?: (entry: StreamEntry) => Event
  /** Whether the source waits for entries to come, for ever. `false`: it ends with the last entry that was there when it was opened. Default true. */
  readonly follow?: boolean
  /**
   * Whether entries are removed once a checkpoint has them (by `XTRIM MINID`; the last of them stays, as the place to go on from). Default false.
   * An older checkpoint cannot be restored then (J6).
   */
  readonly trimAfterCut?: boolean
  /**
   * What happens where entries behind the position are gone, as the stream was trimmed: `'fail'`, the default, is `RESTORE_FAILED`;
   * `'continue'` goes on with the first one that is there.
   */
  readonly onTrimmed?: 'fail' | 'continue'
}

/**
 * Entries of Redis (or Valkey) streams, read by id without a consumer group: one job reads all of a stream, in its order.
 *
 * @example redisStreamSource<Usage>({ client: new Redis('rediss://…'), streams: ['usage'] })
 */
export function redisStreamSource<Event>(options: RedisStreamSourceOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: redisClient,
      streams: streamKeys,
      decode: rules.function,
      follow: rules.boolean,
      trimAfterCut: rules.boolean,
      onTrimmed: oneOf('fail', 'continue'),
    }),
  )
  requireSettings(options, ['client', 'streams'])
  const name = `Redis ${options.streams.length === 1 ? `stream ${options.streams[0]}` : 'streams'}`
  return Object.freeze({
    name,
    open: (request: OpenSourceOptions) => StreamsReader.open(name, options, request),
  })
}

export const streamKeys: Rule = (streams) =>
  Array.isArray(streams) &&
  streams.length > 0 &&
  new Set(streams).size === streams.length &&
  streams.every((key) => typeof key === 'string' && key.length > 0)
    ? undefined
    : 'must be an array of one or more keys, each once'

interface OpenStream {
  /** The last entry that was given out. */
  lastId: string
  /** The last one there was, where that is the end. */
  readonly endId: string | undefined
  hasEnded: boolean
}

/** What was found behind the last entry of a stream. */
interface ReadEntries {
  readonly key: string
  readonly stream: OpenStream
  readonly entries: readonly StreamEntry[]
}

class StreamsReader<Event> implements SourceReader<Event> {
  readonly #options: RedisStreamSourceOptions<Event>
  readonly #name: string
  readonly #send: SendCommand
  readonly #outage: Outage
  readonly #trimming: Courtesy
  readonly #streams = new Map<string, OpenStream>()
  readonly #closing = new AbortController()
  #waiter: OwnConnection | undefined
  /** For whether something is there: a command that waits on the server. */
  #isWaiting = false
  readonly #sleeper = new Sleeper()
  /** The stream that is asked first. */
  #turn = 0

  private constructor(name: string, options: RedisStreamSourceOptions<Event>) {
    this.#name = name
    this.#options = options
    this.#send = commandsOf(options.client)
    this.#outage = new Outage({ ...outageOf(options), storage: name, passes: mayPass })
    this.#trimming = new Courtesy(this.#outage, mayPass)
  }

  static async open<Event>(
    name: string,
    options: RedisStreamSourceOptions<Event>,
    { positions, signal }: OpenSourceOptions,
  ): Promise<StreamsReader<Event>> {
    const reader = new StreamsReader(name, options)
    try {
      for (const key of options.streams) {
        const position = Object.hasOwn(positions, key) ? positions[key] : undefined
        await reader.#openStream(key, position, signal)
      }
      return reader
    } catch (error) {
      await reader.close()
      throw error
    }
  }

  partitions(): readonly string[] {
    return this.#options.streams
  }

  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const deadline = performance.now() + waitMs
    for (;;) {
      const wanted = this.#wanted(paused)
      const read = await this.#outage.untilAnswered('read', () => this.#read(wanted, maxEvents), signal)
      // While the server is away nothing was polled: no partition is idle.
      if (read === undefined || this.#closing.signal.aborted) return []
      const polled = read.map(({ key, stream, entries }) => this.#decoded(key, stream, entries))
      if (polled.some(({ events }) => events.length > 0)) this.#turn++
      const leftMs = deadline - performance.now()
      const isWorthTelling = polled.some(({ events, hasEnded }) => events.length > 0 || hasEnded === true)
      if (isWorthTelling || leftMs <= 0 || this.#closing.signal.aborted || signal?.aborted === true) {
        return polled
      }
      await this.#wake(wanted, leftMs, signal)
    }
  }

  /** A courtesy: where it fails by an outage, a later cut does it. */
  async checkpointCompleted(positions: Positions): Promise<void> {
    if (this.#options.trimAfterCut !== true) return
    await this.#trimming.show('trim', async () => {
      for (const [key, position] of Object.entries(positions)) {
        if (isEntryId(position) && this.#streams.has(key)) await this.#send('XTRIM', key, 'MINID', position)
      }
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#outage.close()
    this.#waiter?.close()
    this.#waiter = undefined
  }

  async #openStream(key: string, position: unknown, signal: AbortSignal | undefined): Promise<void> {
    if (position !== undefined && !isEntryId(position))
      throw restoreFailed(`${key}: ${JSON.stringify(position)} is no id of an entry of a Redis stream`)
    const last = await this.#outage.answerOf('open', () => this.#lastId(key), signal)
    const lastId = position ?? BEGINNING
    if (position !== undefined && compareIds(last, position) < 0) {
      throw restoreFailed(
        `${this.#name}: the stream ${key} ends at ${last}, and ${position} is wanted: it is not the one that was read`,
      )
    }
    const { follow = true } = this.#options
    const stream = { lastId, endId: follow ? undefined : last, hasEnded: false }
    this.#streams.set(key, stream)
    if (position !== undefined)
      await this.#outage.answerOf('open', () => this.#entries(key, stream, 1), signal)
  }

  /** The last id that the stream has ever given; the beginning where there is no stream. */
  async #lastId(key: string): Promise<string> {
    try {
      return lastGeneratedId(await this.#send('XINFO', 'STREAM', key))
    } catch (error) {
      if (isErrorLike(error) && error.message.includes('no such key')) return BEGINNING
      throw error
    }
  }

  /** Streams of which something is wanted, beginning with the one whose turn it is. */
  #wanted(paused: ReadonlySet<string>): string[] {
    const { streams } = this.#options
    return streams
      .map((_, i) => streams[(this.#turn + i) % streams.length] as string)
      .filter((key) => !paused.has(key) && this.#streams.get(key)?.hasEnded === false)
  }

  /** Only asks: an attempt that was given up goes on, and must change nothing. */
  async #read(keys: readonly string[], maxEvents: number): Promise<ReadEntries[]> {
    const read: ReadEntries[] = []
    let left = maxEvents
    for (const key of keys) {
      const stream = this.#streams.get(key)
      if (stream === undefined || left === 0) break
      const entries = await this.#entries(key, stream, left)
      left -= entries.length
      read.push({ key, stream, entries })
    }
    return read
  }

  /** The entries behind the last one, at most so many. That one is read again: it must still be there. */
  async #entries(key: string, { lastId, endId }: OpenStream, count: number): Promise<StreamEntry[]> {
    const isFirst = lastId === BEGINNING
    const size = isFirst ? count : count + 1
    const from = isFirst ? '-' : lastId
    const found = entriesOf(await this.#send('XRANGE', key, from, endId ?? '+', 'COUNT', String(size)))
    if (isFirst) return found
    if (found[0]?.id === lastId) return found.slice(1)
    await this.#throwIfTrimmed(key, lastId)
    return found.slice(0, count)
  }

  async #throwIfTrimmed(key: string, lastId: string): Promise<void> {
    if (this.#options.onTrimmed === 'continue') return
    const newest = await this.#lastId(key)
    // It was trimmed away, but nothing has come behind it.
    if (newest === lastId) return
    const [first] = entriesOf(await this.#send('XRANGE', key, '-', '+', 'COUNT', '1'))
    // It was deleted by itself: those before it are still there.
    if (first !== undefined && compareIds(first.id, lastId) < 0) return
    const has = first === undefined ? 'it is empty' : `it begins at ${first.id}`
    throw restoreFailed(
      `${this.#name}: entries of the stream ${key} behind ${lastId} are wanted and may be gone: ${has}, and its last one was ${newest}`,
    )
  }

  #decoded(partition: string, stream: OpenStream, entries: readonly StreamEntry[]): PolledEvents<Event> {
    const { decode = jsonOf<Event> } = this.#options
    const { events, failures } = decodeEach(entries, decode)
    const ids = entries.map(({ id }) => id)
    stream.lastId = ids.at(-1) ?? stream.lastId
    const { endId, lastId } = stream
    stream.hasEnded = endId !== undefined && (entries.length === 0 || compareIds(lastId, endId) >= 0)
    return {
      partition,
      events,
      positionAfter: (place) => ids[place] as string,
      ...(failures.size > 0 && { failures }),
      ...(stream.hasEnded && { hasEnded: true }),
    }
  }

  /** Waits until something may be there. */
  async #wake(keys: readonly string[], leftMs: number, signal: AbortSignal | undefined): Promise<void> {
    const closing = this.#closing.signal
    if (closing.aborted || signal?.aborted === true) return
    if (keys.length === 0 || (this.#waiter === undefined && this.#options.client.duplicate === undefined)) {
      await new Sleeper().sleep(Math.min(leftMs, LOOK_EVERY_MS), closing, signal)
      return
    }
    this.#waiter ??= ownConnection(this.#options.client)
    const ms = String(Math.max(1, Math.ceil(Math.min(leftMs, LONGEST_WAIT_MS))))
    const command = ['XREAD', 'COUNT', '1', 'BLOCK', ms, 'STREAMS']
    const ids = keys.map((key) => this.#streams.get(key)?.lastId ?? BEGINNING)
    if (!this.#isWaiting) void this.#waitOnServer([...command, ...keys, ...ids], signal)
    await this.#sleeper.sleep(leftMs, closing, signal)
  }

  /** It is only to wake: where it fails, the next read tells why. */
  async #waitOnServer(command: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    this.#isWaiting = true
    try {
      await this.#waiter?.send(...command)
    } catch {
      await new Sleeper().sleep(LOOK_EVERY_MS, this.#closing.signal, signal)
    } finally {
      this.#isWaiting = false
      this.#sleeper.wake()
    }
  }
}

export function jsonOf<Event>({ fields }: StreamEntry): Event {
  const text = fields['json']
  if (text === undefined) throw new Error('the entry has no field json')
  return JSON.parse(text) as Event
}

/** Answers are lists of names and values, or, in the newer protocol, maps. */
function lastGeneratedId(answer: unknown): string {
  const list = Array.isArray(answer) ? (answer as readonly unknown[]) : Object.entries(answer ?? {}).flat()
  const id = list[list.indexOf('last-generated-id') + 1]
  return isEntryId(id) ? id : BEGINNING
}
