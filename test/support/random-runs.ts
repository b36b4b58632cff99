import assert from 'node:assert/strict'
import { relative } from 'node:path'
import fc from 'fast-check'
import { expect } from 'vitest'

/** A run that hangs is a failure like any other, with its seed. */
const RUN_TIMEOUT_MS = 60_000

/** A failure costs seconds: nobody waits for the shortest sequence that shows it, and often stops before the seed is printed. */
const SHRINK_MS = 20_000

export interface RandomRunsOptions {
  /** A positive whole number. */
  readonly runs: number
  /** With which the same values are drawn each time, unless HOLDFAST_MODEL_SEED says otherwise. Default: others each time. */
  readonly seed?: number
  /** Whether a shorter failure is looked for. Default true; false where a shorter sequence would show another failure. */
  readonly shrinks?: boolean
  /** For how long, since the run that failed has begun. Default 20 s. */
  readonly shrinkMs?: number
  /** Default: the process's own clock, as what is limited is the time of whoever waits. */
  readonly nowMs?: () => number
}

/**
 * Checks a property on values drawn at random. Rejects with the shortest failing value that fast-check finds within `shrinkMs`,
 * what went wrong with it, and how to repeat the run: by the environment variable HOLDFAST_MODEL_SEED, `seed` or `seed:run`.
 */
export async function onRandomRuns<Drawn>(
  property: fc.IAsyncProperty<Drawn>,
  options: RandomRunsOptions,
): Promise<void> {
  const { runs, seed, shrinks = true, shrinkMs = SHRINK_MS, nowMs = () => performance.now() } = options
  assert(Number.isSafeInteger(runs) && runs > 0, `runs are whole, and at least one: ${runs}`)
  await fc.assert(property, {
    numRuns: runs,
    timeout: RUN_TIMEOUT_MS,
    endOnFailure: !shrinks,
    includeErrorInReport: true,
    plugins: [endsShrinking(shrinkMs, nowMs)],
    asyncReporter: report,
    ...(seed !== undefined && { seed }),
    ...repeated(process.env['HOLDFAST_MODEL_SEED']),
  })
}

/** Ends the search for a shorter failure when its time is over. fast-check's own limit includes the time before the failure. */
function endsShrinking<Drawn>(shrinkMs: number, nowMs: () => number): fc.Plugin<Drawn> {
  return () => {
    let failingSinceMs: number | undefined
    return {
      decorateRun: (run) => async (value) => {
        const beganMs = nowMs()
        if (failingSinceMs !== undefined && beganMs - failingSinceMs >= shrinkMs)
          return new fc.PreconditionFailure(true)
        const failure = await run(value)
        if (failure !== null && !fc.PreconditionFailure.isFailure(failure)) failingSinceMs ??= beganMs
        return failure
      },
    }
  }
}

async function report<Drawn>(details: fc.RunDetails<Drawn>): Promise<void> {
  const message = await fc.asyncDefaultReportMessage(details)
  if (message === undefined) return
  const { testPath } = expect.getState()
  const [run] = (details.counterexamplePath ?? '').split(':')
  const file = testPath === undefined ? '' : ` ${relative(process.cwd(), testPath)}`
  const repeat = `HOLDFAST_MODEL_SEED=${details.seed}:${run} npx vitest run${file}`
  throw new Error(`${message}\n\nThe run again: ${repeat}`, { cause: details.errorInstance })
}

/** What HOLDFAST_MODEL_SEED says. A path of shrinking would not repeat commands: which of them ran belongs to it. */
function repeated(text: string | undefined): { readonly seed?: number; readonly path?: string } {
  if (text === undefined) return {}
  const [, seed, path] = /^(-?\d+)(?::(\d+))?$/.exec(text) ?? []
  assert(seed !== undefined, `HOLDFAST_MODEL_SEED is "seed" or "seed:run", not "${text}"`)
  return { seed: Number(seed), ...(path !== undefined && { path }) }
}
