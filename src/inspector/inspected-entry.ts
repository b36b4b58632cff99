import type { JsonValue } from '../index.js'
import { hexOf } from '../state.js'
import type { StoredEntry } from '../view/entries.js'
import { EntryDisplay, type ShownEntry } from '../view/shown-entry.js'

/** An entry on the page. */
export interface InspectedEntry extends ShownEntry {
  /** As it is stored, in hexadecimal digits: what the page asks for it by. */
  readonly rawKey: string
  /** Of key and value as they are stored. */
  readonly bytes: number
  /** The value is longer than what is shown of it. */
  readonly isCut?: boolean
  /** Why it is shown as it is stored, though the state is typed. */
  readonly problem?: string
}

/** Characters of a value in a list, and where it is shown by itself. */
const LISTED_CHARACTERS = 400
const WHOLE_CHARACTERS = 256 * 1024
/** A value that is longer than this is not decoded, but shown by its first bytes. */
const MAX_DECODED_BYTES = 1024 * 1024
const FIRST_BYTES = 1_024

const plain = new EntryDisplay(undefined, 'auto')

/** The entry as the page shows it; `undefined` for what the typed store keeps for itself. */
export function inspectedEntry(
  display: EntryDisplay,
  entry: StoredEntry,
  detail: 'listed' | 'whole' = 'listed',
): InspectedEntry | undefined {
  const { key, value } = entry
  const facts = { rawKey: hexOf(key), bytes: key.length + value.length }
  if (value.length > MAX_DECODED_BYTES) {
    const shown = plain.shown({ ...entry, value: value.subarray(0, FIRST_BYTES) })
    return shown && { ...shown, ...facts, isCut: true }
  }
  const { shown, problem } = shownOf(display, entry)
  if (shown === undefined) return undefined
  const limit = detail === 'whole' ? WHOLE_CHARACTERS : LISTED_CHARACTERS
  return {
    ...shown,
    ...cut(shown.value, limit),
    key: cut(shown.key, WHOLE_CHARACTERS).value,
    ...facts,
    ...(problem === undefined ? {} : { problem }),
  }
}

/** What cannot be decoded is shown as it is stored, and says why: the other entries are still worth looking at. */
function shownOf(
  display: EntryDisplay,
  entry: StoredEntry,
): { shown?: ShownEntry | undefined; problem?: string } {
  try {
    return { shown: display.shown(entry) }
  } catch (error) {
    const problem = String((error as { message?: unknown }).message ?? error)
    return { shown: plain.shown(entry), problem }
  }
}

function cut(value: JsonValue, limit: number): { readonly value: JsonValue; readonly isCut?: true } {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.length <= limit ? { value } : { value: `${text.slice(0, limit)}…`, isCut: true }
}
