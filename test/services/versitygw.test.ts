import { S3 } from '@aws-sdk/client-s3'
import { S3Bucket } from '../../src/s3/s3-bucket.js'
import { SdkBucket } from '../../src/s3/sdk-bucket.js'
import { testObjectStore } from './object-stores.js'

const credentials = { accessKeyId: 'test', secretAccessKey: 'testsecret' }

testObjectStore('versitygw', 'S3CheckpointStorage on versitygw', {
  open: async (address, prefix) =>
    new S3Bucket({
      bucket: 'bucket',
      prefix,
      region: 'us-east-1',
      endpoint: new URL(address),
      pathStyle: true,
      credentials: async () => credentials,
      now: () => Date.now(),
    }),
  lacks: [],
})

testObjectStore('versitygw', 'S3CheckpointStorage on versitygw by the client of the AWS SDK', {
  open: async (address, prefix) =>
    new SdkBucket(
      new S3({
        region: 'us-east-1',
        endpoint: address,
        forcePathStyle: true,
        credentials,
        maxAttempts: 1,
        requestChecksumCalculation: 'WHEN_REQUIRED',
        responseChecksumValidation: 'WHEN_REQUIRED',
      }),
      'bucket',
      prefix,
    ),
  lacks: [],
})
