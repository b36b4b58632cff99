// Where a layer above the engines says how the entries of a backend are to be read. Engines know nothing of it; a checkpoint
// has it in its manifest, so that its content can be shown, or refused, without a program that knows it.

import type { JsonValue } from '../base/json.js'

/** The key of the entry: JSON as UTF-8, an object with a number `format` (docs/format/state.md). */
export const SCHEMA_KEY: Uint8Array = Uint8Array.of(0xff, 0xff, 0x73, 0x63, 0x68, 0x65, 0x6d, 0x61)
/** The format that this version writes, and the only one that it reads. */
export const SCHEMA_FORMAT = 1

export interface SchemaObject {
  readonly [name: string]: JsonValue
}

/** What an entry says; `undefined` where it is no schema: who keeps plain bytes may keep anything under that key. */
export function schemaIn(value: Uint8Array | undefined): SchemaObject | undefined {
  if (value === undefined) return undefined
  let parsed: unknown
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(value))
  } catch {
    return undefined
  }
  return isSchemaObject(parsed) ? parsed : undefined
}

export function isSchemaObject(value: unknown): value is SchemaObject {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isObject && 'format' in value && typeof value.format === 'number'
}
