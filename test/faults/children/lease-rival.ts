// Acquires and releases the lease as its parent says, by messages.

import { isStateError } from '../../../src/base/errors.js'
import type { StorageLease } from '../../../src/storage/checkpoint-storage.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'

const storage = new FileCheckpointStorage(process.argv[2] as string)
let lease: StorageLease | undefined

async function acquire(): Promise<string> {
  try {
    lease = await storage.acquire()
    await lease.check()
    return `won ${lease.token}`
  } catch (error) {
    if (!isStateError(error)) throw error
    return error.code
  }
}

async function release(): Promise<string> {
  await lease?.release()
  lease = undefined
  return 'released'
}

process.on('message', async (command) => {
  process.send?.(await (command === 'acquire' ? acquire() : release()))
})
process.send?.('ready')
