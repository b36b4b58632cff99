import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { compiledModule } from '../../base/compiled.js'
import type { VerifyReport } from './verify-store.js'

/** A store is read at 1 MB/s at the very least, whatever the disk. */
const TIMEOUT_MS = 10 * 60_000
const MAX_REPORT_BYTES = 1024 * 1024

/** Reads a whole data file in a process of its own: one that is cut off ends that one, and is reported. */
export function verifyDataFile(dataPath: string): Promise<VerifyReport> {
  const main = fileURLToPath(compiledModule('#lmdb/verify-main'))
  return new Promise((done) => {
    execFile(
      process.execPath,
      [main, dataPath],
      { timeout: TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: MAX_REPORT_BYTES },
      (error, stdout, stderr) => {
        if (error === null) done(JSON.parse(stdout) as VerifyReport)
        else done(failed(error.signal ?? `exit code ${String(error.code)}`, stderr))
      },
    )
  })
}

/** The report where nothing could be read. */
export function unreadable(reason: string): VerifyReport {
  return { ok: false, entries: 0, expiring: 0, bytes: 0, problems: [{ what: 'store', reason }] }
}

function failed(end: string, stderr: string): VerifyReport {
  const [firstLine] = stderr.trim().split('\n')
  return unreadable(
    `reading it ended with ${end}${firstLine === '' || firstLine === undefined ? '' : `: ${firstLine}`}`,
  )
}
