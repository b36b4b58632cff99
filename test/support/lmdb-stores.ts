import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'
import { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'
import type { LmdbStateBackendOptions } from '../../src/lmdb/types.js'

/**
 * A folder for the stores of each test of a file: `onFolder` is told of it, and of the path of a store in it, before the test. What
 * the function that is returned has opened there is closed afterwards, and the folder removed.
 */
export function lmdbStores(
  onFolder: (folder: string, path: string) => void,
): (options?: Partial<LmdbStateBackendOptions>) => Promise<LmdbStateBackend> {
  let folder: string
  const opened: LmdbStateBackend[] = []
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
    onFolder(folder, join(folder, 'store'))
  })
  afterEach(async () => {
    for (const backend of opened.splice(0)) await backend.close().catch(() => {})
    await rm(folder, { recursive: true, force: true })
  })
  return async (options = {}) => {
    const backend = await LmdbStateBackend.open({ path: join(folder, 'store'), ...options })
    opened.push(backend)
    return backend
  }
}
