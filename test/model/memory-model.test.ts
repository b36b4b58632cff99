import { describe, expect, it } from 'vitest'
import type { StateBackend } from '../../src/backend/state-backend.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { modelLimitMs, modelRuns } from '../support/long.js'
import { type EngineOptions, runCommands } from './backend-commands.js'

describe('MemoryStateBackend', () => {
  const sweep = (engine: StateBackend) => (engine as MemoryStateBackend).sweep()

  it(
    'behaves as the model does, whatever the commands',
    async () => {
      const run = runCommands(async (options) => new MemoryStateBackend(options), { sweep })
      await expect(run).resolves.toBeUndefined()
    },
    modelLimitMs(300_000),
  )

  // So little memory that segments are emptied, compacted and reused all the time, and often nothing is left.
  it(
    'does so too where memory is short',
    async () => {
      const open = async (options: EngineOptions) =>
        new MemoryStateBackend({ ...options, maxBytes: 64 * 1024 })
      const openCopy = async (options: EngineOptions) => new MemoryStateBackend(options)
      const run = runCommands(open, {
        openCopy,
        sweep,
        runs: modelRuns(1_000, 30),
      })
      await expect(run).resolves.toBeUndefined()
    },
    modelLimitMs(300_000),
  )
})
