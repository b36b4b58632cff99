export type { AzureBlob, AzureContainer } from './azure/azure-bucket.js'
export {
  AzureCheckpointStorage,
  type AzureCheckpointStorageOptions,
} from './azure/azure-checkpoint-storage.js'
export type { BucketStorageOptions } from './bucket/bucket-options.js'
export type { ProbeFinding, ProbeQuestion, ProbeReport } from './bucket/probe.js'
