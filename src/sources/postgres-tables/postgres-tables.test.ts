import { EventEmitter } from 'node:events'
import { describe, expect, it } from 'vitest'
import { FakePostgres } from '../../../test/support/fake-postgres.js'
import { mayPass, type PostgresPool, quoted, withClient } from '../../remote/postgres-client.js'
import { runSinkConformanceSuite } from '../../testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../testing/source-conformance.js'
import { type PostgresOutboxSourceOptions, postgresOutboxSource } from './postgres-outbox-source.js'
import { postgresSink } from './postgres-sink.js'
import { postgresUpsertSink } from './postgres-upsert-sink.js'

// On a server in this process; test/services has the same and more on a real one.

const runner = { describe, it }
const request = { maxEvents: 9, waitMs: 1, paused: new Set<string>() }

runSourceConformanceSuite(runner, 'postgresOutboxSource', async () => {
  const pool = new FakePostgres()
  pool.add(3, 'a', 'b')
  pool.add(5, 'c', 'd', 'e')
  pool.xmin = 6
  return {
    source: postgresOutboxSource<unknown>({ pool, table: 't', follow: false }),
    events: { t: ['a', 'b', 'c', 'd', 'e'] },
    dispose: async () => {},
  }
})

runSinkConformanceSuite(runner, 'postgresSink', async () => {
  const written: unknown[] = []
  const write = async (_: unknown, outputs: readonly { readonly output: unknown }[]) => {
    written.push(...outputs.map(({ output }) => output))
  }
  return {
    sink: postgresSink<unknown>({ pool: new FakePostgres(), name: 's', maxOutputs: 2, write }),
    output: (number) => ({ number }),
    read: async () => written,
    committedAfterOlderCut: 'kept' as const,
    dispose: async () => {},
  }
})

runSinkConformanceSuite(runner, 'postgresUpsertSink', async () => {
  const pool = new FakePostgres()
  const row = ({ id, output }: { id: string; output: unknown }) => ({ id, output })
  return {
    sink: postgresUpsertSink<unknown>({ pool, table: 't', key: ['id'], row }),
    output: (number) => ({ number }),
    read: async () => pool.statements.flatMap(({ values }) => values.filter((_, i) => i % 2 === 1)),
    dispose: async () => {},
  }
})

