// A local page that shows what is in checkpoints and stores, and how jobs are doing.

import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { requireSettings } from '../engine.js'
import { type CheckpointStorage, type Clock, type JsonValue, StateError, systemClock } from '../index.js'
import type { MeasuredJob, MetricSources } from '../metrics/sources.js'
import { adviceFor } from '../view/advice.js'
import { openPlace, type Place, storedPlace } from '../view/place.js'
import { reasonOf } from '../view/reason-of.js'
import { UsageError } from '../view/usage-error.js'
import { Refusal, type RequestedPath, requestedPath, SECURITY_HEADERS } from './guarded-request.js'
import { LiveFigures } from './live-figures.js'
import { pageFile } from './page-files.js'
import { PlaceReader } from './place-reader.js'

/** What the inspector shows: jobs, coordinators and backends of this process, by names of your choice, and what lies elsewhere. */
export interface InspectedSources extends MetricSources {
  /** Storages of checkpoints, by names. */
  readonly checkpoints?: { readonly [name: string]: CheckpointStorage }
  /** Directories of checkpoints or of stores of the LMDB engine, or `s3://bucket/prefix`. */
  readonly paths?: readonly string[]
}

export interface InspectorOptions {
  /** Where it listens, on this machine only. Default 0: any port that is free. */
  readonly port?: number
  /** Default: the clock of the system. */
  readonly clock?: Clock
}

/** An inspector that listens. */
export interface RunningInspector extends AsyncDisposable {
  /** The address of the page. It holds a secret: whoever has it reads all that the inspector shows. */
  readonly url: string
  readonly port: number
  /**
   * Ends every connection and what is being read, and waits until that has let go of its storage, for 5 seconds at most: one that does not
   * answer is not waited for any longer. Idempotent. Never rejects.
   */
  close(): Promise<void>
}

/** One answer may take so long; what was found by then is shown before. */
const REQUEST_LIMIT_MS = 30_000
/** What is read when it closes has so long to let go. */
const CLOSE_LIMIT_MS = 5_000
/** Who connects has so long to say what is wanted. */
const HEADERS_LIMIT_MS = 5_000
/** Node looks for those whose time is over only so often; it would be every 30 seconds. */
const LIMIT_CHECK_MS = 1_000
const MAX_HEADER_BYTES = 16 * 1024
const MAX_CONNECTIONS = 64

/**
 * Serves a page for looking into a state, at an address of this machine. It reads, and changes nothing: checkpoints without a lease, stores as
 * a reader, jobs by their figures. Reading goes on in slices, a few at a time, so that a job in the same process goes on beside it.
 *
 * `INVALID_ARGUMENT` where a path holds neither checkpoints nor a store; `STORAGE_ERROR` where the port is taken.
 *
 * @example
 * const inspector = await serveInspector({ jobs: { usage: job }, paths: ['checkpoints'] })
 * console.log(inspector.url)
 */
export async function serveInspector(
  sources: InspectedSources | MeasuredJob,
  options: InspectorOptions = {},
): Promise<RunningInspector> {
  requireSettings(sources, [], 'sources')
  requireSettings(options)
  const { port = 0, clock = systemClock } = options
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw invalid('port', 'must be a whole number from 0 to 65,535')
  }
  const inspected: InspectedSources = isJob(sources) ? { jobs: { job: sources } } : sources
  const places = await placesOf(inspected)
  const inspector = new Inspector(inspected, places, clock)
  await inspector.listen(port)
  return inspector
}

const isJob = (sources: InspectedSources | MeasuredJob): sources is MeasuredJob =>
  'stats' in sources && typeof sources.stats === 'function'

const invalid = (argument: string, reason: string): StateError =>
  new StateError('INVALID_ARGUMENT', { violations: [{ argument, reason }] })

async function placesOf({ checkpoints = {}, paths = [] }: InspectedSources): Promise<Place[]> {
  const places: Place[] = Object.entries(checkpoints).map(([name, storage]) =>
    storedPlace(name, storage, true),
  )
  for (const path of paths) {
    try {
      places.push(await openPlace(path, true))
    } catch (error) {
      throw error instanceof UsageError ? invalid('paths', error.message) : error
    }
  }
  return places
}

class Inspector implements RunningInspector {
  readonly #token = randomBytes(24).toString('base64url')
  readonly #server: Server
  readonly #readers: readonly PlaceReader[]
  readonly #live: LiveFigures
  readonly #clock: Clock
  readonly #ending = new AbortController()
  #closing: Promise<void> | undefined
  port = 0

