import { type FileHandle, stat } from 'node:fs/promises'
import { errnoOf } from './file-failure.js'
import { isMarked, markOf } from './lease-watch.js'

/** How a file that is open was taken away from its path: removed, renamed, replaced. `undefined` where it still lies there. */
export async function whatBecameOf(path: string, file: FileHandle): Promise<string | undefined> {
  const opened = await file.stat({ bigint: true })
  const named = await stat(path, { bigint: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  })
  if (named === undefined) return 'it is gone'
  return isMarked(named, markOf(opened)) ? undefined : 'another file is in its place'
}
