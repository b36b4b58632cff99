import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { bucketFixture, testSettings } from '../../test/support/bucket-fixtures.js'
import { leftToLongRuns, runs } from '../../test/support/long.js'
import { type S3Fault, type S3Request, S3Server } from '../../test/support/s3-server.js'
import { isStateError } from '../base/errors.js'
import { BucketCheckpointStorage } from '../bucket/bucket-checkpoint-storage.js'
import type { BucketSettings } from '../bucket/bucket-options.js'
import { ManualClock } from '../testing/manual-clock.js'
import { runStorageConformanceSuite } from '../testing/storage-conformance.js'
import { S3Bucket } from './s3-bucket.js'
import { S3CheckpointStorage } from './s3-checkpoint-storage.js'

const credentials = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'not/a+secret=key' }

/** Small ones, so that little is hashed. */
const PART_BYTES = 20_000

let server: S3Server
let prefixes = 0

beforeAll(async () => {
  server = await S3Server.start({ ...credentials, minPartBytes: PART_BYTES })
})

afterAll(async () => {
  await server.stop()
})

beforeEach(() => {
  server.fault = () => undefined
  server.delay = async () => {}
  server.objects.clear()
  server.uploads.clear()
  server.requests.length = 0
})

/** A bucket under a prefix that no other test has. */
function bucket(given = credentials, endpoint = server.endpoint): S3Bucket {
  return new S3Bucket({
    bucket: 'bucket',
    prefix: `jobs/prefix ${++prefixes}/`,
    region: 'eu-central-1',
    endpoint: new URL(endpoint),
    pathStyle: true,
    credentials: async () => given,
    now: () => Date.now(),
  })
}

// In a quick run the storage is tested over a bucket in memory, and what this one does with requests, one by one, is below.
describe.skipIf(leftToLongRuns !== undefined)(`by HTTP (${leftToLongRuns ?? 'a long run'})`, () => {
  runStorageConformanceSuite({ describe, it }, 'S3CheckpointStorage', async () =>
    bucketFixture(bucket(), async () => {}),
  )
})

/** All that a storage does, once: what it comes to is compared. */
async function session(storage: BucketCheckpointStorage): Promise<readonly unknown[]> {
  const lease = await storage.acquire()
  const large = new Uint8Array(50_000).map((_, i) => i >>> 8)
  for (const [name, bytes] of [
    ['large', large],
    ['small', new Uint8Array([1, 2, 3])],
  ] as const) {
    const writer = await lease.create(name)
    await writer.write(bytes)
    await writer.commit()
  }
  await lease.replace('sequence', new Uint8Array([4]))
  const reader = await storage.open('large', { access: 'sequential' })
  const read = await reader?.read(39_900, 1_000)
  await reader?.close()
  const removed = await lease.remove('small')
  const discarded = await lease.discardUncommitted(3_600_000)
  const listed = await storage.list()
  await lease.release()
  return [read?.join(), removed, discarded, listed, await storage.read('sequence', 10)]
}

