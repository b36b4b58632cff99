// Aggregates that everybody needs. Each can be merged, so that it fits every kind of windows.

import { invalidArgument, requireSettings, rules } from '../../base/options.js'
import type { AnyFixedCodec, FixedCodec, InputOf, ValueOf } from '../../state/codec/codec.js'
import { within } from '../../state/codec/codec-error.js'
import { float64 } from '../../state/codec/numbers.js'
import { checkedNumber, checkedSum } from './aggregate.js'
import { type BytesAggregate, bytesAggregate, bytesWorkOf, partsOfBytes } from './bytes-aggregate.js'
import { type FixedAggregate, fixedAggregate, type RawAggregate, rawOf, sideBySide } from './raw-aggregate.js'

const load = (view: DataView, at: number): number => view.getFloat64(at, true)
const store = (view: DataView, at: number, value: number): void => view.setFloat64(at, value, true)

/** How many events there were. */
export function count(): FixedAggregate<unknown, number> {
  return fixedAggregate<unknown, number>({
    kind: 'count',
    fields: [['', float64]],
    add: (view, at) => store(view, at, load(view, at) + 1),
    merge: (view, at, later, laterAt) => store(view, at, load(view, at) + load(later, laterAt)),
    result: load,
  })
}

/** The sum of a number of each event. What is no finite number, and a sum beyond 2^53 - 1, makes the event a bad one (W20). */
export function sum<Event>(of: (event: Event) => number): FixedAggregate<Event, number> {
  requireFunction(of)
  return fixedAggregate<Event, number>({
    kind: 'sum',
    fields: [['', float64]],
    add: (view, at, event) =>
      store(view, at, checkedSum(load(view, at) + checkedNumber(of(event), 'sum'), 'sum')),
    merge: (view, at, later, laterAt) =>
      store(view, at, checkedSum(load(view, at) + load(later, laterAt), 'sum')),
    result: load,
  })
}

/** The least number. */
export function min<Event>(of: (event: Event) => number): FixedAggregate<Event, number> {
  return extreme(of, 'min', (value, before) => value < before)
}

/** The greatest number. */
export function max<Event>(of: (event: Event) => number): FixedAggregate<Event, number> {
  return extreme(of, 'max', (value, before) => value > before)
}

function requireFunction(of: unknown): void {
  const wrong = rules.function(of)
  if (wrong !== undefined) throw invalidArgument('of', wrong)
}

function extreme<Event>(
  of: (event: Event) => number,
  name: string,
  wins: (value: number, before: number) => boolean,
): FixedAggregate<Event, number> {
  requireFunction(of)
  return fixedAggregate<Event, number>({
    kind: name,
    fields: [['', float64]],
    add: (view, at, event, _timestampMs, isFirst) => {
      const value = checkedNumber(of(event), name)
      if (isFirst || wins(value, load(view, at))) store(view, at, value)
    },
    merge: (view, at, later, laterAt) => {
      const value = load(later, laterAt)
      if (wins(value, load(view, at))) store(view, at, value)
    },
    result: load,
  })
}

/** The mean of a number of each event. */
export function mean<Event>(of: (event: Event) => number): FixedAggregate<Event, number> {
  return fixedAggregate<Event, number>(
    moments({ kind: 'mean', name: 'mean', of }, (_count, average) => average),
  )
}

/** The variance of a number of each event: of the events as they are, or, with `'sample'`, of what they are a sample of. */
export function variance<Event>(
  of: (event: Event) => number,
  kind: 'population' | 'sample' = 'population',
): FixedAggregate<Event, number> {
  const missing = kind === 'sample' ? 1 : 0
  return fixedAggregate<Event, number>(
    moments(
      { kind: `variance of a ${kind}`, name: 'variance', of, checksSquares: true },
      (events, _average, squares) => (events > missing ? squares / (events - missing) : 0),
    ),
  )
}

/** Count, mean and the sum of squared distances from it: what stays exact where sums of squares would not. */
function moments<Event>(
  {
    kind,
    name,
    of,
    checksSquares = false,
  }: {
    readonly kind: string
    readonly name: string
    readonly of: (event: Event) => number
    /** Whether it is about them: an event by which they are beyond all numbers is a bad one (W20). */
    readonly checksSquares?: boolean
  },
  result: (count: number, average: number, squares: number) => number,
): RawAggregate<Event, number> {
  requireFunction(of)
  return {
    kind,
    fields: [
      ['count', float64],
      ['mean', float64],
      ['squares', float64],
    ],
    add: (view, at, event) => {
      const value = checkedNumber(of(event), name)
      const events = load(view, at) + 1
      const before = load(view, at + 8)
      const average = weighted(before, events - 1, value, 1)
      const squaresBefore = load(view, at + 16)
      const squares = squaresBefore + (value - before) * (value - average)
      // What two parts have come to may be beyond it already.
      if (checksSquares && squaresBefore !== Infinity) checkedNumber(squares, name)
      store(view, at, events)
      store(view, at + 8, average)
      store(view, at + 16, squares)
    },
    merge: (view, at, later, laterAt) => {
      const events = load(view, at)
      const others = load(later, laterAt)
      const average = load(view, at + 8)
      const otherAverage = load(later, laterAt + 8)
      const distance = otherAverage - average
      const both = events + others
      store(view, at, both)
      store(view, at + 8, weighted(average, events, otherAverage, others))
      const squares = load(view, at + 16) + load(later, laterAt + 16)
      store(view, at + 16, squares + (distance * distance * events * others) / both)
    },
    result: (view, at) => result(load(view, at), load(view, at + 8), load(view, at + 16)),
  }
}

