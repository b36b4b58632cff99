// A typed store: the states of a schema over a backend.

import { isSyncBackend, type StateBackend, type SyncStateBackend } from '../backend/state-backend.js'
import { StateError } from '../base/errors.js'
import { hasMethods, type Rule, rejectViolations, violationsOf } from '../base/options.js'
import type { Codec, KeyCodec } from './codec/codec.js'
import { isFixedCodec } from './codec/codec.js'
import { AwaitedHost } from './entries/awaited-host.js'
import type { Host } from './entries/host.js'
import { LocalHost } from './entries/local-host.js'
import { type EncodedKey, encodeKey, groupRange, type KeyLike } from './key/stored-key.js'
import type { Expiry } from './kinds/cell.js'
import type {
  AggregatingTypes,
  ListTypes,
  MapTypes,
  ReducingTypes,
  StateDefinition,
  TypesOf,
  ValueTypes,
} from './kinds/definitions.js'
import { EntryListState } from './kinds/list-state.js'
import { EntryMapState } from './kinds/map-state.js'
import type { Mode, Outcome } from './kinds/outcome.js'
import { groupsRule } from './kinds/ranges.js'
import { StateContext } from './kinds/state-context.js'
import type {
  AggregatingState,
  KeyGroupRange,
  ListState,
  MapState,
  ReducingState,
  StructView,
  ValueState,
} from './kinds/states.js'
import { SingleValueState } from './kinds/value-state.js'
import type { StateDefinitions, StateSchema } from './schema/define-state.js'
import { openSchema } from './schema/open-schema.js'
import type { RecordedSchema } from './schema/recorded-schema.js'

/** The stored keys of some key groups, as a range for a backend, a checkpoint or a restore. */
export interface KeyGroups extends KeyGroupRange {
  readonly range: { readonly gte: Uint8Array; readonly lt: Uint8Array }
}

/** What every store has beside its states. */
export interface StoreMethods<M extends Mode, Key> {
  /**
   * Groups the writes of several states: they are applied as one step when `body` is done, and not at all when it throws. Reads
   * inside see them, reads outside do not. A batch in a batch is a part of the outer one.
   *
   * Over a synchronous backend `body` is done when it returns; a promise is `TRANSACTION_FAILED`. Over another one it may await
   * calls of the store, and must await all that it makes; batches run one after the other, and other writes wait meanwhile.
   */
  batch<Result>(body: () => M extends 'sync' ? Result : Result | PromiseLike<Result>): Outcome<M, Result>
  /** Removes what every state has under a key, in one step. */
  clear(key: KeyLike<Key>): Outcome<M, void>
  /** Encodes a key once, to be given wherever a key is. */
  key(key: Key): EncodedKey<Key>
  /** Groups `from` up to, and without, `until`; `INVALID_ARGUMENT` for groups that the store does not have. */
  keyGroups(range: KeyGroupRange): KeyGroups
}

type StructViewOf<M extends Mode, Key, Types> = Types extends {
  readonly isStruct: true
  readonly value: infer Value
}
  ? StructView<M, Key, Value>
  : unknown

/** The state that a definition describes. */
export type StateOf<Definition, M extends Mode, Key> =
  Definition extends StateDefinition<'value'>
    ? TypesOf<Definition> extends infer Types extends ValueTypes<never, unknown>
      ? ValueState<M, Key, Types['value'], Types['input'], Types['absent'], Types['current'], Types['next']> &
          StructViewOf<M, Key, Types>
      : never
    : Definition extends StateDefinition<'list'>
      ? TypesOf<Definition> extends infer Types extends ListTypes<never>
        ? ListState<M, Key, Types['value'], Types['input']>
        : never
      : Definition extends StateDefinition<'map'>
        ? TypesOf<Definition> extends infer Types extends MapTypes<never, never>
          ? MapState<M, Key, Types['mapKey'], Types['value'], Types['input'], Types['current'], Types['next']>
          : never
        : Definition extends StateDefinition<'reducing'>
          ? TypesOf<Definition> extends infer Types extends ReducingTypes<never>
            ? ReducingState<M, Key, Types['value'], Types['input']>
            : never
          : Definition extends StateDefinition<'aggregating'>
            ? TypesOf<Definition> extends infer Types extends AggregatingTypes<never, unknown, unknown>
              ? AggregatingState<M, Key, Types['value'], Types['added'], Types['absent']> &
                  StructViewOf<M, Key, Types>
              : never
            : never

/** The store of a schema: its states under their names. `M` says whether calls answer at once or with promises. */
export type StateStore<Schema, M extends Mode = 'sync'> =
  Schema extends StateSchema<infer Key, infer States>
    ? StoreMethods<M, Key> & { readonly [Name in keyof States]: StateOf<States[Name], M, Key> }
    : never

