import { describe, expect, it } from 'vitest'
import { ModelStateBackend } from '../../src/testing/model-state-backend.js'
import { runs } from '../support/long.js'
import { runCommands } from './backend-commands.js'
import { brokenBackends } from './broken-backends.js'

/** Broken in ways that these commands do not go near: arguments, arrays changed by the caller, limits, closing, races, listeners. */
const OUT_OF_REACH = new Set([
  'hands out its own memory',
  'keeps the array it was given',
  'reads its arguments a moment after the call',
  'cuts keys at the limit instead of rejecting them',
  'does not look at the signal',
  'removes nothing unless somebody reads',
  'counts one put too many after the hundredth',
  'cannot be closed twice',
  'finds nothing, without an error, when closed',
  'throws where it should reject',
  'leaves a timer behind',
  'takes damaged blocks without a word',
  'drops what does not fit without a word',
  'does not delete when it is full',
  'never gives space back',
  'checks expectations some time before it writes',
  'answers getMany key by key while others write',
  'tells of what has expired within calls of its listeners',
])

describe('the command sequences', () => {
  it('find nothing wrong with the model itself', async () => {
    const run = runCommands(async (options) => new ModelStateBackend(options), { runs: runs(100, 25) })
    await expect(run).resolves.toBeUndefined()
  })

  const withinReach = brokenBackends.filter(({ does }) => !OUT_OF_REACH.has(does))
  for (const { does, Backend } of withinReach.filter((_, i) => i % runs(1, 4) === 0)) {
    it(`go red for a backend that ${does}, and print the seed`, async () => {
      const found = runCommands(async (options) => new Backend(options), { runs: 500 })
      await expect(found).rejects.toThrow(/seed: -?\d+/)
    })
  }
})
