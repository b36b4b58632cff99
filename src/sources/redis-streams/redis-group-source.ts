// Entries of Redis streams that several processes share as consumers of a group.
//
//   position := { cut, read }      read: how many entries of the stream this consumer has counted, in the order in which it was given them
//
// (1) What counts is what the cut has: before a cut is published its entries are moved to a consumer that is named by it (group-scripts.ts), by
//     which they are told from those that were only given. Once it is safe they are acknowledged.
// (2) Whose answer was lost is given again: an entry that was given to this consumer, and that this reader does not know of.

import { randomUUID } from 'node:crypto'
import { Sleeper } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import {
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
import {
  commandsOf,
  compareIds,
  entriesOf,
  isEntryId,
  mayPass,
  type RedisClient,
  redisClient,
  type SendCommand,
  type StreamEntry,
} from '../../remote/redis-client.js'
import { decodeEach } from '../shared/decode-each.js'
import { restoreFailed } from '../shared/restore-failed.js'
import { takeOver } from '../shared/take-over.js'
import { ACKNOWLEDGE, CLAIM, OPEN, PREPARE, READ } from './group-scripts.js'
import { hasHashTag, hashTagOf } from './hash-tag.js'
import { jsonOf, streamKeys } from './redis-stream-source.js'

const BEGINNING = '0-0'
const DEFAULT_CLAIM_AFTER_MS = 60_000
/** How often a stream is looked at that has nothing. */
const LOOK_EVERY_MS = 20
/** Entries in one step of a script, which holds up everybody else on the server. */
const AT_ONCE = 1_000

export interface RedisGroupSourceOptions<Event> extends OutageOptions {
  /** Of `ioredis` or `redis`. */
  readonly client: RedisClient
  /** Keys of the streams: each is a partition. In a cluster they may be in several slots. */
  readonly streams: readonly string[]
  /** The consumer group. Made where there is none. */
  readonly group: string
  /**
   * The name of this consumer: one for each job and its checkpoints, and always the same one. It must not contain `:cut:`.
   */
  readonly consumer: string
  /** Where a group that is made begins. Default `'earliest'`. */
  readonly from?: 'earliest' | 'latest'
  /**
   * After how many milliseconds in which another consumer was not heard of its entries are claimed, but for those that one of its cuts may have.
   * Longer than any pause of a process that lives. `Infinity`: never. Default 60,000.
   */
  readonly claimAfterMs?: number
  /** Makes an event of an entry. What it throws makes the event a bad one. Default: the JSON in the field `json`. */
  readonly decode?: (entry: StreamEntry) => Event
  /** Whether the source waits for entries to come, for ever. `false`: it ends with the last entry that was there when it was opened. Default true. */
  readonly follow?: boolean
  /**
   * What happens where entries that are wanted are gone, or what the cut does not have was acknowledged already: `'fail'`, the default, is
   * `RESTORE_FAILED`; `'continue'` goes on with what is there.
   */
  readonly onTrimmed?: 'fail' | 'continue'
}

/**
 * Entries of Redis 7 (or Valkey) streams, shared by the consumers of a group: each entry goes to one of them, whatever its key, and in no promised order. Each
 * consumer is a job with a state of its own, in which each of its entries counts once. Entries that a dead consumer was given and had not
 * counted are claimed by another one; what may be in its last cut waits until it is back.
 *
 * @example redisGroupSource<Usage>({ client, streams: ['usage'], group: 'billing', consumer: 'billing-0' })
 */
export function redisGroupSource<Event>(options: RedisGroupSourceOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: redisClient,
      streams: (value) =>
        streamKeys(value) ??
        (value as readonly string[]).map(hasHashTag).find((wrong) => wrong !== undefined),
      group: nonEmptyText,
      consumer: (value) =>
        typeof value === 'string' && value.includes(':cut:')
          ? "must not contain ':cut:'"
          : nonEmptyText(value),
      from: oneOf('earliest', 'latest'),
      claimAfterMs: (value) => (value === Infinity ? undefined : rules.positiveMs(value)),
      decode: rules.function,
      follow: rules.boolean,
      onTrimmed: oneOf('fail', 'continue'),
    }),
  )
  requireSettings(options, ['client', 'streams', 'group', 'consumer'])
  const name = `Redis group ${options.group}`
  return Object.freeze({
    name,
    open: (request: OpenSourceOptions) => GroupReader.open(name, options, request),
  })
}

