import type { EngineEntry, RemoteEngineSnapshot } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import { isStateError } from '../base/errors.js'
import { acquire, type PooledPostgresClient, type PostgresPool } from '../remote/postgres-client.js'
import { storageError } from './postgres-failure.js'
import { countOf, pages, type RunStatement, runOn, valuesOf } from './postgres-rows.js'

/** A connection in a transaction that sees one instant. Where the connection is lost, so is the instant: there is nothing to try again. */
export class PostgresSnapshot implements RemoteEngineSnapshot {
  readonly #client: PooledPostgresClient
  readonly #table: string
  readonly #takenAtMs: number
  #isClosed = false

  /** The connection is listened to already. */
  private constructor(client: PooledPostgresClient, table: string, takenAtMs: number) {
    this.#client = client
    this.#table = table
    this.#takenAtMs = takenAtMs
  }

  static async open(pool: PostgresPool, table: string, takenAtMs: number): Promise<PostgresSnapshot> {
    const client = await acquire(pool, ignore)
    const snapshot = new PostgresSnapshot(client, table, takenAtMs)
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
      await this.#client.query('COMMIT')
      this.#release(false)
    } catch {
      this.#release(true)
    }
  }

  readonly #run: RunStatement = async (operation, text, values) => {
    try {
      return await runOn(this.#client)(operation, text, values)
    } catch (error) {
      throw isStateError(error) ? error : storageError(`${operation} of a snapshot`, error)
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
