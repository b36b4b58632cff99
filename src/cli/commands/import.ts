import { createReadStream } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import { isStateError, type JsonValue, type SyncStateBackend, systemClock } from '../../index.js'
import type { StoredEntry } from '../../view/entries.js'
import { checkpointsAt } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { EntryLines } from '../entry-lines.js'
import { linesOf } from '../lines.js'
import { ExitStatus } from '../outcome.js'
import { makeSavepoint } from '../savepoint.js'
import { countText } from '../units.js'

interface ImportOptions {
  readonly source?: string
}

/** Lines after which the store may catch up. */
const BATCH = 50_000

/** A savepoint of the entries of a file, in whatever order they are there: a store on the disk sorts them. */
export async function importEntries(
  { terminal, signal }: CommandContext,
  file: string,
  path: string,
  options: ImportOptions,
): Promise<number> {
  const source = options.source === undefined ? undefined : jsonFrom('--source', options.source)
  const { LmdbStateBackend } = await import('../../lmdb.js')
  const nowMs = systemClock.now()
  // Time stands still, so that an entry keeps the time at which it expires.
  const clock = { now: () => nowMs, setTimer: () => () => {} }
  const backend = await LmdbStateBackend.temporary({ clock, sweepIntervalMs: Infinity })
  try {
    let line = 0
    let expired = 0
    const name = file === '-' ? 'stdin' : file
    const input = file === '-' ? process.stdin : createReadStream(file)
    const lines = new EntryLines()
    for await (const text of linesOf(addAbortSignal(signal, input), name)) {
      signal.throwIfAborted()
      line++
      if (text.trim() === '') continue
      const where = `${name}:${line}`
      const entry = lines.entryOf(text, where)
      if (entry.expiresAtMs <= nowMs) expired++
      else put(backend, entry, nowMs, where)
      if (line % BATCH === 0) await backend.flush()
    }
    // Lines end where it was interrupted, too.
    signal.throwIfAborted()
    const snapshot = backend.snapshotSync()
    const made = await makeSavepoint(
      (await checkpointsAt(path)).storage,
      {
        backend: 'import',
        clockMs: snapshot.takenAtMs,
        source,
        get: (key) => snapshot.get(key),
        blocks: snapshot.blocks({ signal }),
      },
      signal,
    )
    if (expired > 0)
      terminal.note(
        `${countText(expired)} ${expired === 1 ? 'entry has expired, and is' : 'entries have expired, and are'} left out`,
      )
    if (terminal.json) await terminal.object({ id: made.id, entryCount: made.entryCount, expired })
    else await terminal.line(`savepoint ${made.id} in ${path}: ${countText(made.entryCount)} entries`)
    return ExitStatus.ok
  } finally {
    await backend.close()
  }
}

/** `UsageError` with `where` for an entry that no store can hold. */
function put(backend: SyncStateBackend, entry: StoredEntry, nowMs: number, where: string): void {
  const { key, value, expiresAtMs } = entry
  try {
    backend.putSync(key, value, expiresAtMs === Infinity ? {} : { ttlMs: expiresAtMs - nowMs })
  } catch (error) {
    if (!isStateError(error, 'INVALID_ARGUMENT')) throw error
    throw new UsageError(`${where}: ${error.message}`)
  }
}

function jsonFrom(where: string, text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue
  } catch (error) {
    throw new UsageError(`${where} is no JSON: ${(error as Error).message}`)
  }
}
