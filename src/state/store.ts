// A typed store: the states of a schema over a backend.

import { isSyncBackend, type StateBackend, type SyncStateBackend } from '../backend/state-backend.js'
import { NEVER_EXPIRES } from '../backend/validate.js'
import { present } from '../base/assert.js'
import { StateError } from '../base/errors.js'
import { MAX_VALUE_BYTES } from '../base/limits.js'
import {
  hasMethods,
  invalidArgument,
  type Rule,
  rejectViolations,
  rules,
  violationsOf,
} from '../base/options.js'
import { Slot } from '../base/slot.js'
import type { KeyCodec } from './codec/codec.js'
import { AwaitedHost } from './entries/awaited-host.js'
import type { Host, LaterRunner } from './entries/host.js'
import { LocalHost } from './entries/local-host.js'
import { type BootstrapOptions, bootstrapState } from './evolution/bootstrap.js'
import { type MigrateOptions, StateMigration } from './evolution/migrate.js'
import { planOf, type StorePlan } from './evolution/plan.js'
import { CurrentKey } from './key/current-key.js'
import { type EncodedKey, groupRange, type KeyLike } from './key/stored-key.js'
import { boundState } from './kinds/bound-states.js'
import type { TypesOf } from './kinds/definition-types.js'
import type {
  AggregatingTypes,
  ListTypes,
  MapTypes,
  ReducingTypes,
  StateDefinition,
  ValueTypes,
} from './kinds/definitions.js'
import type { Mode, Outcome } from './kinds/outcome.js'
import { groupsRule } from './kinds/ranges.js'
import { StateContext } from './kinds/state-context.js'
import type {
  AggregatingState,
  IndexedState,
  KeyGroupRange,
  ListState,
  MapState,
  ReducingState,
  StructView,
  ValueState,
} from './kinds/states.js'
import { type OpenState, openState } from './open-state.js'
import { migratesAnything } from './schema/compare-schema.js'
import type { StateDefinitions, StateSchema } from './schema/define-state.js'
import {
  openSchema,
  readSchema,
  readsAlike,
  recordedElsewhere,
  recordSchema,
  schemaForReading,
} from './schema/open-schema.js'
import { decodeSchema, type RecordedSchema } from './schema/recorded-schema.js'
import { clearStates, encodedKeyOf, type OpenedStore, StorePart, type WholeStore } from './store-part.js'
import { EventExpiry } from './time/event-expiry.js'
import { checkTimestamp, EventTime, TIME_KEY } from './time/event-time.js'
import { WriterWatch } from './writer-watch.js'

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
  /**
   * The time of the event at hand, in whole milliseconds since the epoch: what is written from now on, to states that expire by
   * event time, is written at it. Over an asynchronous backend each call takes the time that was said last when it was made.
   */
  at(timestampMs: number): void
  /**
   * No event with a time up to this is expected any more: entries that live by event time expire by it. It is recorded in the
   * store, so that a restore goes on with it. A lower one than before is ignored (T3). `INVALID_ARGUMENT` unless it is a whole
   * number of milliseconds (T1).
   */
  advanceWatermark(timestampMs: number): Outcome<M, void>
  /** How far the watermark has come; `-Infinity` before the first one. */
  readonly watermark: number
  /**
   * Rewrites what earlier versions of the program have written, builds indices that lack entries, and with `ttl` gives what is
   * stored the time to live of now. It works in slices beside other calls. One that is ended by its signal, or by the end of
   * the process, goes on where it was when it is called again.
   */
  migrate(options?: MigrateOptions): Promise<void>
  /** What `migrate` would do: nothing is changed. */
  plan(): Promise<StorePlan>
  /**
   * Fills a state that is empty from elsewhere, in batches: `[key, value]`, of a list `[key, element]`, of a map
   * `[key, mapKey, value]`. Resolves with how many there were. Where it fails, what was written stays: `clear` the state, or
   * `drop` it, before it is tried again. `INVALID_ARGUMENT` where the state has entries already.
   */
  bootstrap(
    state: string,
    items: Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>,
    options?: BootstrapOptions,
  ): Promise<number>
  /** What the store says of itself, as it is recorded: what `checkSchema` and tools compare. */
  readonly schema: RecordedSchema
  /** Groups `from` up to, and without, `until`; `INVALID_ARGUMENT` for groups that the store does not have. */
  keyGroups(range: KeyGroupRange): KeyGroups
}

