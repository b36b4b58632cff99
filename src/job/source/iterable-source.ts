import { Sleeper } from '../../base/clock.js'
import { StateError } from '../../base/errors.js'
import {
  anyText,
  invalidArgument,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import { isErrorLike, isThenable } from '../../base/shapes.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Position,
  Source,
  SourceReader,
} from './source.js'

const PARTITION = '0'
const TURNS = 8

export interface IterableSourceOptions<Event> {
  /** In errors and the log. Default `'iterable'`. */
  readonly name?: string
  /**
   * Gives the events from a position on: `undefined` is the beginning. Each comes with the position behind it. What cannot go on
   * there throws; the job then fails with `RESTORE_FAILED`. What is thrown at the beginning is passed on as it is.
   */
  readonly from: (
    position: Position | undefined,
  ) =>
    | AsyncIterable<readonly [event: Event, position: Position]>
    | Iterable<readonly [event: Event, position: Position]>
}

/** Events of anything that can be iterated over, in one partition: a generator, an array with its indices, a Node stream. */
export function iterableSource<Event>(options: IterableSourceOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      name: anyText,
      from: rules.function,
    }),
  )
  requireSettings(options, ['from'])
  const { name = 'iterable', from } = options
  return Object.freeze({
    name,
    open: async ({ positions }: OpenSourceOptions) => {
      const position = Object.hasOwn(positions, PARTITION) ? positions[PARTITION] : undefined
      try {
        return new IterableReader(from(position))
      } catch (error) {
        // Nothing is gone where nothing was read before.
        if (position === undefined) throw error
        const reason = `${name}: ${JSON.stringify(position)} is wanted: ${isErrorLike(error) ? error.message : String(error)}`
        throw new StateError(
          'RESTORE_FAILED',
          { checkpointId: undefined, reason, skipped: [] },
          { cause: error },
        )
      }
    },
  })
}

/** The events of an array; positions are how many were read. */
export function arraySource<Event>(events: readonly Event[], name = 'array'): Source<Event> {
  if (!Array.isArray(events)) throw invalidArgument('events', 'must be an array')
  return iterableSource({
    name,
    *from(position = 0) {
      for (let i = Number(position); i < events.length; i++) yield [events[i] as Event, i + 1]
    },
  })
}

class IterableReader<Event> implements SourceReader<Event> {
  readonly #events: AsyncIterator<readonly [Event, Position]> | Iterator<readonly [Event, Position]>
  /** What was asked for and has not come yet. */
  #pending: Promise<IteratorResult<readonly [Event, Position]>> | undefined
  /** It has come. */
  #hasArrived = false
  readonly #sleeper = new Sleeper()
  #hasEnded = false

  constructor(events: AsyncIterable<readonly [Event, Position]> | Iterable<readonly [Event, Position]>) {
    this.#events = Symbol.asyncIterator in events ? events[Symbol.asyncIterator]() : events[Symbol.iterator]()
  }

  partitions(): readonly string[] {
    return [PARTITION]
  }

  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    if (paused.has(PARTITION) || this.#hasEnded) return []
    const events: Event[] = []
    const positions: Position[] = []
    while (events.length < maxEvents && !this.#hasEnded) {
      // What is there at once is taken; only for the first one is waited.
      const next = await this.#next(events.length === 0 ? waitMs : 0, signal)
      if (next === undefined) break
      if (next.done === true) {
        this.#hasEnded = true
      } else {
        if (!Array.isArray(next.value)) throw invalidArgument('options.from', 'must give [event, position]')
        events.push(next.value[0])
        positions.push(next.value[1])
      }
    }
    return [
      {
        partition: PARTITION,
        events,
        positionAfter: (place) => positions[place] as Position,
        ...(this.#hasEnded && { hasEnded: true }),
      },
    ]
  }

  async close(): Promise<void> {
    this.#hasEnded = true
    // A generator that waits for something ends when that has come.
    void Promise.resolve(this.#events.return?.()).catch(() => {})
  }

  async #next(
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<IteratorResult<readonly [Event, Position]> | undefined> {
    if (this.#pending === undefined) {
      const given = this.#events.next()
      if (!isThenable(given)) return given as IteratorResult<readonly [Event, Position]>
      this.#pending = Promise.resolve(given)
      // It is told by the poll that asks for it next.
      const arrive = () => {
        this.#hasArrived = true
        this.#sleeper.wake()
      }
      this.#pending.then(arrive, arrive)
    }
    const pending = this.#pending
    // Most generators have their next event within some turns of their own: that needs no timer.
    for (let turn = 0; turn < TURNS && !this.#hasArrived; turn++) await undefined
    if (!this.#hasArrived) await this.#sleeper.sleep(waitMs, signal)
    if (!this.#hasArrived) return undefined
    this.#pending = undefined
    this.#hasArrived = false
    return await pending
  }
}
