import { type Clock, systemClock } from '../base/clock.js'
import type { Violation } from '../base/errors.js'
import { hasMethods, type Rule, rules, violationsOf } from '../base/options.js'
import type { Bucket } from './bucket.js'
import type { BucketLeaseSettings } from './bucket-lease.js'
import type { FetchSettings } from './bucket-object-reader.js'
import type { UploadSettings } from './bucket-upload.js'
import { RETRY_DEFAULTS, RetryingBucket, type RetrySettings } from './retrying-bucket.js'

/** What every storage of checkpoints in an object storage may be told. */
export interface BucketStorageOptions {
  /**
   * Nobody but one process ever writes under this prefix, and you see to that: the storage then also works where the store ignores
   * conditions, and is not asked about them. Two writers at a time lose checkpoints there. Default false.
   */
  readonly exclusive?: boolean
  /** An owner that gives no sign of life for so long may be taken over, in milliseconds; it gives one in a third of that. Default 15,000. */
  readonly leaseMs?: number
  /**
   * Size of the parts that large objects are written in, from 5 MiB. An object has at most 10,000 of them. Default 8 MiB: objects up to
   * 80 GiB. A writer holds one of them, and `partsInFlight`.
   */
  readonly partBytes?: number
  /** Parts of an object that are on their way at a time. Default 4. */
  readonly partsInFlight?: number
  /** Size of the requests by which an object is read that is wanted whole. Default 4 MiB. */
  readonly fetchBytes?: number
  /** Such requests of an object that are under way, or wait to be read, at a time. Default 8. */
  readonly fetchesInFlight?: number
  /** How often a request is made before its failure counts. Default 6. */
  readonly attempts?: number
  /** How long a request may take, beside what its bytes take at 50 KB/s, in milliseconds. Default 20,000. */
  readonly timeoutMs?: number
  /** What leases and pauses between attempts go by. Default: the machine's. */
  readonly clock?: Clock
}

/** The options, checked and complete. */
export interface BucketSettings extends UploadSettings, FetchSettings, BucketLeaseSettings, RetrySettings {}

const MIN_PART_BYTES = 5 * 1024 * 1024
const DEFAULT_PART_BYTES = 8 * 1024 * 1024
const DEFAULT_PARTS_IN_FLIGHT = 4
const DEFAULT_FETCH_BYTES = 4 * 1024 * 1024
const DEFAULT_FETCHES_IN_FLIGHT = 8
const DEFAULT_LEASE_MS = 15_000
const MIN_LEASE_MS = 1_000

const partRule: Rule = (value) =>
  rules.positiveInteger(value) ??
  ((value as number) >= MIN_PART_BYTES ? undefined : `must be at least ${MIN_PART_BYTES}`)
const leaseRule: Rule = (value) =>
  rules.positiveInteger(value) ??
  ((value as number) >= MIN_LEASE_MS ? undefined : `must be at least ${MIN_LEASE_MS}`)

/** One rule for each of {@link BucketStorageOptions}. */
const bucketOptionRules = {
  exclusive: rules.boolean,
  leaseMs: leaseRule,
  partBytes: partRule,
  partsInFlight: rules.positiveInteger,
  fetchBytes: rules.positiveInteger,
  fetchesInFlight: rules.positiveInteger,
  attempts: rules.positiveInteger,
  timeoutMs: rules.positiveMs,
  clock: hasMethods('now', 'setTimer'),
}

/** The rule of a prefix: nothing, or segments of plain characters that each end with a slash. */
export const prefixRule: Rule = (value) => {
  if (typeof value !== 'string') return 'must be a string'
  const isPlain = value.split('/').every((part) => /^(?!\.{1,2}$)[A-Za-z0-9._-]*$/.test(part))
  if (value.startsWith('/') || value.includes('//') || !isPlain || value.length > 512)
    return "must be segments of A-Z a-z 0-9 . _ - with '/' between them"
  return undefined
}

/** A prefix that keys can be put behind. */
export function normalPrefix(prefix: string | undefined): string {
  return prefix === undefined || prefix === '' || prefix.endsWith('/') ? (prefix ?? '') : `${prefix}/`
}

/** What is wrong with options; `more` are the rules of what is not in {@link BucketStorageOptions}. */
export function bucketOptionViolations(
  options: unknown,
  more: { readonly [name: string]: Rule },
  required: readonly string[],
): Violation[] {
  if (typeof options !== 'object' || options === null)
    return [{ argument: 'options', reason: 'must be an object' }]
  const given = options as { readonly [name: string]: unknown }
  return [
    ...violationsOf(options, { ...bucketOptionRules, ...more }),
    ...required
      .filter((name) => given[name] === undefined)
      .map((name) => ({ argument: `options.${name}`, reason: 'is required' })),
  ]
}

export function bucketSettings(options: BucketStorageOptions): BucketSettings {
  return {
    exclusive: options.exclusive ?? false,
    leaseMs: options.leaseMs ?? DEFAULT_LEASE_MS,
    partBytes: options.partBytes ?? DEFAULT_PART_BYTES,
    partsInFlight: options.partsInFlight ?? DEFAULT_PARTS_IN_FLIGHT,
    fetchBytes: options.fetchBytes ?? DEFAULT_FETCH_BYTES,
    fetchesInFlight: options.fetchesInFlight ?? DEFAULT_FETCHES_IN_FLIGHT,
    attempts: options.attempts ?? RETRY_DEFAULTS.attempts,
    timeoutMs: options.timeoutMs ?? RETRY_DEFAULTS.timeoutMs,
    clock: options.clock ?? systemClock,
    wait: options.clock === undefined ? RETRY_DEFAULTS.wait : waitBy(options.clock),
  }
}

/** The bucket with the retries that the settings ask for. */
export function retried(bucket: Bucket, settings: BucketSettings): Bucket {
  return new RetryingBucket(bucket, settings)
}

function waitBy(clock: Clock): (ms: number) => Promise<void> {
  return (ms) =>
    new Promise((resolve) => {
      clock.setTimer(resolve, ms)
    })
}
