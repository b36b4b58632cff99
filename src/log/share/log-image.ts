// A log that one thread has filled and another one goes on with: memory changes hands, or is shared, and nothing is copied.

import type { QueueImage } from '../expiry-queue.js'
import type { IndexImage } from '../index/hash-index.js'
import type { HashKey } from '../index/key-hash.js'
import type { SharedSegment } from '../segment-table.js'

/** What `HashLog.image` gives and `HashLog.adopt` takes; structured clone carries it. */
export interface LogImage {
  /** What its keys were hashed with: the log that adopts it must hash with the same. */
  readonly hashKey: HashKey
  readonly segments: readonly SharedSegment[]
  /** The segment that entries are appended to. */
  readonly tail: number
  readonly index: IndexImage
  readonly queue: QueueImage
}

/** The memory in an image that changes hands. */
export function transfersOf({ index, queue }: LogImage): ArrayBuffer[] {
  const slots = index.tables.map((table) => table.slots.buffer as ArrayBuffer)
  const items = queue.buckets.flatMap((bucket) =>
    bucket.items.chunks.map((chunk) => chunk.buffer as ArrayBuffer),
  )
  return [...slots, ...items]
}