  constructor(sources: InspectedSources, places: readonly Place[], clock: Clock) {
    this.#clock = clock
    this.#readers = places.map((place) => new PlaceReader(place, clock))
    this.#live = new LiveFigures(sources, clock)
    // Each request listens to it.
    setMaxListeners(0, this.#ending.signal)
    const limits = { maxHeaderSize: MAX_HEADER_BYTES, connectionsCheckingInterval: LIMIT_CHECK_MS }
    this.#server = createServer(limits, (request, response) => {
      void this.#answer(request, response)
    })
    this.#server.headersTimeout = HEADERS_LIMIT_MS
    this.#server.requestTimeout = HEADERS_LIMIT_MS
    this.#server.keepAliveTimeout = HEADERS_LIMIT_MS
    this.#server.maxConnections = MAX_CONNECTIONS
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/${this.#token}/`
  }

  async listen(port: number): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject)
        this.#server.listen({ port, host: '127.0.0.1' }, resolve)
      })
    } catch (cause) {
      await this.close()
      throw new StateError(
        'STORAGE_ERROR',
        { storage: 'the inspector', operation: `listen on port ${port}`, reason: reasonOf(cause) },
        { cause },
      )
    }
    this.port = (this.#server.address() as AddressInfo).port
  }

  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #end(): Promise<void> {
    this.#ending.abort()
    this.#live.close()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    let cancelLimit = () => {}
    const limit = new Promise<void>((resolve) => {
      cancelLimit = this.#clock.setTimer(resolve, CLOSE_LIMIT_MS)
    })
    await Promise.race([Promise.all(this.#readers.map((reader) => reader.ended())), limit])
    cancelLimit()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reading = new AbortController()
    const stop = () => reading.abort()
    response.on('close', stop)
    this.#ending.signal.addEventListener('abort', stop)
    const cancelLimit = this.#clock.setTimer(stop, REQUEST_LIMIT_MS)
    try {
      const asked = requestedPath(request, this.port, this.#token)
      const answer = asked instanceof Refusal ? refused(asked) : await this.#answerTo(asked, reading.signal)
      send(request, response, answer)
    } catch (error) {
      send(request, response, failure(error, reading.signal.aborted))
    } finally {
      cancelLimit()
      this.#ending.signal.removeEventListener('abort', stop)
    }
  }

  async #answerTo({ pathname, searchParams }: RequestedPath, signal: AbortSignal): Promise<Answer> {
    if (!pathname.startsWith('api/')) {
      const file = await pageFile(pathname)
      return file === undefined ? NOTHING : { status: 200, ...file }
    }
    const name = pathname.slice('api/'.length)
    if (name === 'places') return json(this.#overview())
    if (name === 'live') return json(this.#live.now())
    const reader = this.#readers[Number(searchParams.get('place') ?? Number.NaN)]
    const answer = await reader?.answer(name, searchParams, signal)
    return answer === undefined ? NOTHING : json(answer)
  }

  #overview(): JsonValue {
    return {
      places: this.#readers.map(({ place }) => ({ name: place.path, kind: place.kind })),
      isLive: this.#live.hasSources,
    }
  }
}

interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string | Buffer
}

const NOTHING: Answer = { status: 404, type: 'text/plain; charset=utf-8', body: 'there is nothing here' }

const refused = ({ status, reason }: Refusal): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: reason,
})

const json = (value: JsonValue, status = 200): Answer => ({
  status,
  type: 'application/json; charset=utf-8',
  body: JSON.stringify(value),
})

function send(request: IncomingMessage, response: ServerResponse, { status, type, body }: Answer): void {
  if (response.destroyed || response.writableEnded) return
  response.writeHead(status, {
    ...SECURITY_HEADERS,
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    // What a refused request still sends is not read.
    ...(status >= 400 && status !== 404 ? { connection: 'close' } : {}),
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** What went wrong, as the page shows it. */
function failure(error: unknown, wasStopped: boolean): Answer {
  const { message = String(error), code } = (error ?? {}) as { message?: string; code?: unknown }
  if (wasStopped) return json({ error: 'this took too long, and was given up' }, 503)
  if (error instanceof UsageError) return json({ error: message }, 400)
  const status = code === 'INVALID_ARGUMENT' ? 404 : 500
  if (typeof code !== 'string') return json({ error: message }, status)
  const advice = adviceFor({ code, message })
  return json({ error: advice === undefined ? message : `${message}; ${advice}`, code }, status)
}
