import { expect, it } from 'vitest'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

const key = new Uint8Array([1])

it('takes the state between hold and what it resolves with, and nowhere else', async () => {
  const steps: string[] = []
  await using backend = new MemoryStateBackend()
  await using coordinator = new CheckpointCoordinator(backend, {
    storage: new MemoryCheckpointStorage(),
    hold: async () => {
      steps.push('hold')
      await Promise.resolve()
      backend.putSync(key, new Uint8Array([steps.length]))
      return () => steps.push('release')
    },
    source: () => {
      steps.push('source')
      return steps.length
    },
  })
  const { source } = await coordinator.createCheckpoint()
  expect(steps).toEqual(['hold', 'source', 'release'])
  expect(source).toBe(2)
})

it('makes no checkpoint where hold rejects, and releases where the state cannot be taken', async () => {
  let released = 0
  let reason: 'hold' | 'source' = 'hold'
  await using backend = new MemoryStateBackend()
  const coordinator = new CheckpointCoordinator(backend, {
    storage: new MemoryCheckpointStorage(),
    hold: async () => {
      if (reason === 'hold') throw new Error('not now')
      return () => released++
    },
    source: () => {
      throw new Error('no position')
    },
  })
  await expect(coordinator.createCheckpoint()).rejects.toThrow('not now')
  expect(released).toBe(0)
  reason = 'source'
  await expect(coordinator.createCheckpoint()).rejects.toThrow('no position')
  expect(released).toBe(1)
  await expect(coordinator.shutdown()).rejects.toThrow('no position')
})
