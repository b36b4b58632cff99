// Runs the operations that its parent has drawn, says which it has begun and which are durable, and waits to be killed.

import { readFileSync } from 'node:fs'
import { WriteBatch } from '../../../src/backend/write-batch.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { sayLine } from './say-line.js'

/** Keys and values are texts; undefined deletes. */
export type Changes = readonly { readonly key: string; readonly value?: string | undefined }[]
export type DrawnOperation =
  | { readonly kind: 'write'; readonly changes: Changes; readonly durable: boolean }
  | { readonly kind: 'clear' | 'flush' | 'flushLater' | 'compact' }

const [path, flushEvery, drawnPath, ...modes] = process.argv.slice(2) as [string, string, string, ...string[]]
const log = modes.includes('log')
const operations = JSON.parse(readFileSync(drawnPath, 'utf8')) as DrawnOperation[]
const say = (kind: string, at: number) => sayLine(`${kind} ${at}`)

function batchOf(changes: Changes): WriteBatch {
  const batch = new WriteBatch()
  for (const { key, value } of changes) {
    if (value === undefined) batch.delete(Buffer.from(key))
    else batch.put(Buffer.from(key), Buffer.from(value))
  }
  return batch
}

const backend = await LmdbStateBackend.open({
  path,
  flushEvery: Number(flushEvery),
  flushIntervalMs: 5,
  log,
  logFileBytes: 64 * 1024,
})
for (const [index, operation] of operations.entries()) {
  const at = index + 1
  say('begun', at)
  if (operation.kind === 'write') {
    await backend.write(batchOf(operation.changes), { durable: operation.durable })
    if (operation.durable) say('durable', at)
  } else if (operation.kind === 'clear') {
    await backend.clear()
  } else if (operation.kind === 'compact') {
    await backend.compact()
  } else {
    const flushed = backend.flush().then(() => say('durable', at))
    if (operation.kind === 'flush') await flushed
    else await new Promise((resolve) => setImmediate(resolve))
  }
}
await backend.flush()
say('durable', operations.length)
say('done', operations.length)
setInterval(() => {}, 1_000)
