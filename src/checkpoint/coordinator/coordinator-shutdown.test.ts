import { describe, expect, it, vi } from 'vitest'
import { bytesIn, bytesOf, namesIn, patchLeases, textOf } from '../../../test/support/checkpoints.js'
import { bench, contentOf, crash, put } from '../../../test/support/coordinator-bench.js'
import { manifestName, segmentName } from '../format/object-names.js'

describe('shutdown', () => {
  it('takes a final checkpoint, also without start, lets the next owner in, and closes', async () => {
    const { coordinator, backend, storage } = bench()
    await put(backend, 'a=1')
    const first = coordinator.shutdown()
    expect(coordinator.shutdown()).toBe(first)
    await first
    expect(await namesIn(storage)).toContain('chk-0000000001.manifest')
    const calls = [
      () => coordinator.start(),
      () => coordinator.createCheckpoint(),
      () => coordinator.createSavepoint(storage),
      () => coordinator.listCheckpoints(),
      () => coordinator.restoreLatest(),
      () => coordinator.restore('chk-0000000001'),
      () => coordinator.verify('chk-0000000001'),
      () => coordinator.deleteCheckpoint('chk-0000000001'),
    ]
    for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'CLOSED' })
    expect(coordinator.stats().created).toBe(1)
    await (await storage.acquire()).release()
  })

  it('waits for what is running', async () => {
    const { coordinator, backend, events } = bench()
    await put(backend, 'a=1')
    const running = coordinator.createCheckpoint()
    await coordinator.shutdown()
    await running
    expect(events.filter((event) => event.startsWith('completed'))).toHaveLength(2)
  })

  it('rejects when the final checkpoint fails, and is closed all the same', async () => {
    const { coordinator, storage } = bench()
    patchLeases(storage, (lease) => {
      vi.spyOn(lease, 'create').mockRejectedValueOnce(new Error('disk on fire'))
    })
    await coordinator.start()
    await expect(coordinator.shutdown()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    await (await storage.acquire()).release()
  })

  it('stops the timer', async () => {
    const { coordinator, clock } = bench({ intervalMs: 1_000 })
    await coordinator.start()
    expect(clock.pendingTimers).toBeGreaterThan(0)
    const before = clock.pendingTimers
    await coordinator.shutdown()
    expect(clock.pendingTimers).toBe(before - 1)
  })

  it('stops the timer also when start was still waiting for its turn', async () => {
    const { coordinator, clock } = bench({ intervalMs: 1_000 })
    const before = clock.pendingTimers
    const running = coordinator.createCheckpoint()
    const starting = coordinator.start()
    await coordinator.shutdown()
    await Promise.all([running, starting])
    expect(clock.pendingTimers).toBe(before)
  })

  it('does not put an empty state over a checkpoint that nobody restored', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.shutdown()
    // The next process fails before it comes to restoring; its `await using` shuts down.
    const second = bench({}, first.storage)
    await second.coordinator.shutdown()
    expect(second.log).toContain('warn: no final checkpoint')
    const third = bench({}, first.storage)
    expect((await third.coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    expect(await contentOf(third.backend)).toBe('a=1')
  })

  it('does not save what a failed restore left behind, unless somebody decided to go on', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.shutdown()
    first.storage.tamper(segmentName(1, 'base'), undefined)
    const second = bench({}, first.storage)
    await put(second.backend, 'fresh=1')
    await expect(second.coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await second.coordinator.shutdown()
    expect(await namesIn(first.storage)).not.toContain('chk-0000000002.manifest')
    const third = bench({}, first.storage)
    await put(third.backend, 'fresh=1')
    await expect(third.coordinator.restoreLatest()).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
    await third.coordinator.start()
    await third.coordinator.shutdown()
    expect(await namesIn(first.storage)).toContain('chk-0000000002.manifest')
  })
})

describe('fencing', () => {
  it('lets only one coordinator write to a storage; everybody may read', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    const second = bench({}, first.storage)
    await expect(second.coordinator.start()).rejects.toMatchObject({ code: 'FENCED' })
    await expect(second.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    await expect(second.coordinator.deleteCheckpoint('chk-0000000001')).rejects.toMatchObject({
      code: 'FENCED',
    })
    expect((await second.coordinator.restoreLatest())?.id).toBe('chk-0000000001')
    expect(await second.coordinator.listCheckpoints()).toHaveLength(1)
    await second.coordinator.shutdown()
    expect(second.log).toContain('warn: no final checkpoint')
    await first.coordinator.createCheckpoint()
    expect(first.coordinator.stats().created).toBe(2)
  })

  it('stops one that was pushed out at its next step, and the new owner goes on with new ids', async () => {
    const first = bench({ intervalMs: 1_000 })
    await put(first.backend, 'a=old')
    await first.coordinator.start()
    await first.coordinator.createCheckpoint()
    crash(first.storage)
    const second = bench({}, first.storage)
    await second.coordinator.restoreLatest()
    await second.coordinator.start()
    await expect(first.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    await expect(first.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    expect(first.events.at(-1)).toBe('failed undefined FENCED')
    await first.clock.advanceAsync(10_000)
    expect(first.coordinator.stats()).toMatchObject({ created: 1, failed: 2 })
    expect((await second.coordinator.createCheckpoint()).id).toBe('chk-0000000002')
    await expect(first.coordinator.shutdown()).rejects.toMatchObject({ code: 'FENCED' })
    await second.coordinator.createCheckpoint()
  })

  it('fences one in the middle of a checkpoint: its manifest is never published', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    const original = first.storage.read.bind(first.storage)
    vi.spyOn(first.storage, 'read').mockImplementationOnce(async (name, maxBytes) => {
      crash(first.storage)
      await first.storage.acquire()
      return await original(name, maxBytes)
    })
    await expect(first.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    expect(await namesIn(first.storage)).not.toContain('chk-0000000002.manifest')
  })

  it('never writes over an object that is there already', async () => {
    const { coordinator, storage } = bench()
    await coordinator.start()
    storage.tamper(manifestName(1), bytesOf('somebody else'))
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    expect(textOf(await bytesIn(storage, manifestName(1)))).toBe('somebody else')
    expect((await coordinator.createCheckpoint()).id).toBe('chk-0000000002')
  })
})
