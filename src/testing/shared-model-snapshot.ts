// Run in another thread, which a ModelSnapshot was shared with.

import { type EntryBlock, EntryBlockBuilder } from '../backend/entry-block.js'
import type { OpenSharedSnapshot } from '../backend/shared-snapshot.js'

const DEFAULT_TARGET_BYTES = 1_000

/** A copy of what a model's snapshot holds, or of what has changed. */
export interface SharedModelContent {
  readonly aliveEntries: number
  /** In key order; without a value: a tombstone. */
  readonly entries: readonly SharedModelEntry[]
}

export interface SharedModelEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  readonly expiresAtMs: number
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
    blocks: (options) => blocks(options?.targetBytes ?? DEFAULT_TARGET_BYTES),
    close: async () => {},
  }
}
