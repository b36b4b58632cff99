// What tests ask of an S3 server past holdfast.

import { S3 } from '@aws-sdk/client-s3'
import { s3Credentials } from './children/checkpoint-places.js'

async function withClient<Result>(address: string, use: (client: S3) => Promise<Result>): Promise<Result> {
  const place = { endpoint: address, region: 'us-east-1', credentials: s3Credentials, forcePathStyle: true }
  const client = new S3(place)
  try {
    return await use(client)
  } finally {
    client.destroy()
  }
}

export async function makeBucket(address: string): Promise<void> {
  await withClient(address, (client) => client.createBucket({ Bucket: 'bucket' }))
}

/** Keys of uploads under a prefix that were begun and neither completed nor aborted. */
export async function unfinishedUploads(address: string, prefix: string): Promise<readonly string[]> {
  const { Uploads = [] } = await withClient(address, (client) =>
    client.listMultipartUploads({ Bucket: 'bucket', Prefix: prefix }),
  )
  return Uploads.map(({ Key = '' }) => Key)
}
