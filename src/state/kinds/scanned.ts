import type { ScannedEntry } from '../entries/host.js'

/** Returned for an entry that is not one of the items. */
export const PASS_OVER: unique symbol = Symbol('pass over')

type Decode = (entry: ScannedEntry) => unknown

/** The items of a scan, decoded one by one as they are asked for; `limit` of them at most. */
export function decoded(
  entries: IterableIterator<ScannedEntry> | AsyncIterableIterator<ScannedEntry>,
  decode: Decode,
  limit: number,
): unknown {
  return Symbol.iterator in entries
    ? decodedAtOnce(entries, decode, limit)
    : decodedLater(entries, decode, limit)
}

function* decodedAtOnce(entries: IterableIterator<ScannedEntry>, decode: Decode, limit: number) {
  let count = 0
  if (limit === 0) return
  for (const entry of entries) {
    const item = decode(entry)
    if (item === PASS_OVER) continue
    yield item
    if (++count >= limit) return
  }
}

async function* decodedLater(entries: AsyncIterableIterator<ScannedEntry>, decode: Decode, limit: number) {
  let count = 0
  if (limit === 0) return
  for await (const entry of entries) {
    const item = decode(entry)
    if (item === PASS_OVER) continue
    yield item
    if (++count >= limit) return
  }
}

/** All items of a stream, as an array or the promise of one. */
export function collected(stream: unknown): unknown {
  return isAtOnce(stream) ? [...stream] : collectLater(stream as AsyncIterable<unknown>)
}

/** How many items a stream has. */
export function counted(stream: unknown): unknown {
  if (!isAtOnce(stream)) return countLater(stream as AsyncIterable<unknown>)
  let count = 0
  for (const _ of stream) count++
  return count
}

const isAtOnce = (stream: unknown): stream is Iterable<unknown> =>
  typeof stream === 'object' && stream !== null && Symbol.iterator in stream

async function collectLater(stream: AsyncIterable<unknown>): Promise<unknown[]> {
  const items: unknown[] = []
  for await (const item of stream) items.push(item)
  return items
}

async function countLater(stream: AsyncIterable<unknown>): Promise<number> {
  let count = 0
  for await (const _ of stream) count++
  return count
}
