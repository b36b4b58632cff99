import { describe, expect, it } from 'vitest'
import { bytesOf } from '../../../test/support/checkpoints.js'
import { contentOf, worker } from '../../../test/support/coordinator-bench.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

async function saved(clock: ManualClock) {
  const storage = new MemoryCheckpointStorage()
  await using backend = new MemoryStateBackend({ clock })
  await using coordinator = new CheckpointCoordinator(backend, { storage, worker, clock })
  for (const [key, ttlMs] of [
    ['a', 100],
    ['b', 1_000],
    ['c', Infinity],
  ] as const) {
    backend.putSync(bytesOf(key), bytesOf('1'), { ttlMs })
  }
  clock.advance(50)
  await coordinator.createCheckpoint()
  return storage
}

describe('the time between a checkpoint and its restore', () => {
  it('L4: counts by default', async () => {
    const clock = new ManualClock(1_000_000)
    const storage = await saved(clock)
    clock.advance(60)
    await using backend = new MemoryStateBackend({ clock })
    await using coordinator = new CheckpointCoordinator(backend, { storage, worker, clock })
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe('b=1 c=1')
  })

  it('L4: pauses every time to live with downtime: "pauses", and the next checkpoint is a full one', async () => {
    const clock = new ManualClock(1_000_000)
    const storage = await saved(clock)
    clock.advance(5_000)
    await using backend = new MemoryStateBackend({ clock })
    await using coordinator = new CheckpointCoordinator(backend, { storage, worker, clock })
    const restored = await coordinator.restoreLatest({ downtime: 'pauses' })
    expect(await contentOf(backend)).toBe('a=1 b=1 c=1')
    clock.advance(49)
    expect(await contentOf(backend)).toBe('a=1 b=1 c=1')
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
    clock.advance(1)
    expect(await contentOf(backend)).toBe('b=1 c=1')
    clock.advance(900)
    expect(await contentOf(backend)).toBe('c=1')
    await coordinator.restore(restored?.id ?? '', { downtime: 'pauses', range: { prefix: bytesOf('a') } })
    expect(await contentOf(backend)).toBe('a=1 c=1')
    const wrong = coordinator.restoreLatest({ downtime: 'stops' as never })
    await expect(wrong).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('L4: a clock that has gone back shortens nothing', async () => {
    const clock = new ManualClock(1_000_000)
    const storage = await saved(clock)
    const earlier = new ManualClock(900_000)
    await using backend = new MemoryStateBackend({ clock: earlier })
    await using coordinator = new CheckpointCoordinator(backend, { storage, worker, clock: earlier })
    await coordinator.restoreLatest({ downtime: 'pauses' })
    expect(await contentOf(backend)).toBe('a=1 b=1 c=1')
  })
})
