import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { EntryBlockBuilder } from '../backend/entry-block.js'
import { RemoteBackend } from '../backend/facade/remote-backend.js'
import { EVERYTHING } from '../backend/scan-range.js'
import { WriteBatch } from '../backend/write-batch.js'
import { Outage } from '../remote/outage.js'
import { mayPass, type PooledPostgresClient, type PostgresPool } from '../remote/postgres-client.js'
import { ManualClock } from '../testing/manual-clock.js'
import type { CopyFrom } from './copy-rows.js'
import { PostgresEngine } from './postgres-engine.js'

const bytes = (text: string) => Buffer.from(text)
const never = () => new Promise<never>(() => {})

/** Answers as the server does where everything is well; `before` may hold a statement, or fail. */
class FakePool implements PostgresPool {
  readonly statements: string[] = []
  /** Of the batches that were sent. */
  readonly numbers: unknown[] = []
  mode = 'on'
  before: (text: string) => Promise<unknown> | undefined = () => undefined
  broken = 0
  released = 0

  async connect(): Promise<PooledPostgresClient> {
    return {
      query: async (given, values) => {
        // A stream into a COPY is given as it is.
        const text = String(given)
        this.statements.push(text)
        if (text.includes('_write(')) this.numbers.push(values?.[1])
        await this.before(text)
        if (text.includes('_write(')) return { rows: [{ outcome: 'applied', held: 0, expired: 0, swept: 0 }] }
        if (text.includes("current_setting('synchronous_commit')")) return { rows: [{ mode: this.mode }] }
        return { rows: [] }
      },
      on: () => {},
      removeListener: () => {},
      release: (isBroken) => {
        this.released++
        if (isBroken === true) this.broken++
      },
    }
  }
}

interface Given {
  readonly isHasty?: boolean
  readonly closeWithinMs?: number
  readonly answerWithinMs?: number
  readonly copyFrom?: CopyFrom
}

function engineOn(
  pool: FakePool,
  { isHasty = false, closeWithinMs = 5_000, answerWithinMs = 1_000_000, copyFrom }: Given = {},
): PostgresEngine {
  const clock = new ManualClock(0)
  return new PostgresEngine({
    pool,
    outage: new Outage({ storage: 'PostgreSQL', passes: mayPass, clock, answerWithinMs }),
    schema: 'holdfast',
    name: 'store',
    store: { id: 1, token: 1, clockMs: 0, entries: 0, isUnlogged: false, hasDeadlines: false, isHasty },
    clock,
    ttlMs: Infinity,
    sweepIntervalMs: Infinity,
    copyFrom,
    closeWithinMs,
  })
}

const put = (engine: PostgresEngine) =>
  engine.write({ cursor: new WriteBatch().put(bytes('a'), bytes('1')).cursor(), expiry: () => Infinity })

/** Takes all that is written at once. */
const takesAll: CopyFrom = () => {
  let finish = () => {}
  return {
    write: (_, done) => queueMicrotask(() => done()),
    end: () => finish(),
    destroy: () => {},
    on: (event: string, listener: (error: Error) => void) => {
      if (event === 'finish') finish = listener as () => void
    },
  }
}

/** What lives, of all that was made. */
function livingOf(made: readonly WeakRef<object>[]): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return made.filter((each) => each.deref() !== undefined).length
}

