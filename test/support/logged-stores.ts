import { readFileSync } from 'node:fs'
import { cp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, vi } from 'vitest'
import type { LmdbStateBackend } from '../../src/lmdb/lmdb-state-backend.js'

/** Resolves when a store has a log: until then what is waited for goes to the tree. */
export async function logBegun(backend: LmdbStateBackend, path: string): Promise<void> {
  const isBegun = async () => {
    const { commits } = backend.stats()
    await backend.put(Buffer.from('first'), Buffer.from('durable'), { durable: true })
    const { log, commits: after } = backend.stats()
    expect(log).not.toBe('unavailable')
    return log === 'open' && hasLog(path) && after === commits
  }
  await vi.waitUntil(isBegun, { timeout: 60_000 })
}

/** Whether a store is one that has a log, by its identity. */
export function hasLog(path: string): boolean {
  const { format, log } = JSON.parse(readFileSync(join(path, 'holdfast-lmdb.json'), 'utf8')) as {
    readonly format: number
    readonly log?: object
  }
  expect(format).toBe(log === undefined ? 1 : 2)
  return log !== undefined
}

/** What the files of a store hold now, as a crash of the process would leave them, in another place that nobody owns. */
export async function asAfterCrash(path: string, to: string): Promise<string> {
  await rm(to, { recursive: true, force: true })
  // Closing a file of an open store within its own process would drop the locks that LMDB has on its table of readers.
  await cp(path, to, { recursive: true, filter: (name) => !name.endsWith('-lock') })
  for (const name of await readdir(to)) {
    if (name.startsWith('.')) await rm(join(to, name))
    // Without one, who opens it for reading first has it open for reading only.
    if (name.endsWith('.mdb')) await writeFile(join(to, `${name}-lock`), '', { mode: 0o600 })
  }
  return to
}
