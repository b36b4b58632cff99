import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns, runs } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { MemoryStateBackend } from './memory-state-backend.js'

runConformanceSuite(
  { describe, it, afterAll },
  {
    name: 'MemoryStateBackend',
    open: async (options) => new MemoryStateBackend(options),
    maxBytes: runs(64, 4) * 1024 * 1024,
    reuse: leftToLongRuns !== undefined,
  },
)
