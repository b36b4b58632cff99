// Entries on their way into a table: by COPY in binary where the caller gives `pg-copy-streams`, by `unnest` otherwise.
//
//   stream := 'PGCOPY\n\xff\r\n\0' · flags i32 (0) · extensionBytes i32 (0) · row* · -1 i16
//   row    := columns i16 (3) · key · value · expiry
//   column := byteLength i32 (-1: NULL) · byte*

import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import { orAborted } from '../base/abort.js'
import type { PostgresClient } from '../remote/postgres-client.js'
import { byteaArray, float8Array } from './binary-arrays.js'

const COPY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
const COPY_END = Buffer.from([0xff, 0xff])
const ROW_BYTES = 2 + 4 + 4 + 4 + 8

/** A stream into a COPY, as `from` of `pg-copy-streams` makes it; a client's `query` runs it. */
export interface CopyStream {
  write(chunk: Uint8Array, done: (error?: Error | null) => void): unknown
  end(done?: () => void): unknown
  destroy(error?: Error): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'finish', listener: () => void): unknown
}

/** `from` of `pg-copy-streams`. */
export type CopyFrom = (statement: string) => CopyStream

/** Puts all entries of the blocks into a table that has none of their keys; returns how many there were, and whether any expires. */
export async function insertBlocks(
  client: PostgresClient,
  table: string,
  blocks: AsyncIterable<EntryBlock>,
  copyFrom: CopyFrom | undefined,
): Promise<{ entries: number; expires: boolean }> {
  return copyFrom === undefined
    ? await insertByUnnest(client, table, blocks)
    : await insertByCopy(client, table, blocks, copyFrom)
}

async function insertByUnnest(
  client: PostgresClient,
  table: string,
  blocks: AsyncIterable<EntryBlock>,
): Promise<{ entries: number; expires: boolean }> {
  let entries = 0
  let expires = false
  const text = `INSERT INTO ${table} (key, value, expires_at) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::float8[])`
  for await (const { bytes } of blocks) {
    const cursor = new EntryBlockCursor(bytes)
    const keys: Uint8Array[] = []
    const values: Uint8Array[] = []
    const ends: number[] = []
    while (cursor.next()) {
      keys.push(cursor.key())
      values.push(cursor.value())
      ends.push(cursor.expiresAtMs)
      if (cursor.expiresAtMs !== Infinity) expires = true
    }
    await client.query(text, [byteaArray(keys), byteaArray(values), float8Array(ends)])
    entries += keys.length
  }
  return { entries, expires }
}

async function insertByCopy(
  client: PostgresClient,
  table: string,
  blocks: AsyncIterable<EntryBlock>,
  copyFrom: CopyFrom,
): Promise<{ entries: number; expires: boolean }> {
  const stream = copyFrom(`COPY ${table} (key, value, expires_at) FROM STDIN (FORMAT binary)`)
  const failing = new AbortController()
  stream.on('error', (error) => failing.abort(error))
  const orFailed = (work: Promise<void>) =>
    orAborted(work, failing.signal, () => failing.signal.reason as unknown)
  const finished = new Promise<void>((resolve) => {
    stream.on('finish', resolve)
  })
  // A client runs what can submit itself: it is the stream that ends, not a promise.
  ;(client.query as (submittable: unknown) => unknown).call(client, stream)
  const write = (chunk: Uint8Array) =>
    orFailed(
      new Promise<void>((resolve, reject) => {
        stream.write(chunk, (error) => (error === undefined || error === null ? resolve() : reject(error)))
      }),
    )
  let entries = 0
  let expires = false
  try {
    let written = write(COPY_HEADER)
    written.catch(() => {})
    for await (const block of blocks) {
      // The next block is read and packed while this one is on its way.
      const rows = copyRows(block)
      entries += block.entryCount
      expires ||= rows.expires
      await written
      written = write(rows.bytes)
      written.catch(() => {})
    }
    await written
    await write(COPY_END)
    stream.end()
    await orFailed(finished)
    return { entries, expires }
  } catch (error) {
    stream.destroy()
    throw error
  }
}

function copyRows({ bytes, entryCount }: EntryBlock): { bytes: Buffer; expires: boolean } {
  const rows = Buffer.allocUnsafe(bytes.length + entryCount * ROW_BYTES)
  const cursor = new EntryBlockCursor(bytes)
  let end = 0
  let expires = false
  while (cursor.next()) {
    const { keyStart, keyLength, valueStart, valueLength, expiresAtMs } = cursor
    end = rows.writeInt16BE(3, end)
    end = rows.writeInt32BE(keyLength, end)
    rows.set(bytes.subarray(keyStart, keyStart + keyLength), end)
    end = rows.writeInt32BE(valueLength, end + keyLength)
    rows.set(bytes.subarray(valueStart, valueStart + valueLength), end)
    end += valueLength
    if (expiresAtMs === Infinity) end = rows.writeInt32BE(-1, end)
    else {
      expires = true
      end = rows.writeDoubleBE(expiresAtMs, rows.writeInt32BE(8, end))
    }
  }
  return { bytes: rows.subarray(0, end), expires }
}
