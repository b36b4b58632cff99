// A standby takes over from a primary that has died, and the primary comes back.

import { Pool } from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type RunningService,
  type ServerNode,
  startPostgresStandby,
  startService,
} from '../../scripts/services/services.mjs'
import { PostgresStateBackend } from '../../src/postgres.js'
import { LaneWriters } from './lane-writers.js'
import { Proxy } from './proxy.js'
import { contentsOf } from './random-batches.js'

const bytes = (text: string) => Buffer.from(text)
const NAME = 'replicated'

let primary: RunningService
let standby: ServerNode
/** What writers are told is the server, wherever it is. */
let address: Proxy
const cleanups: (() => unknown)[] = []

function poolAt(port: number): Pool {
  const pool = new Pool({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`, max: 12 })
  pool.on('error', () => {})
  // One whose server answers nothing does not end before that does.
  cleanups.push(() => void pool.end())
  return pool
}

beforeEach(async () => {
  primary = await startService('postgres')
  cleanups.push(() => primary.stop())
  const started = await startPostgresStandby(primary.port)
  cleanups.push(() => started.stop())
  standby = started
  address = new Proxy(primary.port)
  cleanups.push(() => address.close())
})
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
})

/** The primary is gone, and the standby in its place. */
async function failOver(): Promise<void> {
  await primary.kill()
  const admin = poolAt(standby.port)
  await admin.query('SELECT pg_promote(true, 60)')
  address.port = standby.port
  address.cut('far')
}

describe('a standby of PostgreSQL that takes over', () => {
  it('has everything that was acknowledged where commits wait for it, and writers go on; a primary that comes back acknowledges nothing', async () => {
    const admin = poolAt(primary.port)
    await admin.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
    await admin.query('SELECT pg_reload_conf()')
    const backend = await PostgresStateBackend.open({ pool: poolAt(await address.listen()), name: NAME })
    const writers = new LaneWriters(backend)
    await writers.more(100)
    await failOver()
    await writers.more(100)
    await writers.end()
    expect(await writers.lost()).toEqual([])
    await primary.start()
    const stray = PostgresStateBackend.open({
      pool: poolAt(primary.port),
      name: NAME,
      answerWithinMs: 500,
      reconnectForMs: 1_000,
    })
    await expect(stray).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await backend.put(bytes('after'), bytes('1'))
    await backend.close()
    process.stdout.write(`postgres standby: ${writers.count} batches acknowledged, none lost\n`)
  })

  it('is found out where it lacks what was acknowledged: nothing more is written, until the store is opened anew', async () => {
    const backend = await PostgresStateBackend.open({ pool: poolAt(await address.listen()), name: NAME })
    await backend.put(bytes('a'), bytes('1'))
    const admin = poolAt(primary.port)
    const hasAll = async () => {
      const { rows } = await admin.query<{ all: boolean }>(
        'SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) AS all FROM pg_stat_replication',
      )
      return rows[0]?.all === true
    }
    await expect.poll(hasAll).toBe(true)
    await standby.kill()
    await backend.put(bytes('b'), bytes('2'))
    await primary.kill()
    await standby.start()
    await failOver()
    await expect(backend.put(bytes('c'), bytes('3'))).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('lost writes that it had acknowledged'),
    })
    await backend.close()
    const anew = await PostgresStateBackend.open({ pool: poolAt(standby.port), name: NAME })
    expect(await contentsOf(anew)).toEqual([['a', '1']])
    await anew.put(bytes('d'), bytes('4'))
    await anew.close()
  })
})
