import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from './conformance.js'
import { ModelStateBackend } from './model-state-backend.js'

runConformanceSuite(
  { describe, it, afterAll },
  {
    name: 'ModelStateBackend',
    open: async (options) => new ModelStateBackend(options),
    maxBytes: 1024 * 1024,
    reuse: leftToLongRuns !== undefined,
  },
)
