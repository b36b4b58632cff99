import { randomUUID } from 'node:crypto'
import type { EntryBlock } from '../backend/entry-block.js'
import { RemoteBackend } from '../backend/facade/remote-backend.js'
import type { Replaceable, SnapshotSource } from '../backend/state-backend.js'
import type { SnapshotOptions, StateSnapshot } from '../backend/state-snapshot.js'
import type { ReplaceOptions } from '../backend/types.js'
import type { WriteBatch } from '../backend/write-batch.js'
import { type Clock, systemClock } from '../base/clock.js'
import {
  hasMethods,
  invalidArgument,
  type Rule,
  rejectViolations,
  rules,
  violationsOf,
} from '../base/options.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../remote/outage.js'
import { mayPass, type PostgresClient, type PostgresPool, postgresPool } from '../remote/postgres-client.js'
import type { CopyFrom } from './copy-rows.js'
import { PostgresEngine } from './postgres-engine.js'
import { claim, migrate, type OwnedStore, type StoreSettings, tokenOf } from './store-row.js'

const MAX_KEY_GROUP = 0xffff
const DEFAULT_SCHEMA = 'holdfast'
const DEFAULT_SWEEP_INTERVAL_MS = 1_000
const CLOSE_WITHIN_MS = 5_000

export interface PostgresStateBackendOptions extends OutageOptions {
  /**
   * The caller's `Pool` of `pg`; it stays the caller's to close. Each open snapshot, and each scan beyond a page of 2,000 entries or 1 MiB,
   * holds one of its connections, so that it should have some more than these.
   */
  readonly pool: PostgresPool
  /** Names the store within the schema. */
  readonly name: string
  /** Schema of all tables. Default `holdfast`. */
  readonly schema?: string
  /** Whether `open` makes the tables that are missing. Default true; false where a role with more rights has run {@link postgresMigrations}. */
  readonly migrate?: boolean
  /** Tables that are not logged: writes are faster, and a crash of the server empties them. For state that a checkpoint rebuilds. Default false; counts when the store is made. */
  readonly unlogged?: boolean
  /** Key groups at which another partition of the table begins, rising, from 1 to 65,535; counts when the store is made. Default: one table. */
  readonly partitionsFrom?: readonly number[]
  /** Time to live of puts that name none, in milliseconds. Default `Infinity`. */
  readonly ttlMs?: number
  /** How often expired entries are looked for, in milliseconds. Default 1,000; `Infinity`: only writes remove them. */
  readonly sweepIntervalMs?: number
  /** `from` of `pg-copy-streams`: content is then replaced by COPY, which is faster. Default: by statements. */
  readonly copyFrom?: CopyFrom
  /** Default: the machine's. */
  readonly clock?: Clock
}

const text: Rule = (value) =>
  typeof value === 'string' && value !== '' && !value.includes('\0') ? undefined : 'must be a name'

const schemaName: Rule = (value) =>
  text(value) ?? ((value as string).includes('.') ? 'must be the name of one schema' : undefined)

const keyGroups: Rule = (value) => {
  const isRising = (groups: readonly unknown[]) =>
    groups.every((group, place) => {
      const before = place === 0 ? 0 : (groups[place - 1] as number)
      return Number.isSafeInteger(group) && (group as number) > before && (group as number) <= MAX_KEY_GROUP
    })
  return Array.isArray(value) && isRising(value)
    ? undefined
    : `must be rising key groups from 1 to ${MAX_KEY_GROUP}`
}

const storeRules: { readonly [name: string]: Rule } = {
  name: text,
  schema: schemaName,
  unlogged: rules.boolean,
  partitionsFrom: keyGroups,
}

const optionRules: { readonly [name: string]: Rule } = {
  ...storeRules,
  ...outageRules,
  pool: postgresPool,
  migrate: rules.boolean,
  ttlMs: rules.positiveMs,
  sweepIntervalMs: rules.positiveMs,
  copyFrom: rules.function,
  clock: rules.object,
}

const joinRules = { client: hasMethods('query') }

/** How a batch is written. */
export interface PostgresWriteOptions {
  /**
   * A connection in a transaction of the caller's own: the batch is applied when that is committed, together with whatever else it does, or
   * not at all. Until then other writes of this store wait. What fails is not tried again: `TRANSACTION_FAILED` where beginning anew may
   * help. Counted at once.
   */
  readonly client?: Pick<PostgresClient, 'query'>
}

/**
 * State in tables of PostgreSQL: scans and snapshots that see one instant, batches that are applied once, and one owner: whoever opens a
 * store takes it over, and who had it before is `FENCED` at the next write. docs/postgres.md says what it promises and what not.
 *
 * @example
 * const backend = await PostgresStateBackend.open({ pool: new Pool({ connectionString }), name: 'counts' })
 */
export class PostgresStateBackend extends RemoteBackend implements SnapshotSource, Replaceable {
  readonly #engine: PostgresEngine

  private constructor(engine: PostgresEngine) {
    super(engine)
    this.#engine = engine
  }

  /** Makes the tables that are missing, and takes the store over. `STORAGE_ERROR` where the server is not there, `INCOMPATIBLE` where its tables are of another version, `CORRUPTION` where that of a store is gone. */
  static async open(options: PostgresStateBackendOptions): Promise<PostgresStateBackend> {
    rejectViolations(violationsOf(options, optionRules))
    if (options?.pool === undefined) throw invalidArgument('options.pool', 'is missing')
    if (options.name === undefined) throw invalidArgument('options.name', 'is missing')
    const { pool, schema = DEFAULT_SCHEMA, name, clock = systemClock } = options
    const settings: StoreSettings = {
      schema,
      name,
      migrate: options.migrate ?? true,
      unlogged: options.unlogged ?? false,
      partitionsFrom: [...(options.partitionsFrom ?? [])],
    }
    const outage = new Outage({ storage: 'PostgreSQL', passes: mayPass, ...outageOf(options) })
    const owner = randomUUID()
    if (settings.migrate) await outage.answerOf('open', () => migrate(pool, settings))
    let store: OwnedStore | undefined
    while (store === undefined) {
      // Outside of the attempts: one that was given up goes on, and must not take the store from whoever has come since.
      const from = await outage.answerOf('open', () => tokenOf(pool, settings))
      store = await outage.answerOf('open', () => claim(pool, settings, owner, from))
    }
    return new PostgresStateBackend(
      new PostgresEngine({
        pool,
        outage,
        schema,
        name,
        store,
        clock,
        ttlMs: options.ttlMs ?? Infinity,
        sweepIntervalMs: options.sweepIntervalMs ?? DEFAULT_SWEEP_INTERVAL_MS,
        copyFrom: options.copyFrom,
        closeWithinMs: CLOSE_WITHIN_MS,
      }),
    )
  }

  /** As `StateBackend.write`; with `client`, as part of a transaction of the caller's own. */
  override async write(batch: WriteBatch, options?: PostgresWriteOptions): Promise<void> {
    rejectViolations(violationsOf(options, joinRules))
    const { client } = options ?? {}
    if (client === undefined) return await super.write(batch)
    await this.applyBy(batch, 'write', (engineBatch) => this.#engine.writeJoined(engineBatch, client))
  }

  /** Holds a connection of the pool until it is closed. It tells no changes (`supports.changes`): checkpoints of this backend are full ones. */
  async snapshot(options?: SnapshotOptions): Promise<StateSnapshot> {
    return await this.openSnapshot(options)
  }

  async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    await this.replaceContent(blocks, options)
  }
}
