import { randomUUID } from 'node:crypto'
import { type Clock, systemClock } from '../base/clock.js'
import {
  hasMethods,
  invalidArgument,
  oneOf,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../base/options.js'
import { type OutageOptions, outageOf, outageRules } from '../remote/outage.js'
import { MAX_BATCH_BYTES } from './batch-arguments.js'
import { backendClient, type RedisBackendClient } from './clients.js'

export interface RedisStateBackendOptions extends OutageOptions {
  /**
   * Of `ioredis` (also with Sentinel, or a `Cluster`), or of `redis` (node-redis, connected; also `createSentinel`, and `createCluster` from 6.1 on). It must
   * read from primaries, and stays yours to close.
   */
  readonly client: RedisBackendClient
  /** Names the store among others on the server: the hash tag of all its keys. Letters, digits, `.`, `_`, `-` and `/`, 1 to 200. */
  readonly name: string
  /** Time to live of puts that name none, in milliseconds. Default: they do not expire. */
  readonly ttlMs?: number
  /**
   * Keeps keys in order on the server, so that scans and deletions of ranges cost what is in them. It takes about 70 % more memory, and writes
   * of new keys about twice as long. Without it they look at all keys, and at most at `maxSortedKeys` in the range. Chosen once for a store. Default false.
   */
  readonly ordered?: boolean
  /** So many keys of a range are sorted in this process at most, where the store is not `ordered`: beyond, `INVALID_ARGUMENT`. Default 100,000. */
  readonly maxSortedKeys?: number
  /**
   * Spreads key groups of typed state (the first two bytes of a key, of so many groups) over the slots of a Cluster. A batch then touches one key group, unless
   * `atomic: false`. Chosen once for a store. Default 0: all keys are in one slot, and batches and `getMany` are one instant.
   */
  readonly keyGroups?: number
  /** `false`: a batch over several key groups applies in each by itself, also its expectations. Default true: it is `INVALID_ARGUMENT`. */
  readonly atomic?: boolean
  /**
   * So many entries may be in one batch, of each key group: beyond, `INVALID_ARGUMENT`. A batch is one script, and holds its server for about 2 µs for each entry, 5 µs where `ordered`, and
   * 3 ms for each MiB. Default `Infinity`.
   */
  readonly maxBatchEntries?: number
  /** So many bytes of keys and stored values may be in one batch, of each key group: beyond, `INVALID_ARGUMENT`. Default, and at most, 64 MiB. */
  readonly maxBatchBytes?: number
  /**
   * Several instances write, each seeing its own writes at once. Default false: whoever opens the store has it alone, and an owner before it is `FENCED`.
   * A store is one or the other.
   */
  readonly shared?: boolean
  /** How many replicas must have a write before `flush` resolves (WAIT). Default 0. */
  readonly replicas?: number
  /**
   * What `flush` knows of the server's disk: `'waited'` waits for it with WAITAOF (Redis 7.2, Valkey; a server without it is `INCOMPATIBLE`), `'always'` takes the server's word for
   * `appendfsync always`. Default: nothing; then, and without replicas, `supports.durable` is false.
   */
  readonly fsync?: 'waited' | 'always'
  /** Every write waits as `flush` does: what was acknowledged survives a failover. Default false. */
  readonly eachWrite?: boolean
  /** How long replicas and the disk are waited for before it is tried again, in milliseconds. Default 1,000. */
  readonly replicateWithinMs?: number
  /** Bytes of entries that are kept in this process for reads. Not with `shared`. Default 0: none. */
  readonly nearCacheBytes?: number
  /** Where time comes from. Default: the machine's clock. */
  readonly clock?: Clock
}

export interface RedisSettings {
  readonly client: RedisBackendClient
  readonly name: string
  readonly ttlMs: number
  readonly ordered: boolean
  readonly maxSortedKeys: number
  readonly keyGroups: number
  readonly atomic: boolean
  readonly maxBatchEntries: number
  readonly maxBatchBytes: number
  readonly shared: boolean
  readonly replicas: number
  readonly fsync: 'waited' | 'always' | undefined
  readonly eachWrite: boolean
  readonly replicateWithinMs: number
  readonly nearCacheBytes: number
  readonly clock: Clock
  readonly outage: OutageOptions
  /** How long `close` waits for what is under way. */
  readonly closeWithinMs: number
  /** A random id: of a writer among several, and of who opens a store. */
  readonly writerId: () => string
}

const NAME = /^[\w./-]{1,200}$/
const MAX_KEY_GROUPS = 32_768
const DEFAULT_SORTED_KEYS = 100_000
const CLOSE_WITHIN_MS = 5_000

export function settingsFrom(options: RedisStateBackendOptions): RedisSettings {
  const ttl = (value: unknown) => (value === Infinity ? undefined : rules.positiveMs(value))
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: backendClient,
      name: (value) =>
        typeof value === 'string' && NAME.test(value)
          ? undefined
          : 'must have 1 to 200 letters, digits, dots, underscores, hyphens and slashes',
      ttlMs: ttl,
      ordered: rules.boolean,
      maxSortedKeys: rules.positiveInteger,
      keyGroups: (value) =>
        rules.nonNegativeInteger(value) ??
        (Number(value) > MAX_KEY_GROUPS ? `must be at most ${MAX_KEY_GROUPS}` : undefined),
      atomic: rules.boolean,
      maxBatchEntries: (value) => (value === Infinity ? undefined : rules.positiveInteger(value)),
      maxBatchBytes: (value) =>
        rules.positiveInteger(value) ??
        (Number(value) > MAX_BATCH_BYTES ? `must be at most ${MAX_BATCH_BYTES}` : undefined),
      shared: rules.boolean,
      replicas: rules.nonNegativeInteger,
      fsync: oneOf('waited', 'always'),
      eachWrite: rules.boolean,
      replicateWithinMs: rules.positiveInteger,
      nearCacheBytes: rules.nonNegativeInteger,
      clock: hasMethods('now', 'setTimer'),
    }),
  )
  const given = (options ?? {}) as Partial<RedisStateBackendOptions>
  requireSettings(options, ['client', 'name'])
  const { shared = false, nearCacheBytes = 0, replicas = 0, fsync, eachWrite = false } = given
  if (shared && nearCacheBytes > 0)
    throw invalidArgument('options.nearCacheBytes', 'is for an owner that nobody else writes beside')
  if (eachWrite && replicas === 0 && fsync !== 'waited')
    throw invalidArgument('options.eachWrite', "has nothing to wait for: set replicas, or fsync: 'waited'")
  return {
    client: options.client,
    name: options.name,
    ttlMs: given.ttlMs ?? Infinity,
    ordered: given.ordered ?? false,
    maxSortedKeys: given.maxSortedKeys ?? DEFAULT_SORTED_KEYS,
    keyGroups: given.keyGroups ?? 0,
    atomic: given.atomic ?? true,
    maxBatchEntries: given.maxBatchEntries ?? Infinity,
    maxBatchBytes: given.maxBatchBytes ?? Infinity,
    shared,
    replicas,
    fsync,
    eachWrite,
    replicateWithinMs: given.replicateWithinMs ?? 1_000,
    nearCacheBytes,
    clock: given.clock ?? systemClock,
    outage: outageOf(given),
    closeWithinMs: CLOSE_WITHIN_MS,
    writerId: randomUUID,
  }
}
