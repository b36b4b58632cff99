// What a window makes of its events.

import { invalidArgument, requireSettings } from '../../base/options.js'
import type { AnyCodec, Codec } from '../../state/codec/codec.js'
import { CodecError, describeValue } from '../../state/codec/codec-error.js'
import { isStruct } from '../../state/codec/struct.js'
import type { TypesOf } from '../../state/kinds/definition-types.js'
import type { AggregatingTypes, ReducingTypes, StateDefinition } from '../../state/kinds/definitions.js'

/**
 * How the events of a window become its value. The accumulator is what is stored of a window: a struct is changed where it lies, of any
 * other codec each function returns the next one.
 */
export interface Aggregate<Event, Accumulator, Result> {
  readonly codec: Codec<Accumulator, unknown>
  /**
   * What it is, in a word: recorded beside the windows, so that a program with another one does not go on with what this one has added up.
   * Ready-made ones have it. Default: only the form of the accumulator tells.
   */
  readonly kind?: string
  /** What the first event is added to. Default: a struct of zeros, or `undefined`. */
  readonly first?: () => Accumulator
  add(accumulator: Accumulator, event: Event, timestampMs: number): Accumulator | undefined | void
  /**
   * Merges what a later window, or a later part of one, has into an earlier one: needed for sessions, and it spares hopping windows an update for
   * each window of an event.
   */
  merge?(accumulator: Accumulator, later: Accumulator): Accumulator | undefined | void
  /** The value of the window. Of a struct it is shown where it lies: what is returned must not be it. Default: the accumulator. */
  result?(accumulator: Accumulator): Result
}

/** An aggregate, whatever its accumulator is. */
export interface AnyAggregate<Event, Result> {
  readonly codec: AnyCodec
  readonly kind?: string
  first?(): unknown
  add(accumulator: never, event: Event, timestampMs: number): unknown
  merge?(accumulator: never, later: never): unknown
  result?(accumulator: never): Result
}

type Defined<Definition> =
  Definition extends StateDefinition<'aggregating'>
    ? TypesOf<Definition> extends infer Types extends AggregatingTypes<never, unknown, unknown>
      ? { readonly event: Types['added']; readonly value: Types['value'] }
      : never
    : Definition extends StateDefinition<'reducing'>
      ? TypesOf<Definition> extends infer Types extends ReducingTypes<never>
        ? { readonly event: Types['input']; readonly value: Types['value'] }
        : never
      : never

/**
 * An aggregate out of the description of a state, `aggregating(…)` or `reducing(…)`; that of a reducing state merges by itself.
 *
 * @example
 * aggregateBy(aggregating(struct({ count: uint32 }), (total, _: Click) => { total.count++ }), {
 *   merge: (total, later) => { total.count += later.count },
 * })
 */
export function aggregateBy<
  Definition extends StateDefinition<'aggregating'> | StateDefinition<'reducing'>,
  Result = Defined<Definition>['value'],
>(
  definition: Definition,
  options: {
    readonly merge?: (
      accumulator: Defined<Definition>['value'],
      later: Defined<Definition>['value'],
    ) => Defined<Definition>['value'] | undefined | void
    readonly result?: (accumulator: Defined<Definition>['value']) => Result
  } = {},
): Aggregate<Defined<Definition>['event'], Defined<Definition>['value'], Result> {
  requireSettings(definition, [], 'definition')
  requireSettings(options)
  const { kind, codec, add, default: first } = definition as StateDefinition
  if (add === undefined || (kind !== 'aggregating' && kind !== 'reducing')) {
    throw invalidArgument('definition', 'must be made by aggregating() or reducing()')
  }
  if (definition.ttl !== undefined) throw invalidArgument('definition.ttl', 'has no meaning: windows end')
  const isReducing = kind === 'reducing'
  const aggregate: Aggregate<unknown, unknown, unknown> = {
    codec: codec as unknown as Codec<unknown, unknown>,
    // The first value of a reducing state is the first event.
    add: isReducing ? (current, event) => (current === undefined ? event : add(current, event)) : add,
    ...(first === undefined ? firstOf(codec, isReducing) : { first }),
    ...(options.merge === undefined
      ? isReducing
        ? { merge: (current: unknown, later: unknown) => add(current, later) }
        : {}
      : { merge: options.merge as (current: unknown, later: unknown) => unknown }),
    ...(options.result === undefined ? {} : { result: options.result as (value: unknown) => unknown }),
  }
  if (isReducing && isStruct(aggregate.codec)) {
    throw invalidArgument('definition', 'that reduces structs cannot tell the first one: use aggregating()')
  }
  return Object.freeze(aggregate) as unknown as Aggregate<
    Defined<Definition>['event'],
    Defined<Definition>['value'],
    Result
  >
}

/** An accumulator of fixed size begins with zeros. */
function firstOf(codec: AnyCodec, isReducing: boolean): { first?: () => unknown } {
  if (isReducing || isStruct(codec) || codec.fixedBytes === undefined) return {}
  const { load } = codec as unknown as { load(view: DataView, at: number): unknown }
  const zeros = new DataView(new ArrayBuffer(codec.fixedBytes))
  return { first: () => load(zeros, 0) }
}

/** A number that an event brings: what is none is a bad event (W20). */
export function checkedNumber(value: number, what: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new CodecError(`${describeValue(value)} is no finite number`, what, undefined, 'write')
  }
  return value
}

/** A sum that is still exact where its parts are whole, and is finite (W20). */
export function checkedSum(value: number, what: string): number {
  if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value))) {
    throw new CodecError(`${describeValue(value)} is beyond 2^53 - 1, or no number`, what, undefined, 'write')
  }
  return value
}