/** The mean of so many numbers of one mean, and so many of another one. */
function weighted(left: number, leftCount: number, right: number, rightCount: number): number {
  const both = leftCount + rightCount
  const average = left + ((right - left) * rightCount) / both
  // Far apart, it is the difference that is beyond all numbers, and not the mean.
  return Number.isFinite(average) ? average : left * (leftCount / both) + right * (rightCount / both)
}

/** What an event with the earliest timestamp has; of several, the one that came first. */
export function first<Event, C extends AnyFixedCodec>(
  codec: C,
  of: (event: Event) => InputOf<C>,
): FixedAggregate<Event, ValueOf<C>> {
  return byTime(codec, of, (timestampMs, before) => timestampMs < before, false)
}

/** What an event with the latest timestamp has; of several, the one that came last. */
export function last<Event, C extends AnyFixedCodec>(
  codec: C,
  of: (event: Event) => InputOf<C>,
): FixedAggregate<Event, ValueOf<C>> {
  return byTime(codec, of, (timestampMs, before) => timestampMs >= before, true)
}

function byTime<Event, C extends AnyFixedCodec>(
  codec: C,
  of: (event: Event) => InputOf<C>,
  wins: (timestampMs: number, before: number) => boolean,
  isLast: boolean,
): FixedAggregate<Event, ValueOf<C>> {
  const field = codec as unknown as FixedCodec<ValueOf<C>, InputOf<C>>
  if (field?.fixedBytes === undefined) throw invalidArgument('codec', 'must be one of a fixed size')
  const keep = (view: DataView, at: number, timestampMs: number, value: InputOf<C>): void => {
    store(view, at, timestampMs)
    try {
      field.store(view, at + 8, value)
    } catch (error) {
      throw within(isLast ? 'last' : 'first', error, 'write')
    }
  }
  return fixedAggregate<Event, ValueOf<C>>({
    kind: isLast ? 'last' : 'first',
    fields: [
      ['atMs', float64],
      ['value', codec as unknown as FixedCodec<unknown, never>],
    ],
    add: (view, at, event, timestampMs, isFirst) => {
      if (isFirst || wins(timestampMs, load(view, at))) keep(view, at, timestampMs, of(event))
    },
    merge: (view, at, later, laterAt) => {
      const timestampMs = load(later, laterAt)
      if (!wins(timestampMs, load(view, at))) return
      for (let i = 0; i < 8 + field.fixedBytes; i++) view.setUint8(at + i, later.getUint8(laterAt + i))
    },
    result: (view, at) => field.load(view, at + 8),
  })
}

type ReadyMade = FixedAggregate<never, unknown> | BytesAggregate<never, unknown>
type EventOf<A> =
  A extends FixedAggregate<infer Event, infer _>
    ? Event
    : A extends BytesAggregate<infer Event, infer _>
      ? Event
      : never
type ResultOf<A> =
  A extends FixedAggregate<infer _, infer Result>
    ? Result
    : A extends BytesAggregate<infer _, infer Result>
      ? Result
      : never
/** What every one of these functions takes. */
type TakenByAll<Functions> = [Functions] extends [(event: infer Event) => void] ? Event : never
type CombinedEvent<Parts> = TakenByAll<
  { [Name in keyof Parts]: (event: EventOf<Parts[Name]>) => void }[keyof Parts]
>
type CombinedResult<Parts> = { readonly [Name in keyof Parts]: ResultOf<Parts[Name]> }

/**
 * Several ready-made aggregates of the same events, under names. It has a fixed size where all of them have.
 *
 * @example combined({ requests: count(), tokens: sum((request: LlmRequest) => request.tokens) })
 */
export function combined<Parts extends { readonly [name: string]: FixedAggregate<never, unknown> }>(
  parts: Parts,
): FixedAggregate<CombinedEvent<Parts>, CombinedResult<Parts>>
export function combined<Parts extends { readonly [name: string]: ReadyMade }>(
  parts: Parts,
): BytesAggregate<CombinedEvent<Parts>, CombinedResult<Parts>>
export function combined(parts: { readonly [name: string]: ReadyMade }): object {
  requireSettings(parts, [], 'parts')
  const named = Object.entries(parts)
  if (named.length === 0) throw invalidArgument('parts', 'must have one at least')
  for (const [name, part] of named) requireSettings(part, [], `parts.${name}`)
  const raws = named.flatMap(([name, part]) => {
    const raw = rawOf(part)
    return raw === undefined ? [] : [[name, raw] as const]
  })
  if (raws.length === named.length) return fixedAggregate(sideBySide(Object.fromEntries(raws)))
  const works = named.map(([name, part]) => {
    const work = bytesWorkOf(part)
    if (work === undefined) throw invalidArgument(`parts.${name}`, 'must be a ready-made aggregate')
    return [name, work] as const
  })
  return bytesAggregate(partsOfBytes(Object.fromEntries(works)))
}
