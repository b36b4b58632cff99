import { randomUUID } from 'node:crypto'
import type { Batch, EventSource, LlmRequest, SourcePosition } from './events.js'
import { openStream, type ServerPlace } from './servers.js'

const FILLED_AT_ONCE = 1_000
const POLL_WAIT_MS = 1_000
const NONE: ReadonlySet<string> = new Set()

export interface ServerSourceOptions extends ServerPlace {
  /** What the stream was filled with, in a few words. */
  readonly description: string
  readonly details: readonly string[]
  readonly events: number
  readonly disorderMs: number
}

/** Requests that lie on a server. It is connected to while they are read. */
export class ServerSource implements EventSource {
  readonly description: string
  readonly details: readonly string[]
  readonly disorderMs: number
  readonly start: SourcePosition = { events: 0, skippedLines: 0 }
  readonly #options: ServerSourceOptions

  constructor(options: ServerSourceOptions) {
    this.#options = options
    this.description = options.description
    this.details = options.details
    this.disorderMs = options.disorderMs
  }

  async *batches(from: SourcePosition, size: number): AsyncGenerator<Batch> {
    const stream = await openStream(this.#options)
    try {
      const reader = await stream.source.open({ positions: from.server ?? {} })
      try {
        let { events: count } = from
        for (let hasEnded = false; !hasEnded; ) {
          for (const polled of await reader.poll({ maxEvents: size, waitMs: POLL_WAIT_MS, paused: NONE })) {
            const { partition, events } = polled
            // The stream has one partition.
            const ends = events.map((_, place): SourcePosition => {
              const server = { [partition]: polled.positionAfter(place) }
              return { events: count + place + 1, skippedLines: 0, server }
            })
            count += events.length
            hasEnded = polled.hasEnded === true
            const end = ends.at(-1)
            if (end !== undefined) yield { events, ends, end }
          }
        }
      } finally {
        await reader.close()
      }
    } finally {
      await stream.close()
    }
  }

  fractionAt({ events }: SourcePosition): number {
    return events / this.#options.events
  }
}

/** Requests that were put on a server, until they are removed. */
export interface FilledStream {
  readonly source: ServerSourceOptions
  remove(): Promise<void>
}

/** Puts all requests of a source into a stream of its own. */
export async function fillStream(
  requests: EventSource,
  place: Omit<ServerPlace, 'stream'>,
  { signal, onProgress }: { signal: AbortSignal; onProgress: (fraction: number, events: number) => void },
): Promise<FilledStream> {
  const filled = { ...place, stream: `token-usage-${randomUUID()}` }
  const stream = await openStream(filled)
  const remove = async () => {
    await stream.remove()
    await stream.close()
  }
  try {
    await stream.create()
    let events = 0
    for await (const batch of requests.batches(requests.start, FILLED_AT_ONCE)) {
      signal.throwIfAborted()
      await stream.append(batch.events as LlmRequest[])
      events += batch.events.length
      onProgress(requests.fractionAt(batch.end), events)
    }
    const { description, details, disorderMs } = requests
    const where = `${description}, by way of ${place.server} (${filled.stream})`
    return { source: { ...filled, description: where, details, disorderMs, events }, remove }
  } catch (error) {
    await remove().catch(() => {})
    throw error
  }
}
