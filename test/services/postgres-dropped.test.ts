import { Pool } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { PostgresStateBackend } from '../../src/postgres.js'
import { postgresOutboxSource, postgresSink, postgresUpsertSink } from '../../src/postgres-tables.js'
import { endOf, oneOutput, readEvents } from './dropped.js'
import { makeOutbox } from './postgres-counts.js'

let service: RunningService
let pool: Pool
let next = 0
beforeAll(async () => {
  service = await startService('postgres')
  pool = new Pool({ connectionString: service.address })
  pool.on('error', () => {})
})
afterAll(async () => {
  await pool?.end()
  await service?.stop()
})

const changes = (
  table: string,
): { readonly [what: string]: readonly [statement: string, message: RegExp] } => ({
  'is dropped': [`DROP TABLE ${table}`, /does not exist/],
  'gets another name': [`ALTER TABLE ${table} RENAME TO ${table}_renamed`, /does not exist/],
  'loses a column': [`ALTER TABLE ${table} DROP COLUMN payload`, /column .*payload.* does not exist/],
})

describe('an outbox table that is read', () => {
  const opened = async (table: string) => {
    await makeOutbox(pool, table)
    for (const payload of [1, 2])
      await pool.query(`INSERT INTO ${table} (payload) VALUES ($1)`, [String(payload)])
    const reader = await postgresOutboxSource<unknown>({ pool, table }).open({ positions: {} })
    expect(await readEvents(reader, 2)).toEqual([1, 2])
    return reader
  }

  for (const what of ['is dropped', 'gets another name'] as const) {
    it(`and ${what} ends its source`, async () => {
      const table = `outbox${next++}`
      const reader = await opened(table)
      const [statement, message] = changes(table)[what] ?? ['', /./]
      await pool.query(statement)
      const end = await endOf(reader)
      expect(end).toMatchObject({ code: 'STORAGE_ERROR', message: expect.stringContaining(table) })
      expect(String(end)).toMatch(message)
      await reader.close()
    })
  }

  it('and is emptied, or dropped and made again, tells of what may be gone', async () => {
    for (const statement of ['TRUNCATE', 'DROP TABLE']) {
      const table = `outbox${next++}`
      const reader = await opened(table)
      await pool.query(`${statement} ${table}`)
      if (statement !== 'TRUNCATE') await makeOutbox(pool, table)
      await pool.query(`INSERT INTO ${table} (payload) VALUES ('3')`)
      const given: unknown[] = []
      expect(await endOf(reader, (events) => given.push(...events))).toMatchObject({ code: 'RESTORE_FAILED' })
      expect(given).toEqual([])
      await reader.close()
    }
  })
})

describe('a table that is written', () => {
  for (const what of ['is dropped', 'gets another name', 'loses a column'] as const) {
    it(`and ${what} ends its sinks at once, and nothing is noted`, async () => {
      const table = `written${next++}`
      await pool.query(`CREATE TABLE ${table} (id text PRIMARY KEY, payload text)`)
      const insert = `INSERT INTO ${table} (id, payload) VALUES ($1, 'x')`
      const exact = postgresSink<unknown>({
        pool,
        name: table,
        write: async (client, outputs) => {
          for (const { id } of outputs) await client.query(insert, [id])
        },
      })
      const upserts = postgresUpsertSink<unknown>({
        pool,
        table,
        key: ['id'],
        row: ({ id }) => ({ id, payload: 'x' }),
      })
      const writers = [
        await exact.open({ prepared: [], state: oneOutput.state }),
        await upserts.open({ prepared: [], state: oneOutput.state }),
      ]
      for (const writer of writers) await writer.commit(oneOutput.epochOf(0))
      const [statement, message] = changes(table)[what] ?? ['', /./]
      await pool.query(statement)
      for (const writer of writers) {
        const end = await writer.commit(oneOutput.epochOf(1)).catch((error: unknown) => error)
        expect(end).toMatchObject({ code: 'STORAGE_ERROR' })
        expect(String(end)).toMatch(message)
      }
      const { rows } = await pool.query("SELECT note FROM holdfast_sinks WHERE sink = $1 AND lineage = 'l'", [
        table,
      ])
      expect(rows).toEqual([{ note: '0 1' }])
    })
  }

  it('and whose notes are dropped is refused, and not written a second time', async () => {
    const written: unknown[] = []
    const write = async (_: unknown, outputs: readonly unknown[]) => void written.push(...outputs)
    const sink = postgresSink<unknown>({ pool, name: 'noted', table: 'own_notes', write })
    const writer = await sink.open({ prepared: [], state: oneOutput.state })
    await writer.commit(oneOutput.epochOf(0))
    await pool.query('DROP TABLE own_notes')
    await expect(writer.commit(oneOutput.epochOf(1))).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('own_notes'),
    })
    await expect(
      sink.open({ prepared: [oneOutput.epochOf(1)], state: oneOutput.state }),
    ).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    expect(written).toHaveLength(1)
  })
})

describe('state in tables', () => {
  const key = Buffer.from('a')
  for (const [what, statement, code] of [
    ['its table is dropped', (id: number) => `DROP TABLE holdfast.s${id}`, 'STORAGE_ERROR'],
    ['its function is dropped', (id: number) => `DROP FUNCTION holdfast.s${id}_write`, 'STORAGE_ERROR'],
    [
      'its table gets another name',
      (id: number) => `ALTER TABLE holdfast.s${id} RENAME TO s${id}_other`,
      'STORAGE_ERROR',
    ],
    ['its row is deleted', (id: number) => `DELETE FROM holdfast.stores WHERE id = ${id}`, 'FENCED'],
    ['its schema is dropped', () => 'DROP SCHEMA holdfast CASCADE', 'STORAGE_ERROR'],
  ] as const) {
    it(`is written no more where ${what}`, async () => {
      const name = `dropped${next++}`
      const backend = await PostgresStateBackend.open({ pool, name })
      await backend.put(key, key)
      const { rows } = await pool.query('SELECT id FROM holdfast.stores WHERE name = $1', [name])
      await pool.query(statement(Number(rows[0].id)))
      await expect(backend.put(key, key)).rejects.toMatchObject({ code })
      if (code === 'STORAGE_ERROR' && !what.includes('function'))
        await expect(backend.get(key)).rejects.toMatchObject({ code })
      await backend.close()
    })
  }
})
