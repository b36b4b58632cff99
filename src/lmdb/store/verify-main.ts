// The process that `verifyDataFile` starts: reads the data file that is its argument. What it has to say it says on a channel of
// its own, line by line: standard output belongs to everybody who runs in a process.

import { writeSync } from 'node:fs'
import { reasonOf } from '../../base/errors.js'
import { VERIFY_CHANNEL, type VerifyMessage } from './verify-process.js'

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

say({ kind: 'started' })
try {
  const [dataPath] = process.argv.slice(2)
  if (dataPath === undefined) throw new Error('needs the data file of a store')
  // Loaded after the first word: what fails or takes long from here on is not that this is no Node.js.
  const { verifyHere } = await import('./verify-store.js')
  say({ kind: 'report', report: verifyHere(dataPath, sayAtTimes) })
} catch (error) {
  const { isOfSameNumber } = await import('./environment.js')
  say({ kind: 'failed', reason: reasonOf(error), tryAnother: isOfSameNumber(error) })
}
process.exit(0)