describe('a source of an outbox table', () => {
  const open = (
    pool: FakePostgres,
    options: Partial<PostgresOutboxSourceOptions<unknown>> = {},
    position?: unknown,
  ) =>
    postgresOutboxSource({ pool, table: 't', ...options }).open({
      positions: position === undefined ? {} : { t: position as never },
    })

  it('waits for transactions that are older and may still write', async () => {
    const pool = new FakePostgres()
    pool.add(7, 'later')
    pool.xmin = 5
    const reader = await open(pool)
    expect(await reader.poll(request)).toMatchObject([{ events: [] }])
    pool.add(5, 'earlier')
    pool.xmin = 8
    expect(await reader.poll(request)).toMatchObject([{ events: ['earlier', 'later'] }])
  })

  it('goes on after a connection was lost, and leaves no listener on it', async () => {
    const pool = new FakePostgres()
    pool.add(1, 'a')
    pool.xmin = 2
    const reader = await open(pool)
    pool.failures = 2
    expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
    expect(pool.listeners).toBe(0)
  })

  it('keeps one connection to listen on, also where another comes too late', async () => {
    const postgres = new FakePostgres()
    postgres.xmin = 9
    postgres.add(1, 'a')
    const reader = await open(postgres, { channel: 'news', answerWithinMs: 5 })
    postgres.lateConnections = 1
    expect(await reader.poll(request)).toMatchObject([{ events: ['a'] }])
    postgres.connectLate()
    await new Promise(setImmediate)
    expect(postgres.held).toBe(1)
    await reader.close()
    expect(postgres.held).toBe(0)
  })

  it('is woken by what is told of while it reads, and has come too late for that', async () => {
    const postgres = new FakePostgres()
    const listeners: (() => void)[] = []
    const connect: FakePostgres['connect'] = async () => {
      const client = await postgres.connect()
      return {
        ...client,
        on: (event, listener) => {
          if (event === 'notification') listeners.push(listener as () => void)
          return client.on(event, listener)
        },
        query: async (text, values) => {
          const answer = await client.query(text, values)
          if (!text.startsWith('SELECT *') || postgres.rows.length > 0) return answer
          // The transaction is committed while the answer is on its way.
          postgres.add(1, 'a')
          postgres.xmin = 2
          for (const tell of listeners) tell()
          return answer
        },
      }
    }
    const pool = Object.assign(Object.create(postgres) as FakePostgres, { connect })
    const longMs = 2_000_000_000
    const reader = await open(pool, { channel: 'news', pollEveryMs: longMs })
    expect(await reader.poll({ ...request, waitMs: longMs })).toMatchObject([{ events: ['a'] }])
    await reader.close()
  })

  it('J6: says which rows are gone, and deletes only what is before the last row of a cut', async () => {
    const pool = new FakePostgres()
    pool.add(1, 'a', 'b', 'c')
    pool.xmin = 2
    const reader = await open(pool, { deleteAfterCut: true })
    const [polled] = await reader.poll(request)
    await reader.checkpointCompleted?.({ t: polled?.positionAfter(1) ?? null })
    expect(pool.rows.map(({ payload }) => payload)).toEqual(['b', 'c'])
    await expect(open(pool, {}, { transaction: '1', id: '1' })).rejects.toThrow(
      'rows behind row 1 of transaction 1 are wanted and may be gone: it begins at row 2 of transaction 1',
    )
    await expect(open(pool, {}, { transaction: '9', id: '1' })).rejects.toThrow('not come so far')
    await expect(open(pool, {}, '1')).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
  })

  it('goes on where rows are deleted behind a cut for long, and where a connection is lost in that, and says what does not pass', async () => {
    const postgres = new FakePostgres()
    postgres.add(1, 'a', 'b', 'c')
    postgres.xmin = 2
    let deletions = 0
    let becomes: () => Promise<void> = () => new Promise(() => {})
    const connect: FakePostgres['connect'] = async () => {
      const client = await postgres.connect()
      const query: typeof client.query = async (text, values) => {
        if (text.startsWith('DELETE')) {
          deletions++
          await becomes()
        }
        return await client.query(text, values)
      }
      return { ...client, query }
    }
    const pool = Object.assign(Object.create(postgres) as FakePostgres, { connect })
    const options = { deleteAfterCut: true, reconnectForMs: 0, answerWithinMs: 5 }
    const reader = await open(pool, options)
    const [polled] = await reader.poll(request)
    const position = { t: polled?.positionAfter(1) ?? null }
    await reader.checkpointCompleted?.(position)
    // One at a time.
    await reader.checkpointCompleted?.(position)
    expect(deletions).toBe(1)
    const another = await open(pool, options)
    becomes = () => Promise.reject(new Error('Connection terminated unexpectedly'))
    await another.checkpointCompleted?.(position)
    becomes = () => Promise.reject(Object.assign(new Error('permission denied'), { code: '42501' }))
    await expect(another.checkpointCompleted?.(position)).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
    becomes = async () => {}
    await another.checkpointCompleted?.(position)
    expect(postgres.rows.map(({ payload }) => payload)).toEqual(['b', 'c'])
    await Promise.all([reader.close(), another.close()])
  })

  it('makes bad events of what decode throws', async () => {
    const pool = new FakePostgres()
    pool.add(1, 'a', 'b')
    pool.xmin = 2
    const decode = ({ payload }: { readonly [column: string]: unknown }) => {
      if (payload === 'a') throw new Error('no a')
      return payload
    }
    const [polled] = await (await open(pool, { decode })).poll(request)
    expect([polled?.events, polled?.failures?.get(0)?.message]).toEqual([[undefined, 'b'], 'no a'])
  })
})

