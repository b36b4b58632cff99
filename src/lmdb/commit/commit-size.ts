import type { LmdbSettings } from '../settings.js'
import { STORE_PAGE_BYTES } from '../store/data-file.js'

/**
 * Pages of the store that a commit may touch, as a share of `cacheBytes`: LMDB holds each in private memory until the
 * commit is done.
 */
const DIRTY_SHARE = 1 / 2

/**
 * So many keys that a commit of them, anywhere in the store, touches no more pages than it may: of `P` pages, `n` keys at
 * random touch `P * (1 - exp(-n / P))`. Larger commits write fewer pages for each key.
 */
export function keysPerCommit(
  usedBytes: number,
  { cacheBytes, flushEvery }: Pick<LmdbSettings, 'cacheBytes' | 'flushEvery'>,
): number {
  const pages = usedBytes / STORE_PAGE_BYTES
  const allowed = (cacheBytes * DIRTY_SHARE) / STORE_PAGE_BYTES
  const keys = allowed < pages ? -pages * Math.log(1 - allowed / pages) : Infinity
  return Math.max(keys, flushEvery)
}
