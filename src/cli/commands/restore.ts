import { randomUUID } from 'node:crypto'
import { lstat, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fileError } from '../../view/file-failure.js'
import { chosenCheckpoint, openCheckpoints } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { refuseNewer } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import { restoreInto, STORE_CACHE_BYTES } from '../restored.js'
import { entriesText } from '../units.js'

interface RestoreOptions {
  readonly to: string
  readonly dryRun?: boolean
}

/** Makes a store of the LMDB engine out of a checkpoint, by its address alone. The store has its name only when it is whole. */
export async function restore(
  { terminal, signal }: CommandContext,
  path: string,
  id: string | undefined,
  { to, dryRun = false }: RestoreOptions,
): Promise<number> {
  const place = await openCheckpoints(path)
  const checkpoint = await chosenCheckpoint(place, id, refuseNewer)
  await requireNothing(to)
  const { entryCount } = checkpoint
  if (!dryRun) {
    const temporary = join(dirname(resolve(to)), `.${randomUUID()}.tmp`)
    try {
      const { LmdbStateBackend } = await import('../../lmdb.js')
      const backend = await LmdbStateBackend.open({ path: temporary, cacheBytes: STORE_CACHE_BYTES })
      try {
        const progress = await terminal.progress('restoring', entryCount)
        await restoreInto(backend, place, checkpoint.id, progress, signal)
        progress.end()
      } finally {
        await backend.close()
      }
      signal.throwIfAborted()
      await requireNothing(to)
      await rename(temporary, to).catch((error: unknown) => {
        throw fileError(to, error)
      })
    } finally {
      await rm(temporary, { recursive: true, force: true })
    }
  }
  const { source } = checkpoint
  if (terminal.json) {
    await terminal.object({
      id: checkpoint.id,
      store: to,
      restored: !dryRun,
      entryCount,
      source: source ?? null,
    })
  } else {
    const position = source === undefined ? '' : `; the position of its source: ${JSON.stringify(source)}`
    const what = `${checkpoint.id}, ${entriesText(entryCount)}`
    await terminal.line(`${dryRun ? `would restore ${what} to ${to}` : `store ${to}: ${what}`}${position}`)
  }
  return ExitStatus.ok
}

async function requireNothing(to: string): Promise<void> {
  const isThere = await lstat(to).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw fileError(to, error)
    },
  )
  if (isThere) throw new UsageError(`${to} is there already; --to names a store that is to be made`)
}