describe('sinks to tables', () => {
  const state = { put: () => {}, read: () => [[0, 'x'] as const, [1, 'y'] as const], removeFrom: () => {} }
  const prepared = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 2 } }

  it('write once where the answer to a commit was lost, and refuse an older owner', async () => {
    const pool = new FakePostgres()
    const written: string[] = []
    const sink = postgresSink<string>({
      pool,
      name: 's',
      write: async (_, outputs) => void written.push(...outputs.map(({ id }) => id)),
    })
    const zombie = await sink.open({ prepared: [], state })
    await zombie.commit(prepared)
    await zombie.commit(prepared)
    expect(written).toEqual(['l-0-0', 'l-0-1'])
    await sink.open({ prepared: [], state })
    await expect(zombie.commit(prepared)).rejects.toMatchObject({ code: 'FENCED' })
  })

  it('write rows by statements with all names quoted, and one row for each key', async () => {
    const pool = new FakePostgres()
    const row = ({ output }: { output: string }) => ({ 'a"b': 1, value: output })
    const sink = postgresUpsertSink<string>({ pool, table: 'own.t', key: ['a"b'], row })
    await (await sink.open({ prepared: [], state })).commit(prepared)
    expect(pool.statements).toEqual([
      {
        text: 'INSERT INTO "own"."t" ("a""b", "value") VALUES ($1, $2) ON CONFLICT ("a""b") DO UPDATE SET "value" = excluded."value"',
        values: [1, 'y'],
      },
    ])
  })

  it('refuse rows with other columns', async () => {
    const row = ({ output }: { output: string }) => ({ id: 1, [output]: 1 })
    const sink = postgresUpsertSink<string>({ pool: new FakePostgres(), table: 't', key: ['id'], row })
    const writer = await sink.open({ prepared: [], state })
    await expect(writer.commit(prepared)).rejects.toMatchObject({ code: 'SERIALIZATION_FAILED' })
  })

  it('list everything that is wrong with the options', () => {
    const pool = {}
    expect(() => postgresSink({ pool, name: '', write: 1, table: '.' } as never)).toThrow(
      /pool.*name.*write.*table/s,
    )
    expect(() => postgresUpsertSink({ pool, table: '', key: [], row: 1 } as never)).toThrow(
      /pool.*table.*key.*row/s,
    )
    expect(() => postgresOutboxSource({ pool, table: 1, pollEveryMs: 0, onTrimmed: 1 } as never)).toThrow(
      /pool.*table.*pollEveryMs.*onTrimmed/s,
    )
  })
})

describe('a failed statement', () => {
  it('may be done again where the connection or the server was at fault, and no other', () => {
    const of = (code: string | undefined, message = '') =>
      mayPass(Object.assign(new Error(message), { code }))
    for (const code of ['08006', '57P01', '40001', 'ECONNREFUSED', 'EPIPE', '53300'])
      expect(of(code), code).toBe(true)
    // A server that starts, that ends idle sessions or long transactions, that is short of memory.
    for (const code of ['57P03', '57P05', '25P04', '53200']) expect(of(code), code).toBe(true)
    for (const code of ['42P01', '23505', '22003', 'EACCES']) expect(of(code), code).toBe(false)
    expect(of(undefined, 'Connection terminated unexpectedly')).toBe(true)
    expect(of(undefined, 'outputs.map is not a function')).toBe(false)
    // The socket of a server that does not listen yet, and a file of somebody's that is missing.
    const missing = (syscall: string) =>
      mayPass(Object.assign(new Error('ENOENT'), { code: 'ENOENT', syscall }))
    expect([missing('connect'), missing('open')]).toEqual([true, false])
  })

  it('has names that cannot end a string', () => {
    expect(quoted('a"; DROP TABLE b; --')).toBe('"a""; DROP TABLE b; --"')
  })
})

describe('a connection that is lost in the moment in which the pool gives it', () => {
  /** As a pool of `pg`: it takes its own listener from a connection that it gives away. */
  function losingPool() {
    const asked: string[] = []
    const client = Object.assign(new EventEmitter(), {
      query: async (text: string) => {
        asked.push(text)
        return { rows: [] }
      },
      release: () => {},
    })
    const lose = () => void client.emit('error', new Error('terminating connection'))
    const connect = (callback?: (error: undefined, given: typeof client) => void) => {
      if (callback === undefined) {
        lose()
        return Promise.resolve(client)
      }
      callback(undefined, client)
      lose()
      return undefined
    }
    return { pool: { connect } as unknown as PostgresPool, asked }
  }

  it('does not end the process', async () => {
    const { pool, asked } = losingPool()
    await withClient(pool, (client) => client.query('SELECT 1'))
    expect(asked).toEqual(['SELECT 1'])
  })

  it('is taken as well from a pool that knows promises only', async () => {
    const client = {
      query: async (text: string) => ({ rows: [{ text }] }),
      on: () => {},
      removeListener: () => {},
      release: () => {},
    }
    const pool = { connect: async () => client }
    expect(await withClient(pool, (given) => given.query('a'))).toEqual({ rows: [{ text: 'a' }] })
    const failing = { connect: () => Promise.reject(new Error('no room')) }
    await expect(withClient(failing, async () => {})).rejects.toThrow('no room')
  })
})
