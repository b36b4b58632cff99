import { Client, Pool } from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { StateError } from '../../src/base/errors.js'
import { postgresOutboxSource, postgresSink, postgresUpsertSink } from '../../src/postgres-tables.js'
import { runSinkConformanceSuite } from '../../src/testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../src/testing/source-conformance.js'
import { exampleKeeps } from './example.js'
import { guideProgramRuns, USAGE_BEYOND_BUDGET } from './guide-program.js'
import { killCycles } from './kill-cycles.js'
import { countsInPostgres, makeCountTables, makeOutbox } from './postgres-counts.js'

const runner = { describe, it }
const NONE: ReadonlySet<string> = new Set()
const request = { maxEvents: 9, waitMs: 1, paused: NONE }

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

const add = async (client: Pick<Client, 'query'>, table: string, ...payloads: readonly unknown[]) => {
  for (const payload of payloads)
    await client.query(`INSERT INTO ${table} (payload) VALUES ($1)`, [JSON.stringify(payload)])
}

async function withTransaction(work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: service.address })
  await client.connect()
  try {
    await client.query('BEGIN')
    await work(client)
  } finally {
    await client.end()
  }
}

runSourceConformanceSuite(runner, 'postgresOutboxSource', async () => {
  const table = await makeOutbox(pool, `outbox${next++}`)
  await add(pool, table, 0, 1)
  await withTransaction(async (client) => {
    await add(client, table, 2, 3, 4)
    await client.query('COMMIT')
  })
  return {
    source: postgresOutboxSource<unknown>({ pool, table, follow: false }),
    events: { [table]: [0, 1, 2, 3, 4] },
    dispose: async () => {},
  }
})

for (const [name, maxOutputs] of [['postgresSink', 1_000] as const, ['postgresSink in parts', 2] as const]) {
  runSinkConformanceSuite(runner, name, async () => {
    const table = `sink${next++}`
    await pool.query(`CREATE TABLE ${table} (place serial, output jsonb)`)
    return {
      sink: postgresSink<unknown>({
        pool,
        name: table,
        maxOutputs,
        write: async (client, outputs) => {
          for (const { output } of outputs)
            await client.query(`INSERT INTO ${table} (output) VALUES ($1)`, [JSON.stringify(output)])
        },
      }),
      output: (number) => ({ number }),
      read: async () => {
        const { rows } = await pool.query<{ output: unknown }>(`SELECT output FROM ${table} ORDER BY place`)
        return rows.map(({ output }) => output)
      },
      committedAfterOlderCut: 'kept' as const,
      dispose: async () => {},
    }
  })
}

runSinkConformanceSuite(runner, 'postgresUpsertSink', async () => {
  const table = `upserts${next++}`
  await pool.query(`CREATE TABLE ${table} (id text PRIMARY KEY, "of" jsonb)`)
  return {
    sink: postgresUpsertSink<unknown>({
      pool,
      table,
      key: ['id'],
      row: ({ id, output }) => ({ id, of: JSON.stringify(output) }),
    }),
    output: (number) => ({ number }),
    read: async () =>
      (await pool.query<{ of: unknown }>(`SELECT "of" FROM ${table}`)).rows.map((row) => row.of),
    dispose: async () => {},
  }
})

