import type { EntryBlock } from '../../backend/entry-block.js'
import type { CodecName } from '../../codec/block-codec.js'

/** How a block lies in a segment. */
export interface StoredBlock {
  readonly codec: CodecName
  /** In memory that nobody writes to. */
  readonly stored: Uint8Array
  readonly rawCrc: number
  readonly storedCrc: number
}

/** What whoever has looked at all entries of a block knows of it. */
export interface BlockOutline {
  readonly entryCount: number
  readonly tombstoneCount: number
  readonly firstKey: Uint8Array
  readonly lastKey: Uint8Array
  /** Nothing in it expires before; Infinity: nothing at all. */
  readonly nextExpiryMs: number
}

/** A block that was read from a segment and verified. Where it goes on as it is, nobody need look into it or compress it once more. */
export interface SegmentBlock extends EntryBlock, BlockOutline {
  readonly origin: StoredBlock
}

export function isSegmentBlock(block: EntryBlock): block is SegmentBlock {
  return 'origin' in block
}