/** What is known of a stream. */
interface SharedStream {
  readonly key: string
  /** Entries that were given away and are in no cut, in order. */
  given: string[]
  readonly known: Set<string>
  /** How many were moved to cuts. */
  moved: number
  /** The cut that is made next. */
  cut: number
  /** Own entries behind this one are to be given again; `undefined`: all of them are known. */
  again: string | undefined
  /** The last one there was, where that is the end. */
  readonly endId: string | undefined
  hasEnded: boolean
  /** When it was looked at last whether entries of the dead are to be claimed; −Infinity: there may be more. */
  lookedAtMs: number
  /** A call was given up: what it is given may come at any time. */
  mayBeGivenLate: boolean
}

class GroupReader<Event> implements SourceReader<Event> {
  readonly #options: RedisGroupSourceOptions<Event>
  readonly #name: string
  readonly #send: SendCommand
  readonly #outage: Outage
  readonly #owner = randomUUID()
  readonly #streams: SharedStream[] = []
  readonly #closing = new AbortController()
  #turn = 0

  private constructor(name: string, options: RedisGroupSourceOptions<Event>) {
    this.#name = name
    this.#options = options
    this.#send = commandsOf(options.client)
    this.#outage = new Outage({ ...outageOf(options), storage: name, passes: mayPass })
  }

