import type { LmdbSettings } from '../settings.js'
import { type CommitSize, commitSize } from './commit-size.js'
import { growthAtMost, growthOfOneKey, roughGrowth, type TreeShape } from './store-growth.js'
import type { CommitResult } from './store-writer.js'

export type CommitStatus = Pick<CommitResult, 'clockMs' | 'usedBytes' | 'shape' | 'flushSequence'>

const NO_TREE: TreeShape = { depth: 0, branchPages: 0, leafPages: 0 }
/** Where another process commits. */
const NOT_ASKED: CommitStatus = {
  clockMs: 0,
  usedBytes: 0,
  shape: { entries: NO_TREE, expiry: NO_TREE },
  flushSequence: 0,
}

/** How the store stands as of the last commit, and what may be written to it until the next one. */
export class StoreStatus {
  readonly #settings: Pick<LmdbSettings, 'maxBytes' | 'cacheBytes' | 'flushEvery'>
  #last: CommitStatus
  #oneKeyBytes: number
  #size: CommitSize

  constructor(
    settings: Pick<LmdbSettings, 'maxBytes' | 'cacheBytes' | 'flushEvery'>,
    status: CommitStatus = NOT_ASKED,
  ) {
    this.#settings = settings
    this.#last = status
    this.#oneKeyBytes = growthOfOneKey(status.shape)
    this.#size = commitSize(status.usedBytes, settings)
  }

  note(status: CommitStatus): void {
    this.#last = status
    this.#oneKeyBytes = growthOfOneKey(status.shape)
    this.#size = commitSize(status.usedBytes, this.#settings)
  }

  /** Bytes of the store's pages in use. */
  get usedBytes(): number {
    return this.#last.usedBytes
  }

  /** The time that the store knows to have come. */
  get clockMs(): number {
    return this.#last.clockMs
  }

  /** Commits that the store holds. */
  get commits(): number {
    return this.#last.flushSequence
  }

  /** Of the next commit. */
  get commitSize(): CommitSize {
    return this.#size
  }

  /** Whether so many keys, with so many bytes of keys and values, fit in the store, whatever pages they will take. */
  fits(keys: number, bytes: number): boolean {
    const left = this.#settings.maxBytes - this.usedBytes
    return (
      roughGrowth(this.#oneKeyBytes, keys, bytes) <= left ||
      growthAtMost(this.#last.shape, keys, bytes) <= left
    )
  }
}
