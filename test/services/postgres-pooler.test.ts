import { Pool } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  lacksPooler,
  type RunningService,
  startPooler,
  startService,
} from '../../scripts/services/services.mjs'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { MemoryStateBackend } from '../../src/index.js'
import { PostgresStateBackend } from '../../src/postgres.js'
import { postgresOutboxSource, postgresSink } from '../../src/postgres-tables.js'
import { endOf, oneOutput, readEvents } from './dropped.js'
import { makeOutbox } from './postgres-counts.js'
import { contentsOf } from './random-batches.js'

// Behind a pooler whose clients have a connection of the server for one transaction: what a session keeps is not there in the next one.

let service: RunningService
let pooler: Awaited<ReturnType<typeof startPooler>>
let pool: Pool
const bytes = (text: string) => Buffer.from(text)
const lacks = lacksPooler()
const title = 'behind a pooler of transactions'

describe.skipIf(lacks !== undefined)(lacks === undefined ? title : `${title} (${lacks})`, () => {
  beforeAll(async () => {
    service = await startService('postgres')
    pooler = await startPooler(service.port)
    pool = new Pool({ connectionString: pooler.address, max: 20 })
    pool.on('error', () => {})
  })
  afterAll(async () => {
    await pool?.end()
    await pooler?.stop()
    await service?.stop()
  })

  it('state is written once by its owner, read by scans and snapshots of one instant, and replaced by COPY', async () => {
    const old = await PostgresStateBackend.open({ pool, name: 'pooled', copyFrom })
    const backend = await PostgresStateBackend.open({ pool, name: 'pooled', copyFrom })
    await expect(old.put(bytes('a'), bytes('1'))).rejects.toMatchObject({ code: 'FENCED' })
    const batch = new WriteBatch()
    for (let i = 0; i < 5_000; i++) batch.put(bytes(`k${String(i).padStart(4, '0')}`), bytes(`${i}`))
    await Promise.all([
      backend.write(batch),
      ...Array.from({ length: 30 }, (_, i) => backend.put(bytes(`p${i}`), bytes('x'))),
    ])
    await expect(
      backend.write(new WriteBatch().expect(bytes('p1'), bytes('y')).put(bytes('z'), bytes('z'))),
    ).rejects.toMatchObject({
      code: 'CONCURRENT_MODIFICATION',
    })
    const snapshot = await backend.snapshot()
    await backend.clear()
    let found = 0
    for await (const _ of snapshot.scan()) found++
    expect([found, await backend.count()]).toEqual([5_030, 0])
    await snapshot.close()
    const memory = new MemoryStateBackend()
    for (let i = 0; i < 3_000; i++) memory.putSync(bytes(`m${i}`), bytes(`${i}`))
    await using copied = await memory.snapshot()
    await backend.replaceAll(copied.blocks())
    expect(await contentsOf(backend)).toHaveLength(3_000)
    await backend.flush()
    await memory.close()
    await backend.close()
    await old.close()
  })

  it('an outbox is read, also where nobody can listen, and a sink writes once and is fenced', async () => {
    const table = await makeOutbox(pool, 'pooled_outbox')
    const source = postgresOutboxSource<unknown>({ pool, table, channel: 'news', pollEveryMs: 50 })
    const reader = await source.open({ positions: {} })
    await pool.query(`INSERT INTO ${table} (payload) VALUES ('1'), ('2')`)
    await pool.query('NOTIFY news')
    expect(await readEvents(reader, 2)).toEqual([1, 2])
    await pool.query(`DROP TABLE ${table}`)
    expect(await endOf(reader)).toMatchObject({ code: 'STORAGE_ERROR' })
    await reader.close()

    const written: string[] = []
    const sink = postgresSink<unknown>({
      pool,
      name: 'pooled',
      write: async (_, outputs) => void written.push(...outputs.map(({ id }) => id)),
    })
    const zombie = await sink.open({ prepared: [], state: oneOutput.state })
    await zombie.commit(oneOutput.epochOf(0))
    const heir = await sink.open({ prepared: [oneOutput.epochOf(0)], state: oneOutput.state })
    await expect(zombie.commit(oneOutput.epochOf(1))).rejects.toMatchObject({ code: 'FENCED' })
    await heir.commit(oneOutput.epochOf(1))
    expect(written).toEqual(['l-0-0', 'l-1-0'])
  })
})
