// Several sources as one: their partitions side by side, each under the name of its source.

import { type Rule, rejectViolations, requireSettings, violationsOf } from '../../base/options.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Position,
  Positions,
  Source,
  SourceReader,
} from './source.js'

const sourcesRule: Rule = (given) => {
  if (typeof given !== 'object' || given === null) return 'must be an object of sources'
  const names = Object.keys(given)
  if (names.length === 0) return 'must have a source'
  const wrong = names.filter((name) => name === '' || name.includes('/'))
  if (wrong.length > 0) return `must have names without '/': ${wrong.join(', ')}`
  const none = names.filter(
    (name) => typeof (given as { [name: string]: { open?: unknown } })[name]?.open !== 'function',
  )
  return none.length > 0 ? `must be sources: ${none.join(', ')}` : undefined
}

/** Whatever comes of one of several sources. */
type EventOf<Sources> = {
  [Name in keyof Sources]: Sources[Name] extends Source<infer Event> ? Event : never
}[keyof Sources]

/**
 * Reads several sources in one job. A partition is called by the name of its source, `/`, and its own name; each has a watermark, and
 * with `time.maxDriftMs` none is read further ahead of the others than that. Events of one partition come in its order; which partition's
 * come first is not said, unless `time.inOrder` of the job orders them.
 *
 * @example mergedSource({ clicks: ndjsonFiles<Click>({ paths }), orders: csvFiles<Order>({ parse, paths: ['orders.csv'], decode }) })
 */
export function mergedSource<const Sources extends { readonly [name: string]: Source<unknown> }>(
  sources: Sources,
): Source<EventOf<Sources>> {
  requireSettings(sources, [], 'mergedSource.sources')
  rejectViolations(violationsOf({ sources }, { sources: sourcesRule }, 'mergedSource'))
  type Event = EventOf<Sources>
  const all = Object.entries(sources) as unknown as [string, Source<Event>][]
  return Object.freeze({
    name: all.map(([name]) => name).join(', '),
    opensAhead: all.every(([, source]) => source.opensAhead === true),
    open: (options: OpenSourceOptions) => MergedReader.open(all, options),
  })
}

interface Part<Event> {
  readonly name: string
  readonly reader: SourceReader<Event>
  /** What was asked of it and has not come yet. */
  pending: Promise<void> | undefined
  /** What has come, and nobody has taken. */
  readonly arrived: PolledEvents<Event>[]
  failure: { readonly error: unknown } | undefined
  /** Its partitions of which nothing comes any more. */
  readonly ended: Set<string>
}

function isOver<Event>({ reader, ended }: Part<Event>): boolean {
  const partitions = reader.partitions()
  return partitions.length > 0 && partitions.every((partition) => ended.has(partition))
}

class MergedReader<Event> implements SourceReader<Event> {
  readonly #parts: readonly Part<Event>[]
  readonly #closing = new AbortController()
  /** Only where one of the sources has it: a job without checkpoints refuses such a source. */
  readonly prepareCut?: (positions: Positions) => Promise<void>
  #goOn = () => {}

  private constructor(parts: readonly Part<Event>[]) {
    this.#parts = parts
    if (parts.some(({ reader }) => reader.prepareCut !== undefined))
      this.prepareCut = (positions) => this.#prepareCut(positions)
  }

  static async open<Event>(
    sources: readonly (readonly [string, Source<Event>])[],
    { positions, ...options }: OpenSourceOptions,
  ): Promise<MergedReader<Event>> {
    const parts: Part<Event>[] = []
    try {
      for (const [name, source] of sources) {
        const reader = await source.open({ ...options, positions: ownPositions(name, positions) })
        parts.push({ name, reader, pending: undefined, arrived: [], failure: undefined, ended: new Set() })
      }
      return new MergedReader(parts)
    } catch (error) {
      await Promise.allSettled(parts.map(({ reader }) => reader.close()))
      throw error
    }
  }

  partitions(): readonly string[] {
    return this.#parts.flatMap(({ name, reader }) =>
      reader.partitions().map((partition) => `${name}/${partition}`),
    )
  }

  /** Each source is asked by itself, and may take its time: what the others have does not wait for it. */
  async poll(request: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const found = this.#take(request)
    if (found.length > 0) return found
    for (const part of this.#parts) this.#ask(part, request)
    for (;;) {
      if (this.#parts.every(({ pending }) => pending === undefined)) return this.#take(request)
      await new Promise<void>((resolve) => {
        this.#goOn = resolve
      })
      const taken = this.#take(request)
      // One that has nothing to say, as all of it is paused, does not end the wait for the others.
      if (taken.length > 0 || request.signal?.aborted === true || this.#closing.signal.aborted) return taken
    }
  }

  async #prepareCut(positions: Positions): Promise<void> {
    for (const { name, reader } of this.#parts) await reader.prepareCut?.(ownPositions(name, positions))
  }

  async checkpointCompleted(positions: Positions): Promise<void> {
    for (const { name, reader } of this.#parts) {
      await reader.checkpointCompleted?.(ownPositions(name, positions))
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    const results = await Promise.allSettled(this.#parts.map(({ reader }) => reader.close()))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  #ask(part: Part<Event>, request: PollRequest): void {
    if (part.pending !== undefined || part.arrived.length > 0 || isOver(part)) return
    const own = request.paused
    const paused = new Set(
      part.reader.partitions().filter((partition) => own.has(`${part.name}/${partition}`)),
    )
    const maxEvents = Math.max(1, Math.floor(request.maxEvents / this.#parts.length))
    part.pending = this.#await(part, part.reader.poll({ ...request, maxEvents, paused }))
  }

  /** Takes note of what comes of a poll, and lets who waits go on. Never rejects: the next `poll` does. */
  async #await(part: Part<Event>, polling: Promise<readonly PolledEvents<Event>[]>): Promise<void> {
    try {
      for (const each of await polling) {
        part.arrived.push(renamed(part.name, each))
        if (each.hasEnded === true) part.ended.add(each.partition)
      }
    } catch (error) {
      if (!this.#closing.signal.aborted) part.failure = { error }
    } finally {
      part.pending = undefined
      this.#goOn()
    }
  }

  /** What has come, as far as it is wanted: what has come of a partition that was paused meanwhile waits. */
  #take({ paused, maxEvents }: PollRequest): PolledEvents<Event>[] {
    const taken: PolledEvents<Event>[] = []
    let left = maxEvents
    for (const part of this.#parts) {
      if (part.failure !== undefined) throw part.failure.error
      const wanted = part.arrived.filter(
        ({ partition, events }) => !paused.has(partition) && events.length <= left,
      )
      for (const each of wanted) {
        if (each.events.length > left) break
        left -= each.events.length
        taken.push(each)
        part.arrived.splice(part.arrived.indexOf(each), 1)
      }
    }
    return taken
  }
}

function renamed<Event>(name: string, polled: PolledEvents<Event>): PolledEvents<Event> {
  return {
    ...polled,
    partition: `${name}/${polled.partition}`,
    positionAfter: (place) => polled.positionAfter(place),
  }
}

function ownPositions(name: string, positions: Positions): Positions {
  const own: { [partition: string]: Position } = {}
  const prefix = `${name}/`
  for (const [partition, position] of Object.entries(positions)) {
    if (partition.startsWith(prefix)) own[partition.slice(prefix.length)] = position
  }
  return own
}
