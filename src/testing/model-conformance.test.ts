import { afterAll, describe, it } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { runConformanceSuite } from './conformance.js'
import { ModelStateBackend } from './model-state-backend.js'

/** Its twins are the facade's, as those of the other engines, of which a quick run goes through both faces. */
const describeQuickly = (title: string, body: () => void) =>
  describe.skipIf(leftToLongRuns !== undefined && title.endsWith(' of SyncStateBackend'))(title, () => {
    body()
  })

runConformanceSuite(
  { describe: describeQuickly, it, afterAll },
  {
    name: 'ModelStateBackend',
    open: async (options) => new ModelStateBackend(options),
    maxBytes: 1024 * 1024,
    reuse: leftToLongRuns !== undefined,
    // The engines' own suites have these sizes in a quick run, too.
    ...(leftToLongRuns !== undefined && { cannot: { largeValues: leftToLongRuns } }),
  },
)