type StructViewOf<M extends Mode, Key, Types> = Types extends {
  readonly isStruct: true
  readonly value: infer Value
}
  ? StructView<M, Key, Value>
  : unknown

type IndexedBy<M extends Mode, Found, Types> = Types extends { readonly indexes: infer Indexes }
  ? keyof Indexes extends never
    ? unknown
    : IndexedState<M, Found, Indexes>
  : unknown

/** The state that a definition describes. */
export type StateOf<Definition, M extends Mode, Key> =
  Definition extends StateDefinition<'value'>
    ? TypesOf<Definition> extends infer Types extends ValueTypes<never, unknown>
      ? ValueState<M, Key, Types['value'], Types['input'], Types['absent'], Types['current'], Types['next']> &
          StructViewOf<M, Key, Types> &
          IndexedBy<M, [key: Key, value: Types['value']], Types>
      : never
    : Definition extends StateDefinition<'list'>
      ? TypesOf<Definition> extends infer Types extends ListTypes<never>
        ? ListState<M, Key, Types['value'], Types['input']>
        : never
      : Definition extends StateDefinition<'map'>
        ? TypesOf<Definition> extends infer Types extends MapTypes<never, never>
          ? MapState<
              M,
              Key,
              Types['mapKey'],
              Types['value'],
              Types['input'],
              Types['current'],
              Types['next']
            > &
              IndexedBy<M, [key: Key, mapKey: Types['mapKey'], value: Types['value']], Types>
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

/**
 * Whether calls of a store over a backend answer at once. No overloads: among these the compiler prefers the one of which an engine
 * without optional members is a subtype, which is the asynchronous one.
 */
type ModeOf<Backend> = [Backend] extends [SyncStateBackend] ? 'sync' : 'async'

/** How a store of typed state is opened. */
export interface OpenOptions {
  /**
   * Whether opening may migrate what reads cannot: another kind of a state, another map key, another key. It resolves when that is
   * done, and goes on where it was interrupted. Default false: such a store is `INCOMPATIBLE`, and says so.
   */
  readonly migrate?: boolean | MigrateOptions
}

interface OpenStateStore {
  /**
   * Opens the store of a schema in a backend: an empty one, or one that a store has written. The recorded schema is compared with
   * this one, and decides before anything changes: `INCOMPATIBLE` names each state that differs, and what to write. New states are
   * added, entries of those in `drop` removed. What an earlier version has written is read as the present one (docs/state.md).
   *
   * Over a `SyncStateBackend` calls return results, over another backend promises. The backend stays the caller's: restore it
   * before the store is opened, and close it after the last call. Everything in it belongs to the store.
   *
   * In a backend that was opened for reading only nothing is written: the schema must be the recorded one (`INCOMPATIBLE`), reads do
   * not prolong what lives on by them, writes are `INVALID_ARGUMENT`. It sees the watermark as it was when the store was opened,
   * and must be opened anew after the writer has opened the store with another schema.
   */
  open<Backend extends StateBackend, Schema extends StateSchema>(
    backend: Backend,
    schema: Schema,
    options?: OpenOptions,
  ): Promise<StateStore<Schema, ModeOf<Backend>>>
  /** What `open` with this schema would do, and how many entries there are to migrate or to drop: nothing is changed. */
  plan(backend: StateBackend, schema: StateSchema): Promise<StorePlan>
}

const openRules: { readonly [name: string]: Rule } = {
  backend: hasMethods('get', 'put', 'write', 'scan', 'count'),
  schema: (value) =>
    typeof value === 'object' && value !== null && 'states' in value && 'key' in value
      ? undefined
      : 'must be made by defineState()',
  migrate: (value) =>
    value === undefined || typeof value === 'boolean' || typeof value === 'object'
      ? undefined
      : 'must be true, false, or options of a migration',
}

const migrateRules: { readonly [name: string]: Rule } = {
  ttl: rules.boolean,
  indexes: rules.boolean,
  signal: rules.signal,
  onProgress: rules.function,
}

