import { Pool } from 'pg'
import { PostgresStateBackend } from '../../src/postgres.js'
import { stateSurvivesKills } from './state-kills.js'

stateSurvivesKills('postgres', 'postgres', async (address, name) => {
  const pool = new Pool({ connectionString: address })
  pool.on('error', () => {})
  const backend = await PostgresStateBackend.open({ pool, name })
  const close = async () => {
    await backend.close()
    await pool.end()
  }
  return { backend, close }
})
