import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'

/** An entry's header in a block, with and without an expiry (see entry-block.ts). */
const HEADER_BYTES = 8
const EXPIRING_HEADER_BYTES = 16

/** An entry to pack; without a value: a tombstone. */
export interface PackableEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  readonly expiresAtMs: number
}

/** Packs entries, which come in key order, into blocks of at most `targetBytes` where an entry alone is not larger. */
export function* packed(
  entries: Iterable<PackableEntry>,
  targetBytes: number,
): Generator<EntryBlock, void, undefined> {
  const builder = new EntryBlockBuilder(targetBytes)
  let builtBytes = 0
  for (const { key, value, expiresAtMs } of entries) {
    const headerBytes = expiresAtMs === Infinity ? HEADER_BYTES : EXPIRING_HEADER_BYTES
    const entryBytes = headerBytes + key.length + (value?.length ?? 0)
    if (builder.entryCount > 0 && builtBytes + entryBytes > targetBytes) {
      builtBytes = 0
      yield builder.take()
    }
    if (value === undefined) builder.addTombstone(key)
    else builder.add(key, 0, key.length, value, 0, value.length, expiresAtMs)
    builtBytes += entryBytes
  }
  if (builder.entryCount > 0) yield builder.take()
}
