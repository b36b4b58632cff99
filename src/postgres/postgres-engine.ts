// A store in tables of PostgreSQL, as an engine.
//
// (1) One write at a time, in the order of the calls, each with a number: the server applies number n once, and nothing that comes late.
//     A server that has gone back behind the last number that was applied (a standby that lacked it has taken over) is found out by that.
// (2) A snapshot is a transaction that sees one instant (REPEATABLE READ). It takes its turn among the writes: what is written after the
//     call is not in it.
// (3) Where it cannot be known whether a write was applied, or another one owns the store, nothing is written any more.
// (4) A replacement holds the turn until its blocks have been read. Whoever reads them may read, flush, and take snapshots of the store: what
//     of these takes its turn otherwise does not then, since nothing is written before the replacement ends.

import type { EntryBlock } from '../backend/entry-block.js'
import type {
  EngineBatch,
  EngineReplaceOptions,
  RemoteEngine,
  RemoteEngineSnapshot,
} from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import type { BackendSupport, Entry } from '../backend/types.js'
import { orAborted } from '../base/abort.js'
import { type CancelTimer, type Clock, ForwardClock, setLongTimer, settlesWithin } from '../base/clock.js'
import { isStateError, StateError } from '../base/errors.js'
import { Mutex } from '../base/mutex.js'
import type { Outage } from '../remote/outage.js'
import {
  type PostgresClient,
  type PostgresPool,
  type PostgresResult,
  quoted,
  withClient,
} from '../remote/postgres-client.js'
import { type BatchArguments, batchArguments, noArguments, rangeArguments } from './batch-arguments.js'
import { bytea } from './binary-arrays.js'
import { type CopyFrom, insertBlocks } from './copy-rows.js'
import { entriesTable, writeStatement } from './migrations.js'
import { joinedFailure, storageError } from './postgres-failure.js'
import { bytesOf, countOf, numberOf, pageOf, type RunStatement, valuesOf } from './postgres-rows.js'
import { PostgresSnapshot } from './postgres-snapshot.js'
import type { OwnedStore } from './store-row.js'

/** Expired entries that a write removes beside what it puts, at most. */
const SWEPT_BY_WRITE = 1_000
/** Expired entries that one slice of a sweep removes. */
const SWEEP_SLICE = 1_000
/** Of one statement; the server takes twice that. */
const MAX_STATEMENT_BYTES = 512 * 1024 * 1024

export interface PostgresEngineSettings {
  readonly pool: PostgresPool
  readonly outage: Outage
  readonly schema: string
  readonly name: string
  readonly store: OwnedStore
  /** Of timers, and of time. */
  readonly clock: Clock
  readonly ttlMs: number
  readonly sweepIntervalMs: number
  readonly copyFrom: CopyFrom | undefined
  /** How long `close` waits for what is under way, in milliseconds. */
  readonly closeWithinMs: number
}

export class PostgresEngine implements RemoteEngine {
  readonly name = 'postgres'
  readonly supports: BackendSupport
  readonly clock: ForwardClock
  readonly ttlMs: number
  entries: number
  expired = 0
  readonly #settings: PostgresEngineSettings
  readonly #table: string
  readonly #write: string
  readonly #turn = new Mutex()
  #number = 0
  /** The last number of which it is known that the server has applied it. */
  #applied = 0
  /** Why nothing is written any more. */
  #stopped: StateError | undefined
  #hasDeadlines: boolean
  #cancelSweep: CancelTimer | undefined
  #isReplacing = false
  /** Whether sessions do not wait for the disk, as far as was seen. */
  #isHasty: boolean
  readonly #closing = new AbortController()

  constructor(settings: PostgresEngineSettings) {
    const { clock, store, schema, ttlMs } = settings
    this.#settings = settings
    this.clock = new ForwardClock(clock)
    this.clock.advanceTo(store.clockMs)
    this.ttlMs = ttlMs
    this.entries = store.entries
    this.#hasDeadlines = store.hasDeadlines
    this.#isHasty = store.isHasty
    this.#table = entriesTable(schema, store.id)
    this.#write = writeStatement(schema, store.id)
    this.supports = Object.freeze({
      sync: false,
      ttl: true,
      orderedScan: 'instant',
      snapshots: true,
      changes: false,
      sharing: false,
      replace: true,
      inPlace: false,
      durable: !store.isUnlogged,
    })
    this.#armSweep()
  }

  async getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return await valuesOf(this.#run, this.#table, keys, this.clock.now())
  }

  async has(key: Uint8Array): Promise<boolean> {
    const text = `SELECT 1 FROM ${this.#table} WHERE key = $1::bytea AND (expires_at IS NULL OR expires_at > $2::float8)`
    const { rows } = await this.#run('contains', text, [bytea(key), this.clock.now()])
    return rows.length > 0
  }

