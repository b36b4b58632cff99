export { DEFAULT_BLOCK_BYTES, validateBlockOptions, validateReplaceOptions } from './backend/block-options.js'
export { checkedBlocks, StreamOrder } from './backend/block-stream.js'
export type {
  BuildOptions,
  BuiltBlocks,
  BuiltState,
  OpenStateBuilder,
  StateBuilder,
  StateBuilding,
  TakeBuilt,
} from './backend/built-state.js'
export type { EntryBlock, PlacedEntry } from './backend/entry-block.js'
export { EntryBlockBuilder, EntryBlockCursor } from './backend/entry-block.js'
export { expiryOf } from './backend/expiry.js'
export type {
  EngineBasics,
  EngineBatch,
  EngineEntry,
  EngineReplaceOptions,
  EngineSnapshot,
  EngineStage,
  EngineStep,
  LocalEngine,
  RemoteEngine,
  RemoteEngineSnapshot,
} from './backend/facade/engines.js'
export { Expirations, type ExpiryListeners } from './backend/facade/expirations.js'
export { LocalBackend, type LocalBackendOptions } from './backend/facade/local-backend.js'
export { LocalSnapshot } from './backend/facade/local-snapshot.js'
export { RemoteBackend } from './backend/facade/remote-backend.js'
export type {
  BlockPreparer,
  BlockPreparing,
  OpenBlockPreparer,
  PreparableBlocks,
  PreparedBlock,
  PrepareOptions,
  TakePrepared,
} from './backend/prepared-blocks.js'
export type { KeyInterval } from './backend/scan-range.js'
export {
  capturedInterval,
  EVERYTHING,
  isEmptyInterval,
  isEverything,
  isInInterval,
  keyInterval,
  keyStretch,
} from './backend/scan-range.js'
export type { OpenSharedSnapshot, SharedSnapshot, SharedSnapshotReader } from './backend/shared-snapshot.js'
export type {
  ExpirySource,
  InPlaceBackend,
  KeyBytes,
  Replaceable,
  SnapshotSource,
  StagedWrite,
  StagingBackend,
  StateBackend,
  SyncStateBackend,
} from './backend/state-backend.js'
export {
  canStage,
  hasSnapshots,
  isInPlaceBackend,
  isReplaceable,
  isSyncBackend,
  tellsExpired,
} from './backend/state-backend.js'
export type {
  ChangeBase,
  SnapshotOptions,
  StateSnapshot,
  SyncStateSnapshot,
} from './backend/state-snapshot.js'
export { validateSnapshotOptions } from './backend/state-snapshot.js'
export type {
  BackendStats,
  BackendSupport,
  BlockOptions,
  Entry,
  ExpiryEvents,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from './backend/types.js'
export {
  validateBlocks,
  validateKey,
  validateKeyOrStretch,
  validateKeys,
  validatePutOptions,
  validateSlot,
  validateValue,
  validateValueLength,
} from './backend/validate.js'
export { BatchCursor, isDelete, isWriteBatch, OperationKind, WriteBatch } from './backend/write-batch.js'
export { throwIfAborted } from './base/abort.js'
export { compareBytes, copyBytes, equalBytes } from './base/bytes.js'
export {
  type CancelTimer,
  type Clock,
  ForwardClock,
  setLongTimer,
  systemClock,
  wholeMs,
} from './base/clock.js'
export { isStateError, StateError, type StateErrorCode, type StateErrorDetails } from './base/errors.js'
export { MAX_KEY_BYTES, MAX_VALUE_BYTES } from './base/limits.js'
export {
  hasMethods,
  invalidArgument,
  oneOf,
  type Rule,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from './base/options.js'
export { fillSlot, isStretch, plainKey, Slot, type Stretch } from './base/slot.js'
