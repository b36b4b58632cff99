// Entries for people and for programs: typed where the schema is recorded, otherwise as text where they are text.

import { isUtf8 } from 'node:buffer'
import type { JsonValue } from '../index.js'
import { type DecodedEntry, EntryDecoder, hexOf, type RecordedSchema, toJson } from '../state.js'
import { windowCodecOf } from '../window.js'
import type { StoredEntry } from './entries.js'
import { reasonOf } from './reason-of.js'
import { StateNames } from './state-names.js'
import { UsageError } from './usage-error.js'
import { visible } from './visible.js'

/** `auto`: typed where that is possible, then text, then hexadecimal digits. */
export type Form = 'auto' | 'text' | 'hex' | 'json'

const FORMS: readonly string[] = ['auto', 'text', 'hex', 'json'] satisfies Form[]

/** An entry as it is shown. `state` is there where it was typed. */
export interface ShownEntry {
  readonly state?: string
  readonly key: JsonValue
  readonly mapKey?: JsonValue
  readonly place?: number
  readonly value: JsonValue
  readonly expiresAt?: string
  /** Why it is shown as it is stored, though its state is typed. */
  readonly problem?: string
}

export class EntryDisplay {
  /** Entries that could not be decoded so far, and are shown as they are stored. */
  undecoded = 0
  readonly #decoder: EntryDecoder | undefined
  readonly #form: Form
  readonly #names: StateNames

  constructor(schema: RecordedSchema | undefined, form: Form) {
    this.#decoder =
      form === 'auto' && schema !== undefined ? new EntryDecoder(schema, windowCodecOf) : undefined
    this.#form = form
    this.#names = new StateNames(this.#decoder?.schema)
  }

  /** Whether entries are shown as values of states. */
  get isTyped(): boolean {
    return this.#decoder !== undefined
  }

  /**
   * The entry as values of its state; `undefined` for entries of the typed store itself. Where entries are not typed, keys and values
   * as JSON strings: text, or `0x` and hexadecimal digits. One that cannot be decoded is shown in digits, with its `problem`: the others are
   * still worth looking at.
   */
  shown(entry: StoredEntry): ShownEntry | undefined {
    if (this.#decoder === undefined) return this.#shownAsStored(entry)
    try {
      const decoded = this.#decoder.decode(entry.key, entry.value)
      return decoded && shownTyped(decoded, entry.expiresAtMs)
    } catch (error) {
      return this.#undecodable(entry, error)
    }
  }

  /**
   * The state that an entry is of; `undefined` for entries of the typed store itself, and where entries are not typed. Of an entry that cannot
   * be decoded, what its key says.
   */
  stateOf({ key, value }: StoredEntry): string | undefined {
    try {
      return this.#decoder?.decode(key, value)?.state
    } catch {
      this.undecoded++
      return this.stateOfKey(key)
    }
  }

  #shownAsStored({ key, value, expiresAtMs }: StoredEntry): ShownEntry {
    return {
      key: bytesAs(key, this.#form === 'json' ? 'auto' : this.#form),
      value: bytesAs(value, this.#form),
      ...expiry(expiresAtMs),
    }
  }

  #undecodable({ key, value, expiresAtMs }: StoredEntry, error: unknown): ShownEntry {
    this.undecoded++
    const state = this.stateOfKey(key)
    return {
      ...(state === undefined ? {} : { state }),
      key: hexOf(key),
      value: hexOf(value),
      ...expiry(expiresAtMs),
      problem: reasonOf(error),
    }
  }

  /** The state that a key is of, also of an entry that cannot be decoded; `undefined` as for `stateOf`, but not for the head of a list. */
  stateOfKey(key: Uint8Array): string | undefined {
    return this.#names.nameOf(key)
  }
}

function shownTyped(decoded: DecodedEntry, storedExpiryMs: number): ShownEntry {
  const { state, key, mapKey, place, value, expiresAtMs = storedExpiryMs } = decoded
  return {
    state,
    key: toJson(key),
    ...('mapKey' in decoded ? { mapKey: toJson(mapKey) } : {}),
    ...(place === undefined ? {} : { place }),
    value: toJson(value),
    ...expiry(expiresAtMs),
  }
}

/** The last time that a `Date` can hold, in milliseconds. */
const MAX_TIME_MS = 8_640_000_000_000_000

function expiry(expiresAtMs: number): { readonly expiresAt?: string } {
  return Math.abs(expiresAtMs) > MAX_TIME_MS ? {} : { expiresAt: new Date(expiresAtMs).toISOString() }
}

const decoder = new TextDecoder()

/** Text that is UTF-8 and has no control characters but line breaks and tabs; `undefined` for anything else. */
export function textOf(bytes: Uint8Array): string | undefined {
  if (!isUtf8(bytes)) return undefined
  const text = decoder.decode(bytes)
  // A text that looks like hexadecimal digits is shown as such, so that it is read back as what it is.
  return OTHER_CONTROLS.test(text) || text.startsWith('0x') ? undefined : text
}

/** One class of characters: a look ahead at each takes ten times as long. */
const OTHER_CONTROLS = /[^\P{Cc}\t\n\r]/u

function bytesAs(bytes: Uint8Array, form: Form): JsonValue {
  if (form === 'hex') return hexOf(bytes)
  if (form === 'text') return decoder.decode(bytes)
  const text = textOf(bytes)
  if (form === 'auto' || text === undefined) return text ?? hexOf(bytes)
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    return text
  }
}

/** A JSON value in a column of a table: strings as they are, but for what would do something to a terminal or turn the line around. */
export const asCell = (value: JsonValue | undefined): string =>
  value === undefined
    ? ''
    : visible(typeof value === 'string' ? value.replaceAll(/[\t\n\r]/g, ' ') : JSON.stringify(value))

export function checkedForm(form: string): Form {
  if (!FORMS.includes(form)) throw new UsageError(`--show takes one of ${FORMS.join(', ')}; not ${form}`)
  return form as Form
}
