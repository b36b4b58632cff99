// Run in another thread, which a ModelSnapshot was shared with.

import { DEFAULT_BLOCK_BYTES } from '../backend/block-options.js'
import type { EntryBlock } from '../backend/entry-block.js'
import type { OpenSharedSnapshot } from '../backend/shared-snapshot.js'
import { type PackableEntry, packed } from './model-pack.js'

/** A copy of what a model's snapshot holds, or of what has changed. */
export interface SharedModelContent {
  readonly aliveEntries: number
  /** In key order. */
  readonly entries: readonly PackableEntry[]
}

export const openSharedSnapshot: OpenSharedSnapshot = async (data) => {
  const { aliveEntries, entries } = data as SharedModelContent
  async function* blocks(targetBytes: number): AsyncGenerator<EntryBlock, void, undefined> {
    yield* packed(entries, targetBytes)
  }
  return {
    count: async () => aliveEntries,
    blocks: (options) => blocks(options?.targetBytes ?? DEFAULT_BLOCK_BYTES),
    close: async () => {},
  }
}
