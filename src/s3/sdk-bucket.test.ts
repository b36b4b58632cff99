import { describe, expect, it } from 'vitest'
import { SECRET, tellingClient, toldBy } from '../../test/support/telling-errors.js'
import { isStateError } from '../base/errors.js'
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
        const calls = [
          () => storage.acquire(),
          () => storage.list(),
          () => storage.read('a', 10),
          () => storage.open('a'),
          () => storage.probe(),
        ]
        for (const call of calls) {
          const error: unknown = await call().then(
            (answer) => answer,
            (reason: unknown) => reason,
          )
          expect(toldBy(error)).not.toContain(SECRET)
          if (how !== 'body' && call !== calls[4]) expect(isStateError(error, 'STORAGE_ERROR')).toBe(true)
        }
      }
    }
  })
})
