// Numbered batches and what a store holds behind the first so many of them.

import { WriteBatch } from '../../../src/backend/write-batch.js'

export const bytes = (text: string): Buffer => Buffer.from(text)
const LAST = 'last'
const KEYS = 50

/** Batch `n`: what it puts, and what it removes. */
export function numberedBatch(n: number): WriteBatch {
  const batch = new WriteBatch().put(bytes(LAST), bytes(String(n)))
  for (const [key, value] of puts(n)) batch.put(bytes(key), bytes(value))
  const removed = removedBy(n)
  if (removed !== undefined) batch.delete(bytes(removed))
  if (clearsTens(n)) batch.deleteRange({ prefix: bytes('key 1') })
  return batch
}

/** What is there behind batches 1 to `last`, in the order of keys. */
export function contentBehind(last: number): [string, string][] {
  const held = new Map<string, string>()
  for (let n = 1; n <= last; n++) {
    held.set(LAST, String(n))
    for (const [key, value] of puts(n)) held.set(key, value)
    const removed = removedBy(n)
    if (removed !== undefined) held.delete(removed)
    if (clearsTens(n)) for (const key of held.keys()) if (key.startsWith('key 1')) held.delete(key)
  }
  return [...held].sort(([left], [right]) => (left < right ? -1 : 1))
}

/** The number of the last batch of which a store holds anything. */
export const lastOf = (content: readonly (readonly [string, string])[]): number =>
  Number(content.find(([key]) => key === LAST)?.[1] ?? 0)

const puts = (n: number): [string, string][] => [
  [`key ${n % KEYS}`, `${n}`],
  [`key ${(n * 13) % KEYS}`, `${n} again`],
]
const removedBy = (n: number) => (n % 3 === 0 ? `key ${(n * 7) % KEYS}` : undefined)
const clearsTens = (n: number) => n % 29 === 0