/** Typed state over any backend. */
export const StateStore: OpenStateStore = {
  open: async (backend: StateBackend, schema: StateSchema, options?: OpenOptions) => {
    const { migrate = false } = options ?? {}
    rejectViolations(violationsOf({ backend, schema, migrate }, openRules, 'open'))
    const migrateOptions = typeof migrate === 'object' ? migrate : {}
    rejectViolations(violationsOf(migrateOptions, migrateRules, 'options.migrate'))
    const recorded = await openSchema(backend, schema, migrate !== false)
    const store = new Store(backend, schema, recorded)
    await store.begin(migrateOptions)
    // What is checked here by hand is what the types promise.
    return store.withStates() as never
  },
  plan: async (backend, schema) => {
    rejectViolations(violationsOf({ backend, schema }, openRules, 'plan'))
    return planOf(backend, schema, await readSchema(backend))
  },
}

type AnyMethod<Key, Rest extends readonly unknown[], Result> = (key: Key, ...rest: Rest) => Result

/** The methods of a state without their key. */
type Unkeyed<State, WithoutKey extends PropertyKey> = {
  readonly [Name in keyof State as Exclude<Name, WithoutKey>]: State[Name] extends AnyMethod<
    never,
    infer Rest extends readonly unknown[],
    infer Result
  >
    ? (...rest: Rest) => Result
    : never
}

/** A state that is bound to the key that is worked on: its methods without the key, but for those that are about all keys. */
export type BoundStateOf<Definition, M extends Mode, Key> = Unkeyed<
  StateOf<Definition, M, Key>,
  Definition extends StateDefinition<'map'> ? 'all' | 'query' : 'entries' | 'query'
>

/** The states of a schema, bound to the key that is worked on. */
export type BoundStates<Schema, M extends Mode = 'sync'> =
  Schema extends StateSchema<infer Key, infer States>
    ? { readonly [Name in keyof States]: BoundStateOf<States[Name], M, Key> }
    : never

const opened = new WeakMap<object, OpenedStore>()

function openedStore(store: object): OpenedStore {
  return present(opened.get(store), 'a store that was opened here')
}

/** Where a store reads and writes: for layers above, which keep entries of their own in it. */
export function hostOf(store: object): Host {
  return openedStore(store).host
}

/** A state of a store, for layers above that keep something of their own form in it. */
export function openStateOf(store: object, name: string): OpenState {
  return present(
    openedStore(store).states.find((state) => state.name === name),
    'a state of the store',
  )
}

/** The states of a store, bound to a key that goes from one to the next. */
export function boundStatesOf<Schema, M extends Mode>(
  store: StateStore<Schema, M>,
): { readonly key: CurrentKey<unknown>; readonly states: BoundStates<Schema, M> } {
  const { host, schema, keyGroups, states } = openedStore(store)
  const codec = schema.key as unknown as KeyCodec<unknown>
  const context = new StateContext('(all)', 0, host, codec, keyGroups)
  const failure = (error: unknown, key: unknown) => context.failureOf('write', error, key)
  const key = new CurrentKey({ codec, keyGroups, isKept: host.later !== undefined, failure })
  const bound = states.map(({ name, definition, state }) => [name, boundState(definition.kind, state, key)])
  return { key, states: Object.freeze(Object.fromEntries(bound)) as BoundStates<Schema, M> }
}

/**
 * The states of a later stage of a job, which are in the store under `prefix` and their names and have a key of their own: as a store
 * whose states have their names without it.
 */
export function partOf<Schema extends StateSchema>(
  store: object,
  prefix: string,
  schema: Schema,
): StateStore<Schema> {
  const { host, keyGroups } = openedStore(store)
  const own = Object.keys(schema.states).map((name) => ({ ...openStateOf(store, prefix + name), name }))
  const content = { host, schema, keyGroups, states: own }
  const part = new StorePart(store as WholeStore, content, prefix)
  opened.set(part, content)
  return part.withStates() as never
}

type RecordedState = RecordedSchema['states'][number]

function without(state: RecordedState, part: 'former' | 'ttlChanged'): RecordedState {
  const { [part]: _done, ...rest } = state
  return rest
}

/** Implements `StoreMethods`; `withStates` gives it a property for each state. */
class Store {
  readonly #backend: StateBackend
  readonly #host: Host
  readonly #schema: StateSchema
  readonly #time = new EventTime()
  readonly #expiry: EventExpiry
  readonly #states: readonly OpenState[]
  readonly #slot = new Slot()
  #recorded: RecordedSchema
  #migrating: Promise<void> | undefined

