import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

/**
 * What a quick run leaves out of the face with promises: both faces lead to the same calls of the engine there, which the memory
 * engine's suite shows. What waits for the store's disk or space is in the topics that stay.
 */
const TWINS =
  /^(keys and values|ranges and order|deleting ranges|snapshots and running scans|time to live|statistics|replacing everything|changes between snapshots|snapshots for other threads|values in place)$/
let isFaceOfPromises = false
const describeQuickly = (title: string, body: () => void) => {
  const skips = leftToLongRuns !== undefined && isFaceOfPromises && TWINS.test(title)
  describe.skipIf(skips)(title, () => {
    // Bodies run one after the other, some time after they were registered.
    if (title.endsWith('StateBackend')) isFaceOfPromises = title.endsWith(' of StateBackend')
    body()
  })
}

runConformanceSuite(
  { describe: describeQuickly, it, afterAll },
  {
    name: 'LmdbStateBackend',
    open: (options) => LmdbStateBackend.temporary(options),
    maxBytes: 8 * 1024 * 1024,
    reuse: leftToLongRuns !== undefined,
  },
)
