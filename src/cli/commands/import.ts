import { open } from 'node:fs/promises'
import { addAbortSignal, type Readable } from 'node:stream'
import { validateKey, validateValue, wholeMs } from '../../engine.js'
import { isStateError, type JsonValue, systemClock } from '../../index.js'
import { SCHEMA_KEY } from '../../state.js'
import type { StoredEntry } from '../../view/entries.js'
import { fileError } from '../../view/file-failure.js'
import { checkpointsAt } from '../../view/place.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { counted, entriesOf } from '../counted.js'
import { EntryLines } from '../entry-lines.js'
import { EntrySorter } from '../entry-sorter.js'
import { linesOf } from '../lines.js'
import { ExitStatus } from '../outcome.js'
import type { Progress } from '../progress.js'
import { makeSavepoint } from '../savepoint.js'
import { countText, entriesText } from '../units.js'

interface ImportOptions {
  readonly source?: string
  readonly dryRun?: boolean
}

/** A savepoint of the entries of a file, in whatever order they are there. */
export async function importEntries(
  context: CommandContext,
  file: string,
  path: string,
  options: ImportOptions,
): Promise<number> {
  const { terminal, signal } = context
  const source = options.source === undefined ? undefined : jsonFrom('--source', options.source)
  const input = await openInput(file)
  const nowMs = systemClock.now()
  const sorter = new EntrySorter()
  try {
    const reading = await terminal.progress('reading', input.size)
    const { expired, added, schemaRecord } = await readInto(sorter, input, nowMs, reading, signal)
    reading.end()
    // Such as the output of a command that has failed: that is no state that somebody would want to go on with.
    if (added + expired === 0) throw new UsageError(`${input.name} holds no entry; nothing was made of it`)
    const writing = await terminal.progress('writing', added)
    const blocks = counted(sorter.blocks(signal), writing)
    if (options.dryRun === true) {
      const entryCount = await entriesOf(blocks)
      writing.end()
      await report(context, { id: undefined, entryCount, expired, replaced: added - entryCount }, path)
      return ExitStatus.ok
    }
    const { id, entryCount } = await makeSavepoint(
      (await checkpointsAt(path)).storage,
      { backend: 'import', clockMs: nowMs, source, get: async () => schemaRecord, blocks },
      signal,
    )
    writing.end()
    await report(context, { id, entryCount, expired, replaced: added - entryCount }, path)
    return ExitStatus.ok
  } finally {
    sorter.close()
  }
}

/** What a file holds. */
interface Read {
  /** So many entries were left out, as they have expired. */
  readonly expired: number
  /** Those of the same key counted each. */
  readonly added: number
  /** That describes typed state, where there is any. */
  readonly schemaRecord: Uint8Array | undefined
}

/** Gives every entry to the sorter that has not expired. */
async function readInto(
  sorter: EntrySorter,
  { name, stream }: Input,
  nowMs: number,
  progress: Progress,
  signal: AbortSignal,
): Promise<Read> {
  const lines = new EntryLines()
  let [line, expired, added] = [0, 0, 0]
  let schemaRecord: Uint8Array | undefined
  for await (const text of linesOf(piecesOf(addAbortSignal(signal, stream), name, progress), name)) {
    signal.throwIfAborted()
    line++
    if (text.trim() === '') continue
    const where = `${name}:${line}`
    const entry = checkedEntry(lines.entryOf(text, where), where)
    if (entry.expiresAtMs <= nowMs) {
      expired++
      continue
    }
    if (Buffer.compare(entry.key, SCHEMA_KEY) === 0) schemaRecord = entry.value
    sorter.add(entry)
    added++
  }
  // Lines end where it was interrupted, too.
  signal.throwIfAborted()
  return { expired, added, schemaRecord }
}

interface Imported {
  /** `undefined`: it was only tried. */
  readonly id: string | undefined
  readonly entryCount: number
  readonly expired: number
  /** So many entries had the key of a later one. */
  readonly replaced: number
}

async function report(
  { terminal }: CommandContext,
  { id, entryCount, expired, replaced }: Imported,
  path: string,
): Promise<void> {
  if (expired > 0)
    terminal.note(
      `${countText(expired)} ${expired === 1 ? 'entry has expired, and is' : 'entries have expired, and are'} left out`,
    )
  if (replaced > 0)
    terminal.note(
      `${countText(replaced)} ${replaced === 1 ? 'entry has' : 'entries have'} the key of a later one, which counts`,
    )
  if (terminal.json) await terminal.object({ id: id ?? null, entryCount, expired, replaced })
  else if (id === undefined)
    await terminal.line(`a savepoint in ${path} would have ${entriesText(entryCount)}`)
  else await terminal.line(`savepoint ${id} in ${path}: ${entriesText(entryCount)}`)
}

interface Input {
  readonly name: string
  /** In bytes; 0 where that is not known, as of a pipe. */
  readonly size: number
  readonly stream: Readable
}

/** `-` is stdin. */
async function openInput(name: string): Promise<Input> {
  if (name === '-') return { name: 'stdin', size: 0, stream: process.stdin }
  try {
    const file = await open(name)
    return { name, size: (await file.stat()).size, stream: file.createReadStream() }
  } catch (error) {
    throw fileError(name, error)
  }
}

/** What is read, with errors of the file by its name. */
async function* piecesOf(
  input: AsyncIterable<Uint8Array>,
  name: string,
  progress: Progress,
): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0
  try {
    for await (const piece of input) {
      yield piece
      bytes += piece.length
      progress.advance(bytes)
    }
  } catch (error) {
    throw fileError(name, error)
  }
}

/** The entry as an engine would have it. `UsageError` with `where` for one that none can hold. */
function checkedEntry(entry: StoredEntry, where: string): StoredEntry {
  try {
    validateKey(entry.key)
    validateValue(entry.value)
    return { ...entry, expiresAtMs: wholeMs(entry.expiresAtMs) }
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
