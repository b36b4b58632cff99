// What a commit is worth: whether the names of a store still mean the files that are open, and whether they are owned.
//
// (1) Checked right before a transaction, in it, and after it: what was committed to files that nobody finds any more, or past
//     a new owner, is not acknowledged.
// (2) In it, because LMDB lets one writer at a time in: a new owner's first transaction comes after the last one of the owner
//     before, or that one sees here that it is not the owner any more, and is not committed.
// (3) The lease is looked at each time, the other names only where their directory has changed, or may have. Where Linux gives a file that somebody has
//     looked at a time of its own for its next write, which is then to be recorded, a look costs that write half as much again.

import { type BigIntStats, lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { StateError } from '../../base/errors.js'
import { type FileMark, isMarked, type LeaseMark, markOf, SyncLeaseWatch } from '../../files/lease-watch.js'
import { lockFileOf } from './data-file.js'
import { DirectoryWatch } from './directory-watch.js'

/** How often the lease is renewed by whoever commits, in milliseconds: the other thread's event loop may be busy. */
const RENEW_MS = 2_000

/** A name, and the file that it is to mean. */
export interface NamedFile {
  readonly path: string
  readonly mark: FileMark
}

/** Watches over the files of a store, from the thread that made it on. It may be made anew at any time. */
export class StoreGuard {
  readonly #files: readonly NamedFile[]
  readonly #directory: string
  readonly #names: DirectoryWatch
  readonly #lease: SyncLeaseWatch
  #renewedAtMs = performance.now()

  /** The files of LMDB are those that the names mean now: it has just opened them. Those of a log have been open for longer. */
  constructor(dataPath: string, lease: LeaseMark, logFiles: readonly NamedFile[] = []) {
    const ofData = [dataPath, lockFileOf(dataPath)].map((path) => {
      const stats = statsOf(path)
      if (stats === undefined) throw gone(path)
      return { path, mark: markOf(stats) }
    })
    this.#files = [...ofData, ...logFiles]
    this.#directory = dirname(dataPath)
    this.#names = new DirectoryWatch(this.#directory)
    this.#lease = new SyncLeaseWatch(this.#directory, lease)
  }

  /**
   * As `check`, but while the lease is held it looks no further: for whoever looks at the files behind the write, where nothing of it has been
   * acknowledged. A look at all of them takes five times as long.
   */
  checkOwner(): void {
    // A directory that is gone has no lease either, and is not a new owner's.
    if (!this.#lease.isHeld) this.check()
  }

  /** `STORAGE_ERROR` where a file is gone or another one has its name; `FENCED` where the lease is lost. */
  check(): void {
    const lost = this.#lostFile()
    // A new owner may have compacted the store: then it is that one who has replaced the file.
    if (lost === undefined || statsOf(this.#directory) !== undefined) this.#lease.check()
    if (lost !== undefined) throw gone(lost.path)
    if (performance.now() - this.#renewedAtMs < RENEW_MS) return
    this.#renewedAtMs = performance.now()
    this.#lease.renew()
  }

  #lostFile(): { readonly path: string } | undefined {
    if (this.#names.isUnchanged()) return undefined
    const lost = this.#files.find(({ path, mark }) => !isMarked(statsOf(path), mark))
    if (lost === undefined) this.#names.confirm()
    return lost
  }
}

/** Tells the file that a name means now from every other that it may mean later; undefined where there is none. */
export function fileMark(path: string): FileMark | undefined {
  const stats = statsOf(path)
  return stats === undefined ? undefined : markOf(stats)
}

function statsOf(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false })
  } catch {
    // A part of the path is no directory any more, or may not be entered: nobody finds the file there.
    return undefined
  }
}

function gone(path: string): StateError<'STORAGE_ERROR'> {
  const reason =
    `${path} is gone, or another file is in its place: what is written now would be lost; ` +
    'stop this process, see who removes or replaces files there, and open the store again'
  return new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'commit', reason })
}
