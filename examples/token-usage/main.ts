// What `npm start` runs: the job of this folder once without interruption, and once killed and started again.

import { constants } from 'node:os'
import { CommanderError } from 'commander'
import { Experiment } from './experiment.js'
import { InputError } from './input-error.js'
import { NoAnswer } from './keepers.js'
import { readSettings } from './options.js'
import { progressFor, silentProgress } from './progress.js'
import { jsonReport, textReport } from './report.js'
import { WorkerFailure } from './run-worker.js'
import { openWorkingDirectory } from './working-directory.js'

/** The results differ, or could not be compared. */
const EXIT_FAILED = 1
const EXIT_USAGE = 2

/** Why the runs were stopped: a signal to this process. */
class Interruption extends Error {
  readonly exitStatus: number

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`stopped by ${signal}`)
    this.exitStatus = 128 + constants.signals[signal]
  }
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args)
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => interruption.abort(new Interruption(signal)))
  }
  await using directory = await openWorkingDirectory(settings.dir)
  const progress = settings.json ? silentProgress : progressFor(process.stderr)
  const result = await new Experiment(settings, directory, progress, interruption.signal).run()
  process.stdout.write((settings.json ? jsonReport : textReport)(result, settings))
  return result.verdict.equal ? 0 : EXIT_FAILED
}

/** Says in one line what went wrong, and returns the exit status. What is a bug is thrown on, with its stack. */
function explain(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE
  if (error instanceof Interruption) return error.exitStatus
  if (!(error instanceof InputError || error instanceof WorkerFailure || error instanceof NoAnswer))
    throw error
  process.stderr.write(`error: ${error.message}\n`)
  return error instanceof InputError ? EXIT_USAGE : EXIT_FAILED
}

process.exitCode = await main(process.argv.slice(2)).catch(explain)
// A client of a server that was given up may still hold a connection.
if (process.exitCode === EXIT_USAGE) process.exit()
