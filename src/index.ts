export type { EntryBlock, PlacedEntry } from './backend/entry-block.js'
export { EntryBlockBuilder, EntryBlockCursor } from './backend/entry-block.js'
export type {
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
} from './backend/state-backend.js'
export type {
  ChangeBase,
  SnapshotOptions,
  StateSnapshot,
  SyncStateSnapshot,
} from './backend/state-snapshot.js'
export type {
  BackendStats,
  BackendSupport,
  BlockOptions,
  Entry,
  KeyRange,
  PutOptions,
  ReplaceOptions,
  ScanRange,
} from './backend/types.js'
export { WriteBatch } from './backend/write-batch.js'
export type { CancelTimer, Clock } from './base/clock.js'
export { systemClock } from './base/clock.js'
export type { DiagnosticEvents } from './base/diagnostics.js'
export type { SkippedCheckpoint, StateErrorCode, StateErrorDetails, Violation } from './base/errors.js'
export { isStateError, StateError } from './base/errors.js'
export type { Unsubscribe } from './base/events.js'
export type { JsonValue } from './base/json.js'
export { MAX_KEY_BYTES, MAX_VALUE_BYTES } from './base/limits.js'
export type { Stretch } from './base/slot.js'
export { Slot } from './base/slot.js'
export type {
  ArchiveDeleteOptions,
  ArchiveListOptions,
  ArchiveOptions,
  CopyOptions,
} from './checkpoint/archive/checkpoint-archive.js'
export { CheckpointArchive } from './checkpoint/archive/checkpoint-archive.js'
export type { CheckpointReader } from './checkpoint/archive/checkpoint-reader.js'
export type { CheckpointDifference, DifferingEntry } from './checkpoint/archive/differences.js'
export type { LostStretch, SalvageOptions } from './checkpoint/archive/salvage.js'
export { CheckpointCoordinator } from './checkpoint/coordinator/checkpoint-coordinator.js'
export type {
  CheckpointCoordinatorOptions,
  MirrorOptions,
} from './checkpoint/coordinator/coordinator-options.js'
export type { Manifest, ManifestSegment } from './checkpoint/format/manifest.js'
export type {
  CheckpointEvents,
  CheckpointId,
  CheckpointMetadata,
  CheckpointOptions,
  CheckpointStats,
  Compression,
  Logger,
  MirrorStats,
  OwnershipOptions,
  RestoreOptions,
  RestoreProgress,
  VerificationReport,
} from './checkpoint/types.js'
export { CheckpointWorker, type CheckpointWorkerOptions } from './checkpoint/worker/checkpoint-worker.js'
export type { LogMemory } from './log/log-memory.js'
export type {
  MemoryStateBackendEvents,
  MemoryStateBackendOptions,
  MemoryStateSnapshot,
} from './memory/memory-state-backend.js'
export { MemoryStateBackend } from './memory/memory-state-backend.js'
export type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  ObjectSource,
  ObjectStorage,
  ObjectWriter,
  OpenOptions,
  OpenSharedSource,
  OpenSharedStorage,
  PreparedReplacement,
  ReadAheadLimits,
  SharedStorage,
  StorageLease,
  StoredObject,
} from './storage/checkpoint-storage.js'
export { FileCheckpointStorage } from './storage/file-checkpoint-storage.js'
export { MemoryCheckpointStorage } from './storage/memory-checkpoint-storage.js'
