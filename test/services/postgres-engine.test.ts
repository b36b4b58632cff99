import { Pool } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { PostgresStateBackend, type PostgresStateBackendOptions } from '../../src/postgres.js'
import type { ConformanceOpenOptions } from '../../src/testing/conformance/case.js'
import { type ConformanceSubject, runConformanceSuite } from '../../src/testing/conformance.js'
import { runs } from '../support/long.js'

let service: RunningService
let pool: Pool
let next = 0
beforeAll(async () => {
  service = await startService('postgres')
  pool = new Pool({ connectionString: service.address, max: 80 })
  pool.on('error', () => {})
  await pool.query('DROP SCHEMA IF EXISTS holdfast CASCADE')
})
afterAll(async () => {
  await pool?.end()
  await service?.stop()
})

const open = (options: Partial<PostgresStateBackendOptions> = {}) =>
  PostgresStateBackend.open({ pool, name: `store ${next++}`, ...options })

const cannot = {
  sync: 'it is asked over a network',
  maxBytes: 'the disk of the server is the limit',
  changes: 'it does not note what changes: its checkpoints are full ones',
  share: 'another thread has a connection of its own',
  inPlace: 'its values lie in another process',
}
const fitting = ({ clock, ttlMs }: ConformanceOpenOptions) => ({
  ...(clock !== undefined && { clock }),
  ...(ttlMs !== undefined && { ttlMs }),
})
const subject = (name: string, options: Partial<PostgresStateBackendOptions>): ConformanceSubject => ({
  name,
  cannot,
  reuse: true,
  open: (asked) => open({ ...fitting(asked), ...options }),
})

runConformanceSuite({ describe, it, afterAll }, subject('PostgreSQL', { copyFrom }))

// What partitions and statements in place of COPY change; a long run tries them with all promises.
const CHANGED = /PostgreSQL in partitions|^(replacing everything|deleting ranges|ranges and order)$/
const runner = { describe, it, afterAll }
const changedRunner = {
  ...runner,
  describe: (title: string, body: () => void) => {
    const isRun = CHANGED.test(title)
    return describe.skipIf(!isRun)(isRun ? title : `${title} (HOLDFAST_LONG=1 runs it)`, () => {
      body()
    })
  },
}
runConformanceSuite(
  runs<typeof runner | typeof changedRunner>(runner, changedRunner),
  subject('PostgreSQL in partitions, without COPY', { partitionsFrom: [0x3000, 0x6162, 0x6b65] }),
)
