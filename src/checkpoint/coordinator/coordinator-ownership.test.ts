import { describe, expect, it } from 'vitest'
import { bench, contentOf, put } from '../../../test/support/coordinator-bench.js'

const fenced = expect.objectContaining({ code: 'FENCED' })

describe('acquire', () => {
  it('becomes the owner and begins nothing; twice is once', async () => {
    const { coordinator, clock, storage, events } = bench({ intervalMs: 1_000 })
    const before = clock.pendingTimers
    await coordinator.acquire()
    await coordinator.acquire()
    await expect(storage.acquire()).rejects.toEqual(fenced)
    expect(clock.pendingTimers).toBe(before)
    await coordinator.start()
    expect(clock.pendingTimers).toBe(before + 1)
    expect(events).toEqual([])
    await coordinator.shutdown()
    await (await storage.acquire()).release()
  })

  it('is refused while another one owns the storage, and tries again when it is asked to', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.acquire()
    const second = bench({}, first.storage)
    await expect(second.coordinator.acquire()).rejects.toEqual(fenced)
    await expect(second.coordinator.acquire({ waitForOwnerMs: 20 })).rejects.toEqual(fenced)
    await first.coordinator.createCheckpoint()
    await first.coordinator.shutdown()
    await second.coordinator.acquire()
    await second.coordinator.restoreLatest()
    expect(await contentOf(second.backend)).toBe('a=1')
  })

  it('waits for an owner to let go: what is restored after it is the last that that one published', async () => {
    const first = bench()
    await first.coordinator.start()
    const second = bench({}, first.storage)
    const acquiring = second.coordinator.acquire({ waitForOwnerMs: 60_000 })
    await put(first.backend, 'a=1')
    await first.coordinator.shutdown()
    await acquiring
    await second.coordinator.restoreLatest()
    expect(await contentOf(second.backend)).toBe('a=1')
    await second.coordinator.createCheckpoint()
  })

  it('takes over from an owner that lives, which writes nothing more until it takes over in turn', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    const second = bench({}, first.storage)
    await second.coordinator.acquire({ takeOver: true })
    await expect(first.coordinator.createCheckpoint()).rejects.toEqual(fenced)
    await expect(first.coordinator.acquire()).rejects.toEqual(fenced)
    await second.coordinator.createCheckpoint()
    await first.coordinator.acquire({ takeOver: true })
    await first.coordinator.createCheckpoint()
    await expect(second.coordinator.createCheckpoint()).rejects.toEqual(fenced)
    expect((await first.coordinator.listCheckpoints()).length).toBeGreaterThanOrEqual(2)
  })

  it('waits its turn', async () => {
    const { coordinator, backend, events } = bench()
    await put(backend, 'a=1')
    const making = coordinator.createCheckpoint()
    await coordinator.acquire()
    expect(events.at(-1)).toMatch(/^completed/)
    await making
  })

  it('is refused with options that make no sense, and after shutdown', async () => {
    const { coordinator } = bench()
    for (const options of [{ waitForOwnerMs: -1 }, { waitForOwnerMs: NaN }, { takeOver: 1 as never }]) {
      await expect(coordinator.acquire(options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
    await coordinator.shutdown()
    await expect(coordinator.acquire()).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
