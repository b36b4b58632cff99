import { isStateError, reasonOf } from '../../base/errors.js'
import { StoreDirectory } from '../store/store-directory.js'
import type { StoreProblem, VerifyReport } from '../store/verify-store.js'
import { LogReader } from './log-reader.js'

/** How often the log may move on while it is being read. */
const TRIES = 20

/** A report on the tree of a store, with what is wrong with the log before it. Safe beside a process that writes. */
export async function withLogChecked(report: VerifyReport, path: string): Promise<VerifyReport> {
  const found = await problemsOfLog(path)
  if (found.length === 0) return report
  return { ...report, ok: false, problems: [...report.problems, ...found] }
}

async function problemsOfLog(path: string): Promise<StoreProblem[]> {
  let reason = ''
  for (let tries = 0; tries < TRIES; tries++) {
    let reader: LogReader | undefined
    try {
      const log = await StoreDirectory.logIn(path)
      if (log === undefined) return []
      reader = new LogReader(path, log)
      const { gap } = reader.read(undefined, true, (group, what) => {
        while (group.next(what));
        return true
      })
      if (gap === undefined) return []
      reason = gap
    } catch (error) {
      if (!isStateError(error, 'CORRUPTION')) throw error
      reason = reasonOf(error)
    } finally {
      reader?.close()
    }
  }
  return [{ what: 'log', reason }]
}
