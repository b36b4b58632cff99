// The caller's client, as far as it is used here: a pool of `pg`, or what has the same shape.

import { hasMethods, type Rule } from '../base/options.js'
import type { Outage } from './outage.js'

/** What a statement gives. */
export interface PostgresResult {
  readonly rows: readonly { readonly [column: string]: unknown }[]
}

/** A connection. */
export interface PostgresClient {
  query(text: string, values?: unknown[]): Promise<PostgresResult>
  on(event: string, listener: (message: { readonly channel?: string }) => void): unknown
  removeListener(event: string, listener: (message: { readonly channel?: string }) => void): unknown
}

/** A connection of a pool. */
export interface PooledPostgresClient extends PostgresClient {
  /** `true`: the connection is not used again. */
  release(isBroken?: boolean): void
}

/** The caller's `Pool` of `pg`: TLS, credentials and addresses are its own. It stays the caller's to close. */
export interface PostgresPool {
  connect(): Promise<PooledPostgresClient>
}

export const postgresPool: Rule = hasMethods('connect')

/**
 * Serialization failures and deadlocks, locks that were not to be had, a server that shuts down or starts, too many connections or too little
 * memory, a standby, and what the limits of a server have ended.
 */
const PASSING_STATES = new Set(
  '40001 40P01 55P03 57P01 57P02 57P03 57P05 53200 53300 25006 25P03 25P04 57014'.split(' '),
)
const PASSING_CODES = /^(08...|E(CONN|PIPE|TIMEDOUT|HOST|NET|AI_AGAIN|NOTFOUND)\w*)$/
const CONNECTION_LOST =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|timeout exceeded when trying to connect|timeout expired)/i

/** Whether what has failed may succeed later by itself. */
export function mayPass(error: Error): boolean {
  const { code, syscall } = error as { readonly code?: string; readonly syscall?: string }
  // The socket of a server on this machine is there once it listens.
  if (code === 'ENOENT' && syscall === 'connect') return true
  if (code !== undefined) return PASSING_STATES.has(code) || PASSING_CODES.test(code)
  return CONNECTION_LOST.test(error.message)
}

type ConnectWithCallback = (
  callback: (error: unknown, client?: PooledPostgresClient) => void,
) => Promise<PooledPostgresClient> | undefined

/**
 * A connection of the pool, that somebody listens to from the first moment on. A pool of `pg` takes its own listener away when it gives a
 * connection; what is lost before a promise has told of it would end the process. So it is asked by a callback; pools that know
 * promises only do without.
 */
export function acquire(pool: PostgresPool, onError: () => void): Promise<PooledPostgresClient> {
  return new Promise((resolve, reject) => {
    const give = (client: PooledPostgresClient) => {
      client.on('error', onError)
      resolve(client)
    }
    const answer = (pool.connect as ConnectWithCallback).call(pool, (error, client) => {
      if (client === undefined) reject(error)
      else give(client)
    })
    answer?.then(give, reject)
  })
}

/** Work with a connection of the pool. */
export async function withClient<Result>(
  pool: PostgresPool,
  work: (client: PostgresClient) => Promise<Result>,
): Promise<Result> {
  const ignore = () => {}
  const client = await acquire(pool, ignore)
  let isBroken = true
  try {
    const result = await work(client)
    isBroken = false
    return result
  } finally {
    client.removeListener('error', ignore)
    // Also after a failed statement: whatever it has left behind ends with the connection.
    client.release(isBroken)
  }
}

/** One statement, again after an outage. */
export async function statement(
  pool: PostgresPool,
  outage: Outage,
  operation: string,
  text: string,
  values: unknown[],
): Promise<PostgresResult> {
  return await outage.answerOf(operation, () => withClient(pool, (client) => client.query(text, values)))
}

/** A name as SQL has it; of a table, with its schema where there is one: `schema.table`. */
export function quoted(name: string): string {
  return name
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.')
}

/** The rule that a value is a name of something in the database. */
export const sqlName: Rule = (name) =>
  typeof name === 'string' && name.length > 0 && !name.includes('\0') && !name.split('.').includes('')
    ? undefined
    : 'must be a name'
