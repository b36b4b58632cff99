// Servers that keep the state (Redis, PostgreSQL) or the checkpoints (S3).

import type { CheckpointStorage, StateBackend } from 'holdfast'
import { requireListener } from './servers.js'

/** Another one needs a line in `open`. */
const DEFAULT_ADDRESSES = {
  redis: 'redis://127.0.0.1:6379',
  postgres: 'postgresql://postgres@127.0.0.1:5432/postgres',
}
export type StateServer = keyof typeof DEFAULT_ADDRESSES

export const isStateServer = (name: string): name is StateServer => name in DEFAULT_ADDRESSES

/** A place for checkpoints in a bucket. */
export interface BucketPlace {
  readonly bucket: string
  readonly prefix: string
  /** Where the service is; absent: AWS. */
  readonly endpoint?: string
}

/** Nothing answers there; the message is one line. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** The state on a server, until it is closed. */
export interface KeptState extends AsyncDisposable {
  readonly backend: StateBackend
}

export function stateAddress(server: StateServer, address?: string): string {
  const text = address ?? DEFAULT_ADDRESSES[server]
  return text.includes('://') ? text : `${new URL(DEFAULT_ADDRESSES[server]).protocol}//${text}`
}

/** Resolves where something answers at all that the options name, before anything is begun. */
export async function requireAnswers(
  server: StateServer | undefined,
  address: string | undefined,
  place: BucketPlace | undefined,
): Promise<void> {
  if (server !== undefined) {
    const url = new URL(stateAddress(server, address))
    await answers(server, url, url.port || new URL(DEFAULT_ADDRESSES[server]).port, '--backend-address')
  }
  if (place?.endpoint !== undefined) {
    const url = new URL(place.endpoint)
    await answers('S3', url, url.port || (url.protocol === 'http:' ? '80' : '443'), '--endpoint')
  }
}

async function answers(system: string, url: URL, port: string, flag: string): Promise<void> {
  const { hostname } = url
  await requireListener(hostname.replace(/^\[|\]$/g, ''), Number(port)).catch((error: Error) => {
    throw new NoAnswer(
      `no ${system} at ${hostname}:${port}: ${error.message}; name a server that runs with ${flag}`,
    )
  })
}

/** The state of that name on a server. A process that had it before is fenced. */
export async function openState(server: StateServer, address: string, name: string): Promise<KeptState> {
  return await open[server](address, name)
}

const open: { readonly [Name in StateServer]: (address: string, name: string) => Promise<KeptState> } = {
  redis: async (address, name) => {
    const { Redis } = await import('ioredis')
    const { RedisStateBackend } = await import('holdfast/redis')
    const client = new Redis(address, { maxRetriesPerRequest: 1, socketTimeout: 5_000 })
    client.on('error', () => {})
    // Durable as far as the server is: with `appendfsync always`, what was flushed survives the server's own end, too.
    const backend = await RedisStateBackend.open({ client, name, ordered: true, fsync: 'always' })
    return disposable(backend, async () => client.disconnect())
  },

  postgres: async (address, name) => {
    const { default: pg } = await import('pg')
    const { PostgresStateBackend } = await import('holdfast/postgres')
    const pool = new pg.Pool({ connectionString: address })
    pool.on('error', () => {})
    const backend = await PostgresStateBackend.open({ pool, name })
    return disposable(backend, () => pool.end())
  },
}

function disposable(backend: StateBackend, disconnect: () => Promise<void>): KeptState {
  return {
    backend,
    [Symbol.asyncDispose]: async () => await backend.close().finally(disconnect),
  }
}

/** Checkpoints of that name in a bucket, with the credentials of the environment. */
export async function bucketStorage(
  { bucket, prefix, endpoint }: BucketPlace,
  name: string,
): Promise<CheckpointStorage> {
  const { S3CheckpointStorage } = await import('holdfast/s3')
  const path = prefix === '' ? name : `${prefix}/${name}`
  return new S3CheckpointStorage({ bucket, prefix: path, ...(endpoint !== undefined && { endpoint }) })
}
