// What windows make of their events: each aggregate of the library beside the same by lists and loops.

import { aggregating, int64, json, struct, uint32 } from '../../src/state.js'
import {
  type Aggregate,
  type AnyAggregate,
  aggregateBy,
  combined,
  count,
  distinctCount,
  distinctValues,
  first,
  last,
  max,
  mean,
  min,
  quantiles,
  sum,
  topN,
  variance,
} from '../../src/window.js'

export interface Reading {
  /** Unique, and ascending as they are sent. */
  readonly id: number
  /** The place of the key among all keys. */
  readonly key: number
  readonly at: number
  readonly value: number
}

/** A reading that has come in. */
export interface Arrival {
  readonly reading: Reading
  readonly timestampMs: number
  /** Ascending as they come in. */
  readonly place: number
}

export interface WindowValue {
  /** Absent where the events are kept, and `process` is given them. */
  readonly aggregate?: AnyAggregate<Reading, unknown>
  /** `arrivals` as they came in, but for sessions that became one (W15). */
  readonly of: (arrivals: readonly Arrival[]) => unknown
  /** Only windows that keep one accumulator each add events in the order that can be seen here: of panes and sessions `merge` decides. */
  readonly needs?: 'no merge' | 'order of arrival'
  /** After the point, to which it is compared. Default 6. */
  readonly digits?: number
}

/** A value as it is compared: sums of fractions differ in their last digits by the order of their parts. */
export function rounded(value: unknown, digits = 6): unknown {
  // Zero, for one that is negative.
  if (typeof value === 'number') return Math.round(value * 10 ** digits) / 10 ** digits + 0
  if (Array.isArray(value)) return value.map((each) => rounded(each, digits))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, rounded(each, digits)]))
}

const valueOf = ({ value }: Reading): number => value
const idOf = ({ id }: Reading): number => id

const numbersOf = (arrivals: readonly Arrival[]) => arrivals.map(({ reading }) => reading.value)
const idsOf = (arrivals: readonly Arrival[]) => arrivals.map(({ reading }) => reading.id)
const total = (numbers: readonly number[]) => numbers.reduce((all, each) => all + each, 0)
const average = (numbers: readonly number[]) => total(numbers) / numbers.length
const ascending = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b)

const byTime = (arrivals: readonly Arrival[]) =>
  [...arrivals].sort((a, b) => a.timestampMs - b.timestampMs || a.place - b.place)

/** Array.sort keeps those of one value as they were: by time, then as they came in. */
const byValue = (arrivals: readonly Arrival[]) =>
  byTime(arrivals).sort((a, b) => b.reading.value - a.reading.value)

function spread(numbers: readonly number[], divisor: number): number {
  const middle = average(numbers)
  return divisor === 0 ? 0 : total(numbers.map((each) => (each - middle) ** 2)) / divisor
}

const RANKS = [0, 0.5, 1] as const

const readyMade = {
  count: count(),
  sum: sum(valueOf),
  min: min(valueOf),
  max: max(valueOf),
  mean: mean(valueOf),
  variance: variance(valueOf),
  first: first(int64, valueOf),
  last: last(int64, valueOf),
  topN: topN({ n: 2, by: valueOf, codec: uint32, of: idOf }),
  distinctCount: distinctCount(int64, valueOf),
  distinctValues: distinctValues(int64, valueOf),
}

const plain: { readonly [Name in keyof typeof readyMade]: WindowValue['of'] } = {
  count: (arrivals) => arrivals.length,
  sum: (arrivals) => total(numbersOf(arrivals)),
  min: (arrivals) => Math.min(...numbersOf(arrivals)),
  max: (arrivals) => Math.max(...numbersOf(arrivals)),
  mean: (arrivals) => average(numbersOf(arrivals)),
  variance: (arrivals) => spread(numbersOf(arrivals), arrivals.length),
  first: (arrivals) => byTime(arrivals)[0]?.reading.value,
  last: (arrivals) => byTime(arrivals).at(-1)?.reading.value,
  topN: (arrivals) => idsOf(byValue(arrivals)).slice(0, 2),
  distinctCount: (arrivals) => new Set(numbersOf(arrivals)).size,
  distinctValues: (arrivals) => ascending(new Set(numbersOf(arrivals))),
}

const allOf = (arrivals: readonly Arrival[]) =>
  Object.fromEntries(Object.entries(plain).map(([name, of]) => [name, of(arrivals)]))

const chained: Aggregate<Reading, number[], number[]> = {
  codec: json<number[]>(),
  first: () => [],
  add: (ids, { id }) => [...ids, id],
}

const counted = aggregateBy(
  aggregating(struct({ count: uint32, sum: int64 }), (held, { value }: Reading) => {
    held.count++
    held.sum += value
  }),
  {
    merge: (held, later) => {
      held.count += later.count
      held.sum += later.sum
    },
    result: ({ count: events, sum: value }) => [events, value],
  },
)

/** By name. Estimates are left out, but for quantiles, whose error is less than half the distance of two values here. */
export const windowValues: { readonly [name: string]: WindowValue } = {
  ...Object.fromEntries(
    Object.entries(readyMade).map(([name, aggregate]) => [
      name,
      { aggregate, of: plain[name as keyof typeof plain] },
    ]),
  ),
  together: { aggregate: combined(readyMade), of: allOf },
  ofFixedSize: {
    aggregate: combined({ count: readyMade.count, sum: readyMade.sum, last: readyMade.last }),
    of: (arrivals) => ({ count: arrivals.length, sum: plain.sum(arrivals), last: plain.last(arrivals) }),
  },
  ofSample: {
    aggregate: variance(valueOf, 'sample'),
    of: (arrivals) => spread(numbersOf(arrivals), arrivals.length - 1),
  },
  quantiles: {
    aggregate: quantiles(valueOf, RANKS),
    digits: 0,
    of: (arrivals) => {
      const numbers = ascending(numbersOf(arrivals))
      return RANKS.map((rank) => numbers[Math.floor(rank * (numbers.length - 1))])
    },
  },
  byState: { aggregate: counted, of: (arrivals) => [arrivals.length, plain.sum(arrivals)] },
  chained: { aggregate: chained, of: idsOf, needs: 'no merge' },
  merged: {
    aggregate: { ...chained, merge: (ids, later) => [...ids, ...later] } as typeof chained,
    of: idsOf,
    needs: 'order of arrival',
  },
  kept: { of: (arrivals) => idsOf(byTime(arrivals)) },
}
