// How a process that reads beside the one that writes sees the log: laid over its view of the tree.
//
// (1) The view is begun first, and the log is read after that, up to the first group that needs a later commit than the view has. So what is
//     seen is the content at one moment, and never less than was seen before.
// (2) When the tree has taken some of the log, all of it is laid over the new view again: the tree may hold later versions.

import type { LayeredEntries } from '../buffer/layered-entries.js'
import type { ServedStore } from '../store/served-store.js'
import type { StoreDirectory } from '../store/store-directory.js'
import { EVERYTHING, heldOf } from './log-identity.js'
import { damagedLog, LogReader } from './log-reader.js'

/** How often the log may move on while it is being read. */
const TRIES = 100

export class LogOverlay {
  readonly #directory: StoreDirectory
  readonly #store: ServedStore
  readonly #entries: LayeredEntries
  #reader: LogReader | undefined
  /** The commit that it lies over, and the last group that was laid over it; undefined: nothing was. */
  #laid: { readonly id: string; readonly commits: number; readonly sequence: number } | undefined

  constructor(directory: StoreDirectory, store: ServedStore, entries: LayeredEntries) {
    this.#directory = directory
    this.#store = store
    this.#entries = entries
  }

  /** Lays over the view, which was just renewed, what the log has beyond it. Returns the time that the log tells; 0: none. */
  refresh(): number {
    let gap = ''
    for (let tries = 0; tries < TRIES; tries++) {
      if (tries > 0) this.#store.refreshNow()
      const { log } = this.#directory
      if (log === undefined) {
        this.#forget()
        return 0
      }
      if (this.#reader?.id !== log.id) {
        this.#forget()
        this.#reader = new LogReader(this.#directory.path, log)
      }
      const read = this.#read(this.#reader as LogReader)
      if (read.gap === undefined) return read.clockMs
      gap = read.gap
      // Its files may be others by now.
      this.#forget()
    }
    throw damagedLog(this.#directory.path, gap)
  }

  close(): void {
    this.#reader?.close()
    this.#reader = undefined
  }

  #read(reader: LogReader): { readonly gap: string | undefined; readonly clockMs: number } {
    const { state } = this.#store
    const commits = state?.flushSequence ?? 0
    const { id } = reader
    if (this.#laid?.commits !== commits) {
      this.#entries.reset(this.#store.view.entryCount)
      this.#laid = { id, commits, sequence: heldOf(id, state?.log) }
    }
    const from = this.#laid.sequence
    let clockMs = 0
    if (from === EVERYTHING) return { gap: undefined, clockMs }
    const { gap, sequence } = reader.read(from, false, (group, what) => {
      if (group.commits > commits) return false
      this.#entries.replay(group, what)
      clockMs = group.clockMs
      return true
    })
    this.#laid = { id, commits, sequence }
    return { gap, clockMs }
  }

  #forget(): void {
    this.close()
    if (this.#laid === undefined) return
    this.#laid = undefined
    this.#entries.reset(this.#store.view.entryCount)
  }
}
