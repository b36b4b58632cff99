// A state of a store that is open: its definition, what is recorded of it, and where it reads and writes.

import { NEVER_EXPIRES } from '../backend/validate.js'
import type { ByteReader } from './codec/bytes.js'
import type { Codec, KeyCodec } from './codec/codec.js'
import { isFixedCodec } from './codec/codec.js'
import { codecErrorOf } from './codec/codec-error.js'
import type { Host } from './entries/host.js'
import { type FormerGeneration, StateEntries } from './entries/state-entries.js'
import type { KeyLike } from './key/stored-key.js'
import type { CellOptions } from './kinds/cell.js'
import type { StateDefinition } from './kinds/definitions.js'
import { EntryListState } from './kinds/list-state.js'
import { EntryMapState } from './kinds/map-state.js'
import { StateContext } from './kinds/state-context.js'
import { SingleValueState } from './kinds/value-state.js'
import { EntryIndex } from './query/entry-index.js'
import { isWhole, stepsFrom } from './schema/compare-schema.js'
import { isStamped, type RecordedSchema, type RecordedState } from './schema/recorded-schema.js'
import type { EventExpiry } from './time/event-expiry.js'

export type AnyState = SingleValueState<unknown> | EntryListState<unknown> | EntryMapState<unknown, unknown>

export interface OpenState {
  readonly name: string
  readonly definition: StateDefinition
  readonly recorded: RecordedState
  readonly context: StateContext<unknown>
  readonly entries: StateEntries
  readonly state: AnyState
  /** Called before all states of a key are removed together. */
  onClear?: (key: KeyLike<unknown>) => void
}

export interface OpenStateOptions {
  readonly host: Host
  readonly keyCodec: KeyCodec<unknown>
  readonly schema: RecordedSchema
  readonly expiry: EventExpiry
  /** Nothing is written, so what is read cannot live on by that. */
  readonly isReadOnly: boolean
  /** The longest value that the engine takes. */
  readonly maxValueBytes: number
}

export function openState(
  { host, keyCodec, schema, expiry, isReadOnly, maxValueBytes }: OpenStateOptions,
  definition: StateDefinition,
  recorded: RecordedState,
): OpenState {
  const { name, id } = recorded
  const { ttl } = definition
  const isByEvents = ttl?.time === 'event'
  const context = new StateContext(name, id, host, keyCodec, schema.keyGroups)
  const entries = new StateEntries(host, {
    name,
    id,
    put: isByEvents || ttl === undefined ? NEVER_EXPIRES : Object.freeze({ ttlMs: ttl.afterMs }),
    event: isByEvents && ttl !== undefined ? { expiry, afterMs: ttl.afterMs } : undefined,
    formers: formersOf(definition, recorded),
    indexes: indexesOf(definition, recorded),
    isWrittenElsewhere: isReadOnly,
    maxValueBytes,
    codec: definition.codec as unknown as Codec<unknown>,
    failure: (direction, error, storedKey) =>
      context.failureAt(direction, error, storedKey, definition.mapKey as unknown as KeyCodec<unknown>),
  })
  return {
    name,
    definition,
    recorded,
    context,
    entries,
    state: makeState(context, definition, entries, !isReadOnly),
  }
}

/** The former generations whose entries can be read as they are found. */
function formersOf(definition: StateDefinition, { former = [] }: RecordedState): FormerGeneration[] {
  return former
    .filter((generation) => !isWhole(definition, generation))
    .map((generation) => {
      const steps = stepsFrom(definition, generation.version ?? 1)
      const [first] = steps
      const codec = first?.codec as Codec<unknown> | undefined
      const read =
        codec === undefined
          ? undefined
          : (from: ByteReader) => steps.reduce((value, step) => step.apply(value), readBy(codec, from))
      return { id: generation.id, isStamped: isStamped(generation), read }
    })
}

function readBy(codec: Codec<unknown>, from: ByteReader): unknown {
  try {
    return codec.read(from)
  } catch (error) {
    throw codecErrorOf(error, 'read')
  }
}

function indexesOf(definition: StateDefinition, { indexes = [] }: RecordedState): EntryIndex[] {
  return indexes.map(({ id, name, built }) => {
    const described = definition.indexes[name] as StateDefinition['indexes'][string]
    return new EntryIndex({
      id,
      name,
      codec: described.codec as unknown as KeyCodec<unknown>,
      isBuilt: built,
      derive: described.keysOf as (value: unknown) => readonly unknown[],
    })
  })
}

function makeState(
  context: StateContext<unknown>,
  definition: StateDefinition,
  entries: StateEntries,
  mayWrite: boolean,
): AnyState {
  const codec = definition.codec as unknown as Codec<unknown, unknown>
  const given = definition.default
  const options: CellOptions = {
    entries,
    refreshOnRead: mayWrite && definition.ttl?.refresh === 'readWrite',
    absent: given,
    first: given,
    startsWithArgument: false,
  }
  switch (definition.kind) {
    case 'list': {
      const { maxLength, ttl } = definition
      const { refreshOnRead } = options
      return new EntryListState(context, codec, entries, {
        maxLength,
        refreshOnRead,
        expires: ttl !== undefined,
      })
    }
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