  async expiredAtMs(key: Uint8Array): Promise<number | undefined> {
    const text = `SELECT expires_at FROM ${this.#table} WHERE key = $1::bytea AND expires_at <= $2::float8`
    const { rows } = await this.#run('get', text, [bytea(key), this.clock.now()])
    const [row] = rows
    return row === undefined ? undefined : numberOf(row['expires_at'])
  }

  async write(batch: EngineBatch): Promise<void> {
    await this.#apply(batchArguments(batch), SWEPT_BY_WRITE)
  }

  /** The same in a transaction of the caller's: applied once that is committed. Neither waits nor tries again. */
  async writeJoined(batch: EngineBatch, client: Pick<PostgresClient, 'query'>): Promise<void> {
    if (this.#stopped !== undefined) throw this.#stopped
    const args = batchArguments(batch)
    let answer: PostgresResult
    try {
      answer = await client.query(this.#write, this.#valuesOf(args, null, 0))
    } catch (error) {
      throw joinedFailure(error)
    }
    this.#note(answer)
    if (args[2] !== null) this.#noteDeadlines()
  }

  async deleteRange(interval: KeyInterval): Promise<void> {
    await this.#apply(rangeArguments(interval), 0)
  }

  async clear(): Promise<void> {
    await this.#apply(rangeArguments({ from: new Uint8Array(0), until: undefined }), 0)
  }

  async *scan(interval: KeyInterval): AsyncIterable<Entry> {
    const nowMs = this.clock.now()
    // Most scans end within a page, which is one statement and so one instant. Where there is more, all of it is read again as of one.
    const first = await pageOf(this.#run, this.#table, interval, nowMs)
    if (first.isLast || first.entries.length >= interval.limit) {
      for (const { key, value } of first.entries) if (value !== undefined) yield [key, value]
      return
    }
    const snapshot = await this.#openSnapshot(nowMs)
    try {
      for await (const { key, value } of snapshot.entries(interval)) {
        if (value !== undefined) yield [key, value]
      }
    } finally {
      await snapshot.close()
    }
  }

  async count(): Promise<number> {
    return await countOf(this.#run, this.#table, this.clock.now())
  }

  async snapshot(takenAtMs: number): Promise<RemoteEngineSnapshot> {
    // Nothing is written while the content is being replaced, which may last until this one was read.
    if (this.#isReplacing) return await this.#openSnapshot(takenAtMs)
    return await this.#turn.run(() => this.#openSnapshot(takenAtMs))
  }

  async replace(
    blocks: AsyncIterable<EntryBlock>,
    interval: KeyInterval,
    { clockMs = 0 }: EngineReplaceOptions,
  ): Promise<void> {
    await this.#turn.run(async () => {
      if (this.#stopped !== undefined) throw this.#stopped
      const number = ++this.#number
      const expiredBefore = this.expired
      this.#isReplacing = true
      let isCommitting = false
      // What their reader has thrown is passed on as it is.
      const read = { failure: undefined as { readonly error: unknown } | undefined }
      try {
        const replaced = withClient(this.#settings.pool, async (client) => {
          await client.query('BEGIN')
          await client.query('SET LOCAL statement_timeout = 0')
          const nowMs = Math.max(this.clock.now(), clockMs)
          const removed = await client.query(
            this.#write,
            this.#valuesOf(rangeArguments(interval), number, 0, nowMs),
          )
          this.#note(removed)
          const { copyFrom } = this.#settings
          const { entries, expires } = await insertBlocks(
            client,
            this.#table,
            this.#untilClosed(blocks, read),
            copyFrom,
          )
          const stores = `${quoted(this.#settings.schema)}.stores`
          await client.query(
            `UPDATE ${stores} SET entries = entries + $1, has_deadlines = has_deadlines OR $2 WHERE id = $3`,
            [entries, expires, this.#settings.store.id],
          )
          isCommitting = true
          await client.query('COMMIT')
          this.#applied = number
          this.entries += entries
          if (expires) this.#noteDeadlines()
        })
        await this.#settings.outage.untilClosed('replaceAll', replaced)
      } catch (error) {
        if (!isCommitting || !(await this.#wasApplied(number))) {
          // What had expired is there again, and is counted when it is removed.
          this.expired = expiredBefore
          await this.#readEntries()
          if (read.failure !== undefined) throw read.failure.error
          if (isStateError(error, 'ABORTED')) throw closed()
          throw isStateError(error) ? error : storageError('replaceAll', error)
        }
        this.#applied = number
        await this.#readEntries()
      } finally {
        this.#isReplacing = false
      }
      this.clock.advanceTo(clockMs)
    })
  }

  /** What the server has committed is durable: this waits for writes under way, and sees to sessions that do not wait for the disk. */
  async flush(): Promise<void> {
    if (this.#isReplacing) await this.#flushCommitted()
    else await this.#turn.run(() => this.#flushCommitted())
  }

  /**
   * What is under way, and each snapshot, has its time to end; behind it, what sessions have not waited for is on the disk, or this rejects. Then everything
   * that is still pending is `CLOSED`.
   */
  async close(snapshotsClosed: Promise<unknown> = Promise.resolve()): Promise<void> {
    this.#closing.abort()
    this.#cancelSweep?.()
    const { outage, closeWithinMs } = this.#settings
    const mustFlush = () => this.#isHasty && this.#number > 0 && this.#stopped === undefined
    const ended = this.#turn.run(async () => {
      if (mustFlush()) await this.#flushCommitted()
    })
    const [hasEnded] = await Promise.all([
      settlesWithin(ended, closeWithinMs),
      settlesWithin(snapshotsClosed, closeWithinMs),
    ])
    const isUnsure = mustFlush()
    outage.close()
    if (hasEnded) await ended
    else if (isUnsure) throw storageError('close', new Error(`no answer within ${closeWithinMs} ms`))
    ended.catch(() => {})
  }

  readonly #run: RunStatement = async (operation, text, values) => {
    const { pool } = this.#settings
    return await this.#answerOf(operation, () => withClient(pool, (client) => client.query(text, values)))
  }

  async #flushCommitted(): Promise<void> {
    const { schema, store } = this.#settings
    const asked = `SELECT current_setting('synchronous_commit') AS mode, (SELECT entries::float8 FROM ${quoted(schema)}.stores WHERE id = $1) AS entries`
    const { rows } = await this.#run('flush', asked, [store.id])
    const [row] = rows
    this.#isHasty = row?.['mode'] === 'off'
    // Of batches in transactions of the caller's some may have been rolled back. What is being replaced is counted behind it.
    const entries = row?.['entries'] ?? undefined
    if (entries !== undefined && !this.#isReplacing) this.entries = numberOf(entries)
    if (!this.#isHasty) return
    // A commit that waits for the disk takes all before it with it. It has something to commit, and needs no lock.
    const text = `WITH mode AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true) AS is) SELECT pg_logical_emit_message(true, 'holdfast', '') FROM mode WHERE mode.is = 'on'`
    await this.#run('flush', text, [])
  }

  /** What is pending when this is closed is told so. */
  async #answerOf<Answer>(
    operation: string,
    call: () => Promise<Answer>,
    discard?: (late: Answer) => unknown,
  ): Promise<Answer> {
    try {
      return await this.#settings.outage.answerOf(operation, call, undefined, discard)
    } catch (error) {
      throw isStateError(error, 'ABORTED') ? closed() : error
    }
  }

  async #apply(args: BatchArguments, sweep: number): Promise<void> {
    let bytes = 0
    for (const argument of args) bytes += argument?.length ?? 0
    if (bytes > MAX_STATEMENT_BYTES) {
      const reason = `takes ${bytes} bytes in one statement; the limit is ${MAX_STATEMENT_BYTES}`
      throw new StateError('INVALID_ARGUMENT', { violations: [{ argument: 'batch', reason }] })
    }
    await this.#turn.run(async () => {
      await this.#numbered(args, sweep)
      if (args[2] !== null && args[2] !== undefined) this.#noteDeadlines()
    })
  }

