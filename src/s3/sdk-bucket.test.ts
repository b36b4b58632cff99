import { describe, it } from 'vitest'
import { expectNothingTold, tellingClient } from '../../test/support/telling-errors.js'
import { S3CheckpointStorage } from './s3-checkpoint-storage.js'

const CALLS = [
  'putObject',
  'getObject',
  'deleteObject',
  'listObjectsV2',
  'createMultipartUpload',
  'uploadPart',
  'completeMultipartUpload',
  'abortMultipartUpload',
  'listMultipartUploads',
]

describe('S3CheckpointStorage by a client of the AWS SDK', () => {
  it('tells nothing of the requests that an error of the client has with it', async () => {
    for (const how of ['call', 'promise', 'body'] as const) {
      for (const status of [undefined, 403, 500]) {
        const client = tellingClient(CALLS, how, status) as never
        const storage = new S3CheckpointStorage({ bucket: 'bucket', client, attempts: 1 })
        await expectNothingTold(storage, how)
      }
    }
  })
})