  static async open<Event>(
    name: string,
    options: RedisGroupSourceOptions<Event>,
    { positions, signal, checkOwner }: OpenSourceOptions,
  ): Promise<GroupReader<Event>> {
    const reader = new GroupReader(name, options)
    try {
      for (const key of options.streams) {
        const position = Object.hasOwn(positions, key) ? positions[key] : undefined
        await reader.#openStream(key, placeOf(key, position), checkOwner, signal)
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
      const polled = await this.#read(maxEvents, paused, signal)
      if (this.#closing.signal.aborted) return []
      const leftMs = deadline - performance.now()
      const isWorthTelling = polled.some(({ events, hasEnded }) => events.length > 0 || hasEnded === true)
      if (isWorthTelling || leftMs <= 0 || signal?.aborted === true) return polled
      await new Sleeper().sleep(Math.min(leftMs, LOOK_EVERY_MS), this.#closing.signal, signal)
    }
  }

  /** Entries of a cut are told from others before it is published. */
  async prepareCut(positions: Positions): Promise<void> {
    for (const stream of this.#streams) {
      const { key } = stream
      if (!Object.hasOwn(positions, key)) continue
      const { cut, read } = placeOf(key, positions[key])
      const count = read - stream.moved
      if (count <= 0) continue
      const ids = stream.given.slice(0, count)
      for (let from = 0; from < ids.length; from += AT_ONCE)
        await this.#run('prepare a cut', key, PREPARE, [String(cut), ...ids.slice(from, from + AT_ONCE)])
      stream.given = stream.given.slice(count)
      for (const id of ids) stream.known.delete(id)
      stream.moved = read
      stream.cut = cut + 1
    }
  }

  async checkpointCompleted(positions: Positions): Promise<void> {
    for (const { key } of this.#streams) {
      if (!Object.hasOwn(positions, key)) continue
      const { cut } = placeOf(key, positions[key])
      await this.#run('acknowledge', key, ACKNOWLEDGE, [String(cut)])
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#outage.close()
  }

  async #openStream(
    key: string,
    place: Place,
    checkOwner: (() => Promise<void>) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { from = 'earliest', follow = true } = this.#options
    const args = [String(place.cut), this.#strictness, from]
    const [outcome, found, last] = await this.#takeOver(key, args, checkOwner, signal)
    const wanted = `${this.#name}: cut ${place.cut} of consumer ${this.#options.consumer} is wanted of the stream ${key}`
    if (outcome === 'NOGROUP') throw restoreFailed(`${wanted}, and there is no such group`)
    if (outcome === 'ACKED')
      throw restoreFailed(`${wanted}, and cut ${String(found)} was acknowledged already`)
    if (outcome === 'LOST') throw this.#lost(key, found)
    this.#streams.push({
      key,
      given: [],
      known: new Set(),
      moved: place.read,
      cut: Math.max(Number(found), place.cut) + 1,
      again: BEGINNING,
      endId: follow ? undefined : isEntryId(last) ? last : BEGINNING,
      hasEnded: false,
      lookedAtMs: performance.now(),
      mayBeGivenLate: false,
    })
  }

  /** An attempt that arrives late finds that the consumer was opened since. So does one that another process was quicker than: it opens anew. */
  async #takeOver(
    key: string,
    args: readonly string[],
    checkOwner: (() => Promise<void>) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<readonly unknown[]> {
    const field = `opened:${this.#options.consumer}`
    const ask = <Answer>(call: () => Promise<Answer>) => this.#outage.answerOf('open', call, signal)
    let answer: readonly unknown[] = []
    await takeOver(
      {
        read: async () => String((await ask(() => this.#send('HGET', this.#noteOf(key), field))) ?? 0),
        take: async (before) => {
          answer = await ask(() => this.#evaluate(OPEN, key, [...args, before]))
          return answer[0] !== 'LATE'
        },
      },
      checkOwner,
    )
    return answer
  }

  async #read(
    maxEvents: number,
    paused: ReadonlySet<string>,
    signal: AbortSignal | undefined,
  ): Promise<PolledEvents<Event>[]> {
    const polled: PolledEvents<Event>[] = []
    let left = maxEvents
    for (let i = 0; i < this.#streams.length && left > 0; i++) {
      const stream = this.#streams[(this.#turn + i) % this.#streams.length] as SharedStream
      if (paused.has(stream.key) || stream.hasEnded) continue
      const entries = await this.#next(stream, Math.min(left, AT_ONCE), signal)
      // While the server is away nothing was polled: no partition is idle. What came before that was given away, and is told of.
      if (entries === undefined) break
      left -= entries.length
      polled.push(this.#give(stream, entries))
    }
    this.#turn++
    return polled
  }

  /** Own entries that are not known; then, when it is time, those of the dead; then new ones. `undefined` where it was ended before there was an answer. */
  async #next(
    stream: SharedStream,
    count: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly StreamEntry[] | undefined> {
    const own = await this.#unknown(stream, count, signal)
    if (own === undefined || own.length > 0) return own
    const claimed = await this.#claimInTime(stream, count, signal)
    if (claimed === undefined || claimed.length > 0) return claimed
    const found = await this.#take(stream, READ, [String(count), '', this.#strictness], signal)
    if (found === undefined || found.entries.length > 0) return found?.entries
    // An attempt that was given up may have been given what this one was not.
    if (stream.again !== undefined) return []
    if (stream.endId !== undefined && isEntryId(found.last) && compareIds(found.last, stream.endId) >= 0) {
      stream.again = BEGINNING
      const rest = await this.#unknown(stream, count, signal)
      stream.hasEnded = rest?.length === 0
      return rest
    }
    return []
  }

  /** Entries of consumers that were not heard of; none while it is not time to look. A stream that always has new entries is looked at as often as any other. */
  async #claimInTime(
    stream: SharedStream,
    count: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly StreamEntry[] | undefined> {
    const { claimAfterMs = DEFAULT_CLAIM_AFTER_MS } = this.#options
    if (performance.now() - stream.lookedAtMs < Math.min(claimAfterMs, DEFAULT_CLAIM_AFTER_MS) / 4) return []
    stream.lookedAtMs = performance.now()
    // What a call that was given up was given after all is found so as well, also where nothing is claimed.
    if (stream.mayBeGivenLate) stream.again = BEGINNING
    if (claimAfterMs === Infinity) return []
    const args = [String(count), String(claimAfterMs), this.#strictness]
    const taken = (await this.#take(stream, CLAIM, args, signal))?.entries
    // What was claimed from this one while it stood still, and is claimed back, it has counted.
    const claimed = taken?.filter(({ id }) => !stream.known.has(id))
    if (claimed !== undefined && claimed.length > 0) stream.lookedAtMs = -Infinity
    return claimed
  }

  /** Own entries that this reader does not know of. */
  async #unknown(
    stream: SharedStream,
    count: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly StreamEntry[] | undefined> {
    const { key, known } = stream
    while (stream.again !== undefined) {
      const args = [String(count), stream.again, this.#strictness]
      const answer = await this.#outage.untilAnswered('read', () => this.#attempt(key, READ, args), signal)
      if (answer === undefined) return undefined
      const all = entriesOf(answer[2])
      stream.again = all.at(-1)?.id
      const unknown = all.filter(({ id }) => !known.has(id))
      const gone = unknown.find(({ fields }) => Object.keys(fields).length === 0)
      if (gone !== undefined && this.#strictness === 'strict') throw this.#lost(key, gone.id)
      const there = unknown.filter(({ fields }) => Object.keys(fields).length > 0)
      if (there.length > 0) return there
    }
    return []
  }

  /** Has entries given to this consumer. Where more than the answer may have been given, its own ones are looked at again. */
  async #take(
    stream: SharedStream,
    script: string,
    args: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<{ readonly last: unknown; readonly entries: readonly StreamEntry[] } | undefined> {
    let attempts = 0
    let answer: readonly unknown[] | undefined
    try {
      // An attempt that was given up goes on, and must change nothing: who has the answer that counts does that.
      answer = await this.#outage.untilAnswered(
        'read',
        () => {
          attempts++
          return this.#attempt(stream.key, script, args)
        },
        signal,
      )
    } finally {
      if (attempts > 1 || answer === undefined) {
        stream.again = BEGINNING
        stream.mayBeGivenLate = true
      }
    }
    return answer === undefined ? undefined : { last: answer[1], entries: entriesOf(answer[2]) }
  }

  #give(stream: SharedStream, entries: readonly StreamEntry[]): PolledEvents<Event> {
    const { decode = jsonOf<Event> } = this.#options
    const { events, failures } = decodeEach(entries, decode)
    const before = stream.moved + stream.given.length
    for (const { id } of entries) {
      stream.given.push(id)
      stream.known.add(id)
    }
    return {
      partition: stream.key,
      events,
      // Which cut it will be in is known when it was processed.
      positionAfter: (place) => ({ cut: stream.cut, read: before + place + 1 }),
      ...(failures.size > 0 && { failures }),
      ...(stream.hasEnded && { hasEnded: true }),
    }
  }

  get #strictness(): string {
    return this.#options.onTrimmed === 'continue' ? 'loose' : 'strict'
  }

  #lost(key: string, id: unknown): StateError<'RESTORE_FAILED'> {
    return restoreFailed(
      `${this.#name}: entry ${String(id)} of the stream ${key} is wanted, and is not there any more`,
    )
  }

  /** Again until there is an answer. */
  #run(operation: string, key: string, script: string, args: readonly string[]): Promise<unknown> {
    return this.#outage.answerOf(operation, () => this.#attempt(key, script, args))
  }

  async #attempt(key: string, script: string, args: readonly string[]): Promise<readonly unknown[]> {
    const answer = await this.#evaluate(script, key, args)
    const [outcome, found, first] = answer
    const resource = `${this.#name}, consumer ${this.#options.consumer}`
    if (outcome === 'FENCED')
      throw new StateError('FENCED', { resource, owner: String(found || 'nobody: its note is gone') })
    // It was taken for dead: another one counts it. Going on from the last cut, this one does not.
    if (outcome === 'TAKEN')
      throw new StateError('FENCED', {
        resource,
        owner: `whoever has claimed entry ${String(found)} of ${key}`,
      })
    if (outcome === 'LOST') throw this.#lost(key, found)
    if (outcome === 'NOGROUP')
      throw restoreFailed(`${this.#name}: the stream ${key}, or its group, was deleted while it was read`)
    if (outcome === 'TRIMMED') {
      const has = first === '' ? 'it is empty' : `it begins at ${String(first)}`
      throw restoreFailed(
        `${this.#name}: entries of the stream ${key} behind ${String(found)} are wanted and may be gone: ${has}`,
      )
    }
    return answer
  }

  async #evaluate(script: string, key: string, args: readonly string[]): Promise<readonly unknown[]> {
    const { group, consumer } = this.#options
    const note = this.#noteOf(key)
    const answer = await this.#send('EVAL', script, '2', key, note, group, consumer, this.#owner, ...args)
    return answer as readonly unknown[]
  }

  /** In the slot of the stream. */
  #noteOf(key: string): string {
    return `{${hashTagOf(key)}}:group:${key}:${this.#options.group}`
  }
}

interface Place {
  readonly cut: number
  readonly read: number
}

function placeOf(key: string, position: Position | undefined): Place {
  if (position === undefined) return { cut: 0, read: 0 }
  const { cut, read } = (position ?? {}) as { readonly cut?: unknown; readonly read?: unknown }
  if (!Number.isSafeInteger(cut) || !Number.isSafeInteger(read))
    throw restoreFailed(`${key}: ${JSON.stringify(position)} is no position in a group of Redis`)
  return { cut: cut as number, read: read as number }
}
