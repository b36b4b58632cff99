export { type DefineJob, defineJob } from './job/define-job.js'
export type {
  BadEvent,
  JobDefinition,
  JobOptions,
  KeyOf,
  KeyTimers,
  ProcessContext,
  Timer,
} from './job/job-options.js'
export { withWindows } from './job/job-windows.js'
export type {
  AssignedPartition,
  GroupMember,
  PartitionGroup,
  PartitionOwner,
  RevokeOptions,
} from './job/partitions/partition-group.js'
export {
  type JobPerPartitionOptions,
  type PartitionedHealth,
  type PartitionedJob,
  type PartitionHealth,
  type PartitionPlace,
  type PipedJobPerPartitionOptions,
  runJobPerPartition,
} from './job/partitions/run-job-per-partition.js'
export { runJob } from './job/run-job.js'
export type {
  JobCheckpoints,
  JobHealth,
  JobStats,
  JobTimerStats,
  RunningJob,
  RunningPipedJob,
  StageStats,
  StopOptions,
  TimerStats,
  WindowStats,
} from './job/running-job.js'
export { type FunctionSinkOptions, functionSink, type IdentifiedOutput } from './job/sink/function-sink.js'
export { type NdjsonFileSinkOptions, ndjsonFileSink } from './job/sink/ndjson-file-sink.js'
export { type OutboxSinkOptions, outboxSink } from './job/sink/outbox-sink.js'
export type {
  ClaimedSink,
  ClaimSinkOptions,
  EpochId,
  OpenSinkOptions,
  PreparedEpoch,
  Sink,
  SinkState,
  SinkWriter,
} from './job/sink/sink.js'
export { type CsvFilesOptions, type CsvRecord, csvFiles, type ParseCsv } from './job/source/csv-source.js'
export { type FilesOptions, type LineFilesOptions, lineFiles, ndjsonFiles } from './job/source/file-source.js'
export { arraySource, type IterableSourceOptions, iterableSource } from './job/source/iterable-source.js'
export { mergedSource } from './job/source/merged-source.js'
export type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Position,
  Positions,
  Source,
  SourceReader,
} from './job/source/source.js'
export { linesOf, type StreamSourceOptions, streamSource } from './job/source/stream-source.js'
export {
  type AnyStage,
  type DefinedJob,
  type DefinedPipedJob,
  type DefineStage,
  type PipedJob,
  type PipedJobOptions,
  type StageDefinition,
  type StageSchemas,
  type WindowedOf,
  type WindowsOf,
  withStages,
} from './job/stage-definition.js'
export type { PartitionProgress, SourceTimeOptions } from './window/time/source-time.js'
export {
  ascending,
  boundedDisorder,
  type SeenEvent,
  sourceWatermarks,
  type WatermarkGenerator,
  type WatermarkStrategy,
  watermarksBy,
} from './window/time/watermark-strategy.js'
export { withTimers } from './window/timers/timer-states.js'
