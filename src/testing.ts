export type { ConformanceCapability, ConformanceOpenOptions } from './testing/conformance/case.js'
export {
  type ConformanceRunner,
  type ConformanceSubject,
  runConformanceSuite,
} from './testing/conformance.js'
export { FaultyCheckpointStorage } from './testing/faulty-storage.js'
export { type AnyJob, JobTest, type JobTestOptions, type TestedJob, testJob } from './testing/job-test.js'
export { ManualClock } from './testing/manual-clock.js'
export { ModelStateBackend, type ModelStateBackendOptions } from './testing/model-state-backend.js'
export { runSinkConformanceSuite, type SinkFixture } from './testing/sink-conformance.js'
export { runSourceConformanceSuite, type SourceFixture } from './testing/source-conformance.js'
export {
  runStorageConformanceSuite,
  type StorageFixture,
  type StorageSuiteRunner,
} from './testing/storage-conformance.js'
export type { StorageCall, StorageEffect, StorageFault, StorageOperation } from './testing/storage-faults.js'
