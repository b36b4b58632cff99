// Run in another thread, which a snapshot of the model was shared with.

import { DEFAULT_BLOCK_BYTES } from '../backend/block-options.js'
import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import type { EngineEntry } from '../backend/facade/engines.js'
import type { OpenSharedSnapshot } from '../backend/shared-snapshot.js'

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
    for (const { key, value, expiresAtMs } of entries) {
      if (value === undefined) builder.addTombstone(key)
      else builder.add(key, 0, key.length, value, 0, value.length, expiresAtMs)
      if (builder.full) yield builder.take()
    }
    if (builder.entryCount > 0) yield builder.take()
  }
  return {
    count: async () => aliveEntries,
    blocks: (options) => blocks(options?.targetBytes ?? DEFAULT_BLOCK_BYTES),
    close: async () => {},
  }
}
