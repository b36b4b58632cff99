import { describe, expect, it } from 'vitest'
import { expectNothingTold, tellingClient } from '../../test/support/telling-errors.js'
import { S3CheckpointStorage } from './s3-checkpoint-storage.js'
import { type S3SdkClient, SdkBucket } from './sdk-bucket.js'

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

  it('finds uploads on every page of a listing', async () => {
    const all = Array.from({ length: 5 }, (_, i) => ({ Key: `jobs/d/${i}`, UploadId: `upload ${i}` }))
    const pages: (string | undefined)[] = []
    const listMultipartUploads: S3SdkClient['listMultipartUploads'] = async ({
      KeyMarker,
      UploadIdMarker,
    }) => {
      pages.push(KeyMarker)
      const from = all.findIndex(({ Key, UploadId }) => Key === KeyMarker && UploadId === UploadIdMarker) + 1
      const Uploads = all.slice(from, from + 2)
      const last = Uploads.at(-1)
      return {
        Uploads,
        IsTruncated: from + 2 < all.length,
        NextKeyMarker: last?.Key,
        NextUploadIdMarker: last?.UploadId,
      }
    }
    const bucket = new SdkBucket({ listMultipartUploads } as S3SdkClient, 'bucket', 'jobs/')
    const found = await bucket.listUploads('d/')
    expect(found.map(({ key, uploadId }) => [key, uploadId])).toEqual(
      all.map(({ Key, UploadId }) => [Key.slice('jobs/'.length), UploadId]),
    )
    expect(pages).toEqual([undefined, 'jobs/d/1', 'jobs/d/3'])
  })

  it('goes past pages of a listing that have nothing, and refuses one that says that there is more and not where', async () => {
    const tokens: (string | undefined)[] = []
    const listObjectsV2: S3SdkClient['listObjectsV2'] = async ({ ContinuationToken }) => {
      tokens.push(ContinuationToken)
      if (ContinuationToken === '2') return { Contents: [{ Key: 'jobs/d/1', Size: 1 }], IsTruncated: true }
      return { IsTruncated: true, NextContinuationToken: String(Number(ContinuationToken ?? 0) + 1) }
    }
    const bucket = new SdkBucket({ listObjectsV2 } as S3SdkClient, 'bucket', 'jobs/')
    expect(await bucket.list('d/', undefined)).toMatchObject({ objects: [{ key: 'd/1' }], next: 'd/1' })
    expect(tokens).toEqual([undefined, '1', '2'])
    for (const token of [undefined, 'same']) {
      const without: S3SdkClient['listObjectsV2'] = async () => ({
        IsTruncated: true,
        NextContinuationToken: token,
      })
      const endless = new SdkBucket({ listObjectsV2: without } as unknown as S3SdkClient, 'bucket', 'jobs/')
      await expect(endless.list('d/', undefined)).rejects.toMatchObject({ code: 'BadListing' })
    }
  })
})
