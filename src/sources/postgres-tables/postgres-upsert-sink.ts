// Outputs as rows that are written again under the same key: at least once each, and the same rows after any crash.

import { StateError } from '../../base/errors.js'
import { rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { type IdentifiedOutput, identified } from '../../job/sink/function-sink.js'
import { OutboxWriter, openOutbox } from '../../job/sink/outbox-writer.js'
import type { OpenSinkOptions, Sink } from '../../job/sink/sink.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import {
  mayPass,
  type PostgresPool,
  postgresPool,
  quoted,
  sqlName,
  statement,
} from '../../remote/postgres-client.js'

/** A statement takes at most 65,535 values. */
const MOST_VALUES = 60_000
const DEFAULT_MAX_OUTPUTS = 1_000

export interface PostgresUpsertSinkOptions<Output> extends OutageOptions {
  /** A `Pool` of `pg`. */
  readonly pool: PostgresPool
  /** The table, with its schema where it needs one: `schema.table`. */
  readonly table: string
  /** The columns of its primary key, or of another unique index. */
  readonly key: readonly string[]
  /** The row of an output: the same columns for each. `id` is stable (`lineage-epoch-index`), for a table of events; of results, use a key of their own. */
  readonly row: (output: IdentifiedOutput<Output>) => { readonly [column: string]: unknown }
  /** How many rows are written in one statement. Default 1,000. */
  readonly maxOutputs?: number
}

/**
 * Outputs as rows of a table by `INSERT … ON CONFLICT DO UPDATE`, after the checkpoint that has them, in order: a row may be written again after a
 * crash, with the same values. It needs no table of its own. A process that was thought dead may write older rows over newer ones: `postgresSink` fences it.
 *
 * @example postgresUpsertSink<Minute>({ pool, table: 'minutes', key: ['tenant', 'minute'], row: ({ output }) => ({ ...output }) })
 */
export function postgresUpsertSink<Output>(options: PostgresUpsertSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      pool: postgresPool,
      table: sqlName,
      key: (key) =>
        Array.isArray(key) && key.length > 0 && key.every((column) => typeof column === 'string')
          ? undefined
          : 'must be an array of one or more columns',
      row: rules.function,
      maxOutputs: rules.positiveInteger,
    }),
  )
  requireSettings(options, ['pool', 'table', 'key', 'row'])
  const { pool, table, row, maxOutputs = DEFAULT_MAX_OUTPUTS } = options
  return Object.freeze({
    name: `PostgreSQL table ${table}`,
    guarantee: 'idempotent' as const,
    open: async (request: OpenSinkOptions): Promise<OutboxWriter<Output>> => {
      const outage = new Outage({
        storage: `PostgreSQL table ${table}`,
        passes: mayPass,
        ...outageOf(options),
      })
      const writer = new OutboxWriter<Output>(request, {
        maxOutputs,
        deliver: async ({ epoch, first, outputs }) => {
          const rows = identified(outputs, epoch, first).map((output) => row(output))
          for (const { text, values } of upserts(options, rows))
            await statement(pool, outage, 'upsert', text, values)
        },
        close: async () => outage.close(),
      })
      return await openOutbox(request, writer)
    },
  })
}

interface Upsert {
  readonly text: string
  readonly values: unknown[]
}

type Row = { readonly [column: string]: unknown }

function* upserts(
  { table, key }: Pick<PostgresUpsertSinkOptions<never>, 'table' | 'key'>,
  rows: readonly Row[],
): Generator<Upsert> {
  const [first] = rows
  if (first === undefined) return
  const columns = Object.keys(first)
  const names = columns.map((column) => quotedColumn(column))
  // A statement may write a row once: of several of one key the last one counts.
  const byKey = new Map(rows.map((row) => [keyOf(row, key, columns), row]))
  const all = [...byKey.values()]
  const set = columns.filter((column) => !key.includes(column)).map((column) => quotedColumn(column))
  const update =
    set.length === 0 ? 'NOTHING' : `UPDATE SET ${set.map((name) => `${name} = excluded.${name}`).join(', ')}`
  const size = Math.max(1, Math.floor(MOST_VALUES / columns.length))
  for (let from = 0; from < all.length; from += size) {
    const some = all.slice(from, from + size)
    const places = some.map(
      (_, i) => `(${columns.map((__, j) => `$${i * columns.length + j + 1}`).join(', ')})`,
    )
    const conflict = key.map((column) => quotedColumn(column)).join(', ')
    yield {
      text: `INSERT INTO ${quoted(table)} (${names.join(', ')}) VALUES ${places.join(', ')} ON CONFLICT (${conflict}) DO ${update}`,
      values: some.flatMap((row) => columns.map((column) => row[column])),
    }
  }
}

const quotedColumn = (name: string): string => `"${name.replaceAll('"', '""')}"`

function keyOf(row: Row, key: readonly string[], columns: readonly string[]): string {
  const own = Object.keys(row)
  const isSame = own.length === columns.length && columns.every((column) => Object.hasOwn(row, column))
  if (isSame && key.every((column) => Object.hasOwn(row, column)))
    return JSON.stringify(key.map((column) => textOf(row[column])))
  const reason = `its columns are ${own.join(', ')}; wanted are ${columns.join(', ')}, with the key ${key.join(', ')}`
  throw new StateError('SERIALIZATION_FAILED', { what: 'a row', reason })
}

const textOf = (value: unknown): unknown => (typeof value === 'bigint' ? `${value}` : value)
