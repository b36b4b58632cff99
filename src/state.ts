export { SCHEMA_KEY } from './backend/schema-entry.js'
export { bigint, bytes, utf8 } from './state/codec/byte-strings.js'
export { ByteReader, ByteWriter } from './state/codec/bytes.js'
export type {
  AnyCodec,
  AnyFixedCodec,
  AnyKeyCodec,
  Codec,
  FixedCodec,
  InputOf,
  KeyCodec,
  StateTypeError,
  ValueOf,
} from './state/codec/codec.js'
export { none, optional, tuple } from './state/codec/composite.js'
export { json, type StandardSchema } from './state/codec/json.js'
export { bytesOfHex, fromJson, hexOf, timeOfIso, toJson } from './state/codec/json-form.js'
export { messagePack } from './state/codec/message-pack.js'
export type { NumberCodec } from './state/codec/numbers.js'
export { bigint64, bool, date, enumeration, float64, int32, int64, uint32 } from './state/codec/numbers.js'
export {
  type StructCodec,
  type StructFields,
  type StructInput,
  type StructValue,
  struct,
} from './state/codec/struct.js'
export type { BootstrapOptions } from './state/evolution/bootstrap.js'
export type { MigrateOptions, MigrateProgress } from './state/evolution/migrate.js'
export type { PlannedChange, StorePlan } from './state/evolution/plan.js'
export { EncodedKey, type KeyLike } from './state/key/stored-key.js'
export type { ContentOf, StateForm, StateKind } from './state/kinds/definition-types.js'
export {
  type AggregatingTypes,
  aggregating,
  type IndexDefinition,
  index,
  indexEach,
  type ListTypes,
  list,
  type MapTypes,
  map,
  type ReducingTypes,
  reducing,
  type StateDefinition,
  type TimeToLive,
  type ValueTypes,
  value,
} from './state/kinds/definitions.js'
export { from, type Migration, type MigrationStep } from './state/kinds/migration.js'
export type { Mode, Outcome, Stream } from './state/kinds/outcome.js'
export type {
  AggregatingState,
  ElementScanOptions,
  IndexedState,
  KeyGroupRange,
  ListState,
  MapScanOptions,
  MapState,
  QueryOptions,
  QueryResult,
  ReducingState,
  StateScanOptions,
  StructView,
  ValueState,
} from './state/kinds/states.js'
export type { SchemaConflict, StateChange } from './state/schema/compare-schema.js'
export { defineState, fromKey, type KeyMigration, type StateSchema } from './state/schema/define-state.js'
export {
  type CheckpointEntries,
  type DecodedEntry,
  type DescribedSchema,
  type DescribedState,
  describe,
  EntryDecoder,
  type FurtherCodecs,
  type ReadCheckpointOptions,
  readCheckpoint,
} from './state/schema/describe.js'
export { EntryEncoder, type JsonEntry } from './state/schema/encode-entry.js'
export { decodeSchema, type RecordedSchema } from './state/schema/recorded-schema.js'
export { checkSchema, schemaFile } from './state/schema/schema-file.js'
export {
  type BoundStateOf,
  type BoundStates,
  type KeyGroups,
  type OpenOptions,
  type StateOf,
  StateStore,
  type StoreMethods,
} from './state/store.js'
