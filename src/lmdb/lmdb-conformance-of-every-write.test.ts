// A file of its own, so that the two go through the suite at the same time: nearly each case starts a writer thread.

import { describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

/** When a write is committed is decided below both faces, so a quick run goes through one of them. */
const describeQuickly = (title: string, body: () => void) =>
  describe.skipIf(leftToLongRuns !== undefined && title.endsWith(' of StateBackend'))(title, () => {
    body()
  })

runConformanceSuite(
  { describe: describeQuickly, it },
  {
    name: 'LmdbStateBackend that commits every write',
    open: (options) => LmdbStateBackend.temporary({ ...options, flushEvery: 1, cacheBytes: 1024 * 1024 }),
    cannot: { inPlace: 'a value may lie on disk' },
  },
)
