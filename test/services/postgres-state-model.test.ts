import { Pool } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { PostgresStateBackend, type PostgresStateBackendOptions } from '../../src/postgres.js'
import { runCommands } from '../model/backend-commands.js'
import { modelRuns } from '../support/long.js'
import { sweepByWriting } from './state-models.js'

describe('state in PostgreSQL, whatever the commands', () => {
  let service: RunningService
  let pool: Pool
  let next = 0
  beforeAll(async () => {
    service = await startService('postgres')
    pool = new Pool({ connectionString: service.address, max: 40 })
    pool.on('error', () => {})
  })
  afterAll(async () => {
    await pool?.end()
    await service?.stop()
  })

  it.each<[string, Partial<PostgresStateBackendOptions>]>([
    ['by COPY', { copyFrom }],
    ['in partitions, without COPY', { partitionsFrom: [0x6100, 0x6162, 0x8000] }],
  ])('behaves as the model does, %s', async (_, settings) => {
    const open = (options: object) =>
      PostgresStateBackend.open({ pool, name: `model ${next++}`, ...options, ...settings })
    const run = runCommands(open, { sweep: sweepByWriting, runs: modelRuns(100, 5) })
    await expect(run).resolves.toBeUndefined()
  })
})
