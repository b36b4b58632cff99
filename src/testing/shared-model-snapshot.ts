// Run in another thread, which a snapshot of the model was shared with.

import { DEFAULT_BLOCK_BYTES } from '../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import type { EngineEntry } from '../backend/facade/engines.js'
import type { OpenSharedSnapshot } from '../backend/shared-snapshot.js'

/** Of an entry in a block, with and without an expiry (see entry-block.ts). */
const HEADER_BYTES = 8
const EXPIRING_HEADER_BYTES = 16

/** A copy of what a snapshot of the model holds, or of what has changed. */
export interface SharedModelContent {
  readonly aliveEntries: number
  /** In key order. */
  readonly entries: readonly EngineEntry[]
}

export const openSharedSnapshot: OpenSharedSnapshot = async (data) => {
  const { aliveEntries, entries } = data as SharedModelContent
  async function* blocks(targetBytes: number): AsyncGenerator<EntryBlock, void, undefined> {
    const builder = new EntryBlockBuilder(targetBytes)
    let builtBytes = 0
    for (const { key, value, expiresAtMs } of entries) {
      // No block is larger than asked for, unless one entry alone is.
      const headerBytes = expiresAtMs === Infinity ? HEADER_BYTES : EXPIRING_HEADER_BYTES
      const entryBytes = headerBytes + key.length + (value?.length ?? 0)
      if (builder.entryCount > 0 && builtBytes + entryBytes > targetBytes) {
        builtBytes = 0
        yield builder.take()
      }
      if (value === undefined) builder.addTombstone(key)
      else builder.add(key, value, expiresAtMs)
      builtBytes += entryBytes
    }
    if (builder.entryCount > 0) yield builder.take()
  }
  return {
    count: async () => aliveEntries,
    blocks: (options) => blocks(options?.targetBytes ?? DEFAULT_BLOCK_BYTES),
    close: async () => {},
  }
}
