// Events of two kinds that belong together by their key and their times.

import type { Violation } from '../../base/errors.js'
import { hasMethods, nonEmptyText, type Rule, rejectViolations, violationsOf } from '../../base/options.js'
import type { AnyCodec, Codec, KeyCodec, ValueOf } from '../../state/codec/codec.js'
import { tuple } from '../../state/codec/composite.js'
import { int64, uint32 } from '../../state/codec/numbers.js'
import { type MapTypes, map, type StateDefinition } from '../../state/kinds/definitions.js'
import { type MapOfKey, mapOfKey } from './map-of-key.js'

export interface IntervalJoinOptions<Left extends AnyCodec, Right extends AnyCodec, Name extends string> {
  /** Of the states of the join: `name.left` and `name.right`. */
  readonly name: Name
  /** How events of either side are kept. */
  readonly left: Left
  readonly right: Right
  /** The right event comes at least so long after the left one; negative: it may come before it. Whole milliseconds. */
  readonly fromMs: number
  /** The right event comes at most so long after the left one. */
  readonly toMs: number
}

/** Called for each pair, with the event at hand as one of them. */
export type OnPair<Left, Right> = (
  left: Left,
  right: Right,
  times: { readonly leftMs: number; readonly rightMs: number },
) => void

/** A join of two kinds of events by their times. */
export interface IntervalJoin<Left, Right, Name extends string> {
  /** The states that it needs, for the schema: `states: { ...join.states }`. */
  readonly states: {
    readonly [State in `${Name}.left` | `${Name}.right`]: StateDefinition<
      'map',
      MapTypes<typeof eventKey, AnyCodec>
    >
  }
  /** A left event of the key at hand: calls `onPair` for the right ones that came before it, in the order of their times, and keeps it. */
  left(state: object, event: Left, timestampMs: number, onPair: OnPair<Left, Right>): void
  /** The same for a right event. */
  right(state: object, event: Right, timestampMs: number, onPair: OnPair<Left, Right>): void
}

const eventKey: KeyCodec<[timestampMs: number, number: number], readonly [number, number]> = tuple(
  int64,
  uint32,
)

const wholeMs: Rule = (value) =>
  Number.isSafeInteger(value) ? undefined : 'must be a whole number of milliseconds'

/**
 * Joins two kinds of events of a key: each pair with `leftMs + fromMs <= rightMs <= leftMs + toMs` once, whichever comes first. An event is
 * kept until the watermark says that nothing can come that pairs with it; so a job that joins needs event time.
 *
 * @example
 * const purchases = intervalJoin({ name: 'purchases', left: json<Click>(), right: json<Purchase>(), fromMs: 0, toMs: 3_600_000 })
 * // in process: purchases.left(state, click, timestampMs, (click, purchase) => emit({ ...click, ...purchase }))
 */
export function intervalJoin<Left extends AnyCodec, Right extends AnyCodec, const Name extends string>(
  options: IntervalJoinOptions<Left, Right, Name>,
): IntervalJoin<ValueOf<Left>, ValueOf<Right>, Name> {
  const violations: Violation[] = violationsOf(options, {
    name: nonEmptyText,
    left: hasMethods('read', 'write'),
    right: hasMethods('read', 'write'),
    fromMs: wholeMs,
    toMs: wholeMs,
  })
  for (const required of ['name', 'left', 'right', 'fromMs', 'toMs'] as const) {
    if (options?.[required] === undefined)
      violations.push({ argument: `options.${required}`, reason: 'is required' })
  }
  if (violations.length === 0 && options.fromMs > options.toMs) {
    violations.push({ argument: 'options.fromMs', reason: 'must not be more than toMs' })
  }
  rejectViolations(violations)
  const { name, left, right, fromMs, toMs } = options
  const names = { left: `${name}.left`, right: `${name}.right` } as const
  // What a watermark has come to does not come any more: a right event later than this would.
  const kept = (codec: AnyCodec, afterMs: number): StateDefinition<'map'> =>
    map(eventKey, codec as Codec<unknown>, { ttl: { afterMs: Math.max(1, afterMs), time: 'event' } })
  return Object.freeze({
    states: { [names.left]: kept(left, toMs), [names.right]: kept(right, -fromMs) } as never,
    left: (
      state: object,
      event: ValueOf<Left>,
      leftMs: number,
      onPair: OnPair<ValueOf<Left>, ValueOf<Right>>,
    ) => {
      const others = mapOfKey<EventKey>(state, names.right)
      for (const [[rightMs], other] of between(others, leftMs + fromMs, leftMs + toMs)) {
        onPair(event, other as ValueOf<Right>, { leftMs, rightMs })
      }
      keep(mapOfKey<EventKey>(state, names.left), leftMs, event)
    },
    right: (
      state: object,
      event: ValueOf<Right>,
      rightMs: number,
      onPair: OnPair<ValueOf<Left>, ValueOf<Right>>,
    ) => {
      const others = mapOfKey<EventKey>(state, names.left)
      for (const [[leftMs], other] of between(others, rightMs - toMs, rightMs - fromMs)) {
        onPair(other as ValueOf<Left>, event, { leftMs, rightMs })
      }
      keep(mapOfKey<EventKey>(state, names.right), rightMs, event)
    },
  })
}

type EventKey = readonly [timestampMs: number, number: number]

/** Kept events of a stretch of time, both ends included: all of them, before anything is done with the first one. */
function between(kept: MapOfKey<EventKey>, fromMs: number, toMs: number): (readonly [EventKey, unknown])[] {
  return Array.from(kept.entries({ gte: [fromMs, 0], lt: [toMs + 1, 0] }))
}

function keep(kept: MapOfKey<EventKey>, timestampMs: number, event: unknown): void {
  // Several of one instant are numbered.
  for (let number = 0; !kept.putIfAbsent([timestampMs, number], event); number++);
}
