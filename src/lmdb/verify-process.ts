import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import type { StoreProblem, VerifyReport } from './verify-store.js'

/** A store is read at 1 MB/s at the very least, whatever the disk. */
const TIMEOUT_MS = 10 * 60_000
const MAX_REPORT_BYTES = 1024 * 1024

/** Reads a whole store in a process of its own: a file that is cut off ends that one, and is reported. */
export function verifyStore(path: string): Promise<VerifyReport> {
  const main = createRequire(import.meta.url).resolve('#lmdb/verify-main')
  return new Promise((done) => {
    execFile(
      process.execPath,
      [main, resolve(path)],
      { timeout: TIMEOUT_MS, killSignal: 'SIGKILL', maxBuffer: MAX_REPORT_BYTES },
      (error, stdout, stderr) => {
        if (error === null) done(JSON.parse(stdout) as VerifyReport)
        else done(failed(error.signal ?? `exit code ${String(error.code)}`, stderr))
      },
    )
  })
}

function failed(end: string, stderr: string): VerifyReport {
  const [firstLine] = stderr.trim().split('\n')
  const reason = `reading it ended with ${end}${firstLine === '' || firstLine === undefined ? '' : `: ${firstLine}`}`
  const problem: StoreProblem = { what: 'store', reason }
  return { ok: false, entries: 0, expiring: 0, bytes: 0, problems: [problem] }
}
