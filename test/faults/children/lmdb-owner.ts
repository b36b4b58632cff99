// Opens a store, writes and reads as its parent says, by messages: a line of words each, answered by one.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isStateError } from '../../../src/base/errors.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'
import { openEnvironment } from '../../../src/lmdb/store/environment.js'
import { awaitLog } from './await-log.js'

const path = process.argv[2] as string
const log = process.argv[3] === 'log'
let backend: LmdbStateBackend | undefined
let lastReason = 'none'

async function obey([verb, key, value]: readonly string[]): Promise<string> {
  if (verb === 'reason') return lastReason
  if (verb === 'pid') return String(process.pid)
  if (verb === 'verify') {
    // The next process here gets the next number.
    if (key !== undefined) writeFileSync('/proc/sys/kernel/ns_last_pid', String(Number(key) - 1))
    const { ok, problems } = await LmdbStateBackend.verify(path)
    return ok ? 'whole' : problems.map(({ reason }) => reason).join()
  }
  if (verb === 'open' || verb === 'read' || verb === 'takeOver') {
    backend = await LmdbStateBackend.open({
      path,
      readOnly: verb === 'read',
      takeOver: verb === 'takeOver',
      flushIntervalMs: Infinity,
      log,
      ...(key === undefined ? {} : { commitTimeoutMs: Number(key) }),
    })
    if (log && verb !== 'read') await awaitLog(backend, path)
    return 'opened'
  }
  if (backend === undefined) return 'not open'
  if (verb === 'stopWithLock') {
    // As SIGSTOP may meet a commit.
    const { root } = openEnvironment(join(path, 'data-1.mdb'), { readOnly: false })
    root.transactionSync(() => process.kill(process.pid, 'SIGSTOP'))
  }
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
    lastReason = error.message
    return error.code
  })
  process.send?.(answer)
})
process.send?.('ready')
