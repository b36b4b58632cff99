import { type FileHandle, open } from 'node:fs/promises'
import { addAbortSignal, type Readable } from 'node:stream'
import { isStateError, type JsonValue, type SyncStateBackend, systemClock } from '../../index.js'
import type { StoredEntry } from '../../view/entries.js'
import { fileError } from '../../view/file-failure.js'
import { checkpointsAt } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { EntryLines } from '../entry-lines.js'
import { linesOf } from '../lines.js'
import { ExitStatus } from '../outcome.js'
import { STORE_CACHE_BYTES } from '../restored.js'
import { makeSavepoint } from '../savepoint.js'
import { countText } from '../units.js'

interface ImportOptions {
  readonly source?: string
  readonly dryRun?: boolean
}

/** Bytes of keys and values after which the store may catch up. */
const CATCH_UP_BYTES = 4 * 1024 * 1024

/** A savepoint of the entries of a file, in whatever order they are there: a store on the disk sorts them. */
export async function importEntries(
  context: CommandContext,
  file: string,
  path: string,
  options: ImportOptions,
): Promise<number> {
  const { signal } = context
  const source = options.source === undefined ? undefined : jsonFrom('--source', options.source)
  const input = file === '-' ? undefined : await openInput(file)
  const { LmdbStateBackend } = await import('../../lmdb.js')
  const nowMs = systemClock.now()
  // Time stands still, so that an entry keeps the time at which it expires.
  const clock = { now: () => nowMs, setTimer: () => () => {} }
  const backend = await LmdbStateBackend.temporary({
    clock,
    sweepIntervalMs: Infinity,
    cacheBytes: STORE_CACHE_BYTES,
  })
  try {
    const name = input === undefined ? 'stdin' : file
    const expired = await readInto(backend, input?.createReadStream() ?? process.stdin, name, nowMs, signal)
    const snapshot = backend.snapshotSync()
    if (options.dryRun === true) {
      await report(context, { id: undefined, entryCount: await snapshot.count(), expired }, path)
      return ExitStatus.ok
    }
    const { id, entryCount } = await makeSavepoint(
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
    await report(context, { id, entryCount, expired }, path)
    return ExitStatus.ok
  } finally {
    await backend.close()
  }
}

/** Puts every entry into the store, and returns how many were left out, as they have expired. */
async function readInto(
  backend: SyncStateBackend,
  input: Readable,
  name: string,
  nowMs: number,
  signal: AbortSignal,
): Promise<number> {
  const lines = new EntryLines()
  let line = 0
  let expired = 0
  let bytes = 0
  for await (const text of linesOf(piecesOf(addAbortSignal(signal, input), name), name)) {
    signal.throwIfAborted()
    line++
    if (text.trim() === '') continue
    const where = `${name}:${line}`
    const entry = lines.entryOf(text, where)
    if (entry.expiresAtMs <= nowMs) {
      expired++
      continue
    }
    put(backend, entry, nowMs, where)
    bytes += entry.key.length + entry.value.length
    if (bytes < CATCH_UP_BYTES) continue
    bytes = 0
    await backend.flush()
  }
  // Lines end where it was interrupted, too.
  signal.throwIfAborted()
  return expired
}

interface Imported {
  /** `undefined`: it was only tried. */
  readonly id: string | undefined
  readonly entryCount: number
  readonly expired: number
}

async function report(
  { terminal }: CommandContext,
  { id, entryCount, expired }: Imported,
  path: string,
): Promise<void> {
  if (expired > 0)
    terminal.note(
      `${countText(expired)} ${expired === 1 ? 'entry has expired, and is' : 'entries have expired, and are'} left out`,
    )
  if (terminal.json) await terminal.object({ id: id ?? null, entryCount, expired })
  else if (id === undefined)
    await terminal.line(`a savepoint in ${path} would have ${countText(entryCount)} entries`)
  else await terminal.line(`savepoint ${id} in ${path}: ${countText(entryCount)} entries`)
}

async function openInput(file: string): Promise<FileHandle> {
  try {
    return await open(file)
  } catch (error) {
    throw fileError(file, error)
  }
}

/** What is read, with errors of the file by its name. */
async function* piecesOf(
  input: AsyncIterable<Uint8Array>,
  name: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* input
  } catch (error) {
    throw fileError(name, error)
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
