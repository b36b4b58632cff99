import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from '../testing/conformance.js'
import { MemoryStateBackend } from './memory-state-backend.js'

runConformanceSuite(
  { describe, it, afterAll },
  {
    name: 'MemoryStateBackend',
    open: async (options) => new MemoryStateBackend(options),
    reuse: leftToLongRuns !== undefined,
  },
)
