// Keys and ranges, as people write them.

import type { JsonValue, KeyRange } from '../index.js'
import { bytesOfHex, EntryEncoder, type RecordedSchema } from '../state.js'
import type { OpenEntries, SchemaUse } from './entries.js'
import { UsageError } from './usage-error.js'

export interface RangeOptions {
  readonly prefix?: string
  readonly from?: string
  readonly to?: string
}

/** Bytes as they are written: text, or `0x` and hexadecimal digits. */
export function bytesFrom(text: string): Uint8Array {
  if (!text.startsWith('0x')) return new Uint8Array(Buffer.from(text))
  const bytes = bytesOfHex(text)
  if (bytes === undefined)
    throw new UsageError(`${text} begins with 0x but is no even number of hexadecimal digits`)
  return bytes
}

/** The keys that start with `prefix`, from `from` up to, and without, `to`. */
export function rangeFrom({ prefix, from, to }: RangeOptions): KeyRange {
  return {
    ...(prefix === undefined ? {} : { prefix: bytesFrom(prefix) }),
    ...(from === undefined ? {} : { gte: bytesFrom(from) }),
    ...(to === undefined ? {} : { lt: bytesFrom(to) }),
  }
}

/** The key of one entry: as it is written, or with `--state` as JSON that the schema turns into bytes. */
export function keyFrom(
  entries: OpenEntries,
  text: string,
  state: string | undefined,
  mapKey: string | undefined,
): Uint8Array {
  if (state === undefined) {
    if (mapKey !== undefined) throw new UsageError('--map-key goes with --state')
    return bytesFrom(text)
  }
  const encoder = new EntryEncoder(requiredSchema(entries))
  const part = mapKey === undefined ? {} : { mapKey: jsonFrom(mapKey) }
  return encoder.keyOf({ state, key: jsonFrom(text), ...part })
}

/** Entries in a form that knows no types, and of no state, need no schema. */
export const schemaUse = ({ state, show }: { readonly state?: string; readonly show: string }): SchemaUse =>
  state === undefined && show !== 'auto' ? 'ignored' : 'read'

/** The recorded schema. `UsageError` where the state is plain bytes. */
export function requiredSchema({ label, schema }: OpenEntries): RecordedSchema {
  if (schema !== undefined) return schema
  throw new UsageError(`${label} is of no typed state, so it has no states; leave --state out`)
}

/** `UsageError` where there is no such state. */
export function checkState(entries: OpenEntries, state: string): void {
  const { states } = requiredSchema(entries)
  if (states.some(({ name }) => name === state)) return
  throw new UsageError(`there is no state ${state}; there are: ${states.map(({ name }) => name).join(', ')}`)
}

/** JSON, or a text that is none: then it stands for itself. */
function jsonFrom(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue
  } catch {
    return text
  }
}
