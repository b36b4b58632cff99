import { Pool } from 'pg'
import { afterAll, beforeAll } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { exampleKeeps } from './example.js'
import { killCycles } from './kill-cycles.js'
import { countsInPostgres, makeCountTables } from './postgres-counts.js'

let service: RunningService
let pool: Pool
beforeAll(async () => {
  service = await startService('postgres')
  pool = new Pool({ connectionString: service.address })
  pool.on('error', () => {})
  await pool.query('DROP SCHEMA IF EXISTS holdfast CASCADE')
  await makeCountTables(pool)
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
  countsInPostgres(() => service),
  'engine',
)
