import { Pool } from 'pg'
import { afterAll, beforeAll } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { exampleKeeps } from './example.js'
import { killCycles } from './kill-cycles.js'

let service: RunningService
let pool: Pool
beforeAll(async () => {
  service = await startService('postgres')
  pool = new Pool({ connectionString: service.address })
  pool.on('error', () => {})
  await pool.query('DROP SCHEMA IF EXISTS holdfast CASCADE')
  for (const table of ['events', 'outputs']) await pool.query(`DROP TABLE IF EXISTS ${table}`)
  await pool.query(
    `CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
     payload jsonb NOT NULL, PRIMARY KEY (transaction_id, id))`,
  )
  await pool.query('CREATE TABLE outputs (id serial, output jsonb)')
})
afterAll(async () => {
  await pool.end()
  await service.stop()
})

exampleKeeps(
  (address) => ['--backend', 'postgres', '--backend-address', address],
  () => service,
)

killCycles(
  'postgres',
  {
    service: () => service,
    fill: async (events) => {
      const payloads = events.map((event) => JSON.stringify(event))
      await pool.query(
        'INSERT INTO events (payload) SELECT value::jsonb FROM unnest($1::text[]) WITH ORDINALITY AS t (value, place) ORDER BY place',
        [payloads],
      )
      await pool.query('NOTIFY events')
    },
    outputs: async () => {
      const { rows } = await pool.query<{ output: unknown }>('SELECT output FROM outputs ORDER BY id')
      return rows.map(({ output }) => output)
    },
  },
  'engine',
)
