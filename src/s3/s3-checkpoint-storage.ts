import { env } from 'node:process'
import { systemClock } from '../base/clock.js'
import type { Violation } from '../base/errors.js'
import { hasMethods, nonEmptyText, type Rule, rejectViolations, rules } from '../base/options.js'
import { BucketCheckpointStorage } from '../bucket/bucket-checkpoint-storage.js'
import {
  type BucketStorageOptions,
  bucketOptionViolations,
  bucketSettings,
  normalPrefix,
  prefixRule,
} from '../bucket/bucket-options.js'
import { S3Bucket } from './s3-bucket.js'
import { type S3SdkClient, SdkBucket } from './sdk-bucket.js'
import type { S3Credentials } from './signature.js'

/** Which bucket, under which names, at which service, and with which keys; the rest as for every bucket. */
export interface S3CheckpointStorageOptions extends BucketStorageOptions {
  /** Its name. It must be there. */
  readonly bucket: string
  /** What the keys of all objects begin with, as a folder: `'jobs/totals'`. One writer has it for itself. Default: the whole bucket. */
  readonly prefix?: string
  /** Default `'us-east-1'`; `'auto'` for Cloudflare R2. */
  readonly region?: string
  /** Where the service is, without the bucket: `'https://minio.example:9000'`. Default: that of AWS in the region. */
  readonly endpoint?: string | URL
  /** `https://endpoint/bucket/key`, as most stores of one's own want it. Default: true with an `endpoint`, false without. */
  readonly pathStyle?: boolean
  /**
   * What requests are signed with, or a function that is asked for it before each request, for what expires. Default: the environment's
   * `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`. It appears in no error, no object and no log.
   */
  readonly credentials?: S3Credentials | (() => S3Credentials | Promise<S3Credentials>)
  /**
   * A client `S3` of `@aws-sdk/client-s3` 3 that makes the requests instead. Region, endpoint and credentials are then its affair, and so
   * are its own retries, which add to those here. Many stores need its `requestChecksumCalculation` and `responseChecksumValidation` to
   * be `'WHEN_REQUIRED'`.
   */
  readonly client?: S3SdkClient
}

const bucketRule: Rule = (value) =>
  typeof value === 'string' && /^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$/i.test(value)
    ? undefined
    : 'must be the name of a bucket: 3 to 63 letters, digits, dots, hyphens'
const credentialsRule: Rule = (value) =>
  typeof value === 'function' || isCredentials(value)
    ? undefined
    : 'must have accessKeyId and secretAccessKey, or be a function that gives them'

const optionRules = {
  bucket: bucketRule,
  prefix: prefixRule,
  region: nonEmptyText,
  endpoint: (value: unknown) => (endpointIn(value) === undefined ? ENDPOINT_PROBLEM : undefined),
  pathStyle: rules.boolean,
  credentials: credentialsRule,
  client: hasMethods('putObject', 'getObject', 'deleteObject', 'listObjectsV2', 'createMultipartUpload'),
}

/** What a client of the caller's decides by itself. */
const OF_THE_CLIENT = ['region', 'endpoint', 'pathStyle', 'credentials'] as const

/** The text of an endpoint is not repeated: it may hold a password. */
const ENDPOINT_PROBLEM = 'must be an http or https URL without user, password, query and fragment'

/**
 * Checkpoints in S3, or in a store that speaks its protocol and keeps its conditions (`probe()` tells), by a small client of its
 * own: nothing else is installed. Or by a `client` of the AWS SDK that you pass.
 *
 * Many processes may read; the holder of the lease writes, and whoever lost it writes nothing more, by the condition of each write.
 * `docs/object-storage.md` says what it promises and what not.
 *
 * @example
 * const storage = new S3CheckpointStorage({ bucket: 'checkpoints', prefix: 'jobs/totals', region: 'eu-central-1' })
 * const coordinator = new CheckpointCoordinator(backend, { storage })
 */
export class S3CheckpointStorage extends BucketCheckpointStorage {
  /** Touches nothing. `INVALID_ARGUMENT` with every violation. */
  constructor(options: S3CheckpointStorageOptions) {
    const violations: Violation[] = bucketOptionViolations(options, optionRules, ['bucket'])
    const given = (options ?? {}) as S3CheckpointStorageOptions
    if (given.client !== undefined) {
      const both = OF_THE_CLIENT.filter((name) => given[name] !== undefined)
      const reason = 'is the affair of the client that was passed'
      violations.push(...both.map((name) => ({ argument: `options.${name}`, reason })))
    } else if (given.credentials === undefined && fromEnvironment() === undefined) {
      const reason = 'is required where the environment has no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY'
      violations.push({ argument: 'options.credentials', reason })
    }
    rejectViolations(violations)
    const prefix = normalPrefix(options.prefix)
    const bucket =
      options.client === undefined
        ? ownClient(options, prefix)
        : new SdkBucket(options.client, options.bucket, prefix)
    super(bucket, bucketSettings(options))
  }
}

function ownClient(options: S3CheckpointStorageOptions, prefix: string): S3Bucket {
  const { bucket, region = 'us-east-1', credentials } = options
  const given = async () => (typeof credentials === 'function' ? await credentials() : credentials)
  return new S3Bucket({
    bucket,
    prefix,
    region,
    endpoint: endpointIn(options.endpoint ?? `https://s3.${region}.amazonaws.com`) as URL,
    pathStyle: options.pathStyle ?? options.endpoint !== undefined,
    credentials: async () => checked((await given()) ?? fromEnvironment()),
    now: () => systemClock.now(),
  })
}

function endpointIn(value: unknown): URL | undefined {
  const isUrl = typeof value === 'object' && value !== null && 'href' in value
  const href = isUrl ? value.href : value
  if (typeof href !== 'string' || !URL.canParse(href)) return undefined
  const url = new URL(href)
  const isPlain = url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  return isPlain && (url.protocol === 'https:' || url.protocol === 'http:') ? url : undefined
}

function fromEnvironment(): S3Credentials | undefined {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env
  const { AWS_SESSION_TOKEN: sessionToken } = env
  if (!accessKeyId || !secretAccessKey) return undefined
  return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
}

function isCredentials(value: unknown): value is S3Credentials {
  if (typeof value !== 'object' || value === null) return false
  const { accessKeyId, secretAccessKey, sessionToken } = value as { readonly [name: string]: unknown }
  const isToken = sessionToken === undefined || typeof sessionToken === 'string'
  return typeof accessKeyId === 'string' && typeof secretAccessKey === 'string' && isToken
}

function checked(credentials: unknown): S3Credentials {
  if (isCredentials(credentials)) return credentials
  throw new Error('the function gave none')
}
