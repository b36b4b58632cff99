// What a user of a store touches: one interface for each kind of state. `M` says whether a call answers at once or with a
// promise, `K` is the type of keys.

import type { KeyLike } from '../key/stored-key.js'
import type { Mode, Outcome, Stream } from './outcome.js'

/** Key groups `from` up to, and without, `until`. */
export interface KeyGroupRange {
  readonly from: number
  readonly until: number
}

/**
 * Which entries of a whole state are visited, in the order of key groups, then of keys. They are seen as they are at one instant;
 * an engine without snapshots shows each group as it is when the scan comes to it.
 */
export interface StateScanOptions {
  /** Default: all groups. */
  readonly groups?: KeyGroupRange
  /** At most this many. Default: all. */
  readonly limit?: number
  /** Ends the scan with `ABORTED` before its next entry. */
  readonly signal?: AbortSignal
}

/** Which entries of one key are visited. */
export interface ElementScanOptions {
  /** From the last one. Default false. */
  readonly reverse?: boolean
  /** At most this many. Default: all. */
  readonly limit?: number
  /** Ends the scan with `ABORTED` before its next entry. */
  readonly signal?: AbortSignal
}

/** Which part of a map is visited: bounds are map keys, and all hold together. */
export interface MapScanOptions<MapKey> extends ElementScanOptions {
  readonly gt?: MapKey
  readonly gte?: MapKey
  readonly lt?: MapKey
  readonly lte?: MapKey
}

/**
 * One value for each key. A key or value that its codec cannot write is `SERIALIZATION_FAILED`, stored bytes that it cannot
 * read `DESERIALIZATION_FAILED`; both name the state, the key and the field. This holds for every kind of state.
 */
export interface ValueState<
  M extends Mode,
  K,
  Value,
  Input = Value,
  Absent = undefined,
  Current = Value | Absent,
  Next = Input,
> {
  /** The value; what the definition's `default` makes, or `undefined`, where there is none. */
  get(key: KeyLike<K>): Outcome<M, Value | Absent>
  has(key: KeyLike<K>): Outcome<M, boolean>
  put(key: KeyLike<K>, value: Input): Outcome<M, void>
  /** Stores the value where there is none; true where it did. */
  putIfAbsent(key: KeyLike<K>, value: Input): Outcome<M, boolean>
  /**
   * Puts what `change` returns for the present value. A struct it may change where it is (zeros where there was none): what it is
   * given is valid until it returns. Where it throws, or a value does not fit its field, everything stays as it was.
   */
  update(key: KeyLike<K>, change: (current: Current) => Next): Outcome<M, void>
  delete(key: KeyLike<K>): Outcome<M, void>
  /** Every key and its value, as they are when the first one is asked for. */
  entries(options?: StateScanOptions): Stream<M, [key: K, value: Value]>
}

/** Which entries a query visits, and how: in the order of the derived values. All bounds hold together. */
export interface QueryOptions<Derived> {
  readonly eq?: Derived
  readonly gt?: Derived
  readonly gte?: Derived
  readonly lt?: Derived
  readonly lte?: Derived
  /** From the largest derived value down. Default false. */
  readonly reverse?: boolean
  /** At most this many. Default: all. */
  readonly limit?: number
  /** The `cursor` of the last result that is known: the query goes on behind it, also in another process. */
  readonly after?: string
  /** Ends the query with `ABORTED` before its next result. */
  readonly signal?: AbortSignal
}

/** An entry that a query has found. */
export interface QueryResult<Found, Derived> {
  readonly entry: Found
  /** The derived value by which it was found. */
  readonly derived: Derived
  /** Where the query is: `after` goes on behind it. */
  readonly cursor: string
}

/** What states with indices have beside the rest. `Found` is `[key, value]`, of a map `[key, mapKey, value]`. */
export interface IndexedState<M extends Mode, Found, Indexes> {
  /**
   * The entries that an index finds, in the order of its derived values, then of keys: which ones, as the index was when the
   * first one is asked for; each as it is when it is come to. `NOT_INITIALIZED` where the index was added to a state with entries
   * and `migrate()` has not built it yet.
   */
  query<Name extends keyof Indexes & string>(
    index: Name,
    options?: QueryOptions<Indexes[Name]>,
  ): Stream<M, QueryResult<Found, Indexes[Name]>>
}

/** What states of structs have beside the rest, over a synchronous backend. */
export interface StructView<M extends Mode, K, Value> {
  /**
   * The fields of the value, read from its bytes as they are asked for: nothing is made for the call. The object is valid until
   * the next `view` of this state; `undefined` where there is no value.
   */
  view(...key: M extends 'sync' ? [key: KeyLike<K>] : [never]): Readonly<Value> | undefined
}

