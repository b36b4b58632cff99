import { pauseUnless } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import { rejectViolations, rules, violationsOf } from '../../base/options.js'
import { isErrorLike } from '../../base/shapes.js'
import { type LinePosition, LineReader, type Lines } from './line-reader.js'
import type { OpenSourceOptions, PolledEvents, PollRequest, Source, SourceReader } from './source.js'

const DEFAULT_MAX_LINE_BYTES = 16 * 1024 * 1024
/** How often files are looked at that may grow. */
const FOLLOW_POLL_MS = 50

export interface LineFilesOptions<Event> {
  /** Each file is a partition, under its path as it is given here. */
  readonly paths: readonly string[]
  /** Makes an event of a line. What it throws makes the event a bad one. */
  readonly decode: (line: string) => Event
  /** Whether files may still grow: the source then never ends, and a line counts once its newline is there. Default false. */
  readonly follow?: boolean
  /** Whether files are compressed by gzip. Default: those whose names end with `.gz`. */
  readonly gzip?: boolean
  /** A longer line ends the job with `STORAGE_ERROR`. Default 16 MiB. */
  readonly maxLineBytes?: number
}

/** Lines of files, each file a partition. Empty lines are no events. */
export function lineFiles<Event>(options: LineFilesOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      paths: (paths) =>
        Array.isArray(paths) &&
        paths.length > 0 &&
        new Set(paths).size === paths.length &&
        paths.every(isPath)
          ? undefined
          : 'must be an array of one or more paths, each once',
      decode: rules.function,
      follow: rules.boolean,
      gzip: rules.boolean,
      maxLineBytes: rules.positiveInteger,
    }),
  )
  const { paths, follow = false, gzip } = options
  if (follow && paths.some((path) => isGzip(path, gzip))) {
    rejectViolations([{ argument: 'options.follow', reason: 'is not possible for compressed files' }])
  }
  return Object.freeze({
    name: paths.length === 1 ? String(paths[0]) : `${paths.length} files`,
    open: (request: OpenSourceOptions) => FileReader.open(options, request),
  })
}

/** A line of JSON is an event. `decode` may check and change what was parsed. */
export function ndjsonFiles<Event>(
  options: Omit<LineFilesOptions<Event>, 'decode'> & { readonly decode?: (value: unknown) => Event },
): Source<Event> {
  const { decode, ...rest } = options
  const parse = (line: string) => {
    const value: unknown = JSON.parse(line)
    return decode === undefined ? (value as Event) : decode(value)
  }
  return lineFiles({ ...rest, decode: parse })
}

const isPath = (path: unknown): boolean => typeof path === 'string' && path.length > 0
const isGzip = (path: string, gzip: boolean | undefined): boolean => gzip ?? path.endsWith('.gz')

class FileReader<Event> implements SourceReader<Event> {
  readonly #options: LineFilesOptions<Event>
  readonly #files: ReadonlyMap<string, LineReader>
  readonly #closing = new AbortController()
  /** The file that is asked first. */
  #turn = 0

  private constructor(options: LineFilesOptions<Event>, files: ReadonlyMap<string, LineReader>) {
    this.#options = options
    this.#files = files
  }

  static async open<Event>(
    options: LineFilesOptions<Event>,
    { positions, signal }: OpenSourceOptions,
  ): Promise<FileReader<Event>> {
    const { paths, follow = false, gzip, maxLineBytes = DEFAULT_MAX_LINE_BYTES } = options
    const files = new Map<string, LineReader>()
    const reader = new FileReader(options, files)
    try {
      for (const path of paths) {
        if (signal?.aborted) throw new StateError('ABORTED', { operation: 'open the source' })
        const position = Object.hasOwn(positions, path) ? linePosition(path, positions[path]) : undefined
        const fileOptions = { path, isGzip: isGzip(path, gzip), follow, maxLineBytes }
        files.set(path, await LineReader.open(fileOptions, position))
      }
      return reader
    } catch (error) {
      await reader.close()
      throw error
    }
  }

  partitions(): readonly string[] {
    return Array.from(this.#files.keys())
  }

  /** One file at a time gives its lines, in turns. */
  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const deadline = performance.now() + waitMs
    for (;;) {
      const polled = await this.#pollEach(maxEvents, paused)
      const leftMs = deadline - performance.now()
      const isWorthTelling = polled.some(({ events, hasEnded }) => events.length > 0 || hasEnded)
      if (isWorthTelling || leftMs <= 0 || this.#isOver(signal)) return polled
      await this.#pause(Math.min(leftMs, FOLLOW_POLL_MS), signal)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const file of this.#files.values()) await file.close()
  }

  async #pollEach(maxEvents: number, paused: ReadonlySet<string>): Promise<PolledEvents<Event>[]> {
    const polled: PolledEvents<Event>[] = []
    const paths = this.partitions()
    for (let i = 0; i < paths.length; i++) {
      const path = paths[(this.#turn + i) % paths.length] as string
      const file = this.#files.get(path) as LineReader
      if (paused.has(path) || file.hasEnded) continue
      const lines = await file.next(maxEvents)
      const events =
        lines === undefined ? nothing(path, file.hasEnded) : this.#decoded(path, lines, file.hasEnded)
      polled.push(events)
      if (events.events.length === 0) continue
      this.#turn = (this.#turn + i + 1) % paths.length
      break
    }
    return polled
  }

  #decoded(partition: string, lines: Lines, hasEnded: boolean): PolledEvents<Event> {
    const events: Event[] = []
    /** The line of each event: empty lines are none. */
    const places: number[] = []
    const failures = new Map<number, Error>()
    for (let place = 0; place < lines.count; place++) {
      const line = lines.text(place)
      if (line.trim() === '') continue
      try {
        events.push(this.#options.decode(line))
      } catch (error) {
        failures.set(events.length, isErrorLike(error) ? error : new Error(String(error)))
        events.push(undefined as Event)
      }
      places.push(place)
    }
    const positionAfter = (place: number) => lines.positionAfter(places[place] as number)
    return {
      partition,
      events,
      positionAfter,
      ...(failures.size > 0 && { failures }),
      ...(hasEnded && { hasEnded }),
    }
  }

  #isOver(signal: AbortSignal | undefined): boolean {
    return signal?.aborted === true || this.#closing.signal.aborted || this.#options.follow !== true
  }

  async #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const ending = AbortSignal.any([this.#closing.signal, ...(signal === undefined ? [] : [signal])])
    await pauseUnless(ending, ms)
  }
}

function nothing(partition: string, hasEnded: boolean): PolledEvents<never> {
  const positionAfter = () => {
    throw new RangeError('there is no event')
  }
  return { partition, events: [], positionAfter, ...(hasEnded && { hasEnded }) }
}

function linePosition(path: string, position: unknown): LinePosition {
  const { offset, last } = (position ?? {}) as Partial<LinePosition>
  const isRight = isCount(offset) && isCount(last?.bytes) && isCount(last?.crc32) && last.bytes <= offset
  if (isRight) return { offset, last: { bytes: last.bytes, crc32: last.crc32 } }
  const reason = `${path}: ${JSON.stringify(position)} is no position in a file`
  throw new StateError('RESTORE_FAILED', { checkpointId: undefined, reason, skipped: [] })
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
