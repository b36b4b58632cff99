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
import type { StateKind, types } from './definition-types.js'
import type { CheckedChain, Migration } from './migration.js'

/** How long entries live. */
export interface TimeToLive {
  /** From the moment that it is written: positive, in milliseconds. Lists and maps count each element by itself. */
  readonly afterMs: number
  /**
   * What sets the time anew: writing an entry, or reading it by its key too (`get`, `view`; of a list, `at` its element and `get` all of them); a
   * look over several (`entries`, `keys`, `values`, `all`, `query`) does not. Default `'write'`.
   */
  readonly refresh?: 'write' | 'readWrite'
  /**
   * Whose time: `'processing'` is the engine's clock; with `'event'` an entry expires when the store's watermark has come so
   * far after the time of the event that wrote it (`advanceWatermark`, `at`). Default `'processing'`.
   */
  readonly time?: 'processing' | 'event'
}

interface CommonOptions {
  /** Default: entries never expire. */
  readonly ttl?: TimeToLive
  /** The version of the stored form. Default: 1, or one more than there are migrations. */
  readonly version?: number
  /** From earlier versions to this one, the earliest first: what step n returns is what step n + 1 is given. */
  readonly migrations?: readonly [] | readonly Migration[]
  /** Names that the state had in earlier versions of the program. */
  readonly renamedFrom?: string | readonly string[]
}

interface ValueOptions<Value> extends CommonOptions {
  /** Makes what `get` returns, and `update` and `add` begin with, where there is no value. */
  readonly default?: () => Value
}

/** Secondary indices under their names. */
export interface IndexDefinitions<Value> {
  readonly [name: string]: IndexDefinition<Value, unknown>
}

/** A secondary index, made by {@link index} or {@link indexEach}. */
export interface IndexDefinition<Value, Derived> {
  readonly codec: AnyKeyCodec
  readonly version: number
  readonly keysOf: (value: Value) => readonly unknown[]
  readonly derived?: Derived
}

/**
 * An index by what `derive` makes of each value; where that is `undefined`, the value is not in it. The function's result may
 * only depend on the value. A struct is shown to it where it lies: it must not be kept. The function must not call its own state. Where the function changes, so must `version`: the index is then built anew.
 *
 * @example value(json<Profile>(), { indexes: { byCity: index(utf8, (profile: Profile) => profile.city) } })
 */
export function index<Value, KeyC extends AnyKeyCodec>(
  codec: KeyC,
  derive: (value: Value) => InputOf<KeyC> | undefined,
  options?: { readonly version?: number },
): IndexDefinition<Value, ValueOf<KeyC>> {
  return indexEach<Value, KeyC>(
    codec,
    (value) => {
      const derived = derive(value)
      return derived === undefined ? [] : [derived]
    },
    options,
  )
}

/** The same where one value is found by several derived values, or by none. */
export function indexEach<Value, KeyC extends AnyKeyCodec>(
  codec: KeyC,
  derive: (value: Value) => readonly InputOf<KeyC>[],
  options?: { readonly version?: number },
): IndexDefinition<Value, ValueOf<KeyC>> {
  const violations: Violation[] = []
  if (typeof codec !== 'object' || codec === null || !isKeyCodec(codec)) {
    violations.push({ argument: 'codec', reason: 'must be a codec that can be a key' })
  }
  if (typeof derive !== 'function') violations.push({ argument: 'derive', reason: 'must be a function' })
  violations.push(...violationsOf(options, { version: rules.positiveInteger }))
  rejectViolations(violations)
  return Object.freeze({ codec, version: options?.version ?? 1, keysOf: derive })
}

interface IndexOptions<Value> {
  /** Other ways to find entries: `query` reads by them. They are kept in the same step as the entries. */
  readonly indexes?: IndexDefinitions<Value>
}

type IndexesOf<Options> = Options extends { readonly indexes: infer Indexes }
  ? { readonly [Name in keyof Indexes]: Indexes[Name] extends IndexDefinition<never, infer D> ? D : never }
  : Record<never, never>

/** Options whose chain of migrations does not fit are shown as what is wrong with them. */
type CheckedOptions<Options, Last, LastContent = Last> = Options extends { readonly migrations: infer Steps }
  ? { readonly migrations: CheckedChain<Steps, Last, LastContent> }
  : unknown

