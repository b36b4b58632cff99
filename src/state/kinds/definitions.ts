// How a state is described. A definition is plain data and knows no store: it can be shared, tested and composed.

import { StateError, type Violation } from '../../base/errors.js'
import { hasMethods, oneOf, type Rule, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type {
  AnyCodec,
  AnyFixedCodec,
  AnyKeyCodec,
  InputOf,
  StateTypeError,
  ValueOf,
} from '../codec/codec.js'
import { isFixedCodec, isKeyCodec } from '../codec/codec.js'
import type { StructCodec } from '../codec/struct.js'

/** How long entries live, by the engine's clock. */
export interface TimeToLive {
  /** From the moment that it is written: positive, in milliseconds. Lists and maps count each element by itself. */
  readonly afterMs: number
  /** What sets the time anew: writing an entry, or reading it too. Default `'write'`. */
  readonly refresh?: 'write' | 'readWrite'
}

interface CommonOptions {
  /** Default: entries never expire. */
  readonly ttl?: TimeToLive
}

interface ValueOptions<Value> extends CommonOptions {
  /** Makes what `get` returns, and `update` and `add` begin with, where there is no value. */
  readonly default?: () => Value
}

interface ListOptions extends CommonOptions {
  /** Most elements of a list: beyond, the first ones go. Default: no limit. */
  readonly maxLength?: number
}

export type StateKind = 'value' | 'list' | 'map' | 'reducing' | 'aggregating'

declare const types: unique symbol

/** A state as it was described. `Types` is what the compiler knows of it. */
export interface StateDefinition<Kind extends StateKind = StateKind, Types = unknown> {
  readonly kind: Kind
  readonly codec: AnyCodec
  /** Of a map. */
  readonly mapKey: AnyKeyCodec | undefined
  readonly ttl: TimeToLive | undefined
  /** Of a list. */
  readonly maxLength: number
  readonly default: (() => unknown) | undefined
  /** Of a reducing or aggregating state: the next value from the one before and what was added. */
  readonly add: ((current: unknown, added: unknown) => unknown) | undefined
  readonly [types]?: Types
}

/** What is known of a definition's types. */
export type TypesOf<Definition> = Definition extends { readonly [types]?: infer Types }
  ? NonNullable<Types>
  : never

/** What a change is given and what it returns: of a struct the fields themselves, and nothing need be returned. */
type Current<C, Absent> = C extends StructCodec<infer Value, infer _> ? Value : ValueOf<C> | Absent
type Next<C> = C extends StructCodec<infer _, infer Input> ? Input | void : InputOf<C>
type AbsentOf<Options> = Options extends { readonly default: () => unknown } ? never : undefined

export interface ValueTypes<C extends AnyCodec, Absent> {
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
  readonly absent: Absent
  readonly current: Current<C, Absent>
  readonly next: Next<C>
  readonly isStruct: C extends StructCodec<infer _, infer __> ? true : false
}

/**
 * One value for each key.
 *
 * @example value(json(Profile), { ttl: { afterMs: 86_400_000 }, default: () => ({ visits: 0 }) })
 */
export function value<
  C extends AnyCodec,
  const Options extends ValueOptions<ValueOf<C> & InputOf<C>> = object,
>(codec: C, options?: Options): StateDefinition<'value', ValueTypes<C, AbsentOf<Options>>> {
  return definition('value', codec, options, { default: rules.function })
}

export interface ListTypes<C extends AnyCodec> {
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
}

/**
 * A list for each key; its elements are entries of their own.
 *
 * @example list(messagePack<Step>(), { maxLength: 100 })
 */
export function list<C extends AnyCodec>(
  codec: C,
  options?: ListOptions,
): StateDefinition<'list', ListTypes<C>> {
  return definition('list', codec, options, { maxLength: rules.positiveInteger })
}

export interface MapTypes<KeyC extends AnyKeyCodec, C extends AnyCodec> {
  readonly mapKey: ValueOf<KeyC>
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
  readonly current: Current<C, undefined>
  readonly next: Next<C>
}

/** A codec that can be no key is shown as this type, so that the message says why. */
export type CheckedKey<C> = C extends AnyKeyCodec
  ? C
  : StateTypeError<'this codec has no order of bytes and can be no key: use utf8, bytes, numbers, date, enumeration or a tuple of them'>

/**
 * A map for each key; its entries are entries of their own, in the order of map keys. With `none` it is a set.
 *
 * @example map(utf8, none, { ttl: { afterMs: 3_600_000 } })
 */
export function map<KeyC extends AnyCodec, C extends AnyCodec>(
  mapKey: KeyC & CheckedKey<KeyC>,
  codec: C,
  options?: CommonOptions,
): StateDefinition<'map', MapTypes<Extract<KeyC, AnyKeyCodec>, C>> {
  if (typeof mapKey !== 'object' || mapKey === null || !isKeyCodec(mapKey)) {
    throw wrong([{ argument: 'mapKey', reason: 'must be a codec that can be a key' }])
  }
  return { ...definition('map', codec, options, {}), mapKey }
}

export interface ReducingTypes<C extends AnyCodec> {
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
}

/**
 * One value for each key, to which `reduce` adds others of its own type.
 *
 * @example reducing(float64, Math.max)
 */
export function reducing<C extends AnyCodec>(
  codec: C,
  reduce: (current: ValueOf<C>, added: InputOf<C>) => InputOf<C>,
  options?: CommonOptions,
): StateDefinition<'reducing', ReducingTypes<C>> {
  return withAdd(definition('reducing', codec, options, {}), reduce)
}

export interface AggregatingTypes<C extends AnyCodec, Added, Absent> {
  readonly value: ValueOf<C>
  readonly added: Added
  readonly absent: Absent
  readonly isStruct: C extends StructCodec<infer _, infer __> ? true : false
}

/** An accumulator of fixed size begins with zeros where no `default` is given; any other one needs one. */
type AccumulatorOptions<C extends AnyCodec, Options> = C extends AnyFixedCodec
  ? [options?: Options]
  : [options: Options & { readonly default: () => ValueOf<C> & InputOf<C> }]

/**
 * One accumulator for each key. `add` changes a struct where it is; of any other codec it returns the next value.
 *
 * @example
 * aggregating(struct({ count: uint32, tokens: float64 }), (total, request: Request) => {
 *   total.count++
 *   total.tokens += request.tokens
 * })
 */
export function aggregating<
  C extends AnyCodec,
  Added,
  const Options extends ValueOptions<ValueOf<C> & InputOf<C>> = object,
>(
  codec: C,
  add: (accumulator: Current<C, never>, added: Added) => Next<C>,
  ...options: AccumulatorOptions<C, Options>
): StateDefinition<'aggregating', AggregatingTypes<C, Added, AbsentOf<Options>>> {
  const [given] = options
  const made = definition<'aggregating', AggregatingTypes<C, Added, AbsentOf<Options>>>(
    'aggregating',
    codec,
    given,
    { default: rules.function },
  )
  if (made.default === undefined && !isFixedCodec(codec)) {
    throw wrong([
      { argument: 'options.default', reason: 'must say what an accumulator of this codec begins with' },
    ])
  }
  return withAdd(made, add)
}

const ttlRules: { readonly [name: string]: Rule } = {
  afterMs: (given) =>
    given === Infinity ? 'must be finite: without a ttl, entries never expire' : rules.positiveMs(given),
  refresh: oneOf('write', 'readWrite'),
}

const ttlRule: Rule = (given) => {
  if (typeof given === 'object' && given !== null && !('afterMs' in given)) return 'must have afterMs'
  const [violation] = violationsOf(given, ttlRules, 'ttl')
  return violation === undefined ? undefined : `is wrong: ${violation.argument} ${violation.reason}`
}

const isCodec = hasMethods('write', 'read')

interface AnyOptions {
  readonly ttl?: TimeToLive
  readonly maxLength?: number
  readonly default?: () => unknown
}

function definition<Kind extends StateKind, Types>(
  kind: Kind,
  codec: AnyCodec,
  options: AnyOptions | undefined,
  optionRules: { readonly [name: string]: Rule },
): StateDefinition<Kind, Types> {
  const violations = violationsOf(options, { ttl: ttlRule, ...optionRules })
  if (isCodec(codec) !== undefined) violations.unshift({ argument: 'codec', reason: 'must be a codec' })
  rejectViolations(violations)
  return {
    kind,
    codec,
    mapKey: undefined,
    ttl: options?.ttl,
    maxLength: options?.maxLength ?? Infinity,
    default: options?.default,
    add: undefined,
  }
}

function withAdd<Kind extends StateKind, Types>(
  made: StateDefinition<Kind, Types>,
  add: (current: never, added: never) => unknown,
): StateDefinition<Kind, Types> {
  if (typeof add !== 'function') throw wrong([{ argument: 'add', reason: 'must be a function' }])
  return { ...made, add: add as (current: unknown, added: unknown) => unknown }
}

const wrong = (violations: readonly Violation[]) => new StateError('INVALID_ARGUMENT', { violations })
