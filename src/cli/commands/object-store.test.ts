import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { commandLinePlaces, holdfast, objectsOf } from '../../../test/support/command-line.js'
import { S3Server } from '../../../test/support/s3-server.js'

const { at } = commandLinePlaces()

describe('an object store', () => {
  const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' }
  let server: S3Server

  beforeAll(async () => {
    server = await S3Server.start({ ...credentials, minPartBytes: 20_000 })
    vi.stubEnv('AWS_ACCESS_KEY_ID', credentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', credentials.secretAccessKey)
    vi.stubEnv('AWS_ENDPOINT_URL_S3', server.endpoint)
  })

  afterAll(async () => {
    vi.unstubAllEnvs()
    await server.stop()
  })

  it('is a place like any other: copied to, looked into, verified', async () => {
    const copied = await holdfast('copy', at('typed'), 's3://bucket/jobs/typed')
    expect([copied.status, copied.err]).toEqual([0, ''])
    expect((await holdfast('list', 's3://bucket/jobs/typed')).out).toBe(
      (await holdfast('list', at('typed'))).out,
    )
    expect((await holdfast('verify', 's3://bucket/jobs/typed')).status).toBe(0)
    const { out } = await holdfast(
      'get',
      's3://bucket/jobs/typed',
      '["model1","tenant1"]',
      '--state',
      'totals',
    )
    expect(JSON.parse(out)).toEqual({ count: 2, tokens: 3 })
    expect((await holdfast('doctor', 's3://bucket/jobs/typed')).out).toContain('checkpoints: 3')
  })

  it('is asked whether it keeps its conditions', async () => {
    const careless = await S3Server.start({ ...credentials, minPartBytes: 20_000, ignoresConditions: true })
    vi.stubEnv('AWS_ENDPOINT_URL_S3', careless.endpoint)
    const [report] = objectsOf(await holdfast('--json', 'storage', 'check', 's3://bucket/probe'))
    vi.stubEnv('AWS_ENDPOINT_URL_S3', server.endpoint)
    await careless.stop()
    expect([report.canFence, JSON.stringify(report).includes(credentials.secretAccessKey)]).toEqual([
      false,
      false,
    ])
    expect((await holdfast('storage', 'check', at('typed'))).status).toBe(2)
    expect((await holdfast('list', 's3://')).status).toBe(2)
  })
})
