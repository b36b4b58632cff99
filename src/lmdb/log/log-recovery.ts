// What becomes of the log that a former owner has left: it is read into memory at once, where everything that waits for its commit is, and
// the tree takes it behind. It goes when the tree has it; a new one begins only then, so there is one log at a time.

import type { LayeredEntries } from '../buffer/layered-entries.js'
import type { StoreDirectory } from '../store/store-directory.js'
import type { StoreState } from '../store/store-state.js'
import { EVERYTHING, heldOf, type LogMark } from './log-identity.js'
import { damagedLog, LogReader, missingCommit } from './log-reader.js'

export class LogRecovery {
  readonly #directory: StoreDirectory
  #mark: LogMark | undefined

  constructor(directory: StoreDirectory) {
    this.#directory = directory
  }

  /** What commits tell of it: the tree holds all of the former log with the first of them, whatever a former owner still appends. */
  get mark(): LogMark | undefined {
    return this.#mark
  }

  /** Whether there is no former log any more. */
  get isOver(): boolean {
    return this.#directory.isWithoutLog
  }

  /** Reads what the tree does not hold. `CORRUPTION` where the log is not whole. Returns the time that it tells; undefined: nothing was there. */
  async replay(entries: LayeredEntries, state: StoreState | undefined): Promise<number | undefined> {
    const { log, path } = this.#directory
    if (log === undefined) return undefined
    const commits = state?.flushSequence ?? 0
    const held = heldOf(log.id, state?.log)
    if (held === EVERYTHING) {
      await this.#directory.endLog()
      return undefined
    }
    let clockMs: number | undefined
    let missing: number | undefined
    const reader = new LogReader(path, log)
    try {
      const { gap } = reader.read(held, true, (group, what) => {
        if (group.commits > commits) missing = group.commits
        else {
          entries.replay(group, what)
          clockMs = group.clockMs
        }
        return missing === undefined
      })
      if (gap !== undefined) throw damagedLog(path, gap)
      if (missing !== undefined) throw damagedLog(path, missingCommit(missing, commits))
    } finally {
      reader.close()
    }
    if (clockMs === undefined) await this.#directory.endLog()
    else this.#mark = { id: log.id, sequence: EVERYTHING }
    return clockMs
  }

  /** A commit with this mark is durable. */
  async committed(mark: LogMark | undefined): Promise<void> {
    if (mark?.id === this.#mark?.id && this.#directory.log?.id === mark?.id) await this.#directory.endLog()
  }
}
