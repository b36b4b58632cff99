// Events of two kinds that belong together because they are in the same window of a key.

import type { Violation } from '../../base/errors.js'
import { hasMethods, oneOf, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type { ByteReader, ByteWriter } from '../../state/codec/bytes.js'
import type { AnyCodec, Codec, InputOf, ValueOf } from '../../state/codec/codec.js'
import { CodecError, within } from '../../state/codec/codec-error.js'
import type { TimeWindow, WindowAssigner } from '../assign/assigner.js'
import type { SessionWindows } from '../assign/by-key.js'
import type { EventsCodec } from '../operator/kept-events.js'
import { type LateEvent, type Pane, type WindowDefinition, type WindowResult, windowed } from '../windowed.js'

/** Which events come out that have no other one: none, those of the left or of the right side, or those of both. */
export type JoinKind = 'inner' | 'left' | 'right' | 'outer'

/** One of the two sides of a join. */
export interface JoinSide<Event, C extends AnyCodec> {
  /** The form in which its events are kept. */
  readonly codec: C
  /** What an event is of this side; `undefined`: it is none of it. */
  readonly of: (event: Event) => InputOf<C> | undefined
}

/** Two events of one key and window; of a join that is not inner, one of them may not be there. */
export interface JoinedPair<Key, Left, Right, Kind extends JoinKind> {
  readonly key: Key
  readonly window: TimeWindow
  readonly pane: Pane
  readonly left: Kind extends 'right' | 'outer' ? Left | undefined : Left
  readonly right: Kind extends 'left' | 'outer' ? Right | undefined : Right
}

/** All events of one key and window, each side in the order of the timestamps, then as they came. One of the sides may have none. */
export interface JoinedGroup<Key, Left, Right> {
  readonly key: Key
  readonly window: TimeWindow
  readonly pane: Pane
  readonly left: readonly Left[]
  readonly right: readonly Right[]
}

interface CommonOptions<Event, Left extends AnyCodec, Right extends AnyCodec, Output> {
  /** Windows by time, or sessions. In windows that overlap, a pair comes out of each that has both. */
  readonly windows: WindowAssigner | SessionWindows
  /** An event that is of neither side is a bad event. One that is of both is of the left one. */
  readonly left: JoinSide<Event, Left>
  readonly right: JoinSide<Event, Right>
  /**
   * For how long after its end a window still takes events: each of them makes it fire again, with all its pairs (W12). Default 0.
   */
  readonly allowedLatenessMs?: number
  /** What is given to the sink for an event that missed windows. Default: nothing; it is counted. */
  readonly onLate?: (late: LateEvent<Event>) => Output | undefined
}

/** A join that gives an output for each pair. */
export interface WindowJoinOptions<
  Event,
  Key,
  Left extends AnyCodec,
  Right extends AnyCodec,
  Kind extends JoinKind,
  Output,
> extends CommonOptions<Event, Left, Right, Output> {
  /** Default `'inner'`: only events that have another one come out. */
  readonly join?: Kind
  /** What is given to the sink for a pair; `undefined`: nothing. */
  readonly output: (pair: JoinedPair<Key, ValueOf<Left>, ValueOf<Right>, Kind>) => Output | undefined
}

/** A join that says itself what comes of all the events of a window. */
export interface WindowGroupOptions<Event, Key, Left extends AnyCodec, Right extends AnyCodec, Output>
  extends CommonOptions<Event, Left, Right, Output> {
  /** Called for each key and window that has an event of either side. */
  readonly outputs: (group: JoinedGroup<Key, ValueOf<Left>, ValueOf<Right>>) => Iterable<Output | undefined>
}

/**
 * Joins two kinds of events of a key that are in the same window, once the watermark has passed its end: the least of those of all
 * partitions, so that neither side is missed. The events of open windows are kept, each as an entry. It goes where `windowed` goes.
 *
 * @example
 * windows: {
 *   newSellers: windowJoin({
 *     windows: tumbling({ sizeMs: 10_000 }),
 *     left: { codec: json<Person>(), of: (event: Person | Auction) => (event.kind === 'person' ? event : undefined) },
 *     right: { codec: json<Auction>(), of: (event: Person | Auction) => (event.kind === 'auction' ? event : undefined) },
 *     output: ({ left, right }) => ({ person: left.name, auction: right.id }),
 *   }),
 * }
 */
export function windowJoin<
  Event,
  Key,
  Left extends AnyCodec,
  Right extends AnyCodec,
  Output,
  const Kind extends JoinKind = 'inner',
>(options: WindowJoinOptions<Event, Key, Left, Right, Kind, Output>): WindowDefinition<Event, Key, Output>
export function windowJoin<Event, Key, Left extends AnyCodec, Right extends AnyCodec, Output>(
  options: WindowGroupOptions<Event, Key, Left, Right, Output>,
): WindowDefinition<Event, Key, Output>
export function windowJoin<Event, Key, Output>(
  options: ErasedJoin<Event, Key, Output>,
): WindowDefinition<Event, Key, Output> {
  checkOptions(options)
  const { windows, left, right, join = 'inner', output, outputs, allowedLatenessMs, onLate } = options
  return windowed<Event, Key, Sides, Output>({
    windows,
    events: sidedCodec(left, right) as unknown as Codec<Event, Event>,
    process: (events) => {
      const sides: Sides = { left: [], right: [] }
      for (const { side, value } of events as unknown as Iterable<SidedEvent>) sides[side].push(value)
      return sides
    },
    outputs: outputs === undefined ? pairsBy(join, output as PairOutput<Key, Output>) : groupsBy(outputs),
    ...(allowedLatenessMs !== undefined && { allowedLatenessMs }),
    ...(onLate !== undefined && { onLate }),
  })
}

type PairOutput<Key, Output> = (pair: JoinedPair<Key, unknown, unknown, 'outer'>) => Output | undefined

interface ErasedJoin<Event, Key, Output> extends CommonOptions<Event, AnyCodec, AnyCodec, Output> {
  readonly join?: JoinKind
  readonly output?: PairOutput<Key, Output>
  readonly outputs?: (group: JoinedGroup<Key, unknown, unknown>) => Iterable<Output | undefined>
}

interface Sides {
  readonly left: unknown[]
  readonly right: unknown[]
}

interface SidedEvent {
  readonly side: 'left' | 'right'
  readonly value: unknown
}

const NOBODY: readonly undefined[] = [undefined]

function pairsBy<Key, Output>(join: JoinKind, output: PairOutput<Key, Output>) {
  const keepsLeft = join === 'left' || join === 'outer'
  const keepsRight = join === 'right' || join === 'outer'
  return function* ({ key, window, pane, value }: WindowResult<Key, Sides>): Iterable<Output | undefined> {
    const lefts = value.left.length === 0 && keepsRight ? NOBODY : value.left
    const rights = value.right.length === 0 && keepsLeft ? NOBODY : value.right
    for (const left of lefts) {
      for (const right of rights) {
        // Also where it is none: a pair is a step, whatever comes of it.
        yield output({ key, window, pane, left, right })
      }
    }
  }
}

function groupsBy<Key, Output>(
  outputs: (group: JoinedGroup<Key, unknown, unknown>) => Iterable<Output | undefined>,
) {
  return ({ key, window, pane, value }: WindowResult<Key, Sides>): Iterable<Output | undefined> =>
    outputs({ key, window, pane, ...value })
}

/** An event with its side in front: 0 for the left one, 1 for the right one. */
function sidedCodec<Event>(left: JoinSide<Event, AnyCodec>, right: JoinSide<Event, AnyCodec>): EventsCodec {
  const codecs = { left: left.codec, right: right.codec } as unknown as {
    readonly [Side in SidedEvent['side']]: Codec<unknown, unknown>
  }
  return Object.freeze({
    descriptor: { joined: [left.codec.descriptor, right.codec.descriptor] },
    fixedBytes: undefined,
    isOpenEnded: true,
    keptOf: (event: Event): SidedEvent => {
      const ofLeft: unknown = left.of(event)
      if (ofLeft !== undefined) return { side: 'left', value: ofLeft }
      const ofRight: unknown = right.of(event)
      if (ofRight === undefined) throw new CodecError('an event of neither side of the join')
      return { side: 'right', value: ofRight }
    },
    write: ({ side, value }: SidedEvent, to: ByteWriter) => {
      to.uint8(side === 'left' ? 0 : 1)
      try {
        codecs[side].write(value, to)
      } catch (error) {
        throw within(side, error, 'write')
      }
    },
    read: (from: ByteReader): SidedEvent => {
      const number = from.uint8()
      if (number > 1) throw new CodecError(`${number} is no side of a join`)
      const side = number === 0 ? 'left' : 'right'
      return { side, value: codecs[side].read(from) }
    },
  }) as EventsCodec
}

function checkOptions<Event, Key, Output>(options: ErasedJoin<Event, Key, Output>): void {
  const violations: Violation[] = violationsOf(options ?? null, {
    windows: rules.object,
    left: rules.object,
    right: rules.object,
    join: oneOf('inner', 'left', 'right', 'outer'),
    output: rules.function,
    outputs: rules.function,
    allowedLatenessMs: rules.nonNegativeMs,
    onLate: rules.function,
  })
  const { windows, left, right, join, output, outputs } = options ?? {}
  const wrong = (argument: string, reason: string) =>
    violations.push({ argument: `options.${argument}`, reason })
  if (windows === undefined) wrong('windows', 'is required')
  else if ('kind' in windows && windows.kind !== 'session') wrong('windows', 'must end by time')
  for (const [name, side] of Object.entries({ left, right })) {
    if (side === undefined) wrong(name, 'is required')
    const codec = hasMethods('read', 'write')(side?.codec)
    if (codec !== undefined) wrong(`${name}.codec`, codec)
    const of = rules.function(side?.of)
    if (of !== undefined) wrong(`${name}.of`, of)
  }
  if ((output === undefined) === (outputs === undefined)) {
    wrong('output', 'or outputs is required, and only one of them')
  }
  if (join !== undefined && outputs !== undefined) wrong('join', 'goes with output')
  rejectViolations(violations)
}
