// As much of PostgreSQL as the tests of its sources and sinks need, in this process: the statements are known by how they begin.

import type { PooledPostgresClient, PostgresResult } from '../../src/postgres-tables.js'

interface Row {
  readonly transaction: number
  readonly id: number
  readonly payload: unknown
}

export class FakePostgres {
  /** Of the outbox, in order. */
  rows: Row[] = []
  /** The oldest transaction that may still write. */
  xmin = 1
  /** Committed notes, and what a transaction has put behind them. */
  #notes = new Map<string, string>()
  /** What else was asked for. */
  readonly statements: { readonly text: string; readonly values: readonly unknown[] }[] = []
  /** The next statements fail, as a connection that is lost. */
  failures = 0
  listeners = 0
  /** Connections that were given, and not taken back. */
  held = 0
  /** So many connections are given only when `connectLate` is called. */
  lateConnections = 0
  readonly #late: (() => void)[] = []

  async connect(): Promise<PooledPostgresClient> {
    if (this.lateConnections > 0) {
      this.lateConnections--
      await new Promise<void>((resolve) => {
        this.#late.push(resolve)
      })
    }
    this.held++
    let pending: Map<string, string> | undefined
    return {
      query: async (text, values = []) => {
        if (this.failures > 0) {
          this.failures--
          throw new Error('Connection terminated unexpectedly')
        }
        if (text === 'BEGIN') pending = new Map(this.#notes)
        if (text === 'COMMIT') this.#notes = pending ?? this.#notes
        return { rows: this.#answer(text, values, pending ?? this.#notes) }
      },
      on: () => this.listeners++,
      removeListener: () => this.listeners--,
      release: () => {
        this.held--
      },
    }
  }

  connectLate(): void {
    for (const connect of this.#late.splice(0)) connect()
  }

  add(transaction: number, ...payloads: readonly unknown[]): void {
    for (const payload of payloads) this.rows.push({ transaction, id: this.rows.length + 1, payload })
    this.rows.sort((left, right) => left.transaction - right.transaction || left.id - right.id)
  }

  #answer(text: string, values: readonly unknown[], notes: Map<string, string>): PostgresResult['rows'] {
    const [first, second, third] = values
    if (text.startsWith('SELECT note')) {
      const note = notes.get(`${String(first)}/${values.length > 1 ? String(second) : ''}`)
      return note === undefined ? [] : [{ note }]
    }
    if (text.startsWith('INSERT INTO "holdfast_sinks" AS held')) {
      const place = `${String(first)}/`
      const has = notes.get(place)
      if (has !== undefined && has !== second && has !== third) return []
      notes.set(place, String(second))
      return [{ note: second }]
    }
    if (text.startsWith('INSERT INTO "holdfast_sinks"')) {
      notes.set(`${String(first)}/${String(second)}`, String(third))
      return [{ sink: first }]
    }
    if (text.startsWith('SELECT pg_snapshot_xmax')) return [{ found: String(this.xmin) }]
    const settled = this.rows.filter(({ transaction }) => transaction < this.xmin)
    const isBefore = ({ transaction, id }: Row) =>
      transaction < Number(first) || (transaction === Number(first) && id < Number(second))
    if (text.startsWith('SELECT *'))
      return settled
        .filter((row) => !isBefore(row))
        .slice(0, Number(third))
        .map(shown)
    if (text.startsWith('SELECT 1')) return this.rows.filter(isBefore).slice(0, 1).map(shown)
    if (text.includes('DESC')) return settled.slice(-1).map(shown)
    if (text.startsWith('DELETE')) this.rows = this.rows.filter((row) => !isBefore(row))
    this.statements.push({ text, values })
    return []
  }
}

const shown = ({ transaction, id, payload }: Row) => ({
  payload,
  holdfast_transaction: String(transaction),
  holdfast_id: String(id),
})
