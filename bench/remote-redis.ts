// Redis: batches beside pipelined HSETs, reads of many keys beside HMGET, memory beside plain strings.

import { WriteBatch } from 'holdfast'
import { RedisStateBackend } from 'holdfast/redis'
import { Redis } from 'ioredis'
import { type Figure, type Turn, turns } from './remote-turns.js'

const BATCH = 100
/** Batches, or reads, under way at once. */
const IN_FLIGHT = 4
const VALUE_BYTES = 100
const MEMORY_ENTRIES = 100_000

const keyOf = (i: number) => Buffer.from(`key:${String(i).padStart(12, '0')}`)

/** As long, and no text: clients send it in another way. */
function bytesOf(i: number): Buffer {
  const key = Buffer.alloc(16, 0xff)
  key.writeUInt32BE(i, 12)
  return key
}

export interface RemoteOptions {
  readonly address: string
  readonly entries: number
  readonly runs: number
}

/** Entries are written over and over: what is compared is what a write of a known key takes. */
export async function redisFigures({ address, entries, runs }: RemoteOptions): Promise<Figure[]> {
  const client = new Redis(address)
  const backend = await RedisStateBackend.open({ client, name: 'bench' })
  const figures = [
    ...(await figuresOf('texts as keys', keyOf, { client, backend, entries, runs })),
    ...(await figuresOf('bytes as keys', bytesOf, { client, backend, entries, runs })),
  ]
  await backend.close()
  await client.flushall()
  client.disconnect()
  return figures
}

interface Subject {
  readonly client: Redis
  readonly backend: RedisStateBackend
  readonly entries: number
  readonly runs: number
}

async function figuresOf(
  kind: string,
  nth: (i: number) => Buffer,
  { client, backend, entries, runs }: Subject,
): Promise<Figure[]> {
  const value = Buffer.alloc(VALUE_BYTES, 'v')
  const keys = Array.from({ length: entries }, (_, i) => nth(i))
  const slices = Array.from({ length: entries / BATCH }, (_, i) => keys.slice(i * BATCH, (i + 1) * BATCH))
  const lanes = async (work: (own: readonly Buffer[]) => Promise<unknown>) => {
    let next = 0
    const lane = async () => {
      for (let at = next++; at < slices.length; at = next++) await work(slices[at] as Buffer[])
    }
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
  }
  const writes: Turn[] = [
    {
      name: 'HSET, pipelined',
      run: () =>
        lanes((own) => {
          const pipeline = client.pipeline()
          for (const key of own) pipeline.hset('bare', key, value)
          return pipeline.exec()
        }),
    },
    {
      name: 'write',
      run: () =>
        lanes((own) => {
          const batch = new WriteBatch()
          for (const key of own) batch.put(key, value)
          return backend.write(batch)
        }),
    },
  ]
  const reads: Turn[] = [
    { name: 'HMGET', run: () => lanes((own) => client.hmgetBuffer('bare', ...own)) },
    { name: 'getMany', run: () => lanes((own) => backend.getMany(own)) },
  ]
  const options = { operations: entries, runs }
  return [
    await turns(`Redis, batches of ${BATCH}, ${kind}`, writes, options),
    await turns(`Redis, reads of ${BATCH} keys, ${kind}`, reads, options),
  ]
}

/** Bytes that the server takes for an entry, key and value included: of a store without and with order, and of plain strings. */
export async function redisMemory({ address }: RemoteOptions): Promise<{ readonly [kind: string]: number }> {
  const client = new Redis(address)
  const value = Buffer.alloc(VALUE_BYTES, 'v')
  const bytes: { [kind: string]: number } = {}
  const measured = async (kind: string, fill: (from: number, to: number) => Promise<unknown>) => {
    await client.flushall()
    const used = async () => Number(/^used_memory_dataset:(\d+)/m.exec(await client.info('memory'))?.[1])
    const before = await used()
    for (let from = 0; from < MEMORY_ENTRIES; from += 1_000) await fill(from, from + 1_000)
    bytes[kind] = ((await used()) - before) / MEMORY_ENTRIES
  }
  await measured('plain strings', async (from, to) => {
    const pipeline = client.pipeline()
    for (let i = from; i < to; i++) pipeline.set(keyOf(i), value)
    await pipeline.exec()
  })
  for (const ordered of [false, true]) {
    await client.flushall()
    let backend: RedisStateBackend | undefined
    await measured(ordered ? 'a store in order' : 'a store', async (from, to) => {
      backend ??= await RedisStateBackend.open({ client, name: 'memory', ordered })
      const batch = new WriteBatch()
      for (let i = from; i < to; i++) batch.put(keyOf(i), value)
      await backend.write(batch)
    })
    await backend?.close()
  }
  await client.flushall()
  client.disconnect()
  return bytes
}
