// The row of a store: making the tables, and taking the store over.

import { StateError } from '../base/errors.js'
import { type PostgresClient, type PostgresPool, quoted, withClient } from '../remote/postgres-client.js'
import {
  aliveTable,
  entriesTable,
  migrations,
  SCHEMA_VERSION,
  tableStatements,
  writeFunction,
} from './migrations.js'
import { numberOf } from './postgres-rows.js'

/** Serializes those who make tables at the same time: two `CREATE … IF NOT EXISTS` of one name fail otherwise. */
const MIGRATION_LOCK = 7_263_408_215

export interface StoreSettings {
  readonly schema: string
  readonly name: string
  readonly migrate: boolean
  readonly unlogged: boolean
  readonly partitionsFrom: readonly number[]
}

/** A store that was taken over. */
export interface OwnedStore {
  readonly id: number
  readonly token: number
  readonly clockMs: number
  readonly entries: number
  readonly isUnlogged: boolean
  readonly hasDeadlines: boolean
  /** Whether sessions of the pool commit without waiting for the disk. */
  readonly isHasty: boolean
}

/** Makes what is missing of the tables. May run again at any time. */
export async function migrate(pool: PostgresPool, settings: StoreSettings): Promise<void> {
  const { schema, name, unlogged, partitionsFrom } = settings
  const stores = `${quoted(schema)}.stores`
  await withClient(pool, async (client) => {
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock($1)', [MIGRATION_LOCK])
    for (const statement of migrations(schema)) await client.query(statement)
    // Before anything of a store is made: what a later version has made is left as it is.
    await assertVersion(client, schema)
    const made = await client.query(
      `INSERT INTO ${stores} (name, is_unlogged) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING id`,
      [name, unlogged],
    )
    const { rows } = await client.query(
      `SELECT id::float8 AS id, is_unlogged::int AS unlogged FROM ${stores} WHERE name = $1`,
      [name],
    )
    const id = numberOf(rows[0]?.['id'])
    const isUnlogged = numberOf(rows[0]?.['unlogged']) === 1
    const found = await client.query('SELECT to_regclass($1)::text AS table', [entriesTable(schema, id)])
    // Tables that are there are left alone: what changes one waits for everybody who reads it.
    if (found.rows[0]?.['table'] === null) {
      // Both are made by one transaction: of a store that was there, the table was dropped, and one without entries must not stand for it.
      if (made.rows.length === 0) throw droppedTable(schema, name, id)
      const layout = { schema, id, partitionsFrom, unlogged: isUnlogged }
      for (const statement of tableStatements(layout)) await client.query(statement)
    }
    await client.query(writeFunction(schema, id, isUnlogged))
    await client.query('COMMIT')
  })
}

async function assertVersion(client: PostgresClient, schema: string): Promise<void> {
  const { rows } = await client.query(
    `SELECT coalesce(max(version), 0)::float8 AS version FROM ${quoted(schema)}.versions`,
  )
  const version = numberOf(rows[0]?.['version'])
  if (version === SCHEMA_VERSION) return
  const found = version === 0 ? 'no version' : `version ${version}`
  throw new StateError('INCOMPATIBLE', {
    what: `tables in schema ${schema}`,
    found,
    supported: String(SCHEMA_VERSION),
  })
}

/** The token of the owner that there is. `INCOMPATIBLE` where the tables are of another version. */
export async function tokenOf(pool: PostgresPool, { schema, name }: StoreSettings): Promise<number> {
  const stores = `${quoted(schema)}.stores`
  return await withClient(pool, async (client) => {
    await assertVersion(client, schema)
    const { rows } = await client.query(`SELECT token::float8 AS token FROM ${stores} WHERE name = $1`, [
      name,
    ])
    if (rows[0] === undefined) throw noStore(schema, name)
    return numberOf(rows[0]['token'])
  })
}

/**
 * Takes a store over from the owner with that token, which is fenced from then on; `undefined` where another one has come meanwhile. It may be made again
 * after an outage, and an attempt that arrives late changes nothing.
 */
export async function claim(
  pool: PostgresPool,
  { schema, name }: StoreSettings,
  owner: string,
  from: number,
): Promise<OwnedStore | undefined> {
  const stores = `${quoted(schema)}.stores`
  return await withClient(pool, async (client) => {
    const taken = `UPDATE ${stores} SET token = token + 1, owner = $2, last_batch = 0, last_expired = 0 WHERE name = $1 AND token = $3`
    await client.query(taken, [name, owner, from])
    const { rows } = await client.query(
      `SELECT id::float8 AS id, token::float8 AS token, owner, clock_ms, entries::float8 AS entries, has_deadlines::int AS deadlines,
       is_unlogged::int AS unlogged, current_setting('synchronous_commit') AS mode FROM ${stores} WHERE name = $1`,
      [name],
    )
    const [row] = rows
    if (row === undefined) throw noStore(schema, name)
    if (row['owner'] !== owner) return undefined
    const id = numberOf(row['id'])
    const isUnlogged = numberOf(row['unlogged']) === 1
    const isEmptied = isUnlogged && (await revive(client, schema, id))
    return {
      id,
      token: numberOf(row['token']),
      clockMs: numberOf(row['clock_ms']),
      entries: isEmptied ? 0 : numberOf(row['entries']),
      isUnlogged,
      hasDeadlines: numberOf(row['deadlines']) === 1,
      isHasty: row['mode'] === 'off',
    }
  })
}

/** Lets a store be written again that a crash of the server has emptied; returns whether one had. */
async function revive(client: PostgresClient, schema: string, id: number): Promise<boolean> {
  const table = aliveTable(schema, id)
  const text = `WITH revived AS (INSERT INTO ${table} SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM ${table}) RETURNING 1)
    UPDATE ${quoted(schema)}.stores SET entries = 0 WHERE id = $1 AND EXISTS (SELECT 1 FROM revived) RETURNING 1`
  return (await client.query(text, [id])).rows.length > 0
}

function droppedTable(schema: string, name: string, id: number): StateError<'CORRUPTION'> {
  const reason = `its table ${entriesTable(schema, id)} is gone: bring it back, or delete the row of the store to begin anew`
  return new StateError('CORRUPTION', { what: `store '${name}' in schema ${schema}`, reason })
}

function noStore(schema: string, name: string): StateError {
  return new StateError('STORAGE_ERROR', {
    storage: 'PostgreSQL',
    operation: 'open',
    reason: `there is no store '${name}' in schema ${schema}; its migrations have not run`,
  })
}
