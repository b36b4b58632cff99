// A file of its own, so that the two go through the suite at the same time: nearly each case starts a writer thread.

import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

/**
 * What a quick run leaves out: when a write is committed is decided below both faces, so it goes through one of them, and
 * does not matter to these topics.
 */
const LEFT_OUT =
  /of StateBackend$|^(keys and values|ranges and order|limits and arguments|life cycle|many tasks at once|statistics)$/
/** Where every write is committed, a flush has nothing to do. */
const FLUSHED = /, after a flush$/
const describeQuickly = (title: string, body: () => void) =>
  describe.skipIf(leftToLongRuns !== undefined && LEFT_OUT.test(title))(title, () => {
    body()
  })
const itQuickly = Object.assign(
  (title: string, body: () => Promise<void>) => {
    const run = leftToLongRuns !== undefined && FLUSHED.test(title) ? it.skip : it
    run(title, body)
  },
  { skip: it.skip },
)

runConformanceSuite(
  { describe: describeQuickly, it: itQuickly, afterAll },
  {
    name: 'LmdbStateBackend that commits every write',
    open: (options) => LmdbStateBackend.temporary({ ...options, flushEvery: 1, cacheBytes: 1024 * 1024 }),
    maxBytes: 8 * 1024 * 1024,
    reuse: leftToLongRuns !== undefined,
  },
)
