import { describe, it } from 'vitest'
import { bucketFixture, testSettings } from '../../test/support/bucket-fixtures.js'
import { MemoryBucket } from '../../test/support/memory-bucket.js'
import { runStorageConformanceSuite } from '../testing/storage-conformance.js'

runStorageConformanceSuite({ describe, it }, 'BucketCheckpointStorage', async () =>
  bucketFixture(new MemoryBucket(), async () => {}),
)

runStorageConformanceSuite({ describe, it }, 'BucketCheckpointStorage in parts', async () =>
  bucketFixture(new MemoryBucket(), async () => {}, testSettings({ partBytes: 97, partsInFlight: 2 })),
)
