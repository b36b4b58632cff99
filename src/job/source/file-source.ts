import { Sleeper } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import { type Rule, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { isErrorLike } from '../../base/shapes.js'
import { type LinePosition, LineReader, type LineReaderOptions, type Lines } from './line-reader.js'
import type { OpenSourceOptions, PolledEvents, PollRequest, Source, SourceReader } from './source.js'

const DEFAULT_MAX_LINE_BYTES = 16 * 1024 * 1024
/** How often files are looked at that may grow. */
const FOLLOW_POLL_MS = 50

/** What sources of files have in common. */
export interface FilesOptions {
  /** Each file is a partition, under its path as it is given here. */
  readonly paths: readonly string[]
  /** Whether files may still grow: the source then never ends, and a line counts once its newline is there. Default false. */
  readonly follow?: boolean
  /** Whether files are compressed by gzip. Default: those whose names end with `.gz`. */
  readonly gzip?: boolean
  /** A longer line ends the job with `STORAGE_ERROR`. Default 16 MiB. */
  readonly maxLineBytes?: number
}

export interface LineFilesOptions<Event> extends FilesOptions {
  /** Makes an event of a line. What it throws makes the event a bad one. */
  readonly decode: (line: string) => Event
}

/** In the place of an event that cannot be decoded. */
export class Undecodable {
  readonly error: Error

  constructor(error: unknown) {
    this.error = isErrorLike(error) ? error : new Error(String(error))
  }
}

/** What lines of a file mean. */
export interface LineFormat<Event> {
  /** Whether a newline between double quotes is a part of its line. */
  readonly isQuoted: boolean
  /** Whether the first line of a file says what the others are. */
  readonly hasHeader: boolean
  /** An event of each line. `header` is the first line of the file, where there is one. */
  decode(lines: readonly string[], header: string | undefined): readonly (Event | Undecodable)[]
}

/** Lines of files, each file a partition. Empty lines are no events. */
export function lineFiles<Event>(options: LineFilesOptions<Event>): Source<Event> {
  rejectViolations(violationsOf(options, { ...fileRules, decode: rules.function }))
  requireSettings(options, ['paths', 'decode'])
  const { decode } = options
  return filesOf(options, {
    isQuoted: false,
    hasHeader: false,
    decode: (lines) => lines.map((line) => decodedOr(() => decode(line))),
  })
}

/** What `decode` makes, or why it makes nothing. */
export function decodedOr<Event>(decode: () => Event): Event | Undecodable {
  try {
    return decode()
  } catch (error) {
    return new Undecodable(error)
  }
}

/** A source of files with lines of some format; the options were checked, but for what belongs together. */
export function filesOf<Event>(options: FilesOptions, format: LineFormat<Event>): Source<Event> {
  const { paths, follow = false, gzip } = options
  if (follow && paths.some((path) => isGzip(path, gzip))) {
    rejectViolations([{ argument: 'options.follow', reason: 'is not possible for compressed files' }])
  }
  return Object.freeze({
    name: paths.length === 1 ? String(paths[0]) : `${paths.length} files`,
    open: (request: OpenSourceOptions) => FileReader.open(options, format, request),
  })
}

/** A line of JSON is an event. `decode` may check and change what was parsed. */
export function ndjsonFiles<Event>(
  options: Omit<LineFilesOptions<Event>, 'decode'> & { readonly decode?: (value: unknown) => Event },
): Source<Event> {
  requireSettings(options)
  const { decode, ...rest } = options
  const parse = (line: string) => {
    const value: unknown = JSON.parse(line)
    return decode === undefined ? (value as Event) : decode(value)
  }
  return lineFiles({ ...rest, decode: parse })
}

/** The rules for what sources of files have in common. */
export const fileRules: { readonly [name: string]: Rule } = {
  paths: (paths) =>
    Array.isArray(paths) && paths.length > 0 && new Set(paths).size === paths.length && paths.every(isPath)
      ? undefined
      : 'must be an array of one or more paths, each once',
  follow: rules.boolean,
  gzip: rules.boolean,
  maxLineBytes: rules.positiveInteger,
}

function isPath(path: unknown): boolean {
  return typeof path === 'string' && path.length > 0
}

const isGzip = (path: string, gzip: boolean | undefined): boolean => gzip ?? path.endsWith('.gz')

interface OpenFile {
  readonly lines: LineReader
  /** `undefined` until it was read, or where there is none. */
  header: string | undefined
}

class FileReader<Event> implements SourceReader<Event> {
  readonly #options: FilesOptions
  readonly #format: LineFormat<Event>
  readonly #files: ReadonlyMap<string, OpenFile>
  readonly #closing = new AbortController()
  /** The file that is asked first. */
  #turn = 0

  private constructor(
    options: FilesOptions,
    format: LineFormat<Event>,
    files: ReadonlyMap<string, OpenFile>,
  ) {
    this.#options = options
    this.#format = format
    this.#files = files
  }

  static async open<Event>(
    options: FilesOptions,
    format: LineFormat<Event>,
    { positions, signal }: OpenSourceOptions,
  ): Promise<FileReader<Event>> {
    const { paths, follow = false, gzip, maxLineBytes = DEFAULT_MAX_LINE_BYTES } = options
    const { isQuoted, hasHeader } = format
    const files = new Map<string, OpenFile>()
    const reader = new FileReader(options, format, files)
    try {
      for (const path of paths) {
        if (signal?.aborted) throw new StateError('ABORTED', { operation: 'open the source' })
        const position = Object.hasOwn(positions, path) ? linePosition(path, positions[path]) : undefined
        const fileOptions = { path, isGzip: isGzip(path, gzip), follow, maxLineBytes, isQuoted }
        const header = hasHeader && position !== undefined ? await firstLine(fileOptions) : undefined
        files.set(path, { lines: await LineReader.open(fileOptions, position), header })
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
      const polled = await this.#pollEach(maxEvents, paused).catch((error: unknown) => {
        // A file that is closed under a read is no failure of that.
        if (this.#closing.signal.aborted) return []
        throw error
      })
      const leftMs = deadline - performance.now()
      const isWorthTelling = polled.some(({ events, hasEnded }) => events.length > 0 || hasEnded)
      if (isWorthTelling || leftMs <= 0 || this.#isOver(signal)) return polled
      await this.#pause(Math.min(leftMs, FOLLOW_POLL_MS), signal)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const { lines } of this.#files.values()) await lines.close()
  }

  async #pollEach(maxEvents: number, paused: ReadonlySet<string>): Promise<PolledEvents<Event>[]> {
    const polled: PolledEvents<Event>[] = []
    const paths = this.partitions()
    for (let i = 0; i < paths.length; i++) {
      const path = paths[(this.#turn + i) % paths.length] as string
      const file = this.#files.get(path) as OpenFile
      if (paused.has(path) || file.lines.hasEnded) continue
      const lines = (await this.#hasHeader(file)) ? await file.lines.next(maxEvents) : undefined
      const { hasEnded } = file.lines
      const events =
        lines === undefined ? nothing(path, hasEnded) : this.#decoded(path, lines, file.header, hasEnded)
      polled.push(events)
      if (events.events.length === 0) continue
      this.#turn = (this.#turn + i + 1) % paths.length
      break
    }
    return polled
  }

  /** Whether the first line is known, where it is one of its own. */
  async #hasHeader(file: OpenFile): Promise<boolean> {
    if (!this.#format.hasHeader || file.header !== undefined) return true
    const first = await file.lines.next(1)
    file.header = first?.text(0)
    return first !== undefined
  }

  #decoded(
    partition: string,
    lines: Lines,
    header: string | undefined,
    hasEnded: boolean,
  ): PolledEvents<Event> {
    /** The line of each event: empty lines are none. */
    const places: number[] = []
    const texts: string[] = []
    for (let place = 0; place < lines.count; place++) {
      const line = lines.text(place)
      if (line.trim() === '') continue
      texts.push(line)
      places.push(place)
    }
    const failures = new Map<number, Error>()
    const events = this.#format.decode(texts, header).map((event, i) => {
      if (!(event instanceof Undecodable)) return event
      failures.set(i, event.error)
      return undefined as Event
    })
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
    await new Sleeper().sleep(ms, this.#closing.signal, signal)
  }
}

async function firstLine(options: LineReaderOptions): Promise<string | undefined> {
  const reader = await LineReader.open(options, undefined)
  try {
    return (await reader.next(1))?.text(0)
  } finally {
    await reader.close()
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