describe('an outbox table', () => {
  const closing: (() => Promise<void>)[] = []
  afterEach(async () => {
    for (const close of closing.splice(0)) await close()
  })
  const open = async (
    table: string,
    options: Partial<Parameters<typeof postgresOutboxSource>[0]> = {},
    position?: { transaction: string; id: string },
  ) => {
    const source = postgresOutboxSource<unknown>({ pool, table, pollEveryMs: 20, ...options })
    const reader = await source.open({ positions: position === undefined ? {} : { [table]: position } })
    closing.push(() => reader.close())
    return reader
  }

  it('gives rows of a transaction that commits late, behind those that were written after them', async () => {
    const table = await makeOutbox(pool, `outbox${next++}`)
    const reader = await open(table)
    await withTransaction(async (late) => {
      await add(late, table, 'late 1')
      await add(pool, table, 'soon')
      // The ids of rows alone would give the later row now, and never the earlier one.
      expect(await reader.poll(request)).toMatchObject([{ events: [] }])
      await add(late, table, 'late 2')
      await late.query('COMMIT')
    })
    expect(await reader.poll({ ...request, waitMs: 60_000 })).toMatchObject([
      { events: ['late 1', 'late 2', 'soon'] },
    ])
  })

  it('gives nothing of a transaction that is rolled back, and goes on behind the gap', async () => {
    const table = await makeOutbox(pool, `outbox${next++}`)
    const reader = await open(table)
    await withTransaction(async (client) => {
      await add(client, table, 'never')
      await client.query('ROLLBACK')
    })
    await add(pool, table, 'there')
    expect(await reader.poll({ ...request, waitMs: 60_000 })).toMatchObject([{ events: ['there'] }])
  })

  it('wakes whoever listens', async () => {
    const table = await makeOutbox(pool, `outbox${next++}`)
    const reader = await open(table, { channel: 'Woken', pollEveryMs: 60_000 })
    await reader.poll(request)
    const polling = reader.poll({ ...request, waitMs: 60_000 })
    await withTransaction(async (client) => {
      await add(client, table, 'a')
      await client.query('NOTIFY "Woken"')
      await client.query('COMMIT')
    })
    expect(await polling).toMatchObject([{ events: ['a'] }])
  })

  it('J6: whose rows behind the position are gone is RESTORE_FAILED; its source keeps the last row of a cut', async () => {
    const table = await makeOutbox(pool, `outbox${next++}`)
    await add(pool, table, 'a', 'b', 'c', 'd')
    const reader = await open(table, { deleteAfterCut: true })
    const [polled] = await reader.poll(request)
    const positions = [0, 1, 2].map(
      (place) => polled?.positionAfter(place) as { transaction: string; id: string },
    )
    await reader.checkpointCompleted?.({ [table]: positions[1] ?? null })
    const again = await open(table, {}, positions[1])
    expect(await again.poll(request)).toMatchObject([{ events: ['c', 'd'] }])
    await expect(open(table, {}, positions[0])).rejects.toMatchObject({
      code: 'RESTORE_FAILED',
      message: expect.stringMatching(/row 1 of .* may be gone: it begins at row 2/),
    })
    const anyway = await open(table, { onTrimmed: 'continue' }, positions[0])
    expect(await anyway.poll(request)).toMatchObject([{ events: ['b', 'c', 'd'] }])
    const far = { transaction: '99999999999', id: '1' }
    await expect(open(table, {}, far)).rejects.toThrow('it is not the one that was read')
    await pool.query(`DELETE FROM ${table}`)
    await expect(again.poll(request)).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
  })

  it('J7: a row without the column that is decoded is a bad event', async () => {
    const table = await makeOutbox(pool, `outbox${next++}`)
    await add(pool, table, 'a')
    await pool.query(`ALTER TABLE ${table} RENAME COLUMN payload TO data`)
    const [polled] = await (await open(table)).poll(request)
    expect(polled?.failures?.get(0)?.message).toBe('the row has no column payload')
  })

  it('is read on once the server is back', async () => {
    const table = await makeOutbox(pool, `outbox${next++}`)
    await add(pool, table, 'a')
    const reader = await open(table, { channel: 'any' })
    expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
    const polling = reader.poll({ ...request, waitMs: 60_000 })
    await service.kill()
    await service.start()
    await add(pool, table, 'b')
    expect(await polling).toMatchObject([{ events: ['b'] }])
  })
})