  /** Within the turn. Returns how many expired entries were removed besides. */
  async #numbered(args: BatchArguments, sweep: number): Promise<number> {
    if (this.#stopped !== undefined) throw this.#stopped
    // Also the number of a batch that is refused is used up: an attempt that arrives late must never stand for another batch.
    const number = ++this.#number
    const { pool } = this.#settings
    let attempts = 0
    let answer: PostgresResult
    try {
      answer = await this.#answerOf('write', () => {
        attempts++
        return withClient(pool, (client) => client.query(this.#write, this.#valuesOf(args, number, sweep)))
      })
    } catch (error) {
      // A statement that the server has refused was not applied, unless an attempt before was; after anything else nobody knows.
      if (isStateError(error) && !(attempts === 1 && isRefusal(error))) this.#stopped = error
      throw error
    }
    const swept = this.#note(answer)
    this.#applied = number
    return swept
  }

  #valuesOf(args: BatchArguments, number: number | null, sweep: number, nowMs = this.clock.now()): unknown[] {
    // Another transaction may have begun before the last write, and then does not see it.
    const applied = number === null ? 0 : this.#applied
    return [this.#settings.store.token, number, nowMs, ...args, sweep, applied]
  }

  /** Takes over what the server has told, or throws what it has refused. */
  #note({ rows }: PostgresResult): number {
    const [row] = rows
    if (row === undefined) {
      const reason = 'the server has lost writes that it had acknowledged'
      this.#stopped = new StateError('STORAGE_ERROR', { storage: 'PostgreSQL', operation: 'write', reason })
      throw this.#stopped
    }
    const { outcome, failed, held, expired, swept } = row
    if (outcome === 'unexpected') throw new StateError('CONCURRENT_MODIFICATION', { key: bytesOf(failed) })
    if (outcome === 'emptied') {
      const reason =
        'a crash of the server has emptied this store, which is not logged: open it anew, and restore it'
      this.#stopped = new StateError('STORAGE_ERROR', { storage: 'PostgreSQL', operation: 'write', reason })
      throw this.#stopped
    }
    if (outcome !== 'applied') {
      const told =
        failed === null || failed === undefined ? 'another one' : Buffer.from(bytesOf(failed)).toString()
      const owner = told === '' ? 'nobody: its row was deleted' : told
      const resource = `store '${this.#settings.name}'`
      this.#stopped = new StateError('FENCED', { resource, owner })
      throw this.#stopped
    }
    this.entries = numberOf(held)
    this.expired += numberOf(expired)
    return numberOf(swept)
  }

  async #openSnapshot(takenAtMs: number): Promise<PostgresSnapshot> {
    const { pool, outage } = this.#settings
    return await this.#answerOf(
      'snapshot',
      () => PostgresSnapshot.open({ pool, outage, table: this.#table, takenAtMs }),
      (late) => late.close(),
    )
  }

  /** Blocks may be long in coming, from wherever they are read: whoever closes does not wait for them. */
  async *#untilClosed(
    blocks: AsyncIterable<EntryBlock>,
    read: { failure: { readonly error: unknown } | undefined },
  ): AsyncGenerator<EntryBlock, void, undefined> {
    const { signal } = this.#closing
    const iterator = blocks[Symbol.asyncIterator]()
    try {
      while (!signal.aborted) {
        const { done, value } = await orAborted(iterator.next(), signal, closed).catch((error: unknown) => {
          read.failure = { error }
          throw error
        })
        if (done === true) return
        yield value
      }
      throw closed()
    } finally {
      // Where it is still at a block, it ends when that has come; nobody waits.
      void iterator.return?.()?.catch(() => {})
    }
  }

  /**
   * After a connection was lost in a COMMIT: the row is asked for with its lock, so that what is still being committed is waited for. Nobody
   * knows where the server does not tell: nothing is written then any more.
   */
  async #wasApplied(number: number): Promise<boolean> {
    const { schema, store } = this.#settings
    const text = `SELECT token::float8 AS token, last_batch::float8 AS batch FROM ${quoted(schema)}.stores WHERE id = $1 FOR UPDATE`
    try {
      const { rows } = await this.#run('replaceAll', text, [store.id])
      const [row] = rows
      return row !== undefined && row['token'] === store.token && row['batch'] === number
    } catch (error) {
      if (isStateError(error)) this.#stopped = error
      throw error
    }
  }

  async #readEntries(): Promise<void> {
    const { schema, store } = this.#settings
    const text = `SELECT entries::float8 AS entries FROM ${quoted(schema)}.stores WHERE id = $1`
    const { rows } = await this.#run('replaceAll', text, [store.id]).catch(() => ({ rows: [] }))
    if (rows[0] !== undefined) this.entries = numberOf(rows[0]['entries'])
  }

  #noteDeadlines(): void {
    this.#hasDeadlines = true
    this.#armSweep()
  }

  #armSweep(): void {
    const { clock, sweepIntervalMs } = this.#settings
    if (!this.#hasDeadlines || this.#cancelSweep !== undefined || this.#closing.signal.aborted) return
    if (sweepIntervalMs === Infinity) return
    this.#cancelSweep = setLongTimer(
      clock,
      () => {
        this.#cancelSweep = undefined
        // What fails here fails at the next write as well, or at the next sweep.
        this.#sweep()
          .catch(() => {})
          .finally(() => this.#armSweep())
      },
      sweepIntervalMs,
    )
  }

  /** In slices, between which writes have their turn. */
  async #sweep(): Promise<void> {
    let swept = SWEEP_SLICE
    while (swept >= SWEEP_SLICE && !this.#closing.signal.aborted && this.#stopped === undefined) {
      swept = await this.#turn.run(() => this.#numbered(noArguments(), SWEEP_SLICE))
    }
  }
}

const closed = () => new StateError('CLOSED', { component: 'postgres backend' })

/** Whether the server itself has said no, by a code of SQL that does not pass. */
function isRefusal({ cause }: StateError): boolean {
  const code = (cause as { readonly code?: unknown } | undefined)?.code
  return typeof code === 'string' && /^(2[2-8]|42|53|54|0A)...$/.test(code)
}
