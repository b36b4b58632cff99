// By how many pages writes make a store grow at most: what is admitted is only known to fit when it has been committed, and by then
// it has been promised. An estimate by bytes would not do: a key of ten bytes splits a full page in two.
//
// (1) An entry that comes to a tree splits at most one leaf. Leaves that were there split once each; each split after that takes
//     as many bytes as fill what a split has left free, at least a quarter of a page.
// (2) A leaf that comes splits at most one page on each level above, and may add one level.
// (3) A value of more than half a page takes pages of its own.
// (4) Entries that go, or take the place of others, count like those that come: they take no more.

import { STORE_PAGE_BYTES } from '../store/data-file.js'

/** The pages of a tree. */
export interface TreeShape {
  readonly depth: number
  readonly branchPages: number
  readonly leafPages: number
}

export interface StoreShape {
  readonly entries: TreeShape
  readonly expiry: TreeShape
}

/** Of an entry in a page, beside its key and its value: its place, its lengths, and what a record has in front of the value. */
const ENTRY_OVERHEAD_BYTES = 32
/** Larger values take pages of their own. */
const LARGE_VALUE_BYTES = STORE_PAGE_BYTES / 2 - 128
const FREE_AFTER_SPLIT = 1 / 4

/** Of large values, the bytes of their pages for each byte, at most. */
const LARGE_VALUE_FACTOR = 1 + (2 * STORE_PAGE_BYTES) / LARGE_VALUE_BYTES

/** What one key adds at most, in bytes of pages, whatever else is written; beside its large value. */
export function growthOfOneKey({ entries, expiry }: StoreShape): number {
  return (entries.depth + expiry.depth + 5) * STORE_PAGE_BYTES
}

/** The same as `growthAtMost`, told faster, and more of it. */
export function roughGrowth(oneKeyBytes: number, keys: number, bytes: number): number {
  return keys * oneKeyBytes + bytes * LARGE_VALUE_FACTOR
}

/** Bytes of pages that writes of so many keys, with so many bytes of keys and values, add to a store at most. */
export function growthAtMost({ entries, expiry }: StoreShape, keys: number, bytes: number): number {
  const overflow = bytes / STORE_PAGE_BYTES + 2 * Math.min(keys, bytes / LARGE_VALUE_BYTES)
  const pages = overflow + newPages(entries, keys, bytes) + newPages(expiry, keys, bytes)
  return pages * STORE_PAGE_BYTES
}

function newPages({ depth, branchPages, leafPages }: TreeShape, keys: number, bytes: number): number {
  const filled = (bytes + keys * ENTRY_OVERHEAD_BYTES) / (STORE_PAGE_BYTES * FREE_AFTER_SPLIT)
  const leaves = Math.min(keys, leafPages + Math.ceil(filled))
  return leaves + Math.min(leaves * depth, leaves + 2 * (branchPages + depth)) + 1
}
