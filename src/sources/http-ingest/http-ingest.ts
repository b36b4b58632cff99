// Events that come by HTTP. Nobody can ask for them again but whoever has sent them: so they are answered for when a checkpoint has them.

import type { Clock } from '../../base/clock.js'
import { systemClock } from '../../base/clock.js'
import { reasonOf } from '../../base/errors.js'
import { nonEmptyText, oneOf, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { Source } from '../../job/source/source.js'
import { IngestQueue } from './ingest-queue.js'

const DEFAULT_MAX_BODY_BYTES = 1024 * 1024
const DEFAULT_MAX_WAITING_EVENTS = 10_000
const DEFAULT_ANSWER_WITHIN_MS = 30_000
const DEFAULT_RETRY_AFTER_SECONDS = 1

/** How events are taken out of requests, how many may wait, and when a request is answered. */
export interface HttpIngestOptions<Event> {
  /** Names the source, and its only partition. Default `http`. */
  readonly name?: string
  /**
   * When a request is answered for: once a checkpoint has its events (`'durable'`, status 200), so that none of them is lost whatever happens; or as soon as
   * they are in memory (`'received'`, status 202), so that a crash loses those since the last checkpoint. Default `'durable'`.
   */
  readonly acknowledge?: 'durable' | 'received'
  /** Makes an event of a value of the body. What it throws makes the request a bad one (400). Default: the value is the event. */
  readonly decode?: (value: unknown) => Event
  /** How many events may wait for the job; a request that would make them more is answered with 503. Default 10,000. */
  readonly maxWaitingEvents?: number
  /** A longer body is answered with 413. Default 1 MiB. */
  readonly maxBodyBytes?: number
  /** How long a request waits for its checkpoint, in milliseconds: then it is answered with 503. Default 30,000. */
  readonly answerWithinMs?: number
  /** The `Retry-After` of each 503. Default 1. */
  readonly retryAfterSeconds?: number
  /** What `answerWithinMs` goes by. Default: the machine's. */
  readonly clock?: Clock
}

/** A request as `fetch` has it, as far as it is used here. */
export interface FetchRequest {
  readonly method: string
  readonly headers: { get(name: string): string | null }
  readonly body: AsyncIterable<Uint8Array> | null
}

/** A request of `node:http`, as far as it is used here. */
export interface NodeRequest extends AsyncIterable<Uint8Array> {
  readonly method?: string | undefined
  readonly headers: { readonly 'content-type'?: string | undefined }
}

/** A response of `node:http`, as far as it is used here. */
export interface NodeResponse {
  writeHead(status: number, headers: Record<string, string>): unknown
  end(body: string): unknown
}

/** A source of events that come by HTTP, and the two forms in which a server hands its requests over. */
export interface HttpIngest<Event> {
  /** For the job. While no job has it open, requests are answered with 503. */
  readonly source: Source<Event>
  /** For frameworks that have requests and responses as `fetch` has them. */
  handle(request: FetchRequest): Promise<Response>
  /** For `node:http`, and frameworks upon it. It never rejects. */
  listener(request: NodeRequest, response: NodeResponse): Promise<void>
}

/**
 * Events by `POST`: a JSON value, an array of them, or lines of JSON (`application/x-ndjson`). Who is answered with 200 knows that a checkpoint has the
 * events. Who is answered with 503, or not at all, sends them again: then they may count twice, unless the job drops what it has seen by an id of theirs.
 *
 * @example
 * const ingest = httpIngest<Usage>({ decode: (value) => usageSchema.parse(value) })
 * createServer((request, response) => void ingest.listener(request, response)).listen(8080)
 * await runJob({ source: ingest.source, … })
 */
export function httpIngest<Event>(options: HttpIngestOptions<Event> = {}): HttpIngest<Event> {
  rejectViolations(
    violationsOf(options, {
      name: nonEmptyText,
      acknowledge: oneOf('durable', 'received'),
      decode: rules.function,
      maxWaitingEvents: rules.positiveInteger,
      maxBodyBytes: rules.positiveInteger,
      answerWithinMs: rules.positiveMs,
      retryAfterSeconds: rules.positiveInteger,
      clock: rules.object,
    }),
  )
  const { name = 'http', maxWaitingEvents = DEFAULT_MAX_WAITING_EVENTS } = options
  const queue = new IngestQueue<Event>(name, maxWaitingEvents)
  const answer = (method: string, type: string, body: AsyncIterable<Uint8Array> | null) =>
    answerTo({ method, type, body }, queue, options)
  return Object.freeze({
    source: queue.source,
    handle: async ({ method, headers, body }: FetchRequest) => {
      const { status, headers: own, text } = await answer(method, headers.get('content-type') ?? '', body)
      return new Response(text, { status, headers: own })
    },
    listener: async (request: NodeRequest, response: NodeResponse) => {
      const { status, headers, text } = await answer(
        request.method ?? '',
        request.headers['content-type'] ?? '',
        request,
      )
      response.writeHead(status, headers)
      response.end(text)
    },
  })
}

interface Received {
  readonly method: string
  /** Of the content. */
  readonly type: string
  readonly body: AsyncIterable<Uint8Array> | null
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, string>
  readonly text: string
}

async function answerTo<Event>(
  { method, type, body }: Received,
  queue: IngestQueue<Event>,
  options: HttpIngestOptions<Event>,
): Promise<Answer> {
  const { acknowledge = 'durable', maxBodyBytes = DEFAULT_MAX_BODY_BYTES } = options
  const { retryAfterSeconds = DEFAULT_RETRY_AFTER_SECONDS } = options
  const later = (error: string) => answerOf(503, { error }, { 'retry-after': String(retryAfterSeconds) })
  if (method !== 'POST') return answerOf(405, { error: 'only POST is taken' }, { allow: 'POST' })
  // Before the body is read: who is to come again need not send it.
  if (!queue.isOpen) return later('the job does not run')
  if (queue.isFull) return later('too many events wait')
  let events: Event[]
  try {
    const text = await textOf(body, maxBodyBytes)
    if (text === undefined) return answerOf(413, { error: `the body is longer than ${maxBodyBytes} bytes` })
    events = eventsOf(text, type, options.decode)
  } catch (error) {
    return answerOf(400, { error: reasonOf(error) })
  }
  const accepted = queue.offer(events)
  if (accepted === undefined) return later(queue.isOpen ? 'too many events wait' : 'the job does not run')
  if (acknowledge === 'received') return answerOf(202, { accepted: events.length })
  const { clock = systemClock, answerWithinMs = DEFAULT_ANSWER_WITHIN_MS } = options
  const isDurable = await queue.whenDurable(accepted, clock, answerWithinMs)
  if (isDurable) return answerOf(200, { accepted: events.length })
  return later('no checkpoint has the events yet; they may count nevertheless')
}

function answerOf(status: number, content: object, headers: Record<string, string> = {}): Answer {
  return {
    status,
    headers: { 'content-type': 'application/json', ...headers },
    text: JSON.stringify(content),
  }
}

/** `undefined` where it is too long. */
async function textOf(body: AsyncIterable<Uint8Array> | null, maxBytes: number): Promise<string | undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  let bytes = 0
  for await (const piece of body ?? []) {
    bytes += piece.byteLength
    if (bytes > maxBytes) return undefined
    text += decoder.decode(piece, { stream: true })
  }
  return text + decoder.decode()
}

function eventsOf<Event>(text: string, type: string, decode: HttpIngestOptions<Event>['decode']): Event[] {
  const isLines = /^application\/(x-)?(ndjson|jsonl)\b/i.test(type)
  const values: readonly unknown[] = isLines ? linesOf(text) : valuesOf(JSON.parse(text) as unknown)
  return values.map((value) => (decode === undefined ? (value as Event) : decode(value)))
}

const valuesOf = (value: unknown): readonly unknown[] =>
  Array.isArray(value) ? (value as readonly unknown[]) : [value]

function linesOf(text: string): unknown[] {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as unknown)
}
