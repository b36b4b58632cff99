export type { BucketStorageOptions } from './bucket/bucket-options.js'
export type { ProbeFinding, ProbeQuestion, ProbeReport } from './bucket/probe.js'
export { S3CheckpointStorage, type S3CheckpointStorageOptions } from './s3/s3-checkpoint-storage.js'
export type { S3Credentials } from './s3/signature.js'
