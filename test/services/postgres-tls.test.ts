import { Pool } from 'pg'
import { postgresOutboxSource, postgresSink } from '../../src/postgres-tables.js'
import { securedHolds } from './secured.js'

securedHolds('postgres', {
  open: async ({ port, certificate = '' }, password) => {
    const ssl = { ca: certificate }
    const pool = new Pool({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres', password, ssl })
    pool.on('error', () => {})
    return {
      source: postgresOutboxSource<number>({
        pool,
        table: 'events',
        channel: 'events',
        pollEveryMs: 20,
        reconnectForMs: 500,
      }),
      sink: postgresSink<number>({
        pool,
        name: 'counts',
        write: async (client, outputs) => {
          for (const { output } of outputs)
            await client.query('INSERT INTO outputs (n) VALUES ($1)', [output])
        },
        reconnectForMs: 500,
      }),
      send: async (events) => {
        await pool.query(
          `CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
           payload jsonb NOT NULL, PRIMARY KEY (transaction_id, id))`,
        )
        await pool.query('CREATE TABLE outputs (n int)')
        for (const n of events)
          await pool.query('INSERT INTO events (payload) VALUES ($1)', [JSON.stringify(n)])
      },
      outputs: async () =>
        (await pool.query('SELECT n FROM outputs ORDER BY n')).rows.map(({ n }) => Number(n)),
      close: () => pool.end(),
    }
  },
})