describe('an engine in PostgreSQL', () => {
  it.each([
    ['INSERT', undefined],
    ['COPY', takesAll],
  ] as const)(
    'holds some of the blocks that replace its content, not all of them (%s)',
    async (_, copyFrom) => {
      const engine = engineOn(new FakePool(), copyFrom === undefined ? {} : { copyFrom })
      const made: WeakRef<object>[] = []
      let living = 0
      const blocks = async function* () {
        for (let i = 0; i < 100; i++) {
          const builder = new EntryBlockBuilder(1_000)
          builder.add(bytes(String(i)), bytes('1'), Infinity)
          const block = builder.take()
          made.push(new WeakRef(block))
          yield block
        }
        // What a step has looked at through a WeakRef lives until it ends.
        await new Promise(setImmediate)
        living = livingOf(made)
      }
      await engine.replace(blocks(), EVERYTHING, { clockMs: 0, expectedEntries: 100 })
      expect([made.length, living < 50]).toEqual([100, true])
      await engine.close()
    },
  )

  it.each(['on', 'off'])(
    'is flushed by the reader of the blocks that replace its content (synchronous_commit = %s)',
    async (mode) => {
      const pool = new FakePool()
      pool.mode = mode
      // The row of the store is locked by the transaction that replaces.
      pool.before = (text) => (/^WITH.* UPDATE .*stores/.test(text) ? never() : undefined)
      const engine = engineOn(pool)
      const blocks = async function* () {
        await engine.flush()
        const builder = new EntryBlockBuilder(1_000)
        builder.add(bytes('a'), bytes('1'), Infinity)
        yield builder.take()
      }
      await engine.replace(blocks(), EVERYTHING, { clockMs: 0, expectedEntries: 1 })
      expect(engine.entries).toBe(1)
      await engine.close()
    },
  )

  it.each(['40P01', '40001'])(
    'writes again what a deadlock or a conflict has ended (%s), with the same number',
    async (code) => {
      const pool = new FakePool()
      const engine = engineOn(pool)
      let failures = 2
      pool.before = () =>
        failures-- > 0 ? Promise.reject(Object.assign(new Error('deadlock detected'), { code })) : undefined
      await put(engine)
      expect(pool.numbers).toEqual([1, 1, 1])
      expect(pool.broken).toBe(2)
      await engine.close()
    },
  )

  it('is closed within bounds where its server is away: what was under way and what waits for it is CLOSED', async () => {
    const pool = new FakePool()
    const engine = engineOn(pool, { closeWithinMs: 1 })
    pool.before = () => Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
    const pending = [put(engine), put(engine), engine.getMany([bytes('a')]), engine.count(), engine.flush()]
    const settled = Promise.allSettled(pending)
    await engine.close()
    for (const result of await settled) expect(result).toMatchObject({ reason: { code: 'CLOSED' } })
  })

  it('lets the connection of a snapshot go that was opened too late', async () => {
    const pool = new FakePool()
    const engine = engineOn(pool, { answerWithinMs: 5 })
    let answerLate = () => {}
    pool.before = () => {
      pool.before = () => undefined
      return new Promise<void>((resolve) => {
        answerLate = resolve
      })
    }
    const snapshot = await engine.snapshot(0)
    expect(pool.released).toBe(0)
    answerLate()
    await new Promise(setImmediate)
    expect(pool.released).toBe(1)
    await snapshot.close()
    expect(pool.released).toBe(2)
    await engine.close()
  })

  it('is closed within bounds where its server says nothing any more: calls, a snapshot and a replacement end', async () => {
    const pool = new FakePool()
    const engine = engineOn(pool, { closeWithinMs: 1 })
    const snapshot = await engine.snapshot(0)
    pool.before = (text) => (text === 'BEGIN' ? undefined : never())
    const blocks = async function* () {}
    const replacing = engine.replace(blocks(), EVERYTHING, { clockMs: 0, expectedEntries: 0 })
    const pending: Promise<unknown>[] = [replacing, put(engine), snapshot.count()]
    const settled = Promise.allSettled(pending)
    await engine.close()
    await snapshot.close()
    for (const result of await settled) expect(result).toMatchObject({ reason: { code: 'CLOSED' } })
    expect(pool.broken).toBeGreaterThanOrEqual(1)
  })

  it('is closed within bounds where the COMMIT of a snapshot is not answered any more', async () => {
    const pool = new FakePool()
    const engine = engineOn(pool, { closeWithinMs: 1 })
    const backend = new (class extends RemoteBackend {
      readonly snapshot = () => this.openSnapshot()
    })(engine)
    const snapshot = await backend.snapshot()
    pool.before = never
    await backend.close()
    await snapshot.close()
    expect([pool.statements.at(-1), pool.broken]).toEqual(['COMMIT', 1])
  })

  it('gives the connection of a snapshot back whole where its COMMIT is answered while it is closed', async () => {
    const pool = new FakePool()
    const backend = new (class extends RemoteBackend {
      readonly snapshot = () => this.openSnapshot()
    })(engineOn(pool))
    await backend.snapshot()
    pool.before = (text) => (text === 'COMMIT' ? new Promise(setImmediate) : undefined)
    await backend.close()
    expect([pool.statements.at(-1), pool.broken]).toEqual(['COMMIT', 0])
  })

  it('waits for the disk when it is closed, where its sessions do not', async () => {
    const pool = new FakePool()
    pool.mode = 'off'
    const engine = engineOn(pool, { isHasty: true })
    await put(engine)
    pool.statements.length = 0
    await engine.close()
    expect(pool.statements.join('\n')).toMatch(/set_config\('synchronous_commit', 'on'/)
    const other = new FakePool()
    const careful = engineOn(other)
    await put(careful)
    other.before = never
    await careful.close()
  })
})
