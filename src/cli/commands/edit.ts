import {
  type EntryBlock,
  EntryBlockBuilder,
  EntryBlockCursor,
  type JsonValue,
  systemClock,
} from '../../index.js'
import { EntryEncoder, hexOf } from '../../state.js'
import { type OpenEntries, openEntries } from '../../view/entries.js'
import { bytesFrom, requiredSchema } from '../../view/key-arguments.js'
import { checkpointsAt, chosenCheckpoint, openCheckpoints } from '../../view/place.js'
import { EntryDisplay } from '../../view/shown-entry.js'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { counted } from '../counted.js'
import { expiryFrom, refuseOtherNames, TYPED_NAMES } from '../entry-lines.js'
import { refuseNewer } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import { makeSavepoint } from '../savepoint.js'
import { valueCell } from '../undecoded.js'

interface EditOptions {
  readonly id?: string
  readonly to?: string
  readonly put: readonly string[]
  readonly delete: readonly string[]
  readonly dryRun?: boolean
}

/** What becomes of a key; without a value it goes. */
export interface Change {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  readonly expiresAtMs: number
}

/** Blocks of about this size are made anew. */
const BLOCK_BYTES = 256 * 1024

/** A new savepoint that differs from a checkpoint in some keys. */
export async function edit(
  { terminal, signal }: CommandContext,
  path: string,
  options: EditOptions,
): Promise<number> {
  const place = await openCheckpoints(path)
  const checkpoint = await chosenCheckpoint(place, options.id, refuseNewer)
  const manifest = await place.archive.manifest(checkpoint.id)
  const entries = await openEntries(place, checkpoint.id)
  try {
    const changes = [
      ...options.put.map((text) => putFrom(text, entries)),
      ...options.delete.map((text) => deleteFrom(text, entries)),
    ].sort((left, right) => Buffer.compare(left.key, right.key))
    if (changes.length === 0) throw new UsageError('nothing to change: give --put or --delete')
    const twice = changes.find(
      ({ key }, i) => Buffer.compare(key, changes[i + 1]?.key ?? NO_KEY) === 0 && i + 1 < changes.length,
    )
    if (twice !== undefined) throw new UsageError(`the key ${hexOf(twice.key)} is changed twice`)
    const display = new EntryDisplay(entries.schema, 'auto')
    const said: string[] = []
    for (const { key, value } of changes) {
      const before = await entries.get(key)
      const shownAs = (bytes: Uint8Array) => {
        const shown = display.shown({ key, value: bytes, expiresAtMs: Infinity })
        return shown === undefined ? hexOf(bytes) : valueCell(shown)
      }
      const [was, is] = [before, value].map((bytes) => (bytes === undefined ? undefined : shownAs(bytes)))
      if (!terminal.json) said.push(`${hexOf(key)}: ${was ?? '(none)'} → ${is ?? '(none)'}`)
      else if (options.dryRun === true)
        await terminal.object({ key: hexOf(key), before: was ?? null, after: is ?? null })
    }
    if (options.dryRun === true) {
      for (const line of said) await terminal.line(line)
      return ExitStatus.ok
    }
    const progress = await terminal.progress('writing', entries.entryCount)
    const made = await makeSavepoint(
      options.to === undefined ? place.storage : (await checkpointsAt(options.to)).storage,
      {
        backend: manifest.backend,
        clockMs: manifest.clockMs,
        source: manifest.source,
        get: (key) => entries.get(key),
        blocks: changed(counted(entries.blocks({}, signal), progress), changes),
      },
      signal,
    )
    progress.end()
    for (const line of said) await terminal.line(line)
    if (terminal.json)
      await terminal.object({
        id: made.id,
        from: checkpoint.id,
        entryCount: made.entryCount,
        changes: changes.length,
      })
    else await terminal.line(`savepoint ${made.id} in ${options.to ?? path}`)
    return ExitStatus.ok
  } finally {
    await entries.close()
  }
}

