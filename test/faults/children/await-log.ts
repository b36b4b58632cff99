// A store that may have a log begins it when somebody waits for durability first; until then that goes to the tree.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'

const TRIES = 3_000
const BETWEEN_MS = 10

/** Resolves when the store has a log; false where it gets none. `tries`: how often it is looked. */
export async function awaitLog(backend: LmdbStateBackend, path: string, tries = TRIES): Promise<boolean> {
  for (let i = 0; i < tries; i++) {
    await backend.flush()
    const { log } = JSON.parse(readFileSync(join(path, 'holdfast-lmdb.json'), 'utf8')) as { log?: object }
    await delay(BETWEEN_MS)
    if (log !== undefined) return true
  }
  return false
}