interface ListOptions extends CommonOptions {
  /** Most elements of a list: beyond, the first ones go. Default: no limit. */
  readonly maxLength?: number
}

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
  readonly version: number
  readonly migrations: readonly Migration[]
  readonly renamedFrom: readonly string[]
  readonly indexes: IndexDefinitions<never>
  /** Of a reducing or aggregating state: the next value from the one before and what was added. */
  readonly add: ((current: unknown, added: unknown) => unknown) | undefined
  /** What the state is keyed by, where that is not the key of its store: states of a later stage of a job. */
  readonly key?: AnyKeyCodec
  readonly [types]?: Types
}

/** What a change is given and what it returns: of a struct the fields themselves, and nothing need be returned. */
type Current<C, Absent> = C extends StructCodec<infer Value, infer _> ? Value : ValueOf<C> | Absent
type Next<C> = C extends StructCodec<infer _, infer Input> ? Input | void : InputOf<C>
type AbsentOf<Options> = Options extends { readonly default: () => unknown } ? never : undefined

/** What the compiler knows of a value. */
export interface ValueTypes<C extends AnyCodec, Absent, Indexes = Record<never, never>> {
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
  readonly absent: Absent
  readonly current: Current<C, Absent>
  readonly next: Next<C>
  readonly isStruct: C extends StructCodec<infer _, infer __> ? true : false
  readonly indexes: Indexes
}

/**
 * One value for each key.
 *
 * @example value(json(Profile), { ttl: { afterMs: 86_400_000 }, default: () => ({ visits: 0 }) })
 */
export function value<
  C extends AnyCodec,
  const Options extends ValueOptions<ValueOf<C> & InputOf<C>> & IndexOptions<ValueOf<C>> = object,
>(
  codec: C,
  options?: Options & CheckedOptions<Options, InputOf<C>>,
): StateDefinition<'value', ValueTypes<C, AbsentOf<Options>, IndexesOf<Options>>> {
  return definition('value', codec, options as AnyOptions | undefined, {
    default: rules.function,
    indexes: indexesRule,
  })
}

/** What the compiler knows of a list. */
export interface ListTypes<C extends AnyCodec> {
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
}

/**
 * A list for each key; its elements are entries of their own.
 *
 * @example list(messagePack<Step>(), { maxLength: 100 })
 */
export function list<C extends AnyCodec, const Options extends ListOptions = object>(
  codec: C,
  options?: Options & CheckedOptions<Options, InputOf<C>, readonly InputOf<C>[]>,
): StateDefinition<'list', ListTypes<C>> {
  return definition('list', codec, options as AnyOptions | undefined, {
    maxLength: rules.positiveInteger,
  })
}

/** What the compiler knows of a map. */
export interface MapTypes<KeyC extends AnyKeyCodec, C extends AnyCodec, Indexes = Record<never, never>> {
  readonly indexes: Indexes
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
export function map<
  KeyC extends AnyCodec,
  C extends AnyCodec,
  const Options extends CommonOptions & IndexOptions<ValueOf<C>> = object,
>(
  mapKey: KeyC & CheckedKey<KeyC>,
  codec: C,
  options?: Options & CheckedOptions<Options, InputOf<C>, readonly (readonly [InputOf<KeyC>, InputOf<C>])[]>,
): StateDefinition<'map', MapTypes<Extract<KeyC, AnyKeyCodec>, C, IndexesOf<Options>>> {
  if (typeof mapKey !== 'object' || mapKey === null || !isKeyCodec(mapKey)) {
    throw wrong([{ argument: 'mapKey', reason: 'must be a codec that can be a key' }])
  }
  const made = definition<'map', MapTypes<Extract<KeyC, AnyKeyCodec>, C, IndexesOf<Options>>>(
    'map',
    codec,
    options as AnyOptions | undefined,
    { indexes: indexesRule },
  )
  return { ...made, mapKey }
}

/** What the compiler knows of a reducing state. */
export interface ReducingTypes<C extends AnyCodec> {
  readonly value: ValueOf<C>
  readonly input: InputOf<C>
}

/**
 * One value for each key, to which `reduce` adds others of its own type.
 *
 * @example reducing(float64, Math.max)
 */
export function reducing<C extends AnyCodec, const Options extends CommonOptions = object>(
  codec: C,
  reduce: (current: ValueOf<C>, added: InputOf<C>) => InputOf<C>,
  options?: Options & CheckedOptions<Options, InputOf<C>>,
): StateDefinition<'reducing', ReducingTypes<C>> {
  return withAdd(definition('reducing', codec, options as AnyOptions | undefined, {}), reduce)
}

/** What the compiler knows of an aggregating state. */
export interface AggregatingTypes<C extends AnyCodec, Added, Absent> {
  readonly value: ValueOf<C>
  readonly added: Added
  readonly absent: Absent
  readonly isStruct: C extends StructCodec<infer _, infer __> ? true : false
}

/** An accumulator of fixed size begins with zeros where no `default` is given; any other one needs one. */
type AccumulatorOptions<C extends AnyCodec, Options> = C extends AnyFixedCodec
  ? [options?: Options & CheckedOptions<Options, InputOf<C>>]
  : [
      options: Options &
        CheckedOptions<Options, InputOf<C>> & { readonly default: () => ValueOf<C> & InputOf<C> },
    ]

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
  const given = options[0] as AnyOptions | undefined
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
  time: oneOf('processing', 'event'),
}