const NO_KEY = new Uint8Array(0)

function putFrom(text: string, entries: OpenEntries): Change {
  const given = objectFrom(text)
  const { value, expiresAt } = given
  if (value === undefined) throw new UsageError(`--put ${text} has no value`)
  const expiresAtMs = expiryFrom(expiresAt)
  const key = storedKeyOf(given, entries)
  refuseOtherNames(given, TYPED_NAMES, `--put ${text}`)
  if (typeof given['state'] !== 'string') {
    refuseExpired(expiresAtMs, text)
    return { key, value: bytesFrom(textFrom(value)), expiresAtMs }
  }
  const encoder = new EntryEncoder(requiredSchema(entries))
  const changed = encoder.valueOf(given['state'], value, expiresAt === undefined ? undefined : expiresAtMs)
  // By the time of events, which stands where the events do, and not by the clock of this machine.
  if (encoder.expiresByEventTime(given['state'])) return { key, value: changed, expiresAtMs: Infinity }
  refuseExpired(expiresAtMs, text)
  return { key, value: changed, expiresAtMs }
}

/** Nobody would ever see the entry: what was meant is another year, or to delete it. */
function refuseExpired(expiresAtMs: number, text: string): void {
  if (expiresAtMs > systemClock.now()) return
  throw new UsageError(
    `--put ${text} has expired already: give a time to come, or remove the key by --delete`,
  )
}

function deleteFrom(text: string, entries: OpenEntries): Change {
  const given = objectFrom(text)
  const key = storedKeyOf(given, entries)
  const { state } = given
  if (typeof state === 'string') new EntryEncoder(requiredSchema(entries)).checkSingle(state)
  refuseOtherNames(given, TYPED_NAMES, `--delete ${text}`)
  return { key, value: undefined, expiresAtMs: Infinity }
}

/** The stored key of an entry as JSON: of a state, or of plain bytes. */
export function storedKeyOf(given: JsonObject, entries: OpenEntries): Uint8Array {
  const { state, key, mapKey } = given
  if (key === undefined) throw new UsageError(`${JSON.stringify(given)} has no key`)
  if (state === undefined) return bytesFrom(textFrom(key))
  if (typeof state !== 'string') throw new UsageError(`${JSON.stringify(given)}: state is to be a name`)
  const encoder = new EntryEncoder(requiredSchema(entries))
  return encoder.keyOf({ state, key, ...(mapKey === undefined ? {} : { mapKey }) })
}

interface JsonObject {
  readonly [name: string]: JsonValue | undefined
}

function objectFrom(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  } catch {
    // Said below.
  }
  throw new UsageError(`${text} is no JSON object, such as {"key":"user:1","value":"x"}`)
}

const textFrom = (value: JsonValue): string => (typeof value === 'string' ? value : JSON.stringify(value))

/** The entries with the changes, which are in key order. */
async function* changed(
  blocks: AsyncIterable<EntryBlock>,
  changes: readonly Change[],
): AsyncGenerator<EntryBlock, void, undefined> {
  const builder = new EntryBlockBuilder(BLOCK_BYTES)
  let next = 0
  const add = (change: Change | undefined) => {
    if (change?.value !== undefined) builder.add(change.key, change.value, change.expiresAtMs)
  }
  for await (const { bytes } of blocks) {
    const cursor = new EntryBlockCursor(bytes)
    while (cursor.next()) {
      const key = cursor.key()
      let order = next < changes.length ? Buffer.compare((changes[next] as Change).key, key) : 1
      while (order < 0) {
        add(changes[next++])
        order = next < changes.length ? Buffer.compare((changes[next] as Change).key, key) : 1
      }
      if (order === 0) add(changes[next++])
      else builder.addPlaced(cursor)
      if (builder.full) yield builder.take()
    }
  }
  while (next < changes.length) add(changes[next++])
  if (builder.entryCount > 0) yield builder.take()
}
