// Outputs exactly once, in transactions of the caller's own statements.
//
//   the table of notes:   (sink, '')      -> a random id: who has taken the sink over last; its row is locked by whoever writes
//                         (sink, LINEAGE) -> 'EPOCH OUTPUTS ID', the newest epoch, how many of its outputs were written, and a random id of the run that has prepared it

import { StateError } from '../../base/errors.js'
import {
  nonEmptyText,
  oneOf,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import { type IdentifiedOutput, identified } from '../../job/sink/function-sink.js'
import type { OutboxBatch } from '../../job/sink/outbox-writer.js'
import type { Sink } from '../../job/sink/sink.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import {
  mayPass,
  type PostgresClient,
  type PostgresPool,
  postgresPool,
  quoted,
  sqlName,
  statement,
  withClient,
} from '../../remote/postgres-client.js'
import {
  isLost,
  type Ledger,
  type LedgerSinkOptions,
  type LostOutputs,
  ledgerSink,
  type NotedEpoch,
} from '../shared/ledger-sink.js'
import { takeOver } from '../shared/take-over.js'

const DEFAULT_TABLE = 'holdfast_sinks'
/** Both last as long as the transaction: a process that hangs in the middle of it holds up its heir no longer than that; and a mark that tells whether it is still the same one. */
const BEGUN =
  "SELECT set_config('idle_in_transaction_session_timeout', '20s', true), set_config('holdfast.sink', 'writes', true)"
const IS_STILL_THAT = "current_setting('holdfast.sink', true) = 'writes'"
/** Somebody else makes the table at the same moment. */
const IS_MADE = new Set(['23505', '42P07'])

export interface PostgresSinkOptions<Output> extends OutageOptions, LedgerSinkOptions {
  /** A `Pool` of `pg`. */
  readonly pool: PostgresPool
  /** Names the sink in the table of notes: one job at a time has it. */
  readonly name: string
  /**
   * Writes outputs by statements on this connection, which is in the transaction that the note is in: everything counts, or nothing does. It may be
   * called again for the same outputs where the transaction did not count. It must not end the transaction: the job ends with `STORAGE_ERROR` then.
   */
  readonly write: (client: PostgresClient, outputs: readonly IdentifiedOutput<Output>[]) => Promise<void>
  /** The table of notes; it is made where it is not there. Default `holdfast_sinks`. */
  readonly table?: string
}

/**
 * Outputs to tables of PostgreSQL, each exactly once, in order, after the checkpoint that has them: in one transaction with a note of how far the sink
 * has come. Outputs must be JSON; they lie in the state of the job until then. After going back to an older checkpoint, what was written since stays.
 *
 * @example
 * postgresSink<Total>({
 *   pool,
 *   name: 'totals',
 *   write: async (client, outputs) => {
 *     for (const { output } of outputs)
 *       await client.query('UPDATE totals SET tokens = tokens + $2 WHERE tenant = $1', [output.tenant, output.tokens])
 *   },
 * })
 */
export function postgresSink<Output>(options: PostgresSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      pool: postgresPool,
      name: nonEmptyText,
      write: rules.function,
      table: sqlName,
      maxOutputs: rules.positiveInteger,
      onLostOutputs: oneOf('fail', 'continue'),
    }),
  )
  requireSettings(options, ['pool', 'name', 'write'])
  return ledgerSink(`PostgreSQL sink ${options.name}`, () => new TableLedger(options), options)
}

class TableLedger<Output> implements Ledger<Output> {
  readonly place: string
  readonly #options: PostgresSinkOptions<Output>
  readonly #outage: Outage
  readonly #table: string

