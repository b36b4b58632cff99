// Opens a store, writes and reads as its parent says, by messages: a line of words each, answered by one.

import { isStateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'

const path = process.argv[2] as string
let backend: LmdbStateBackend | undefined

async function obey([verb, key, value]: readonly string[]): Promise<string> {
  if (verb === 'open' || verb === 'read') {
    backend = await LmdbStateBackend.open({ path, readOnly: verb === 'read', flushIntervalMs: Infinity })
    return 'opened'
  }
  if (backend === undefined) return 'not open'
  if (verb === 'put') backend.putSync(Buffer.from(key as string), Buffer.from(value as string))
  if (verb === 'flush') await backend.flush()
  if (verb === 'get') {
    const found = backend.getSync(Buffer.from(key as string))
    return found === undefined ? 'nothing' : Buffer.from(found).toString()
  }
  if (verb === 'close') await backend.close()
  return 'done'
}

process.on('message', async (line: string) => {
  const answer = await obey(line.split(' ')).catch((error: unknown) => {
    if (!isStateError(error)) throw error
    return error.code
  })
  process.send?.(answer)
})
process.send?.('ready')
