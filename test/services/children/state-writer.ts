// Writes numbered batches to a store, to be killed: `node state-writer.js <redis|postgres> <address> <name>`. It goes on behind the last one that
// the store has, several at a time, and prints `acknowledged N` for each; where somebody else has taken the store, `FENCED`.

import { Redis } from 'ioredis'
import { Pool } from 'pg'
import type { StateBackend } from '../../../src/backend/state-backend.js'
import { isStateError } from '../../../src/base/errors.js'
import { PostgresStateBackend } from '../../../src/postgres.js'
import { RedisStateBackend } from '../../../src/redis.js'
import { bytes, numberedBatch } from './numbered-batches.js'

const LANES = 8
const [engine = '', address = '', name = ''] = process.argv.slice(2)

async function open(): Promise<StateBackend> {
  if (engine === 'postgres') {
    const pool = new Pool({ connectionString: address })
    pool.on('error', () => {})
    return await PostgresStateBackend.open({ pool, name })
  }
  const client = new Redis(address, {
    maxRetriesPerRequest: 1,
    retryStrategy: () => 20,
    socketTimeout: 5_000,
  })
  client.on('error', () => {})
  return await RedisStateBackend.open({ client, name, ordered: true })
}

const backend = await open()
const seen = await backend.get(bytes('last'))
let next = Number(seen === undefined ? 0 : Buffer.from(seen)) + 1
process.stdout.write('open\n')
const lane = async () => {
  for (;;) {
    const n = next++
    await backend.write(numberedBatch(n))
    process.stdout.write(`acknowledged ${n}\n`)
  }
}
try {
  await Promise.all(Array.from({ length: LANES }, lane))
} catch (error) {
  process.stdout.write(`${isStateError(error) ? error.code : String(error)}\n`)
  process.exit(isStateError(error, 'FENCED') ? 0 : 1)
}
