import { S3 } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { S3CheckpointStorage } from '../../src/s3.js'

const credentials = { accessKeyId: 'test', secretAccessKey: 'testsecret' }

describe('S3CheckpointStorage on moto', () => {
  let service: RunningService
  beforeAll(async () => {
    service = await startService('moto')
    const place = { endpoint: service.address, region: 'us-east-1', credentials, forcePathStyle: true }
    const client = new S3(place)
    await client.createBucket({ Bucket: 'bucket' })
    client.destroy()
  })
  afterAll(() => service?.stop())

  it('finds that it takes a wrong digest, and that its conditions are all that it may miss besides, now and then', async () => {
    const storage = new S3CheckpointStorage({ bucket: 'bucket', endpoint: service.address, credentials })
    const { canFence, findings } = await storage.probe()
    const missed = findings.filter(({ kept }) => !kept).map(({ question }) => question)
    process.stdout.write(`moto misses: ${missed.join(', ')}\n`)
    expect(missed).toContain('a wrong digest is refused')
    const ofMany = ['one of many creators wins', 'one of many replacers wins']
    expect(canFence).toBe(!missed.some((question) => ofMany.includes(question)))
    expect([...ofMany, 'a wrong digest is refused']).toEqual(expect.arrayContaining(missed))
  })

  it('is written to and read by one writer that has it for itself', async () => {
    const place = { bucket: 'bucket', prefix: 'one', endpoint: service.address, credentials, exclusive: true }
    const lease = await new S3CheckpointStorage(place).acquire()
    const writer = await lease.create('object')
    await writer.write(Buffer.from('bytes'))
    await writer.commit()
    await lease.release()
    expect(await new S3CheckpointStorage(place).read('object', 10)).toEqual(
      new Uint8Array(Buffer.from('bytes')),
    )
  })
})
