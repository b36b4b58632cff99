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
export { messagePack } from './state/codec/message-pack.js'
export type { NumberCodec } from './state/codec/numbers.js'
export { bigint64, bool, date, enumeration, float64, int32, int64, uint32 } from './state/codec/numbers.js'
export { type StructCodec, type StructFields, struct } from './state/codec/struct.js'
export { EncodedKey, type KeyLike } from './state/key/stored-key.js'
export {
  aggregating,
  list,
  map,
  reducing,
  type StateDefinition,
  type TimeToLive,
  value,
} from './state/kinds/definitions.js'
export type { Mode, Outcome, Stream } from './state/kinds/outcome.js'
export type {
  AggregatingState,
  ElementScanOptions,
  KeyGroupRange,
  ListState,
  MapScanOptions,
  MapState,
  ReducingState,
  StateScanOptions,
  StructView,
  ValueState,
} from './state/kinds/states.js'
export { defineState, type StateSchema } from './state/schema/define-state.js'
export { type KeyGroups, type StateOf, StateStore, type StoreMethods } from './state/store.js'
