// The process that `verifyDataFile` starts: reads the data file that is its argument, and the log in the directory that is its second one. Or, behind
// `--lock`, it only opens the data file for writing, which takes LMDB's lock for writers. What it has to say it says on a channel of its own, line by line:
// standard output belongs to everybody who runs in a process.

import { writeSync } from 'node:fs'
import { isStateError, reasonOf } from '../../base/errors.js'
import { LOCK_OPTION, VERIFY_CHANNEL, type VerifyMessage } from './verify-process.js'

/** Often enough that whoever waits can tell a long work from a hanging one. */
const WORD_EVERY_MS = 1_000

function say(message: VerifyMessage): void {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`)
  // Where nobody listens any more it throws, which ends this process: nobody wants its report.
  for (let said = 0; said < bytes.length; ) said += writeSync(VERIFY_CHANNEL, bytes, said)
}

let spokeAtMs = performance.now()

function sayAtTimes(): void {
  const nowMs = performance.now()
  if (nowMs - spokeAtMs < WORD_EVERY_MS) return
  spokeAtMs = nowMs
  say({ kind: 'reading' })
}

async function lock(dataPath: string): Promise<void> {
  const { openEnvironment } = await import('./environment.js')
  say({ kind: 'locking' })
  await openEnvironment(dataPath, { readOnly: false }).close()
  say({ kind: 'free' })
}

async function verify(): Promise<void> {
  try {
    const [first, second] = process.argv.slice(2)
    if (first === LOCK_OPTION) {
      await lock(second as string)
      return
    }
    const [dataPath, directory] = [first, second]
    if (dataPath === undefined) throw new Error('needs the data file of a store')
    // Loaded after the first word: what fails or takes long from here on is not that this is no Node.js.
    const { verifyHere } = await import('./verify-store.js')
    const { problemsOfLog } = await import('../log/verify-log.js')
    const reading = verifyHere(dataPath, sayAtTimes, (state) =>
      directory === undefined ? [] : problemsOfLog(directory, state, sayAtTimes),
    )
    say({ kind: 'report', ...reading })
  } catch (error) {
    const { isOfSameNumber } = await import('./environment.js')
    const reason = reasonOf(error)
    if (isStateError(error, 'INCOMPATIBLE')) say({ kind: 'incompatible', details: error.details, reason })
    else say({ kind: 'failed', reason, tryAnother: isOfSameNumber(error) })
  }
}

say({ kind: 'started' })
void verify().then(() => process.exit(0))
