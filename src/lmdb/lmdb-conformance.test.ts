import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import { STORE_PAGE_BYTES } from './store/data-file.js'

/** Values of a 64th of it fill whole pages: while they wait to be committed, the rest of a page is not counted. */
const FULL_BYTES = 64 * (16 * STORE_PAGE_BYTES - 1_024)

runConformanceSuite(
  { describe, it, afterAll },
  {
    name: 'LmdbStateBackend',
    open: (options) => LmdbStateBackend.temporary(options),
    maxBytes: FULL_BYTES,
    reuse: leftToLongRuns !== undefined,
  },
)
