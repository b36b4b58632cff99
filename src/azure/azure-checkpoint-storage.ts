import type { Violation } from '../base/errors.js'
import { hasMethods, rejectViolations } from '../base/options.js'
import { BucketCheckpointStorage } from '../bucket/bucket-checkpoint-storage.js'
import {
  type BucketStorageOptions,
  bucketOptionViolations,
  bucketSettings,
  normalPrefix,
  prefixRule,
} from '../bucket/bucket-options.js'
import { AzureBucket, type AzureContainer } from './azure-bucket.js'

export interface AzureCheckpointStorageOptions extends BucketStorageOptions {
  /**
   * A `ContainerClient` of `@azure/storage-blob` 12. It has retries of its own, which add to those here: `retryOptions: { maxTries: 1 }`
   * leaves them to holdfast.
   */
  readonly container: AzureContainer
  /** What the names of all blobs begin with, as a folder. One writer has it for itself. Default: the whole container. */
  readonly prefix?: string
}

const optionRules = { container: hasMethods('getBlockBlobClient', 'listBlobsFlat'), prefix: prefixRule }

/**
 * Checkpoints in a container of Azure Blob Storage, through a client that you pass.
 *
 * Many processes may read; the holder of the lease writes, and whoever lost it writes nothing more, by the condition of each write.
 * `docs/object-storage.md` says what it promises and what not.
 *
 * @example
 * const service = BlobServiceClient.fromConnectionString(connection, { retryOptions: { maxTries: 1 } })
 * const storage = new AzureCheckpointStorage({ container: service.getContainerClient('checkpoints') })
 */
export class AzureCheckpointStorage extends BucketCheckpointStorage {
  /** Touches nothing. `INVALID_ARGUMENT` with every violation. */
  constructor(options: AzureCheckpointStorageOptions) {
    const violations: Violation[] = bucketOptionViolations(options, optionRules, ['container'])
    rejectViolations(violations)
    super(new AzureBucket(options.container, normalPrefix(options.prefix)), bucketSettings(options))
  }
}
