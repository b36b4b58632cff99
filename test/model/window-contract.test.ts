import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { modelLimitMs, modelRuns, runs } from '../support/long.js'
import { onRandomRuns } from '../support/random-runs.js'
import { takenByLibrary, takenByOracle } from './window-contract.js'
import { randomJobs } from './window-jobs.js'

/** The same jobs each time, and in a long run others each time. */
const drawn: { readonly seed?: number } = runs({}, { seed: 24 })

describe('windows', () => {
  it(
    'give what docs/semantics.md says, by an oracle that was written from it alone',
    async () => {
      const property = fc.asyncProperty(randomJobs, async (job) => {
        const expected = takenByOracle(job)
        expect(await takenByLibrary(job, expected)).toEqual(expected)
      })
      await onRandomRuns(property, { runs: modelRuns(2_000, 200), ...drawn })
    },
    modelLimitMs(600_000),
  )
})