/** One value for each key, made of all that was added. */
export interface ReducingState<M extends Mode, K, Value, Input = Value> {
  /** The first value is stored as it is; each later one is merged into what is there. */
  add(key: KeyLike<K>, value: Input): Outcome<M, void>
  get(key: KeyLike<K>): Outcome<M, Value | undefined>
  has(key: KeyLike<K>): Outcome<M, boolean>
  delete(key: KeyLike<K>): Outcome<M, void>
  /** Every key and its value, as they are when the first one is asked for. */
  entries(options?: StateScanOptions): Stream<M, [key: K, value: Value]>
}

/** One accumulator for each key, to which things of another type are added. */
export interface AggregatingState<M extends Mode, K, Value, Added, Absent = undefined> {
  /**
   * Adds to the accumulator, or to the definition's `default` where there is none. Where the definition's function throws, or
   * a sum does not fit its field, nothing is stored.
   */
  add(key: KeyLike<K>, added: Added): Outcome<M, void>
  get(key: KeyLike<K>): Outcome<M, Value | Absent>
  has(key: KeyLike<K>): Outcome<M, boolean>
  delete(key: KeyLike<K>): Outcome<M, void>
  /** Every key and its accumulator, as they are when the first one is asked for. */
  entries(options?: StateScanOptions): Stream<M, [key: K, value: Value]>
}

/** A list for each key. An element is an entry of its own: to append one costs the same however long the list is. */
export interface ListState<M extends Mode, K, Element, Input = Element> {
  /** Appends all of them, or none. Beyond `maxLength` the first ones go. */
  append(key: KeyLike<K>, ...elements: Input[]): Outcome<M, void>
  /** The element at a place from the front, or with -1, -2, … from the end; `undefined` where there is none. */
  at(key: KeyLike<K>, index: number): Outcome<M, Element | undefined>
  /** How many elements there are. Costs the same for every list, but of a state with a time to live it reads the whole list. */
  length(key: KeyLike<K>): Outcome<M, number>
  /** All elements, in order; empty where there are none. */
  get(key: KeyLike<K>): Outcome<M, Element[]>
  /** The elements one by one, as they are when the first one is asked for. */
  values(key: KeyLike<K>, options?: ElementScanOptions): Stream<M, Element>
  /** Removes elements from the front until at most `length` are left. */
  trim(key: KeyLike<K>, length: number): Outcome<M, void>
  /** Removes the whole list. */
  clear(key: KeyLike<K>): Outcome<M, void>
  /** Every element of every list with its key. */
  entries(options?: StateScanOptions): Stream<M, [key: K, element: Element]>
}

/** What `put` takes behind the map key: nothing, where the map has no values. */
type ValueArgument<Input> = [Input] extends [undefined] ? [value?: undefined] : [value: Input]

/** A map for each key. Each of its entries is an entry of its own, in the order of map keys. */
export interface MapState<
  M extends Mode,
  K,
  MapKey,
  Value,
  Input = Value,
  Current = Value | undefined,
  Next = Input,
> {
  get(key: KeyLike<K>, mapKey: MapKey): Outcome<M, Value | undefined>
  has(key: KeyLike<K>, mapKey: MapKey): Outcome<M, boolean>
  put(key: KeyLike<K>, mapKey: MapKey, ...value: ValueArgument<Input>): Outcome<M, void>
  /** Stores an entry where there is none; true where it did. */
  putIfAbsent(key: KeyLike<K>, mapKey: MapKey, ...value: ValueArgument<Input>): Outcome<M, boolean>
  /** As `ValueState.update`, for one entry of the map. */
  update(key: KeyLike<K>, mapKey: MapKey, change: (current: Current) => Next): Outcome<M, void>
  delete(key: KeyLike<K>, mapKey: MapKey): Outcome<M, void>
  /** The map's entries in a range, in the order of map keys, as they are when the first one is asked for. */
  entries(key: KeyLike<K>, options?: MapScanOptions<MapKey>): Stream<M, [mapKey: MapKey, value: Value]>
  keys(key: KeyLike<K>, options?: MapScanOptions<MapKey>): Stream<M, MapKey>
  /** How many entries the map has; it reads their keys. */
  size(key: KeyLike<K>): Outcome<M, number>
  /** Removes the whole map. */
  clear(key: KeyLike<K>): Outcome<M, void>
  /** Every entry of every map with its key. */
  all(options?: StateScanOptions): Stream<M, [key: K, mapKey: MapKey, value: Value]>
}
