// What is wrong with the log of a store, as whoever opens the store would find it. Safe beside a process that writes.
//
// (1) The log is read from where the tree ends, as the next owner would read it: a log that ends before that is of an earlier time than the tree,
//     and one that needs a later commit is of a later time.
// (2) The writer goes on meanwhile. So what seems to be wrong is looked at again, with the identity and the tree's state as they are then.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isStateError, reasonOf } from '../../base/errors.js'
import { decodeIdentity, IDENTITY_FILE } from '../store/store-identity.js'
import type { StoreState } from '../store/store-state.js'
import type { StoreProblem } from '../store/verify-store.js'
import { EVERYTHING, heldOf, type LogIdentity } from './log-identity.js'
import { LogReader, missingCommit } from './log-reader.js'

/** How often the log may move on while it is being read. */
const TRIES = 20

/** `state` reads that of the tree as it is now; `onGroup` is called with each group. `INCOMPATIBLE` for a log of another version. */
export function problemsOfLog(
  directory: string,
  state: () => StoreState,
  onGroup: () => void,
): readonly StoreProblem[] {
  let reason = ''
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      const path = join(directory, IDENTITY_FILE)
      const { log } = decodeIdentity(readFileSync(path), path)
      const found = log && problemOf(directory, log, state, onGroup)
      if (found === undefined) return []
      reason = found
    } catch (error) {
      if (!isStateError(error, 'CORRUPTION')) throw error
      reason = reasonOf(error)
    }
  }
  return [{ what: 'log', reason }]
}

function problemOf(
  directory: string,
  log: LogIdentity,
  state: () => StoreState,
  onGroup: () => void,
): string | undefined {
  const { flushSequence, log: mark } = state()
  const held = heldOf(log.id, mark)
  if (held === EVERYTHING) return undefined
  const reader = new LogReader(directory, log)
  try {
    let missing: string | undefined
    const { gap } = reader.read(held, true, (group, what) => {
      onGroup()
      if (group.commits > flushSequence) {
        // Beside a process that writes, that commit may have come since: what is behind it is of a later time than what is looked at here.
        const now = state().flushSequence
        if (group.commits > now) missing = missingCommit(group.commits, now)
        return false
      }
      while (group.next(what));
      return true
    })
    return gap ?? missing
  } finally {
    reader.close()
  }
}