  constructor(options: PostgresSinkOptions<Output>) {
    const { name, table = DEFAULT_TABLE } = options
    this.place = `PostgreSQL sink ${name}`
    this.#options = options
    this.#table = quoted(table)
    this.#outage = new Outage({
      storage: this.place,
      passes: mayPass,
      ...outageOf(options),
    })
  }

  async claim(owner: string, checkOwner: (() => Promise<void>) | undefined): Promise<void> {
    const { pool, name } = this.#options
    const make = `CREATE TABLE IF NOT EXISTS ${this.#table} (sink text, lineage text, note text NOT NULL, PRIMARY KEY (sink, lineage))`
    await this.#outage.answerOf('make the table of notes', () =>
      withClient(pool, (client) => client.query(make)).catch((error: unknown) => {
        const { code } = (error ?? {}) as { readonly code?: string }
        if (code === undefined || !IS_MADE.has(code)) throw error
      }),
    )
    const has = `SELECT note FROM ${this.#table} WHERE sink = $1 AND lineage = ''`
    const take = `INSERT INTO ${this.#table} AS held (sink, lineage, note) VALUES ($1, '', $2)
      ON CONFLICT (sink, lineage) DO UPDATE SET note = excluded.note WHERE held.note IN ($2, $3) RETURNING note`
    const ask = (text: string, values: unknown[]) => statement(pool, this.#outage, 'claim', text, values)
    await takeOver(
      {
        read: async () => String((await ask(has, [name])).rows[0]?.['note'] ?? ''),
        take: async (from) => (await ask(take, [name, owner, from])).rows.length > 0,
      },
      checkOwner,
    )
  }

  async append(
    batch: OutboxBatch<Output>,
    owner: string,
    acceptsLoss: boolean,
  ): Promise<LostOutputs | undefined> {
    const { pool } = this.#options
    return await this.#outage.answerOf('append', () =>
      withClient(pool, async (client) => {
        await client.query('BEGIN')
        await client.query(BEGUN)
        const lost = await this.#appendWithin(client, batch, owner, acceptsLoss)
        // Had a statement failed, the one for the note would have failed as well.
        await client.query('COMMIT')
        return lost
      }),
    )
  }

  async noted(lineage: string): Promise<NotedEpoch | undefined> {
    const note = await this.#outage.answerOf('claim', () =>
      withClient(this.#options.pool, (client) => this.#note(client, lineage, '')),
    )
    return epochOf(note, this.#table)
  }

  async close(): Promise<void> {
    this.#outage.close()
  }

  get #put(): string {
    return `INSERT INTO ${this.#table} (sink, lineage, note) SELECT $1, $2, $3 WHERE ${IS_STILL_THAT}
      ON CONFLICT (sink, lineage) DO UPDATE SET note = excluded.note RETURNING sink`
  }

  async #appendWithin(
    client: PostgresClient,
    { epoch, first, outputs, preparedBy }: OutboxBatch<Output>,
    owner: string,
    acceptsLoss: boolean,
  ): Promise<LostOutputs | undefined> {
    const { name, write } = this.#options
    const has = await this.#note(client, '', 'FOR UPDATE')
    if (has !== owner)
      throw new StateError('FENCED', { resource: this.place, owner: has ?? 'nobody: its note is gone' })
    const noted = epochOf(await this.#note(client, epoch.lineage, ''), this.#table)
    if (!acceptsLoss && isLost(noted, epoch, first)) return { noted }
    if (noted !== undefined && noted.number > epoch.number) return undefined
    const done = noted?.number === epoch.number ? noted.outputs : 0
    const left = outputs.slice(Math.max(0, done - first))
    if (left.length > 0) await write(client, identified(left, epoch, first + outputs.length - left.length))
    const count = Math.max(done, first + outputs.length)
    const { rows } = await client.query(this.#put, [
      name,
      epoch.lineage,
      `${epoch.number} ${count}${preparedBy === undefined ? '' : ` ${preparedBy}`}`,
    ])
    if (rows.length === 0) {
      const reason =
        '`write` has ended the transaction: its statements and the note of them count together, or not at all'
      throw new StateError('STORAGE_ERROR', { storage: this.place, operation: 'append', reason })
    }
    return undefined
  }

  async #note(client: PostgresClient, lineage: string, lock: string): Promise<string | undefined> {
    const select = `SELECT note FROM ${this.#table} WHERE sink = $1 AND lineage = $2 ${lock}`
    const { rows } = await client.query(select, [this.#options.name, lineage])
    const note = rows[0]?.['note']
    return note === undefined ? undefined : String(note)
  }
}

function epochOf(note: string | undefined, table: string): NotedEpoch | undefined {
  if (note === undefined) return undefined
  const [number, outputs, preparedBy] = note.split(' ')
  if (Number.isSafeInteger(Number(number)) && Number.isSafeInteger(Number(outputs)))
    return { number: Number(number), outputs: Number(outputs), preparedBy }
  throw new StateError('CORRUPTION', { what: `a note in ${table}`, reason: `${note} is no epoch` })
}
