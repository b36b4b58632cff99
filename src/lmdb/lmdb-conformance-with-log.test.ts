// The log decides what is durable when, not what is there: a quick run leaves this to `lmdb-conformance.test.ts`, and to the tests of the log.

import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

describe.skipIf(leftToLongRuns !== undefined)(`with a log (${leftToLongRuns ?? 'a long run'})`, () => {
  runConformanceSuite(
    { describe, it, afterAll },
    {
      name: 'LmdbStateBackend with a log',
      open: (options) => LmdbStateBackend.temporary({ ...options, log: true }),
      maxBytes: 8 * 1024 * 1024,
      // A store for each test costs most of the time, and `lmdb-conformance.test.ts` has one.
      reuse: true,
    },
  )
})