describe('S3CheckpointStorage, whatever goes wrong on the way', () => {
  const faults: readonly S3Fault[] = [
    { kind: 'status', status: 503, code: 'SlowDown' },
    { kind: 'status', status: 500, code: 'InternalError' },
    { kind: 'status', status: 409, code: 'ConditionalRequestConflict' },
    { kind: 'refused' },
    { kind: 'lost' },
    { kind: 'half' },
    { kind: 'silent', late: false },
    { kind: 'silent', late: true },
  ]

  async function sessionWith(strike: (request: S3Request, number: number) => S3Fault | undefined) {
    const clock = new ManualClock(1_000)
    server.requests.length = 0
    server.fault = (request, number) => {
      const fault = strike(request, number)
      // Nothing else ends a request that nobody answers.
      if (fault?.kind === 'silent') setImmediate(() => clock.advance(1_000_000))
      return fault
    }
    const settings: Partial<BucketSettings> = { clock, partBytes: PART_BYTES, fetchBytes: 10_000 }
    const storage = new BucketCheckpointStorage(bucket(), testSettings(settings))
    const result = await session(storage)
    return { result, requests: server.requests.length }
  }

  it('comes to the same with each fault at each request', async () => {
    // A process asks a store what it keeps before its first session there alone.
    await sessionWith(() => undefined)
    const { result, requests } = await sessionWith(() => undefined)
    let struck = 0
    for (let n = 1; n <= requests; n++) {
      for (const [i, fault] of faults.entries()) {
        // All of them in the long run; otherwise every fifth request meets one, and each fault some request.
        if (runs(false, true) && (n % 5 !== 0 || (n / 5) % faults.length !== i)) continue
        const strike = (_: S3Request, number: number) => (number === n ? fault : undefined)
        expect((await sessionWith(strike)).result, `${JSON.stringify(fault)} at request ${n}`).toEqual(result)
        struck++
      }
    }
    expect(struck).toBeGreaterThanOrEqual(Math.floor(requests / 5))
  })

  it('a listing that is none, or says that there is more and not where, is no empty storage', async () => {
    const page = (content: string) => `<ListBucketResult xmlns="x">${content}</ListBucketResult>`
    const whole = new BucketCheckpointStorage(bucket(), testSettings({}))
    const lease = await whole.acquire()
    const writer = await lease.create('large')
    await writer.write(new Uint8Array(10))
    await writer.commit()
    await lease.release()
    for (const key of server.objects.keys()) if (key.endsWith('/root')) server.objects.delete(key)
    const bodies = [
      '<Error><Code>InternalError</Code></Error>',
      '<html>sign in</html>',
      '<ListBucketResult><IsTruncated>false</IsTruncated>',
      page('<IsTruncated>true</IsTruncated>'),
      '',
    ]
    for (const body of bodies) {
      server.fault = ({ query }) => (query.has('list-type') ? { kind: 'body', body } : undefined)
      await expect(whole.acquire(), body).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    }
    const more = page('<IsTruncated>true</IsTruncated><NextContinuationToken>on</NextContinuationToken>')
    server.fault = ({ query }) =>
      query.has('list-type') && !query.has('continuation-token') ? { kind: 'body', body: more } : undefined
    await expect(whole.acquire()).rejects.toMatchObject({ code: 'CORRUPTION' })
  })

  it('an upload of which nothing says that it was completed is looked for', async () => {
    const storage = new BucketCheckpointStorage(bucket(), testSettings({ partBytes: PART_BYTES }))
    const lease = await storage.acquire()
    server.fault = ({ method, query }) =>
      method === 'POST' && query.has('uploadId') ? { kind: 'body', body: '<html>sign in</html>' } : undefined
    const writer = await lease.create('large')
    await writer.write(new Uint8Array(50_000))
    await expect(writer.commit()).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    expect(await storage.list()).toEqual([])
    server.fault = () => undefined
    await lease.release()
  })

  it('a store that goes on failing is a STORAGE_ERROR, after a bounded number of attempts', async () => {
    // A process asks a store what it keeps before its first session there alone.
    await sessionWith(() => undefined)
    const failing = sessionWith((_, number) => (number > 3 ? { kind: 'lost' } : undefined))
    await expect(failing).rejects.toSatisfy((error) => isStateError(error, 'STORAGE_ERROR'))
    expect(server.requests.length).toBeLessThan(100)
  })
})

