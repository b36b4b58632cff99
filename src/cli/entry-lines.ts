// Entries as lines of NDJSON that `holdfast import` takes back, byte for byte.
//
//   raw line    := {"key":"0x…","value":"0x…","expiresAtMs"?}
//   typed line  := {"state","key","mapKey"?,"value","expiresAt"?}
//   stored line := {…what a typed line has, to be read…,"stored":{a raw line}}
//
// (1) A typed line is written only where it comes back as the bytes that it was made of: that is tried with each. Everything else (lists, windows, indexed states,
//     what the store keeps for itself, what JSON has no form for) is a stored line, of which only `stored` counts:
//     what is shown beside it has no value where that is large, and no line is longer than `import` takes.
// (2) The schema is the first line: typed lines are turned into bytes by it.

import type { JsonValue } from '../index.js'
import { bytesOfHex, decodeSchema, EntryEncoder, hexOf, SCHEMA_KEY, timeOfIso } from '../state.js'
import type { StoredEntry } from '../view/entries.js'
import type { ShownEntry } from '../view/shown-entry.js'
import { UsageError } from '../view/usage-error.js'
import { MAX_LINE_CHARACTERS } from './lines.js'

interface JsonObject {
  readonly [name: string]: JsonValue | undefined
}

/** An entry as it is stored. */
export function rawLine({ key, value, expiresAtMs }: StoredEntry): { [name: string]: JsonValue } {
  return {
    key: hexOf(key),
    value: hexOf(value),
    ...(expiresAtMs === Infinity ? {} : { expiresAtMs }),
  }
}

export interface LineLimits {
  /** Of a line: a longer one is not typed. An entry as it is stored is never that long. */
  readonly lineCharacters: number
  /** Of what is shown beside an entry as it is stored. */
  readonly shownCharacters: number
}

const LIMITS: LineLimits = { lineCharacters: MAX_LINE_CHARACTERS, shownCharacters: 1024 * 1024 }

/** Lines to and from entries, of one file. */
export class EntryLines {
  readonly #limits: LineLimits
  #schemaRecord: Uint8Array | undefined
  #encoder: EntryEncoder | undefined

  constructor(limits: LineLimits = LIMITS) {
    this.#limits = limits
  }

  /** The line of an entry; `shown` is what people see of it, `undefined` where they see nothing. */
  lineOf(entry: StoredEntry, shown: ShownEntry | undefined): string {
    this.#noteSchema(entry)
    if (shown === undefined) return JSON.stringify(rawLine(entry))
    // Six characters at most for each byte that is stored, which is within what a string can hold; with `stored` in it, it would not be.
    const line = JSON.stringify(shown)
    const { lineCharacters, shownCharacters } = this.#limits
    if (line.length <= lineCharacters && this.#comesBack(line, entry)) return line
    const stored = rawLine(entry)
    if (line.length <= shownCharacters) return JSON.stringify({ ...shown, stored })
    const withoutValue = { ...shown, value: undefined }
    return JSON.stringify(
      JSON.stringify(withoutValue).length <= shownCharacters ? { ...withoutValue, stored } : stored,
    )
  }

  /** The entry of a line. `UsageError`, with `where`, for what is none. */
  entryOf(line: string, where: string): StoredEntry {
    const entry = this.#entryFrom(objectFrom(line, where), where)
    this.#noteSchema(entry)
    return entry
  }

  #entryFrom(line: JsonObject, where: string): StoredEntry {
    const { state, key, mapKey, value, stored, expiresAt } = line
    if (stored !== undefined) return rawEntry((stored ?? {}) as JsonObject, where)
    if (state === undefined) return rawEntry(line, where)
    refuseOtherNames(line, TYPED_NAMES, where)
    if (typeof state !== 'string' || key === undefined || value === undefined)
      throw new UsageError(`${where}: an entry of a state has its name, a key and a value`)
    const encoder = this.#encoderAt(where)
    try {
      const expiresAtMs = expiryFrom(expiresAt)
      return {
        key: encoder.keyOf({ state, key, ...(mapKey === undefined ? {} : { mapKey }) }),
        value: encoder.valueOf(state, value, expiresAt === undefined ? undefined : expiresAtMs),
        expiresAtMs: encoder.expiresByEventTime(state) ? Infinity : expiresAtMs,
      }
    } catch (error) {
      throw new UsageError(`${where}: ${(error as Error).message}`)
    }
  }

  #comesBack(line: string, entry: StoredEntry): boolean {
    try {
      const { key, value, expiresAtMs } = this.#entryFrom(objectFrom(line, ''), '')
      return (
        Buffer.compare(key, entry.key) === 0 &&
        Buffer.compare(value, entry.value) === 0 &&
        expiresAtMs === entry.expiresAtMs
      )
    } catch (error) {
      if (error instanceof UsageError) return false
      throw error
    }
  }

  /** Entries as they are stored need no schema: so it is only remembered, and not read before a line that is typed. */
  #noteSchema({ key, value }: StoredEntry): void {
    if (Buffer.compare(key, SCHEMA_KEY) !== 0) return
    // The entry may be a view.
    this.#schemaRecord = new Uint8Array(value)
    this.#encoder = undefined
  }

  #encoderAt(where: string): EntryEncoder {
    if (this.#encoder !== undefined) return this.#encoder
    if (this.#schemaRecord === undefined)
      throw new UsageError(`${where}: the line of the schema is to come before those of states`)
    try {
      this.#encoder = new EntryEncoder(decodeSchema(this.#schemaRecord))
    } catch (error) {
      throw new UsageError(
        `${where} is of a state, and the schema cannot be read: ${(error as Error).message}`,
      )
    }
    return this.#encoder
  }
}

/** What a typed line has. */
export const TYPED_NAMES: readonly string[] = ['state', 'key', 'mapKey', 'value', 'expiresAt']
const RAW_NAMES: readonly string[] = ['key', 'value', 'expiresAtMs']

/** An end of life under another name would be none. */
export function refuseOtherNames(line: JsonObject, names: readonly string[], where: string): void {
  const other = Object.keys(line).find((name) => !names.includes(name))
  if (other === undefined) return
  throw new UsageError(`${where} has ${JSON.stringify(other)}, which is not one of ${names.join(', ')}`)
}

function rawEntry(line: JsonObject, where: string): StoredEntry {
  const { key, value, expiresAtMs = Infinity } = line
  const bytes = { key: hexBytes(key), value: hexBytes(value) }
  if (bytes.key === undefined || bytes.value === undefined || typeof expiresAtMs !== 'number') {
    throw new UsageError(
      `${where} is no line of holdfast export --raw or --editable: without a state, key and value are 0x and hexadecimal digits`,
    )
  }
  refuseOtherNames(line, RAW_NAMES, where)
  return { key: bytes.key, value: bytes.value, expiresAtMs }
}

const hexBytes = (text: JsonValue | undefined): Uint8Array | undefined =>
  typeof text === 'string' ? bytesOfHex(text) : undefined

/** When an entry expires; Infinity where nothing is said. */
export function expiryFrom(expiresAt: JsonValue | undefined): number {
  if (expiresAt === undefined) return Infinity
  const timeMs = typeof expiresAt === 'string' ? timeOfIso(expiresAt) : undefined
  if (timeMs !== undefined) return timeMs
  throw new UsageError(
    `expiresAt is to be a time such as 2030-01-01T00:00:00Z; not ${JSON.stringify(expiresAt)}`,
  )
}

function objectFrom(text: string, where: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new UsageError(`${where} is no JSON: ${(error as Error).message}`)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  throw new UsageError(`${where} is no JSON object`)
}