describe('a sink to tables', () => {
  const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
  const prepared = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }
  const sinkOf = async (write: Parameters<typeof postgresSink<string>>[0]['write']) =>
    postgresSink<string>({ pool, name: `sink${next++}`, write })

  it('is refused once another one was opened, and writes nothing then', async () => {
    const written: string[] = []
    const sink = await sinkOf(async (_, outputs) => {
      for (const { output } of outputs) written.push(output)
    })
    const zombie = await sink.open({ prepared: [], state })
    const heir = await sink.open({ prepared: [], state })
    await expect(zombie.commit(prepared)).rejects.toMatchObject({ code: 'FENCED' })
    await heir.commit(prepared)
    await heir.commit(prepared)
    expect(written).toEqual(['x'])
  })

  it('is not taken from whoever has it, where its job was overtaken between look and claim', async () => {
    const sink = postgresSink<string>({ pool, name: `sink${next++}`, write: async () => {} })
    let looks = 0
    let successor: Awaited<ReturnType<typeof sink.open>> | undefined
    const checkOwner = async () => {
      if (looks++ > 0)
        throw new StateError('FENCED', { resource: 'the checkpoints', owner: 'another process' })
      successor = await sink.open({ prepared: [], state })
    }
    await expect(sink.open({ prepared: [], state, checkOwner })).rejects.toMatchObject({ code: 'FENCED' })
    await successor?.commit(prepared)
    expect(looks).toBe(2)
  })

  it('tells of a transaction that did not count although nothing was thrown', async () => {
    const sink = await sinkOf(async (client) => {
      await client.query('SELECT nonsense').catch(() => {})
    })
    const writer = await sink.open({ prepared: [], state })
    await expect(writer.commit(prepared)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })

  it.each(['COMMIT', 'ROLLBACK', 'COMMIT AND CHAIN'])(
    'tells of a write that has ended its transaction by %s',
    async (end) => {
      const sink = await sinkOf(async (client) => {
        await client.query(end)
      })
      const writer = await sink.open({ prepared: [], state })
      await expect(writer.commit(prepared)).rejects.toMatchObject({
        code: 'STORAGE_ERROR',
        message: expect.stringContaining('`write` has ended the transaction'),
      })
    },
  )

  it('takes savepoints of a write for its own', async () => {
    const sink = await sinkOf(async (client) => {
      await client.query('SAVEPOINT before')
      await client.query('SELECT nonsense').catch(() => {})
      await client.query('ROLLBACK TO SAVEPOINT before')
    })
    const writer = await sink.open({ prepared: [], state })
    await expect(writer.commit(prepared)).resolves.toBeUndefined()
  })

  it('fails with what its statements fail with, and without retrying', async () => {
    let calls = 0
    const sink = await sinkOf(async (client) => {
      calls++
      await client.query('INSERT INTO nowhere VALUES (1)')
    })
    const writer = await sink.open({ prepared: [], state })
    await expect(writer.commit(prepared)).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('"nowhere" does not exist'),
    })
    expect(calls).toBe(1)
  })

  it('J3: says that delivered outputs are not there any more', async () => {
    const sink = await sinkOf(async () => {})
    const later = [{ epoch: { lineage: 'l', number: 3 }, token: { first: 7, next: 8 } }]
    await expect(sink.open({ prepared: later, state })).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
  })

  it('has rows with the values that come last where several have one key', async () => {
    const table = `upserts${next++}`
    await pool.query(`CREATE TABLE ${table} (id int PRIMARY KEY, value text)`)
    const row = ({ output }: { output: string }) => ({ id: 1, value: output })
    const values = ['a', 'b'].map((value, i) => [i, value] as const)
    const sink = postgresUpsertSink<string>({ pool, table, key: ['id'], row })
    const writer = await sink.open({ prepared: [], state: { ...state, read: () => values } })
    await writer.commit({ ...prepared, token: { first: 0, next: 2 } })
    expect((await pool.query(`SELECT * FROM ${table}`)).rows).toEqual([{ id: 1, value: 'b' }])
  })
})

guideProgramRuns('postgres-tables.md', {
  environment: () => ({ DATABASE_URL: service.address }),
  prepare: async () => {
    await makeOutbox(pool, 'outbox')
    await pool.query('CREATE TABLE tenants (tenant text PRIMARY KEY, alerts bigint NOT NULL DEFAULT 0)')
  },
  feed: () => add(pool, 'outbox', ...USAGE_BEYOND_BUDGET),
  outputs: async () => (await pool.query('SELECT tenant, alerts::int FROM tenants')).rows,
  expected: [{ tenant: 'acme', alerts: 1 }],
})

exampleKeeps(
  (address) => ['--backend', 'postgres', '--backend-address', address],
  () => service,
)

describe('kills', () => {
  const inMemory = { from: 'events', to: 'outputs' }
  const inEngine = { from: 'events_engine', to: 'outputs_engine' }
  beforeAll(async () => {
    for (const tables of [inMemory, inEngine]) await makeCountTables(pool, tables)
  })

  killCycles({
    name: 'postgres',
    service: () => service,
    pairs: [
      { name: 'postgres', ...countsInPostgres(() => service, inMemory) },
      { name: 'postgres-engine', ...countsInPostgres(() => service, inEngine), keeper: 'engine' },
    ],
  })
})
