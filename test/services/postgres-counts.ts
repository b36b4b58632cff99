import { Client, type Pool } from 'pg'
import type { RunningService } from '../../scripts/services/services.mjs'
import type { KilledPair } from './kill-cycles.js'

/** A table of an outbox, as the guide has it. */
export async function makeOutbox(pool: Pool, table: string): Promise<string> {
  await pool.query(
    `CREATE TABLE ${table} (id bigint GENERATED ALWAYS AS IDENTITY, transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
     payload jsonb NOT NULL, PRIMARY KEY (transaction_id, id))`,
  )
  return table
}

/** The tables that a killed job reads and writes. */
interface CountTables {
  readonly from: string
  readonly to: string
}

export async function makeCountTables(pool: Pool, { from, to }: CountTables): Promise<void> {
  await makeOutbox(pool, from)
  await pool.query(`CREATE TABLE ${to} (id serial, output jsonb)`)
}

/** These tables as the killed job uses them, each time over a connection of its own: a pool may hold one that ended with a killed server. */
export function countsInPostgres(
  service: () => RunningService,
  { from, to }: CountTables,
): Pick<KilledPair, 'fill' | 'outputs'> {
  const connected = async <Result>(use: (client: Client) => Promise<Result>): Promise<Result> => {
    const client = new Client({ connectionString: service().address })
    await client.connect()
    try {
      return await use(client)
    } finally {
      await client.end()
    }
  }
  return {
    fill: (events) =>
      connected(async (client) => {
        const payloads = events.map((event) => JSON.stringify(event))
        await client.query(
          `INSERT INTO ${from} (payload) SELECT value::jsonb FROM unnest($1::text[]) WITH ORDINALITY AS t (value, place) ORDER BY place`,
          [payloads],
        )
        await client.query(`NOTIFY ${from}`)
      }),
    outputs: () =>
      connected(async (client) => {
        const { rows } = await client.query<{ output: unknown }>(`SELECT output FROM ${to} ORDER BY id`)
        return rows.map(({ output }) => output)
      }),
  }
}
