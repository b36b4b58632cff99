// Whether names still mean the files that they meant, told by a look at their directory alone.
//
// Whatever makes, removes or renames a file changes the time of change of its directory. So names that were looked at behind a look at the directory
// are as they were while that has the same time, under two conditions:
// (1) The time had been there for a while when the directory was looked at: a file system counts in steps, of up to a second on some, and two
//     changes within a step have the same time.
// (2) It is a file system of this machine that is known to do so. Elsewhere nothing is told, and every name is looked at each time.
// A file that is mounted over a name changes no directory: that is seen when the names are looked at next, which is every other second in any case.

import { type BigIntStats, statfsSync, statSync } from 'node:fs'
import { systemClock } from '../../base/clock.js'

/** By the magic numbers of `statfs`: ext2 to ext4, XFS, Btrfs, and what lies in memory. */
const KNOWN_FILE_SYSTEMS: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994])
const SETTLED_MS = 2_000
const TOLD_FOR_MS = 2_000

/** The directory as it was, and the time right before it was looked at. */
interface Look {
  readonly stats: BigIntStats
  readonly atMs: number
}

export class DirectoryWatch {
  readonly #path: string
  readonly #now: () => number
  readonly #isKnown: boolean
  #latest: Look | undefined
  /** The one right before the names were looked at last. */
  #confirmed: Look | undefined

  constructor(path: string, now: () => number = () => systemClock.now()) {
    this.#path = path
    this.#now = now
    this.#isKnown = tellsChanges(path)
  }

  /** Looks at the directory. True: every name in it means what it meant when that was confirmed. */
  isUnchanged(): boolean {
    if (!this.#isKnown) return false
    this.#latest = this.#look()
    if (this.#latest === undefined || this.#confirmed === undefined) return false
    const { stats, atMs: nowMs } = this.#latest
    const { stats: before, atMs } = this.#confirmed
    const sinceMs = nowMs - atMs
    return (
      stats.ctimeNs === before.ctimeNs &&
      stats.ino === before.ino &&
      stats.dev === before.dev &&
      sinceMs >= 0 &&
      sinceMs < TOLD_FOR_MS
    )
  }

  /** The names were looked at, behind the last call of `isUnchanged`, and are what they should be. */
  confirm(): void {
    const latest = this.#latest
    const isSettled = latest !== undefined && latest.atMs - Number(latest.stats.ctimeMs) >= SETTLED_MS
    this.#confirmed = isSettled ? latest : undefined
  }

  #look(): Look | undefined {
    const atMs = this.#now()
    try {
      const stats = statSync(this.#path, { bigint: true, throwIfNoEntry: false })
      return stats === undefined ? undefined : { stats, atMs }
    } catch {
      return undefined
    }
  }
}

/** Whether a directory's time of change tells of every name in it. */
export function tellsChanges(path: string): boolean {
  if (process.platform !== 'linux') return false
  try {
    return KNOWN_FILE_SYSTEMS.has(statfsSync(path).type)
  } catch {
    return false
  }
}