  constructor(backend: StateBackend, schema: StateSchema, recorded: RecordedSchema) {
    const host = isSyncBackend(backend) ? this.#localHost(backend) : new AwaitedHost(backend)
    this.#backend = backend
    this.#host = host
    this.#schema = schema
    this.#recorded = recorded
    if (host instanceof AwaitedHost) host.time = this.#time
    this.#expiry = new EventExpiry(host, recorded.keyGroups, this.#time)
    const isReadOnly = backend.isReadOnly === true
    const { maxValueBytes = MAX_VALUE_BYTES } = backend.supports
    const options = { host, schema: recorded, expiry: this.#expiry, isReadOnly, maxValueBytes }
    this.#states = recorded.states.map((state) => {
      const definition = (schema.states as StateDefinitions)[state.name] as StateDefinition
      const key = (definition.key ?? schema.key) as unknown as KeyCodec<unknown>
      return openState({ ...options, keyCodec: key }, definition, state)
    })
    opened.set(this, { host, schema, keyGroups: recorded.keyGroups, states: this.#states })
  }

  /** What is done before the store is handed out. */
  async begin(options: MigrateOptions): Promise<void> {
    const time = await this.#backend.get(TIME_KEY)
    if (time !== undefined) this.#time.load(time)
    const migration = {
      backend: this.#backend,
      host: this.#host,
      schema: this.#schema,
      keyGroups: this.#recorded.keyGroups,
    }
    let isDone = false
    for (const state of this.#states) {
      if (!migratesAnything(state.definition, state.recorded)) continue
      await new StateMigration(migration, state, options).finishFormers()
      isDone = true
      await this.#record(state.name, (recorded) => without(recorded, 'former'))
    }
    if (isDone) await this.migrate(options)
  }

  /** The store as the user has it. */
  withStates(): this {
    for (const { name, state } of this.#states) {
      Object.defineProperty(this, name, { value: state, enumerable: true })
    }
    return Object.freeze(this)
  }

  get schema(): RecordedSchema {
    this.#host.refresh()
    return this.#recorded
  }

  get watermark(): number {
    this.#host.refresh()
    return this.#time.watermarkMs
  }

  at(timestampMs: number): void {
    checkTimestamp('timestampMs', timestampMs)
    this.#time.currentMs = timestampMs
  }

  advanceWatermark(timestampMs: number): unknown {
    checkTimestamp('timestampMs', timestampMs)
    const { later } = this.#host
    if (this.#backend.isReadOnly === true) {
      const error = invalidArgument('backend', 'is read-only: forbids advanceWatermark')
      if (later === undefined) throw error
      return Promise.reject(error)
    }
    if (later !== undefined) return this.#advanceLater(later, timestampMs)
    if (timestampMs <= this.#time.watermarkMs) return undefined
    this.#storeWatermark(timestampMs)
    // Only what is stored holds: a reader, and the next process, go by that.
    this.#time.advance(timestampMs)
    this.#expiry.sweep()
    return undefined
  }

  async #advanceLater(later: LaterRunner, timestampMs: number): Promise<void> {
    if (timestampMs <= this.#time.watermarkMs) return
    await later.write(() => this.#storeWatermark(timestampMs))
    this.#time.advance(timestampMs)
    await this.#expiry.sweep()
  }

  #storeWatermark(timestampMs: number): void {
    const { entries } = this.#host
    const before = entries.peek(this.#time.key, this.#slot) ? this.#slot : undefined
    const stored = this.#time.stored(timestampMs, before)
    if (stored !== undefined) entries.put(this.#time.key, stored, NEVER_EXPIRES)
  }

  migrate(options: MigrateOptions = {}): Promise<void> {
    rejectViolations(violationsOf(options, migrateRules))
    const before = this.#migrating ?? Promise.resolve()
    const migrating = before.catch(() => {}).then(() => this.#migrate(options))
    this.#migrating = migrating
    return migrating
  }

  async plan(): Promise<StorePlan> {
    this.#host.refresh()
    return planOf(this.#backend, this.#schema, this.#recorded)
  }

  bootstrap(
    name: string,
    items: Iterable<readonly unknown[]> | AsyncIterable<readonly unknown[]>,
    options?: BootstrapOptions,
  ): Promise<number> {
    const state = this.#states.find((each) => each.name === name)
    if (state === undefined) throw invalidArgument('state', 'must be the name of a state')
    return bootstrapState(this.#host, state, items, options)
  }

  batch(body: () => unknown): unknown {
    if (typeof body !== 'function') {
      throw new StateError('INVALID_ARGUMENT', {
        violations: [{ argument: 'body', reason: 'must be a function' }],
      })
    }
    // A batch in a batch is a part of the outer one.
    if (this.#host.isInBatch) return this.#host.batch(body)
    let watermarkMs: number | undefined
    const begun = () => {
      watermarkMs = this.#time.watermarkMs
      return body()
    }
    const failed = (error: unknown) => {
      if (watermarkMs !== undefined && watermarkMs !== this.#time.watermarkMs) {
        this.#time.goBack(watermarkMs)
        this.#expiry.forgetLooks()
      }
      return error
    }
    if (this.#host.later !== undefined) {
      return (this.#host.batch(begun) as Promise<unknown>).catch((error: unknown) => {
        throw failed(error)
      })
    }
    try {
      return this.#host.batch(begun)
    } catch (error) {
      throw failed(error)
    }
  }

  clear(key: KeyLike<unknown>): unknown {
    const own = this.#states.filter(({ definition }) => definition.key === undefined)
    return clearStates(own, this.#context(), key)
  }

  key(key: unknown): EncodedKey<unknown> {
    return encodedKeyOf(this.#context(), key)
  }

  keyGroups(range: KeyGroupRange): KeyGroups {
    rejectViolations(violationsOf({ range }, { range: groupsRule(this.#recorded.keyGroups) }, 'keyGroups'))
    const { from, until } = range
    return Object.freeze({ from, until, range: groupRange(from, until) })
  }

  #localHost(backend: SyncStateBackend): LocalHost {
    if (backend.isReadOnly !== true) return new LocalHost(backend)
    return new LocalHost(backend, new WriterWatch(backend, this.#time, (record) => this.#adopt(record)))
  }

  /** The writer in another process has recorded something: reading goes on where that changes nothing for it. */
  #adopt(record: Uint8Array | undefined): void {
    if (record === undefined) throw recordedElsewhere()
    const next = schemaForReading(this.#schema, decodeSchema(record))
    if (!readsAlike(this.#recorded, next)) throw recordedElsewhere()
    this.#recorded = next
    for (const { name, entries } of this.#states) {
      const { former = [], indexes = [] } = this.#recordedState(name)
      if (former.length === 0) entries.forgetFormers()
      for (const index of entries.indexes) {
        index.isBuilt = indexes.some(({ id, built }) => id === index.id && built)
      }
    }
  }

  get #keyCodec(): KeyCodec<unknown> {
    return this.#schema.key as unknown as KeyCodec<unknown>
  }

  async #migrate(options: MigrateOptions): Promise<void> {
    const store = {
      backend: this.#backend,
      host: this.#host,
      schema: this.#schema,
      keyGroups: this.#recorded.keyGroups,
    }
    for (const state of this.#states) {
      const migration = new StateMigration(store, state, options)
      const { former = [], ttlChanged = false, indexes = [] } = this.#recordedState(state.name)
      if (former.length > 0) {
        await migration.finishFormers()
        await this.#record(state.name, (recorded) => without(recorded, 'former'))
      }
      if (ttlChanged && options.ttl === true) {
        await migration.renewTtl()
        await this.#record(state.name, (recorded) => without(recorded, 'ttlChanged'))
      }
      if (options.indexes !== true && indexes.every(({ built }) => built)) continue
      await migration.buildIndexes()
      await this.#record(state.name, ({ indexes: all = [], ...rest }) => ({
        ...rest,
        ...(all.length === 0 ? {} : { indexes: all.map((index) => ({ ...index, built: true })) }),
      }))
    }
  }

  #recordedState(name: string): RecordedState {
    return this.#recorded.states.find((state) => state.name === name) as RecordedState
  }

  /** Records what has become of a state. */
  async #record(name: string, change: (state: RecordedState) => RecordedState): Promise<void> {
    const states = this.#recorded.states.map((state) => (state.name === name ? change(state) : state))
    const next = { ...this.#recorded, states }
    await recordSchema(this.#backend, next)
    this.#recorded = next
  }

  #context(): StateContext<unknown> {
    return new StateContext('(all)', 0, this.#host, this.#keyCodec, this.#recorded.keyGroups)
  }
}
