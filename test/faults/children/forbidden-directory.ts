// Tries everything on a directory as a user without rights, and says how each attempt was refused.

import { isStateError } from '../../../src/base/errors.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import type { ChildContext } from './run-script.js'

const NOBODY = 65_534

export async function run({ args, say }: ChildContext): Promise<void> {
  const [directory] = args as [string]
  // A storage is touched once before, so that all its code is loaded while it may still be read.
  await new FileCheckpointStorage(directory).list().catch(() => undefined)
  if (process.getuid?.() === 0) process.seteuid?.(NOBODY)
  const storage = new FileCheckpointStorage(directory)
  const attempts = {
    acquire: () => storage.acquire(),
    list: () => storage.list(),
    read: () => storage.read('a', 10),
  }
  for (const [name, attempt] of Object.entries(attempts)) {
    try {
      await attempt()
      say(name, 'fulfilled')
    } catch (error) {
      if (!isStateError(error)) throw error
      say(name, error.code, error.message)
    }
  }
}