interface OpenStateStore {
  /**
   * Opens the store of a schema in a backend: an empty one, or one that a store has written. The recorded schema is compared with
   * this one, and decides before anything changes: `INCOMPATIBLE` names each state that differs, and what to write. New states are
   * added, entries of those in `drop` removed.
   *
   * Over a `SyncStateBackend` calls return results, over another backend promises. The backend stays the caller's: restore it
   * before the store is opened, and close it after the last call. Everything in it belongs to the store.
   */
  open<Schema extends StateSchema>(
    backend: SyncStateBackend,
    schema: Schema,
  ): Promise<StateStore<Schema, 'sync'>>
  open<Schema extends StateSchema>(
    backend: StateBackend,
    schema: Schema,
  ): Promise<StateStore<Schema, 'async'>>
}

const openRules: { readonly [name: string]: Rule } = {
  backend: hasMethods('get', 'put', 'write', 'scan', 'count'),
  schema: (value) =>
    typeof value === 'object' && value !== null && 'states' in value && 'key' in value
      ? undefined
      : 'must be made by defineState()',
}

/** Typed state over any backend. */
export const StateStore: OpenStateStore = {
  open: async (backend: StateBackend, schema: StateSchema) => {
    rejectViolations(violationsOf({ backend, schema }, openRules, 'open'))
    const recorded = await openSchema(backend, schema)
    const made = isSyncBackend(backend)
      ? new Store(new LocalHost(backend), schema, recorded)
      : new Store(new AwaitedHost(backend), schema, recorded)
    // What is checked here by hand is what the overloads promise.
    return made as never
  },
}

type StoreHost = Host & { batch<Result>(body: () => Result): unknown }

/** Implements `StoreMethods`, and has a property for each state. */
class Store {
  readonly #host: StoreHost
  readonly #schema: StateSchema
  readonly #recorded: RecordedSchema

  constructor(host: StoreHost, schema: StateSchema, recorded: RecordedSchema) {
    this.#host = host
    this.#schema = schema
    this.#recorded = recorded
    for (const { id, name } of recorded.states) {
      const definition = (schema.states as StateDefinitions)[name] as StateDefinition
      const context = new StateContext(name, id, host, this.#keyCodec, recorded.keyGroups)
      Object.defineProperty(this, name, { value: makeState(context, definition), enumerable: true })
    }
    Object.freeze(this)
  }

  batch(body: () => unknown): unknown {
    if (typeof body !== 'function') {
      throw new StateError('INVALID_ARGUMENT', {
        violations: [{ argument: 'body', reason: 'must be a function' }],
      })
    }
    return this.#host.batch(body)
  }

  clear(key: KeyLike<unknown>): unknown {
    const context = new StateContext('(all)', 0, this.#host, this.#keyCodec, this.#recorded.keyGroups)
    const kept = context.kept(key)
    const { later } = this.#host
    const clear = () => this.#clear(context, kept)
    return this.#host.batch(later === undefined ? clear : () => later.write(clear))
  }

  key(key: unknown): EncodedKey<unknown> {
    const context = new StateContext('(all)', 0, this.#host, this.#keyCodec, this.#recorded.keyGroups)
    try {
      return encodeKey(this.#keyCodec, key, this.#recorded.keyGroups)
    } catch (error) {
      throw context.failureOf('write', error, key)
    }
  }

  keyGroups(range: KeyGroupRange): KeyGroups {
    rejectViolations(violationsOf({ range }, { range: groupsRule(this.#recorded.keyGroups) }, 'keyGroups'))
    const { from, until } = range
    return Object.freeze({ from, until, range: groupRange(from, until) })
  }

  get #keyCodec(): KeyCodec<unknown> {
    return this.#schema.key as unknown as KeyCodec<unknown>
  }

  #clear(context: StateContext<unknown>, key: EncodedKey<unknown>): void {
    const { storedKey, host } = context
    for (const { id, kind } of this.#recorded.states) {
      storedKey.set(id, key)
      if (kind === 'list' || kind === 'map') host.entries.removeRange(storedKey.copy(), storedKey.end())
      else host.entries.remove(storedKey)
    }
  }
}

function makeState(context: StateContext<unknown>, definition: StateDefinition): object {
  const codec = definition.codec as unknown as Codec<unknown, unknown>
  const expiry: Expiry = {
    options: Object.freeze({ ttlMs: definition.ttl?.afterMs ?? Infinity }),
    refreshOnRead: definition.ttl?.refresh === 'readWrite',
  }
  const given = definition.default
  const options = { expiry, absent: given, first: given, startsWithArgument: false }
  switch (definition.kind) {
    case 'list':
      return new EntryListState(context, codec, expiry, definition.maxLength)
    case 'map':
      return new EntryMapState(context, definition.mapKey as unknown as KeyCodec<unknown>, codec, options)
    case 'reducing':
      return new SingleValueState(context, codec, { ...options, startsWithArgument: true }, definition.add)
    case 'aggregating':
      return new SingleValueState(
        context,
        codec,
        { ...options, first: given ?? zeroOf(codec) },
        definition.add,
      )
    case 'value':
      return new SingleValueState(context, codec, options, undefined)
  }
}

/** What an accumulator of fixed size begins with; a struct has its zeros without being made. */
function zeroOf(codec: Codec<unknown, unknown>): (() => unknown) | undefined {
  if (!isFixedCodec(codec) || 'viewOf' in codec) return undefined
  const zeros = new DataView(new ArrayBuffer(codec.fixedBytes))
  return () => codec.load(zeros, 0)
}
