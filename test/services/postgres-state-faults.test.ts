// What breaks on the way to PostgreSQL, who else writes there, and what is then in the store.

import { Pool, type PoolClient } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { MemoryStateBackend } from '../../src/index.js'
import { PostgresStateBackend, type PostgresStateBackendOptions } from '../../src/postgres.js'
import { ManualClock } from '../../src/testing/manual-clock.js'
import { runs } from '../support/long.js'
import { Proxy } from './proxy.js'
import { contentsOf, holdsRandomBatches } from './random-batches.js'

const bytes = (text: string) => Buffer.from(text)
const textOf = (value: Uint8Array | undefined) =>
  value === undefined ? undefined : String(Buffer.from(value))

let service: RunningService
let pool: Pool
let next = 0
const nextName = () => `faults ${next++}`
const opened: (() => Promise<void>)[] = []
beforeAll(async () => {
  service = await startService('postgres')
  pool = poolAt(service.port)
  await pool.query('CREATE TABLE transfers (id int PRIMARY KEY)')
})
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})
afterAll(async () => {
  await pool?.end()
  await service?.stop()
})

function poolAt(port: number, max = 20): Pool {
  const made = new Pool({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`, max })
  made.on('error', () => {})
  return made
}

async function open(options: Partial<PostgresStateBackendOptions> = {}): Promise<PostgresStateBackend> {
  const backend = await PostgresStateBackend.open({ pool, name: nextName(), ...options })
  opened.push(() => backend.close())
  return backend
}

/** A store behind something that breaks. */
async function openBehindProxy(options: Partial<PostgresStateBackendOptions> = {}) {
  const proxy = new Proxy(service.port)
  const behind = poolAt(await proxy.listen())
  opened.push(async () => {
    proxy.losesAnswerTo = () => undefined
    await behind.end()
    proxy.close()
  })
  return { proxy, backend: await open({ pool: behind, ...options }) }
}

async function inTransaction(work: (client: PoolClient) => Promise<void>, begin = 'BEGIN'): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query(begin)
    await work(client)
  } finally {
    // What was not committed is rolled back.
    client.release(true)
  }
}

const transfers = async () => {
  const { rows } = await pool.query<{ id: number }>('SELECT id FROM transfers ORDER BY id')
  return rows.map(({ id }) => id)
}

/** The blocks of a snapshot of these entries. */
async function* blocksOf(entries: { readonly [key: string]: string }) {
  const from = new MemoryStateBackend()
  for (const [key, value] of Object.entries(entries)) await from.put(bytes(key), bytes(value))
  const snapshot = await from.snapshot()
  yield* snapshot.blocks()
  await snapshot.close()
  await from.close()
}

describe('two owners of a store in PostgreSQL at once', () => {
  it('write, one is fenced, and what each was told is what is there, once', async () => {
    const name = nextName()
    const expected = new Map<string, string>()
    let told = 0
    let refused = 0
    let before: Promise<unknown> = Promise.resolve()
    const rounds = runs(60, 12)
    for (let round = 0; round < rounds; round++) {
      const own = await open({ name, ...(round % 2 === 0 && { copyFrom }) })
      // Whoever had it until now writes on meanwhile, several at a time, until it is told.
      let isFenced = false
      const lane = async (number: number) => {
        for (let i = 0; !isFenced && i < 300; i++) {
          const key = `${round} ${number} ${i}`
          const counter = bytes(`counter ${number}`)
          try {
            const seen = await own.get(counter)
            const count = String(Number(textOf(seen) ?? 0) + 1)
            await own.write(
              new WriteBatch().expect(counter, seen).put(counter, bytes(count)).put(bytes(key), bytes('x')),
            )
            expected.set(key, 'x')
            expected.set(`counter ${number}`, count)
            told++
          } catch (error) {
            // A counter may be the successor's already: it has then been read after the takeover.
            expect(error).toMatchObject({ code: expect.stringMatching(/^(FENCED|CONCURRENT_MODIFICATION)$/) })
            isFenced = (error as { code?: string }).code === 'FENCED'
            refused++
          }
          if (round === rounds - 1 && i === 20) return
        }
      }
      const lanes = Promise.all([0, 1, 2].map(lane))
      await before
      before = lanes
    }
    await before
    const last = await open({ name })
    const sorted = [...expected].sort(([left], [right]) => Buffer.compare(bytes(left), bytes(right)))
    const contents = await contentsOf(last)
    expect(contents.filter(([key]) => !key.startsWith('counter'))).toEqual(
      sorted.filter(([key]) => !key.startsWith('counter')),
    )
    const counted = contents.filter(([key]) => key.startsWith('counter')).map(([, value]) => Number(value))
    expect(counted.reduce((sum, count) => sum + count, 0)).toBe(told)
    expect(last.stats().entries).toBe(expected.size)
    process.stdout.write(
      `postgres: ${rounds} owners, ${told} batches, ${refused} refused; none lost, none twice\n`,
    )
  })

  it('none takes it by a claim that was given up and arrives late, behind that of a successor', async () => {
    const name = nextName()
    let arrive = () => {}
    let late: Promise<unknown> | undefined
    const slow = {
      connect: async () => {
        const client = await pool.connect()
        const query = async (text: string, values: unknown[] = []) => {
          if (late !== undefined || !text.includes('token = token + 1'))
            return await client.query(text, values)
          const isReleased = new Promise<void>((resolve) => {
            arrive = resolve
          })
          const answer = isReleased.then(() => client.query(text, values))
          late = answer
          return await answer
        }
        return {
          query,
          on: client.on.bind(client),
          removeListener: client.removeListener.bind(client),
          release: (isBroken?: boolean) => {
            client.release(isBroken)
            if (late !== undefined) releases++
          },
        }
      },
    }
    let releases = 0
    const owner = await open({ pool: slow as never, name, answerWithinMs: 300 })
    await owner.put(bytes('a'), bytes('1'))
    const successor = await open({ name })
    const before = releases
    arrive()
    await late
    // The attempt has come to its end.
    await expect.poll(() => releases).toBe(before + 1)
    await successor.put(bytes('a'), bytes('2'))
    await expect(owner.put(bytes('a'), bytes('3'))).rejects.toMatchObject({ code: 'FENCED' })
    expect(textOf(await successor.get(bytes('a')))).toBe('2')
  })

  it('of those who open it in the same moment, one has it in the end', async () => {
    const name = nextName()
    for (let round = 0; round < 5; round++) {
      const all = await Promise.all([0, 1, 2, 3].map(() => open({ name })))
      const results = await Promise.allSettled(
        all.map((each, i) => each.put(bytes('a'), bytes(`${round} ${i}`))),
      )
      const winners = results.flatMap(({ status }, i) => (status === 'fulfilled' ? [i] : []))
      expect(winners).toHaveLength(1)
      for (const result of results)
        if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'FENCED' })
      expect(textOf(await all[0]?.get(bytes('a')))).toBe(`${round} ${winners[0]}`)
    }
  })

  it('whoever lost it replaces, clears and removes nothing', async () => {
    const name = nextName()
    const old = await open({ name, copyFrom })
    await old.put(bytes('a'), bytes('1'))
    const heir = await open({ name })
    for (const call of [
      () => old.replaceAll(blocksOf({ b: '2' })),
      () => old.clear(),
      () => old.deleteRange({ gte: bytes('a') }),
      () => inTransaction((client) => old.write(new WriteBatch().delete(bytes('a')), { client })),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'FENCED' })
    }
    expect(await contentsOf(heir)).toEqual([['a', '1']])
  })

  it('what has expired for one is gone for the next, whose clock is behind, and is removed', async () => {
    const name = nextName()
    const clock = new ManualClock(1_000_000)
    const old = await open({ name, clock, ttlMs: 1_000 })
    await old.put(bytes('a'), bytes('1'))
    await old.put(bytes('stays'), bytes('1'), { ttlMs: Infinity })
    clock.advance(1_000)
    await old.put(bytes('seen'), bytes('1'), { ttlMs: Infinity })
    const behind = new ManualClock(5)
    const heir = await open({ name, clock: behind, sweepIntervalMs: 100 })
    expect(await heir.get(bytes('a'))).toBeUndefined()
    expect((await contentsOf(heir)).map(([key]) => key)).toEqual(['seen', 'stays'])
    await heir.put(bytes('b'), bytes('1'), { ttlMs: 50 })
    behind.advance(100)
    while (heir.stats().entries > 2) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(await heir.count()).toBe(2)
  })

  it('opening it waits for nobody who reads it', async () => {
    const name = nextName()
    const old = await open({ name })
    await old.put(bytes('a'), bytes('1'))
    const snapshot = await old.snapshot()
    const heir = await open({ name, answerWithinMs: 5_000, reconnectForMs: 0 })
    await heir.put(bytes('a'), bytes('2'))
    expect(textOf(await snapshot.get(bytes('a')))).toBe('1')
    await snapshot.close()
  })

  it('opening it with other partitions, or none, leaves its tables as they were made', async () => {
    const name = nextName()
    for (const partitionsFrom of [[1, 2], [5], undefined]) {
      const backend = await open({ name, ...(partitionsFrom !== undefined && { partitionsFrom }) })
      await backend.put(Buffer.from([0, 5]), bytes('a'))
      expect(await backend.count()).toBe(1)
    }
  })
})

describe('a store in PostgreSQL whose tables somebody else has changed', () => {
  it('of a later version is INCOMPATIBLE, and left as that version made it, whoever opens it', async () => {
    const schema = 'later'
    await open({ name: 'old', schema })
    await pool.query(`INSERT INTO ${schema}.versions (version) VALUES (2)`)
    const definitions = async () => {
      const functions = `SELECT p.oid::text, p.xmin::text FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = $1`
      const stores = `SELECT name, token::text FROM ${schema}.stores`
      return [(await pool.query(functions, [schema])).rows, (await pool.query(stores)).rows]
    }
    const before = await definitions()
    for (const options of [{ name: 'old' }, { name: 'new' }, { name: 'old', migrate: false }])
      await expect(open({ schema, ...options })).rejects.toMatchObject({
        code: 'INCOMPATIBLE',
        details: { found: 'version 2', supported: '1' },
      })
    expect(await definitions()).toEqual(before)
    await pool.query(`DELETE FROM ${schema}.versions`)
    await expect(open({ name: 'old', schema, migrate: false })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      details: { found: 'no version' },
    })
  })

  it('is CORRUPTION where the table of its entries is gone, and begun anew where its row is deleted, too', async () => {
    const name = nextName()
    const owner = await open({ name })
    await owner.put(bytes('a'), bytes('1'))
    const { rows } = await pool.query<{ id: number }>('SELECT id FROM holdfast.stores WHERE name = $1', [
      name,
    ])
    await pool.query(`DROP TABLE holdfast.s${rows[0]?.id}`)
    await expect(owner.get(bytes('a'))).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    await expect(open({ name })).rejects.toMatchObject({ code: 'CORRUPTION' })
    await pool.query('DELETE FROM holdfast.stores WHERE name = $1', [name])
    await expect(owner.put(bytes('a'), bytes('2'))).rejects.toMatchObject({
      code: 'FENCED',
      details: { owner: 'nobody: its row was deleted' },
    })
    expect(await (await open({ name })).count()).toBe(0)
  })
})

describe('an answer of PostgreSQL that is lost', () => {
  it('to a batch: it is applied once', async () => {
    const { proxy, backend } = await openBehindProxy()
    const key = bytes('counter')
    await backend.put(key, bytes('0'))
    const batches = runs(200, 20)
    let armed = false
    proxy.losesAnswerTo = (request) => {
      if (!armed || !request.includes('_write($1')) return undefined
      armed = false
      return 'answer'
    }
    for (let i = 0; i < batches; i++) {
      armed = true
      const seen = await backend.get(key)
      await backend.write(new WriteBatch().expect(key, seen).put(key, bytes(String(i + 1))))
    }
    expect(textOf(await backend.get(key))).toBe(String(batches))
    expect(proxy.lost).toBe(batches)
    expect(backend.stats().entries).toBe(1)
  })

  it.each(['answer', 'request', 300] as const)(
    'to the COMMIT of a restore (%s): either all of it is there and it has succeeded, or nothing and it has failed',
    async (losing) => {
      for (const options of [{}, { copyFrom }]) {
        const { proxy, backend } = await openBehindProxy(options)
        await backend.put(bytes('old'), bytes('1'))
        proxy.losesAnswerTo = (request) => (request.includes('COMMIT') ? losing : undefined)
        const replaced = backend.replaceAll(blocksOf({ a: '1', b: '2' }))
        if (losing === 'request') {
          await expect(replaced).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
          expect(await contentsOf(backend)).toEqual([['old', '1']])
          expect(backend.stats().entries).toBe(1)
        } else {
          await replaced
          expect(await contentsOf(backend)).toEqual([
            ['a', '1'],
            ['b', '2'],
          ])
          expect(backend.stats().entries).toBe(2)
        }
        expect(proxy.lost).toBe(1)
        await backend.put(bytes('later'), bytes('3'))
        expect(textOf(await backend.get(bytes('later')))).toBe('3')
      }
    },
  )

  it('to a batch that the server refuses when it is sent again: nothing is written any more, and no other batch is taken for it', async () => {
    let attempts = 0
    const losing = {
      connect: async () => {
        const client = await pool.connect()
        const query = async (text: string, values?: unknown[]) => {
          const attempt = text.includes('_write($1') ? ++attempts : 0
          if (attempt === 2) throw Object.assign(new Error('the disk is full'), { code: '53100' })
          const answer = await client.query(text, values)
          if (attempt === 1) throw Object.assign(new Error('lost'), { code: 'ECONNRESET' })
          return answer
        }
        return {
          query,
          on: client.on.bind(client),
          removeListener: client.removeListener.bind(client),
          release: (isBroken?: boolean) => client.release(isBroken),
        }
      },
    }
    const backend = await open({ pool: losing })
    for (const key of ['a', 'b']) {
      await expect(backend.put(bytes(key), bytes('1'))).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    }
    expect(attempts).toBe(2)
    expect(await contentsOf(backend)).toEqual([['a', '1']])
  })
})

describe('a store in PostgreSQL', () => {
  it('holds what was written, each batch once and in order, while connections are cut and answers delayed', async () => {
    const { proxy, backend } = await openBehindProxy({ answerWithinMs: 5_000 })
    const written = await holdsRandomBatches(
      backend,
      async (random) => {
        proxy.delayMs = random() < 0.5 ? 0 : 5
        await new Promise((resolve) => setTimeout(resolve, Math.floor(random() * 4)))
        proxy.cut(random() < 0.5 ? 'near' : 'far')
      },
      runs(200, 15),
    )
    process.stdout.write(`postgres: ${proxy.cuts} cuts, ${written} batches, none lost, none twice\n`)
    expect(proxy.cuts).toBeGreaterThan(0)
  })

  it('holds every batch that was acknowledged, once, where its server is killed under writers', async () => {
    const backend = await open()
    let asked = 0
    let kills = 0
    const disturb = async () => {
      if (asked++ % 2 !== 0) return
      await service.kill()
      await service.start()
      kills++
    }
    const written = await holdsRandomBatches(backend, disturb, runs(50, 6))
    process.stdout.write(
      `postgres: ${kills} kills of the server, ${written} batches, none lost, none twice\n`,
    )
    expect(kills).toBeGreaterThan(0)
  })

  it('has on the disk what was written when flush resolves, also where sessions do not wait for it', async () => {
    const hasty = poolAt(service.port)
    hasty.on('connect', (client) => void client.query('SET synchronous_commit = off'))
    opened.push(() => hasty.end())
    const backend = await open({ pool: hasty })
    for (let i = 0; i < 20; i++) {
      await backend.put(bytes(`key ${i}`), bytes('x'))
      const written = await pool.query('SELECT pg_current_wal_insert_lsn() AS at')
      await backend.flush()
      const { rows } = await pool.query('SELECT pg_current_wal_flush_lsn() >= $1 AS reached', [
        written.rows[0]?.at,
      ])
      expect(rows[0]).toEqual({ reached: true })
    }
  })

  it('is flushed by the reader of the blocks that replace it, also where sessions do not wait for the disk', async () => {
    const hasty = poolAt(service.port)
    hasty.on('connect', (client) => void client.query('SET synchronous_commit = off'))
    opened.push(() => hasty.end())
    const backend = await open({ pool: hasty })
    await backend.put(bytes('a'), bytes('1'))
    const blocks = async function* () {
      await backend.flush()
      yield* blocksOf({ b: '2' })
    }
    await backend.replaceAll(blocks())
    expect(await contentsOf(backend)).toEqual([['b', '2']])
  })

  it('counts what has expired once, though a restore that failed had removed it', async () => {
    const clock = new ManualClock(1_000)
    const backend = await open({ clock, sweepIntervalMs: Infinity })
    await backend.put(bytes('a'), bytes('1'), { ttlMs: 1 })
    clock.advance(1)
    const blocks = async function* () {
      yield* blocksOf({ b: '2' })
      throw new Error('the stream broke')
    }
    await expect(backend.replaceAll(blocks())).rejects.toThrow('the stream broke')
    expect(backend.stats()).toMatchObject({ entries: 1, expired: 0 })
    await backend.put(bytes('a'), bytes('2'))
    expect(backend.stats()).toMatchObject({ entries: 1, expired: 1 })
  })

  it('that is not logged and was emptied by a crash is written no more until it is opened anew', async () => {
    const name = nextName()
    const backend = await open({ name, unlogged: true, partitionsFrom: [1] })
    expect(backend.supports.durable).toBe(false)
    await backend.put(bytes('a'), bytes('1'))
    await service.kill()
    await service.start()
    await expect(backend.put(bytes('b'), bytes('2'))).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    const anew = await open({ name })
    expect(anew.supports.durable).toBe(false)
    expect([await anew.count(), anew.stats().entries]).toEqual([0, 0])
    await anew.put(bytes('b'), bytes('2'))
    expect([await contentsOf(anew), anew.stats().entries]).toEqual([[['b', '2']], 1])
  })

  it('shows no password where the server does not answer', async () => {
    const closed = new Pool({ connectionString: 'postgres://me:secret-word@127.0.0.1:1/postgres' })
    const opening = PostgresStateBackend.open({ pool: closed, name: nextName(), reconnectForMs: 0 })
    const error = await opening.catch((thrown: unknown) => thrown as Error)
    expect(error).toMatchObject({ code: 'STORAGE_ERROR' })
    expect(JSON.stringify(error) + String((error as Error).stack)).not.toContain('secret-word')
    await closed.end()
  })
})

describe("a batch in a transaction of the caller's", () => {
  const batch = (key: string, value: string) => new WriteBatch().put(bytes(key), bytes(value))

  it('is there with what else was committed, and nobody sees it before', async () => {
    const backend = await open()
    await inTransaction(async (client) => {
      await client.query('INSERT INTO transfers VALUES (1)')
      await backend.write(batch('a', '1'), { client })
      await backend.write(new WriteBatch().expect(bytes('a'), bytes('1')).put(bytes('b'), bytes('2')), {
        client,
      })
      expect([await backend.get(bytes('a')), await transfers()]).toEqual([undefined, []])
      await client.query('COMMIT')
    })
    expect(await contentsOf(backend)).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
    expect([await transfers(), backend.stats().entries]).toEqual([[1], 2])
  })

  it('is rolled back with everything else, also where an expectation does not hold; batches of their own go on behind it, each once', async () => {
    const backend = await open()
    await backend.put(bytes('a'), bytes('1'))
    let other: Promise<void> = Promise.resolve()
    await inTransaction(async (client) => {
      await client.query('INSERT INTO transfers VALUES (2)')
      await backend.write(batch('a', 'never'), { client })
      // Waits for the row of the store.
      other = backend.write(new WriteBatch().expect(bytes('a'), bytes('1')).put(bytes('b'), bytes('2')))
      await client.query('ROLLBACK')
    })
    await other
    const unexpected = inTransaction(async (client) => {
      await client.query('INSERT INTO transfers VALUES (3)')
      await backend.write(new WriteBatch().expect(bytes('a'), bytes('7')).put(bytes('c'), bytes('3')), {
        client,
      })
      await client.query('COMMIT')
    })
    await expect(unexpected).rejects.toMatchObject({
      code: 'CONCURRENT_MODIFICATION',
      details: { key: new Uint8Array(bytes('a')) },
    })
    expect(await contentsOf(backend)).toEqual([
      ['a', '1'],
      ['b', '2'],
    ])
    expect([await transfers(), backend.stats().entries]).toEqual([[1], 2])
  })

  it('that was rolled back is counted no more once everything is flushed', async () => {
    const backend = await open()
    await backend.put(bytes('a'), bytes('1'))
    await inTransaction(async (client) => {
      await backend.write(batch('never', '2'), { client })
      await client.query('ROLLBACK')
    })
    await backend.flush()
    expect(backend.stats().entries).toBe(1)
    await inTransaction(async (client) => {
      await backend.write(batch('b', '2'), { client })
      await client.query('COMMIT')
    })
    expect(backend.stats().entries).toBe(2)
    await backend.flush()
    expect(backend.stats().entries).toBe(2)
  })

  it('that sees an earlier instant than the store fails with TRANSACTION_FAILED, and may begin anew', async () => {
    const backend = await open()
    const late = inTransaction(async (client) => {
      await client.query('SELECT 1 FROM transfers')
      await backend.put(bytes('a'), bytes('1'))
      await backend.write(batch('b', '2'), { client })
    }, 'BEGIN ISOLATION LEVEL REPEATABLE READ')
    await expect(late).rejects.toMatchObject({ code: 'TRANSACTION_FAILED' })
    await backend.put(bytes('c'), bytes('3'))
    expect((await contentsOf(backend)).map(([key]) => key)).toEqual(['a', 'c'])
  })

  it('is there where the connection was lost, if the commit was, and not otherwise', async () => {
    const backend = await open()
    for (const isCommitted of [true, false]) {
      await inTransaction(async (client) => {
        client.on('error', () => {})
        await backend.write(batch(`committed: ${isCommitted}`, '1'), { client })
        if (isCommitted) await client.query('COMMIT')
        const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
        await pool.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid])
      })
    }
    await backend.put(bytes('later'), bytes('1'))
    expect((await contentsOf(backend)).map(([key]) => key)).toEqual(['committed: true', 'later'])
    expect(backend.stats().entries).toBe(2)
  })
})
