// Rows of an outbox table, in the order of the transactions that have written them.
//
// (1) A row has the id of its transaction beside its own, which grows. A position is both.
// (2) Rows are read once no transaction that is older than theirs can write any more (`pg_snapshot_xmin`): one that commits late is never
//     passed over, as it would be by the ids of rows alone.
// (3) Each read begins with the last row that counts: where it is gone, others behind it may be gone as well (J6).

import { unlessGivenUp } from '../../base/abort.js'
import type { StateError } from '../../base/errors.js'
import { invalidArgument, oneOf, rejectViolations, rules, violationsOf } from '../../base/options.js'
import type {
  OpenSourceOptions,
  PolledEvents,
  PollRequest,
  Positions,
  Source,
  SourceReader,
} from '../../job/source/source.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import {
  acquire,
  mayPass,
  type PooledPostgresClient,
  type PostgresPool,
  postgresPool,
  quoted,
  sqlName,
  statement,
  withClient,
} from '../../remote/postgres-client.js'
import { Arrival } from '../shared/arrival.js'
import { Courtesy } from '../shared/courtesy.js'
import { decodeEach } from '../shared/decode-each.js'
import { restoreFailed } from '../shared/restore-failed.js'

const DEFAULT_POLL_EVERY_MS = 100

/** A row, as `pg` gives it. */
export interface OutboxRow {
  readonly [column: string]: unknown
}

export interface PostgresOutboxSourceOptions<Event> extends OutageOptions {
  /** A `Pool` of `pg`. */
  readonly pool: PostgresPool
  /** The table, with its schema where it needs one. It is the partition. */
  readonly table: string
  /** The column that numbers rows: `bigint GENERATED ALWAYS AS IDENTITY`. Default `id`. */
  readonly idColumn?: string
  /** The column with the id of the transaction: `xid8 NOT NULL DEFAULT pg_current_xact_id()`. Default `transaction_id`. */
  readonly transactionColumn?: string
  /** Makes an event of a row. What it throws makes the event a bad one. Default: the column `payload`. */
  readonly decode?: (row: OutboxRow) => Event
  /** Whether the source waits for rows to come, for ever. `false`: it ends with the last row that could be read when it was opened. Default true. */
  readonly follow?: boolean
  /** How often the table is looked at where it had nothing, in milliseconds. Default 100. */
  readonly pollEveryMs?: number
  /** A channel to `LISTEN` on: whoever writes rows sends `NOTIFY` in the same transaction, and the table is looked at once that has come. It takes a connection of the pool. */
  readonly channel?: string
  /** Whether rows are deleted once a checkpoint has them. The last of them stays, as the place to go on from. Default false. */
  readonly deleteAfterCut?: boolean
  /** What happens where rows behind the position may be gone: `'fail'`, the default, is `RESTORE_FAILED`; `'continue'` goes on with the first one that is there. */
  readonly onTrimmed?: 'fail' | 'continue'
}

/**
 * Rows of a table that other transactions write to beside their own changes (an outbox), each once, in the order of the transactions.
 *
 * @example
 * // CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY, transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
 * //                      payload jsonb NOT NULL, PRIMARY KEY (transaction_id, id))
 * postgresOutboxSource<Usage>({ pool, table: 'outbox' })
 */
export function postgresOutboxSource<Event>(options: PostgresOutboxSourceOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      pool: postgresPool,
      table: sqlName,
      idColumn: sqlName,
      transactionColumn: sqlName,
      decode: rules.function,
      follow: rules.boolean,
      pollEveryMs: rules.positiveMs,
      channel: sqlName,
      deleteAfterCut: rules.boolean,
      onTrimmed: oneOf('fail', 'continue'),
    }),
  )
  const given = (options ?? {}) as Partial<PostgresOutboxSourceOptions<Event>>
  for (const name of ['pool', 'table'] as const)
    if (given[name] === undefined) throw invalidArgument(`options.${name}`, 'is required')
  return Object.freeze({
    name: `PostgreSQL table ${options.table}`,
    open: (request: OpenSourceOptions) => OutboxReader.open(options, request),
  })
}

/** A type, so that it is JSON to the compiler. Both are decimal: they may be beyond 2^53. */
type RowPosition = { readonly transaction: string; readonly id: string }

const BEGINNING: RowPosition = { transaction: '0', id: '-9223372036854775808' }

class OutboxReader<Event> implements SourceReader<Event> {
  readonly #options: PostgresOutboxSourceOptions<Event>
  readonly #outage: Outage
  readonly #deleting: Courtesy
  readonly #sql: ReturnType<typeof statementsOf>
  readonly #closing = new AbortController()
  readonly #arrival = new Arrival(this.#closing.signal)
  /** Behind the last row that was given out. */
  #last: RowPosition = BEGINNING
  #end: RowPosition | undefined
  #hasEnded = false
  #listener: PooledPostgresClient | undefined

