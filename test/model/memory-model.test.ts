import { describe, expect, it } from 'vitest'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { runCommands } from './backend-commands.js'

describe('MemoryStateBackend', () => {
  it('behaves as the model does, whatever the commands', async () => {
    const run = runCommands(async (options) => new MemoryStateBackend(options), {
      sweep: (engine) => (engine as MemoryStateBackend).sweep(),
    })
    await expect(run).resolves.toBeUndefined()
  }, 300_000)
})
