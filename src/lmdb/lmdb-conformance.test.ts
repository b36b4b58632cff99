import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

runConformanceSuite(
  { describe, it, afterAll },
  {
    name: 'LmdbStateBackend',
    open: (options) => LmdbStateBackend.temporary(options),
    maxBytes: 8 * 1024 * 1024,
    reuse: leftToLongRuns !== undefined,
  },
)
