// Reads of a table of entries. Each gives what is alive at a time of the caller's.

import type { EngineEntry } from '../backend/facade/engines.js'
import type { KeyInterval } from '../backend/scan-range.js'
import { StateError } from '../base/errors.js'
import { isBytes } from '../base/shapes.js'
import type { PostgresClient, PostgresResult } from '../remote/postgres-client.js'
import { bytea, byteaArray } from './binary-arrays.js'

/** Entries of a page at most, and the bytes of values with which it ends before. */
const PAGE_ENTRIES = 2_000
const PAGE_BYTES = 1_048_576

const ALIVE = '(t.expires_at IS NULL OR t.expires_at > $1::float8)'

/** Runs a statement: on any connection, or on that of a snapshot. */
export type RunStatement = (operation: string, text: string, values: unknown[]) => Promise<PostgresResult>

/** Bytes as the caller's own: a `Buffer` has methods that mean something else. */
export function bytesOf(value: unknown): Uint8Array {
  if (isBytes(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  const found = `${typeof value} for bytea`
  throw new StateError('INCOMPATIBLE', { what: "the client's type parsers", found, supported: 'bytes' })
}

export function numberOf(value: unknown): number {
  const number = Number(value)
  if (value !== null && !Number.isNaN(number)) return number
  throw new StateError('INCOMPATIBLE', {
    what: "the client's type parsers",
    found: `${typeof value} for float8`,
    supported: 'numbers',
  })
}

/** The values in the order of the keys, in one statement. */
export async function valuesOf(
  run: RunStatement,
  table: string,
  keys: readonly Uint8Array[],
  nowMs: number,
): Promise<(Uint8Array | undefined)[]> {
  if (keys.length === 0) return []
  const [first] = keys
  const isOne = keys.length === 1 && first !== undefined
  const text = isOne
    ? `SELECT t.value FROM ${table} t WHERE t.key = $2::bytea AND ${ALIVE}`
    : `SELECT (SELECT t.value FROM ${table} t WHERE t.key = w.k AND ${ALIVE}) AS value FROM unnest($2::bytea[]) WITH ORDINALITY AS w(k, n) ORDER BY w.n`
  const { rows } = await run('get', text, [nowMs, isOne ? bytea(first) : byteaArray(keys)])
  return keys.map((_, place) => {
    const value = rows[place]?.['value']
    return value === undefined || value === null ? undefined : bytesOf(value)
  })
}

export async function countOf(run: RunStatement, table: string, nowMs: number): Promise<number> {
  const { rows } = await run('count', `SELECT count(*)::float8 AS n FROM ${table} t WHERE ${ALIVE}`, [nowMs])
  return numberOf(rows[0]?.['n'])
}

export interface Page {
  readonly entries: readonly EngineEntry[]
  /** Nothing of the interval comes after it. */
  readonly isLast: boolean
}

/** The first entries of an interval: few, where their values are large. */
export async function pageOf(
  run: RunStatement,
  table: string,
  interval: KeyInterval,
  nowMs: number,
): Promise<Page> {
  const { from, until, reverse, limit } = interval
  const most = Math.min(limit, PAGE_ENTRIES)
  const order = reverse ? 'DESC' : 'ASC'
  const upper = until === undefined ? '' : ' AND t.key < $5::bytea'
  const inside = `SELECT t.key, t.value, t.expires_at, octet_length(t.value) AS bytes FROM ${table} t WHERE t.key >= $2::bytea${upper} AND ${ALIVE} ORDER BY t.key ${order} LIMIT $3::int`
  // Lengths are known without the values: what is too much for the page is not read.
  const text = `SELECT p.key, p.value, p.expires_at FROM (SELECT i.*, sum(i.bytes) OVER (ORDER BY i.key ${order} ROWS UNBOUNDED PRECEDING) - i.bytes AS ahead FROM (${inside}) i) p WHERE p.ahead < $4::float8 ORDER BY p.key ${order}`
  const values: unknown[] = [nowMs, bytea(from), most, PAGE_BYTES]
  if (until !== undefined) values.push(bytea(until))
  const { rows } = await run('scan', text, values)
  let bytes = 0
  const entries = rows.map(({ key, value, expires_at: expiresAt }): EngineEntry => {
    const own = bytesOf(value)
    bytes += own.length
    return {
      key: bytesOf(key),
      value: own,
      expiresAtMs: expiresAt === null ? Infinity : numberOf(expiresAt),
    }
  })
  return { entries, isLast: rows.length < most && bytes < PAGE_BYTES }
}

/** The interval behind a page; the next page begins there. */
function behind(interval: KeyInterval, { entries }: Page): KeyInterval {
  const last = entries.at(-1)
  const limit = interval.limit - entries.length
  if (last === undefined) return { ...interval, limit: 0 }
  if (interval.reverse) return { ...interval, limit, until: last.key }
  const from = new Uint8Array(last.key.length + 1)
  from.set(last.key)
  return { ...interval, limit, from }
}

/** All entries of an interval, page by page, on one connection that sees one instant. */
export async function* pages(
  run: RunStatement,
  table: string,
  interval: KeyInterval,
  nowMs: number,
): AsyncGenerator<EngineEntry, void, undefined> {
  for (let rest = interval; rest.limit > 0; ) {
    const page = await pageOf(run, table, rest, nowMs)
    yield* page.entries
    if (page.isLast) return
    rest = behind(rest, page)
  }
}

/** Statements on one connection. */
export function runOn(client: PostgresClient): RunStatement {
  return (_operation, text, values) => client.query(text, values)
}