describe('S3CheckpointStorage and its credentials', () => {
  const secrets = ['not/a+secret=key', 'session-token-of-mine', 'wrong-secret-key']

  function storage(given: object): S3CheckpointStorage {
    return new S3CheckpointStorage({
      bucket: 'bucket',
      prefix: 'p',
      endpoint: server.endpoint,
      attempts: 1,
      credentials: { ...credentials, ...given },
    })
  }

  async function failureOf(work: Promise<unknown>): Promise<unknown> {
    return await work.then(
      () => expect.unreachable('it fails'),
      (error: unknown) => error,
    )
  }

  /** All that a log or a reporter of errors could show of it. */
  function shown(error: unknown): string {
    const parts: string[] = []
    for (let at = error; typeof at === 'object' && at !== null; at = (at as Error).cause) {
      parts.push(String(at), JSON.stringify(at), String((at as Error).stack))
      for (const name of Reflect.ownKeys(at))
        parts.push(JSON.stringify((at as Record<PropertyKey, unknown>)[name]) ?? '')
    }
    return parts.join()
  }

  it('tells them to nobody: not in errors, not in objects', async () => {
    const wrong = await failureOf(storage({ secretAccessKey: 'wrong-secret-key' }).list())
    const unknown = await failureOf(storage({ accessKeyId: 'AKIDOTHER' }).acquire())
    server.fault = () => ({ kind: 'refused' })
    const refused = await failureOf(storage({ sessionToken: 'session-token-of-mine' }).list())
    server.fault = () => undefined
    for (const error of [wrong, unknown, refused]) {
      expect(isStateError(error, 'STORAGE_ERROR')).toBe(true)
      for (const secret of [...secrets, credentials.accessKeyId]) expect(shown(error)).not.toContain(secret)
    }
    expect(shown(wrong)).toContain('SignatureDoesNotMatch')
    const lease = await storage({}).acquire()
    await lease.replace('sequence', new Uint8Array([1]))
    await lease.release()
    for (const [key, { bytes }] of server.objects) {
      const text = `${key} ${Buffer.from(bytes).toString('latin1')}`
      for (const secret of [...secrets, credentials.accessKeyId]) expect(text).not.toContain(secret)
    }
  })

  it('asks a function for them before each request, and tells no more than that it failed', async () => {
    let asked = 0
    const asking = new S3CheckpointStorage({
      bucket: 'bucket',
      endpoint: server.endpoint,
      attempts: 1,
      credentials: async () => {
        if (++asked === 3) throw new Error('session-token-of-mine')
        return credentials
      },
    })
    await asking.list()
    const error = await failureOf(asking.list())
    expect(asked).toBe(3)
    expect(shown(error)).not.toContain('session-token-of-mine')
  })

  it('rejects options that cannot be meant, all in one error, without repeating them', () => {
    const wrong = () =>
      new S3CheckpointStorage({
        bucket: 'no/bucket',
        prefix: '../up',
        endpoint: 'https://user:password@host',
        partBytes: 1,
        leaseMs: 5,
        credentials: { accessKeyId: 'a' } as never,
        more: true,
      } as never)
    expect(wrong).toThrow(/bucket.*prefix.*endpoint.*partBytes.*leaseMs.*credentials.*more/su)
    expect(wrong).not.toThrow(/:password|no\/bucket/)
    expect(() => new S3CheckpointStorage(undefined as never)).toThrow(/options must be an object/)
  })
})

describe('S3CheckpointStorage on a store that does not keep its conditions', () => {
  const probeOf = (endpoint: string) =>
    new BucketCheckpointStorage(
      bucket(credentials, endpoint),
      testSettings({ partBytes: PART_BYTES }),
    ).probe()

  for (const lack of [{ ignoresConditions: true }, { comparesThenWrites: true }]) {
    it(`refuses to write there unless it is exclusive: ${Object.keys(lack).join()}`, async () => {
      const broken = await S3Server.start({ ...credentials, ...lack, minPartBytes: PART_BYTES })
      try {
        const place = { bucket: 'bucket', endpoint: broken.endpoint, credentials }
        const storage = new S3CheckpointStorage(place)
        await expect(storage.acquire()).rejects.toThrow(
          /cannot fence: of 32 creators at once, \d+ won.*exclusive/,
        )
        expect([...broken.objects.keys()]).toEqual([])
        const report = await probeOf(broken.endpoint)
        expect(report.canFence).toBe(false)
        const lacking = report.findings.filter(({ kept }) => !kept).map(({ question }) => question)
        expect(lacking).toContain('one of many creators wins')
        expect(lacking).toContain('one of many replacers wins')
        const exclusive = new S3CheckpointStorage({ ...place, exclusive: true })
        const lease = await exclusive.acquire()
        await lease.replace('sequence', new Uint8Array([1]))
        await expect(new S3CheckpointStorage({ ...place, exclusive: true }).acquire()).rejects.toThrow(
          /belongs to/,
        )
        await lease.release()
        expect(await exclusive.read('sequence', 10)).toEqual(new Uint8Array([1]))
      } finally {
        await broken.stop()
      }
    })
  }

  it('says of one that keeps them that it can fence, and what else it takes', async () => {
    const kept = await probeOf(server.endpoint)
    expect(kept.findings.filter((finding) => !finding.kept)).toEqual([])
    expect(kept.canFence).toBe(true)
    const careless = await S3Server.start({
      ...credentials,
      ignoresDigests: true,
      minPartBytes: PART_BYTES,
    })
    try {
      const { canFence, findings } = await probeOf(careless.endpoint)
      expect(canFence).toBe(true)
      expect(findings.filter((finding) => !finding.kept).map(({ question }) => question)).toEqual([
        'a wrong digest is refused',
      ])
      expect(server.objects.size + careless.objects.size).toBe(0)
    } finally {
      await careless.stop()
    }
  })
})
