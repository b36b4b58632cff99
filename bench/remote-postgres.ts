// PostgreSQL: batches beside an upsert by `unnest`, a restore beside COPY.

import { WriteBatch } from 'holdfast'
import { EntryBlockBuilder } from 'holdfast/engine'
import { PostgresStateBackend } from 'holdfast/postgres'
import { Pool } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import type { RemoteOptions } from './remote-redis.js'
import { type Figure, turns } from './remote-turns.js'

const BATCH = 500
const VALUE_BYTES = 100
const BLOCK_BYTES = 256 * 1024

const keyOf = (i: number) => Buffer.from(`key:${String(i).padStart(12, '0')}`)

export async function postgresFigures({ address, entries, runs }: RemoteOptions): Promise<Figure[]> {
  const pool = new Pool({ connectionString: address, max: 8 })
  pool.on('error', () => {})
  await pool.query('CREATE TABLE bare (key bytea PRIMARY KEY, value bytea NOT NULL)')
  await pool.query('CREATE TABLE copied (key bytea PRIMARY KEY, value bytea NOT NULL)')
  const value = Buffer.alloc(VALUE_BYTES, 'v')
  const keys = Array.from({ length: entries }, (_, i) => keyOf(i))
  const slices = Array.from({ length: entries / BATCH }, (_, i) => keys.slice(i * BATCH, (i + 1) * BATCH))
  const backend = await PostgresStateBackend.open({
    pool,
    name: 'bench',
    copyFrom,
    sweepIntervalMs: Infinity,
  })
  const upsert = `INSERT INTO bare SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
  const values = Array.from({ length: BATCH }, () => value)
  const written = await turns(
    `PostgreSQL, batches of ${BATCH}`,
    [
      {
        name: 'unnest',
        run: async () => {
          for (const own of slices) await pool.query(upsert, [own, values])
        },
      },
      {
        name: 'write',
        run: async () => {
          for (const own of slices) {
            const batch = new WriteBatch()
            for (const key of own) batch.put(key, value)
            await backend.write(batch)
          }
        },
      },
    ],
    { operations: entries, runs },
  )
  // Of a table that nothing else was done to, as that by hand is.
  const fresh = await PostgresStateBackend.open({
    pool,
    name: 'restored',
    copyFrom,
    sweepIntervalMs: Infinity,
  })
  const restored = await turns(
    'PostgreSQL, restore',
    [
      { name: 'COPY', run: () => copied(pool, keys, value) },
      { name: 'replaceAll', run: () => fresh.replaceAll(blocksOf(keys, value)) },
    ],
    { operations: entries, runs },
  )
  await fresh.close()
  await backend.close()
  await pool.end()
  return [written, restored]
}

async function* blocksOf(keys: readonly Buffer[], value: Buffer) {
  const builder = new EntryBlockBuilder(BLOCK_BYTES)
  for (const key of keys) {
    builder.add(key, value, Infinity)
    if (builder.full) yield builder.take()
  }
  if (builder.entryCount > 0) yield builder.take()
}

/** By hand: empties the table, and copies in binary into it, in one transaction. */
async function copied(pool: Pool, keys: readonly Buffer[], value: Buffer): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await client.query('DELETE FROM copied')
    const stream = client.query(copyFrom('COPY copied (key, value) FROM STDIN (FORMAT binary)'))
    const write = (chunk: Buffer) => new Promise<void>((resolve) => stream.write(chunk, () => resolve()))
    await write(Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1'))
    const row = 2 + 4 + (keys[0]?.length ?? 0) + 4 + value.length
    const perChunk = Math.floor(BLOCK_BYTES / row)
    for (let from = 0; from < keys.length; from += perChunk) {
      const chunk = Buffer.allocUnsafe(row * Math.min(perChunk, keys.length - from))
      let end = 0
      for (const key of keys.slice(from, from + perChunk)) {
        end = chunk.writeInt32BE(key.length, chunk.writeInt16BE(2, end))
        chunk.set(key, end)
        end = chunk.writeInt32BE(value.length, end + key.length)
        chunk.set(value, end)
        end += value.length
      }
      await write(chunk)
    }
    await new Promise<void>((resolve, reject) => {
      stream.on('error', reject)
      stream.on('finish', () => resolve())
      stream.end(Buffer.from([0xff, 0xff]))
    })
    await client.query('COMMIT')
  } finally {
    client.release()
  }
}