const ttlRule: Rule = (given) => {
  if (typeof given === 'object' && given !== null && !('afterMs' in given)) return 'must have afterMs'
  const [violation] = violationsOf(given, ttlRules, 'ttl')
  return violation === undefined ? undefined : `is wrong: ${violation.argument} ${violation.reason}`
}

const isCodec = hasMethods('write', 'read')

const migrationsRule: Rule = (given) =>
  Array.isArray(given) && given.every((step) => typeof step === 'function' || isStep(step))
    ? undefined
    : 'must be an array of functions, or of what from() makes'

const isStep = (step: unknown): boolean =>
  typeof step === 'object' && step !== null && 'from' in step && 'apply' in step

const namesRule: Rule = (given) =>
  [given].flat().every((name) => typeof name === 'string' && name.length > 0)
    ? undefined
    : 'must be a name or an array of names'

const indexesRule: Rule = (given) => {
  if (typeof given !== 'object' || given === null) return 'must be an object of indices'
  const wrongOne = Object.entries(given).find(
    ([, each]) => typeof each !== 'object' || each === null || !('keysOf' in each),
  )
  return wrongOne === undefined
    ? undefined
    : `has '${wrongOne[0]}', which index() or indexEach() has not made`
}

const evolutionRules = {
  ttl: ttlRule,
  version: rules.positiveInteger,
  migrations: migrationsRule,
  renamedFrom: namesRule,
}

interface AnyOptions {
  readonly ttl?: TimeToLive
  readonly maxLength?: number
  readonly default?: () => unknown
  readonly version?: number
  readonly migrations?: readonly Migration[]
  readonly renamedFrom?: string | readonly string[]
  readonly indexes?: IndexDefinitions<never>
}

function definition<Kind extends StateKind, Types>(
  kind: Kind,
  codec: AnyCodec,
  options: AnyOptions | undefined,
  optionRules: { readonly [name: string]: Rule },
): StateDefinition<Kind, Types> {
  const violations = violationsOf(options, { ...evolutionRules, ...optionRules })
  if (isCodec(codec) !== undefined) violations.unshift({ argument: 'codec', reason: 'must be a codec' })
  const migrations = options?.migrations ?? []
  const version = options?.version ?? migrations.length + 1
  if (version <= migrations.length) {
    violations.push({
      argument: 'version',
      reason: `must be ${migrations.length + 1} or more, with ${migrations.length} migrations to it`,
    })
  }
  const last = migrations.at(-1)
  if (typeof last === 'function' && codec.descriptor !== 'json' && codec.descriptor !== 'msgpack') {
    violations.push({
      argument: 'migrations',
      reason: 'must be made by from(codec, …): only of JSON and MessagePack the bytes say what they are',
    })
  }
  rejectViolations(violations)
  return {
    kind,
    version,
    migrations,
    renamedFrom: [options?.renamedFrom ?? []].flat(),
    indexes: options?.indexes ?? {},
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
