import type { LmdbSettings } from '../settings.js'
import { STORE_PAGE_BYTES } from '../store/data-file.js'

/**
 * Pages of the store that a commit may touch, as a share of `cacheBytes`: LMDB holds each in private memory until the
 * commit is done.
 */
const DIRTY_SHARE = 1 / 2
/** Keys after which a commit begins where nothing else is asked for and each may be in a page of its own. */
const FLUSH_EVERY = 16_384
/** Beside the commit under way, as much may wait for the next one. */
const DUE_SHARE = 1 / 2

export interface CommitSize {
  /** So many keys that wait begin a commit. */
  readonly dueKeys: number
  /** So many that wait beside a commit hold a writer back. */
  readonly holdKeys: number
}

/**
 * So many keys that a commit of them, anywhere in the store, touches no more pages than it may: of `P` pages, `n` keys at
 * random touch `P * (1 - exp(-n / P))`. Larger commits write fewer pages for each key: where `flushEvery` is not given, they are as large as
 * that allows. A store of which a commit may touch all pages sets no bound; the bytes and the time that may wait do then.
 */
export function commitSize(
  usedBytes: number,
  { cacheBytes, flushEvery }: Pick<LmdbSettings, 'cacheBytes' | 'flushEvery'>,
): CommitSize {
  const pages = usedBytes / STORE_PAGE_BYTES
  const allowed = (cacheBytes * DIRTY_SHARE) / STORE_PAGE_BYTES
  const keys = allowed < pages ? -pages * Math.log(1 - allowed / pages) : Infinity
  return {
    dueKeys: flushEvery ?? Math.max(keys * DUE_SHARE, FLUSH_EVERY),
    holdKeys: Math.max(keys, flushEvery ?? FLUSH_EVERY),
  }
}