  private constructor(options: PostgresOutboxSourceOptions<Event>) {
    this.#options = options
    const { table } = options
    this.#sql = statementsOf(options)
    this.#outage = new Outage({
      storage: `PostgreSQL table ${table}`,
      passes: mayPass,
      ...outageOf(options),
    })
    this.#deleting = new Courtesy(this.#outage, mayPass)
  }

  static async open<Event>(
    options: PostgresOutboxSourceOptions<Event>,
    { positions, signal }: OpenSourceOptions,
  ): Promise<OutboxReader<Event>> {
    const reader = new OutboxReader(options)
    const { table } = options
    const begin = async () => {
      if (Object.hasOwn(positions, table)) await reader.#goTo(positions[table])
      if (options.follow === false) await reader.#noteEnd()
    }
    try {
      await unlessGivenUp(signal, 'open the source', begin, () => void reader.close().catch(() => {}))
      return reader
    } catch (error) {
      await reader.close()
      throw error
    }
  }

  partitions(): readonly string[] {
    return [this.#options.table]
  }

  async poll({ maxEvents, waitMs, paused, signal }: PollRequest): Promise<readonly PolledEvents<Event>[]> {
    const { table, pollEveryMs = DEFAULT_POLL_EVERY_MS } = this.#options
    const deadline = performance.now() + waitMs
    for (;;) {
      const isWanted = !paused.has(table) && !this.#hasEnded
      const told = this.#arrival.count
      const rows = isWanted
        ? await this.#outage.untilAnswered('read', () => this.#rows(maxEvents), signal)
        : undefined
      if (rows !== undefined && !this.#closing.signal.aborted) {
        const polled = this.#decoded(rows)
        if (rows.length > 0 || polled.hasEnded === true || performance.now() >= deadline) return [polled]
      }
      const leftMs = deadline - performance.now()
      if (leftMs <= 0 || this.#closing.signal.aborted || signal?.aborted === true) return []
      await this.#arrival.wait(Math.min(leftMs, pollEveryMs), signal, told)
    }
  }

  /** A courtesy: where it fails by an outage, a later cut does it. Rows that have gathered for long may take long, and hold back nothing. */
  async checkpointCompleted(positions: Positions): Promise<void> {
    const { table, deleteAfterCut, pool } = this.#options
    const position = Object.hasOwn(positions, table) ? positions[table] : undefined
    if (deleteAfterCut !== true || !isPosition(position)) return
    const values = [position.transaction, position.id]
    await this.#deleting.show('delete', () =>
      withClient(pool, (client) => client.query(this.#sql.deleteBefore, values)),
    )
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#outage.close()
    this.#listener?.release(true)
    this.#listener = undefined
  }

  async #goTo(position: unknown): Promise<void> {
    const { table } = this.#options
    if (!isPosition(position))
      throw restoreFailed(`${table}: ${JSON.stringify(position)} is no position in an outbox table`)
    this.#last = position
    const [next] =
      (await this.#ask('SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS found', [])) ?? []
    if (BigInt(String(next?.['found'])) <= BigInt(position.transaction)) {
      const { transaction } = position
      throw restoreFailed(
        `PostgreSQL table ${table}: transaction ${transaction} is wanted, and the server has not come so far: it is not the one that was read`,
      )
    }
    await this.#outage.answerOf('open', () => this.#rows(1))
  }

  async #noteEnd(): Promise<void> {
    const [last] = await this.#ask(this.#sql.last, [])
    this.#end = last === undefined ? BEGINNING : positionOf(last)
  }

  async #ask(text: string, values: unknown[]): Promise<readonly OutboxRow[]> {
    return (await statement(this.#options.pool, this.#outage, 'open', text, values)).rows
  }

  /** The rows behind the last one, at most so many. That one is read again: it must still be there. */
  async #rows(count: number): Promise<readonly OutboxRow[]> {
    const { pool, channel } = this.#options
    if (channel !== undefined && this.#listener === undefined) await this.#listen(channel)
    const { transaction, id } = this.#last
    const isFirst = this.#last === BEGINNING
    return await withClient(pool, async (client) => {
      const { rows } = await client.query(this.#sql.next, [transaction, id, isFirst ? count : count + 1])
      const [first] = rows
      const isThere = first !== undefined && isSame(positionOf(first), this.#last)
      if (isThere) return rows.slice(1)
      if (!isFirst && this.#options.onTrimmed !== 'continue') {
        // It was deleted by itself where those before it are still there.
        const before = await client.query(this.#sql.before, [transaction, id])
        if (before.rows.length === 0) throw this.#trimmed(first)
      }
      return rows.slice(0, count)
    })
  }

  #trimmed(first: OutboxRow | undefined): StateError {
    const { transaction, id } = this.#last
    const has = first === undefined ? 'has no rows' : `begins at ${textOf(positionOf(first))}`
    return restoreFailed(
      `PostgreSQL table ${this.#options.table}: rows behind ${textOf({ transaction, id })} are wanted and may be gone: it ${has}`,
    )
  }

  async #listen(channel: string): Promise<void> {
    const given: { client?: PooledPostgresClient } = {}
    const letGo = () => {
      if (given.client === undefined || this.#listener !== given.client) return
      this.#listener = undefined
      given.client.release(true)
      this.#arrival.tell()
    }
    const client = await acquire(this.#options.pool, letGo)
    // It was waited for too long, and another one is there by now; or nobody wants it any more.
    if (this.#listener !== undefined || this.#closing.signal.aborted) {
      client.removeListener('error', letGo)
      client.release(false)
      return
    }
    given.client = client
    client.on('end', letGo)
    client.on('notification', () => this.#arrival.tell())
    this.#listener = client
    try {
      await client.query(`LISTEN ${quoted(channel)}`)
    } catch (error) {
      letGo()
      throw error
    }
    if (this.#closing.signal.aborted) letGo()
  }

  #decoded(rows: readonly OutboxRow[]): PolledEvents<Event> {
    const { table, decode = payloadOf<Event> } = this.#options
    const positions = rows.map((row) => positionOf(row))
    const { events, failures } = decodeEach(
      rows,
      ({ holdfast_transaction: _transaction, holdfast_id: _id, ...row }) => decode(row),
    )
    this.#last = positions.at(-1) ?? this.#last
    const end = this.#end
    this.#hasEnded = end !== undefined && (rows.length === 0 || !isBefore(this.#last, end))
    return {
      partition: table,
      events,
      positionAfter: (place) => positions[place] as RowPosition,
      ...(failures.size > 0 && { failures }),
      ...(this.#hasEnded && { hasEnded: true }),
    }
  }
}

function payloadOf<Event>(row: OutboxRow): Event {
  if (!Object.hasOwn(row, 'payload')) throw new Error('the row has no column payload')
  return row['payload'] as Event
}

function statementsOf(
  options: Pick<PostgresOutboxSourceOptions<unknown>, 'table' | 'idColumn' | 'transactionColumn'>,
) {
  const table = quoted(options.table)
  const id = quoted(options.idColumn ?? 'id')
  const transaction = quoted(options.transactionColumn ?? 'transaction_id')
  const own = `${transaction}::text AS holdfast_transaction, ${id}::text AS holdfast_id`
  const isSettled = `${transaction} < pg_snapshot_xmin(pg_current_snapshot())`
  const position = '($1::xid8, $2::bigint)'
  return {
    next: `SELECT *, ${own} FROM ${table} WHERE (${transaction}, ${id}) >= ${position} AND ${isSettled} ORDER BY ${transaction}, ${id} LIMIT $3`,
    before: `SELECT 1 FROM ${table} WHERE (${transaction}, ${id}) < ${position} LIMIT 1`,
    last: `SELECT ${own} FROM ${table} WHERE ${isSettled} ORDER BY ${transaction} DESC, ${id} DESC LIMIT 1`,
    deleteBefore: `DELETE FROM ${table} WHERE (${transaction}, ${id}) < ${position}`,
  }
}

const NUMBER = /^-?\d{1,20}$/

function isPosition(value: unknown): value is RowPosition {
  const { transaction, id } = (value ?? {}) as Partial<RowPosition>
  return (
    typeof transaction === 'string' && NUMBER.test(transaction) && typeof id === 'string' && NUMBER.test(id)
  )
}

const positionOf = (row: OutboxRow): RowPosition => ({
  transaction: String(row['holdfast_transaction']),
  id: String(row['holdfast_id']),
})

const isSame = (left: RowPosition, right: RowPosition): boolean =>
  left.transaction === right.transaction && left.id === right.id

function isBefore(left: RowPosition, right: RowPosition): boolean {
  const transactions = [BigInt(left.transaction), BigInt(right.transaction)] as const
  return transactions[0] === transactions[1]
    ? BigInt(left.id) < BigInt(right.id)
    : transactions[0] < transactions[1]
}

const textOf = ({ transaction, id }: RowPosition): string => `row ${id} of transaction ${transaction}`
