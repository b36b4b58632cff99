// Two stores in one process. In the first, a commit of values that are so large that LMDB, when it cannot write them, tells of it in more
// memory than it took for that. What becomes of the other store then, and of one that is opened afterwards?

import { isStateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import type { ChildContext } from './run-script.js'

const VALUES = 3
/** So much that the values are one commit. */
const CACHE_BYTES = 512 * 1024 * 1024

export async function run({ args, say, mend }: ChildContext): Promise<void> {
  const [path, otherPath, newPath, valueBytes] = args as [string, string, string, string]
  const other = await LmdbStateBackend.open({ path: otherPath, flushIntervalMs: Infinity })
  await other.put(Buffer.from('other'), Buffer.from('1'), { durable: true })
  const backend = await LmdbStateBackend.open({ path, flushIntervalMs: Infinity, cacheBytes: CACHE_BYTES })
  await backend.put(Buffer.from('small'), Buffer.from('1'), { durable: true })
  const value = Buffer.alloc(Number(valueBytes))
  for (let i = 0; i < VALUES; i++) backend.putSync(Buffer.from(`large-${i}`), value)
  say('begun')
  const outcomes = {
    flush: () => backend.flush(),
    put: () => backend.put(Buffer.from('a'), Buffer.from('2')),
    'other store': () => other.put(Buffer.from('a'), Buffer.from('2'), { durable: true }),
    'new store': async () => (await LmdbStateBackend.open({ path: newPath })).close(),
    close: () => backend.close(),
    'close other': () => other.close(),
  }
  for (const [name, attempt] of Object.entries(outcomes)) say(name, await outcomeOf(attempt))
  mend()
  say('done')
}

async function outcomeOf(attempt: () => Promise<unknown>): Promise<string> {
  try {
    await attempt()
    return 'ok'
  } catch (error) {
    if (!isStateError(error, 'STORAGE_ERROR')) throw error
    return error.details.memoryDamaged ? 'memory damaged' : 'failed'
  }
}
