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
  const whole = wholeEntry(display, entry)
  return whole && cutEntry(whole, detail)
}

/** An entry with all of its value, as long as that is decoded: what is searched. */
export function wholeEntry(display: EntryDisplay, entry: StoredEntry): InspectedEntry | undefined {
  const { key, value } = entry
  const facts = { rawKey: hexOf(key), bytes: key.length + value.length }
  const state = display.stateOfKey(key)
  const ofState = state === undefined ? {} : { state }
  if (value.length > MAX_DECODED_BYTES) {
    const shown = plain.shown({ ...entry, value: value.subarray(0, FIRST_BYTES) })
    return shown && { ...shown, ...ofState, ...facts, isCut: true }
  }
  const shown = display.shown(entry)
  return shown && { ...ofState, ...shown, ...facts }
}

/** What is shown of it. */
export function cutEntry(entry: InspectedEntry, detail: 'listed' | 'whole'): InspectedEntry {
  const limit = detail === 'whole' ? WHOLE_CHARACTERS : LISTED_CHARACTERS
  return { ...entry, ...cut(entry.value, limit), key: cut(entry.key, WHOLE_CHARACTERS).value }
}

/** Whether the text, in small letters, is somewhere in what is shown: in strings as they are, in other values as JSON. */
export const hasText = ({ state, key, mapKey, value }: InspectedEntry, text: string): boolean =>
  text === '' ||
  [state, key, mapKey, value].some((each) => each !== undefined && asText(each).toLowerCase().includes(text))

const asText = (value: JsonValue): string => (typeof value === 'string' ? value : JSON.stringify(value))

function cut(value: JsonValue, limit: number): { readonly value: JsonValue; readonly isCut?: true } {
  const text = asText(value)
  return text.length <= limit ? { value } : { value: `${text.slice(0, limit)}…`, isCut: true }
}
