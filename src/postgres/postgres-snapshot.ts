import type { EngineEntry, RemoteEngineSnapshot } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import { isStateError, StateError } from '../base/errors.js'
import type { Outage } from '../remote/outage.js'
import { acquire, type PooledPostgresClient, type PostgresPool } from '../remote/postgres-client.js'
import { storageError } from './postgres-failure.js'
import { countOf, pages, type RunStatement, runOn, valuesOf } from './postgres-rows.js'

export interface PostgresSnapshotSettings {
  readonly pool: PostgresPool
  /** Each answer is waited for as its calls are, and not beyond its end. */
  readonly outage: Outage
  readonly table: string
  readonly takenAtMs: number
}

/** A connection in a transaction that sees one instant. Where the connection is lost, so is the instant: there is nothing to try again. */
export class PostgresSnapshot implements RemoteEngineSnapshot {
  readonly #client: PooledPostgresClient
  readonly #outage: Outage
  readonly #table: string
  readonly #takenAtMs: number
  #isClosed = false

  /** The connection is listened to already. */
  private constructor(client: PooledPostgresClient, { outage, table, takenAtMs }: PostgresSnapshotSettings) {
    this.#client = client
    this.#outage = outage
    this.#table = table
    this.#takenAtMs = takenAtMs
  }

  static async open(settings: PostgresSnapshotSettings): Promise<PostgresSnapshot> {
    const { pool, table } = settings
    const client = await acquire(pool, ignore)
    const snapshot = new PostgresSnapshot(client, settings)
    try {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
      // The instant is that of the first statement, not of BEGIN.
      await client.query(`SELECT 1 FROM ${table} LIMIT 0`)
      return snapshot
    } catch (error) {
      snapshot.#release(true)
      throw error
    }
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return await valuesOf(this.#run, this.#table, keys, this.#takenAtMs)
  }

  async count(): Promise<number> {
    return await countOf(this.#run, this.#table, this.#takenAtMs)
  }

  entries(interval: KeyInterval): AsyncIterable<EngineEntry> {
    return pages(this.#run, this.#table, interval, this.#takenAtMs)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    try {
      await this.#outage.once('close a snapshot', () => this.#client.query('COMMIT'))
      this.#release(false)
    } catch {
      this.#release(true)
    }
  }

  readonly #run: RunStatement = async (operation, text, values) => {
    try {
      return await this.#outage.once(operation, () => runOn(this.#client)(operation, text, values))
    } catch (error) {
      if (this.#outage.isClosed) throw new StateError('CLOSED', { component: 'postgres backend' })
      throw isStateError(error) ? error : storageError(`${operation} in a snapshot`, error)
    }
  }

  #release(isBroken: boolean): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#client.removeListener('error', ignore)
    this.#client.release(isBroken)
  }
}

/** Nobody else listens to a connection that is lost while it is ours, and that would end the process. */
function ignore(): void {}
