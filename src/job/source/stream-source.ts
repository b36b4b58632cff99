import { anyText, rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { isBytes } from '../../base/shapes.js'
import { decodedOr, Undecodable } from './file-source.js'
import { iterableSource } from './iterable-source.js'
import type { OpenSourceOptions, PolledEvents, Source, SourceReader } from './source.js'

export interface StreamSourceOptions<Item, Event> {
  /** In errors and the log. Default `'stream'`. */
  readonly name?: string
  /**
   * Opens the stream behind its first `count` items: 0 in the first run, later where the cut was. A stream that cannot be had again from
   * there throws: the job then fails with `RESTORE_FAILED` (J6), and does not lose or repeat anything in silence.
   */
  readonly open: (count: number) => AsyncIterable<Item>
  /** Makes an event of an item. What it throws makes the event a bad one. Default: the item is the event. */
  readonly decode?: (item: Item) => Event
}

/**
 * Items of a Node stream (or of anything else that is iterated over asynchronously), in one partition. The position is how many were
 * read. The stream is read as fast as the job takes it, and destroyed when the job ends.
 *
 * @example
 * streamSource({
 *   open: (count) => Readable.from(rows.slice(count)),
 * })
 * @example
 * streamSource({ open: (count) => linesOf(process.stdin, count), decode: (line) => JSON.parse(line) as Event })
 */
export function streamSource<Item, Event = Item>(options: StreamSourceOptions<Item, Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      name: anyText,
      open: rules.function,
      decode: rules.function,
    }),
  )
  requireSettings(options, ['open'])
  const { name = 'stream', open } = options
  const decode = options.decode ?? ((item: Item) => item as unknown as Event)
  return Object.freeze({
    name,
    open: async (request: OpenSourceOptions) => {
      let stream: Destroyable = {}
      const inner = iterableSource<Event | Undecodable>({
        name,
        from: (position = 0) => {
          const opened = open(Number(position))
          stream = opened as Destroyable
          return counted(opened, Number(position), decode)
        },
      })
      const reader = await inner.open(request)
      return new DecodingReader(reader, () => stream.destroy?.())
    },
  })
}

/** As Node's streams are: somebody may wait for what comes next of it, and is then told that nothing does. */
interface Destroyable {
  destroy?(): unknown
}

async function* counted<Item, Event>(
  stream: AsyncIterable<Item>,
  position: number,
  decode: (item: Item) => Event,
): AsyncGenerator<readonly [Event | Undecodable, number]> {
  let count = position
  for await (const item of stream) yield [decodedOr(() => decode(item)), ++count]
}

/** Tells of what cannot be decoded as a failure. */
class DecodingReader<Event> implements SourceReader<Event> {
  readonly #reader: SourceReader<Event | Undecodable>

  readonly #destroy: () => void

  constructor(reader: SourceReader<Event | Undecodable>, destroy: () => void) {
    this.#reader = reader
    this.#destroy = destroy
  }

  partitions(): readonly string[] {
    return this.#reader.partitions()
  }

  async poll(request: Parameters<SourceReader<Event>['poll']>[0]): Promise<readonly PolledEvents<Event>[]> {
    const polled = await this.#reader.poll(request)
    return polled.map((each) => {
      const failures = new Map<number, Error>()
      const events = each.events.map((event, i) => {
        if (!(event instanceof Undecodable)) return event
        failures.set(i, event.error)
        return undefined as Event
      })
      return { ...each, events, ...(failures.size > 0 && { failures }) }
    })
  }

  async close(): Promise<void> {
    await this.#reader.close()
    this.#destroy()
  }
}

/**
 * The lines of a stream of bytes or text, without their ends, behind the first `count`: for streams that begin anew, as a file that is piped in
 * again. A last line without its newline is one.
 */
export function linesOf(stream: AsyncIterable<Uint8Array | string>, count = 0): AsyncIterable<string> {
  return Object.assign(splitLines(stream, count), { destroy: () => (stream as Destroyable).destroy?.() })
}

async function* splitLines(
  stream: AsyncIterable<Uint8Array | string>,
  count: number,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let rest = ''
  let left = count
  for await (const piece of stream) {
    rest += isBytes(piece) ? decoder.decode(piece, { stream: true }) : piece
    const lines = rest.split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (left > 0) left--
      else yield line.endsWith('\r') ? line.slice(0, -1) : line
    }
  }
  rest += decoder.decode()
  if (rest !== '' && left === 0) yield rest
}
