import { copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
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
  copyOfStore(path, to)
  for (const name of await readdir(to)) {
    // Without one, who opens it for reading first has it open for reading only.
    if (name.endsWith('.mdb')) await writeFile(join(to, `${name}-lock`), '', { mode: 0o600 })
  }
  return to
}

/**
 * The files of an open store as they are at one instant, without its lease, which names a process that is alive. Its table of readers stays
 * behind, too: closing that file within the process that has it open would drop the locks that LMDB has on it.
 */
export function copyOfStore(from: string, to: string): string {
  mkdirSync(to)
  const names = readdirSync(from).filter((name) => !name.startsWith('.') && !name.endsWith('-lock'))
  // With a log, the tree is committed behind what was waited for: what a commit has overtaken is of two instants.
  for (let before = treeOf(from, names); ; ) {
    for (const name of names) copyFileSync(join(from, name), join(to, name))
    const after = treeOf(from, names)
    if (after.equals(before)) return to
    before = after
  }
}

const META_PAGES_BYTES = 2 * 8_192

/** What tells the commits of a store's tree from each other. */
function treeOf(path: string, names: readonly string[]): Buffer {
  const trees = names.filter((name) => name.endsWith('.mdb'))
  return Buffer.concat(trees.map((name) => readFileSync(join(path, name)).subarray(0, META_PAGES_BYTES)))
}
