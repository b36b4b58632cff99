// When a write is committed is decided below the contract: a quick run leaves this to `lmdb-conformance.test.ts`, and to the tests of commits.

import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

describe.skipIf(leftToLongRuns !== undefined)(`every write (${leftToLongRuns ?? 'a long run'})`, () => {
  runConformanceSuite(
    { describe, it, afterAll },
    {
      name: 'LmdbStateBackend that commits every write',
      open: (options) => LmdbStateBackend.temporary({ ...options, flushEvery: 1, cacheBytes: 1024 * 1024 }),
      maxBytes: 8 * 1024 * 1024,
      // A store for each test costs most of the time, and `lmdb-conformance.test.ts` has one.
      reuse: true,
    },
  )
})
