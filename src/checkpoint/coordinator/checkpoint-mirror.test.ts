import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { bytesIn, namesIn } from '../../../test/support/checkpoints.js'
import { bench, contentOf, crash, put } from '../../../test/support/coordinator-bench.js'
import { CHK, hanging, restoredFrom, settled, withMirror } from '../../../test/support/mirrored-bench.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../testing/faulty-storage.js'
import { CheckpointArchive } from '../archive/checkpoint-archive.js'
import { manifestName, segmentName } from '../format/object-names.js'
import { CheckpointMaker } from './checkpoint-maker.js'

describe('a mirror', () => {
  it('gets each checkpoint, only what is missing, and a restore from it gives the same', async () => {
    const inner = new MemoryCheckpointStorage()
    const mirror = new FaultyCheckpointStorage(inner)
    const { coordinator, backend, storage, next } = withMirror({ storage: mirror })
    expect(coordinator.stats().mirror).toMatchObject({ copied: 0, waiting: 0, lagMs: 0 })
    await put(backend, 'a=1 b=2')
    const first = await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    expect(mirror.count('create')).toBe(2)
    await put(backend, 'b=3')
    const second = await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    expect(mirror.count('create')).toBe(4)
    // What was verified once is not read again.
    const reads = mirror.calls.filter(
      ({ operation, object }) => operation === 'read' && object?.includes('base'),
    )
    expect(reads).toHaveLength(1)
    expect(await new CheckpointArchive(inner).list()).toEqual([second, first])
    expect(await namesIn(inner)).toEqual(await namesIn(storage))
    for (const name of await namesIn(inner)) {
      if (name !== 'sequence') expect(await bytesIn(inner, name)).toEqual(await bytesIn(storage, name))
    }
    const { copied, failed, lagMs, waiting, copiedBytes } = coordinator.stats().mirror ?? {}
    expect({ copied, failed, lagMs, waiting }).toEqual({ copied: 2, failed: 0, lagMs: 0, waiting: 0 })
    expect(copiedBytes).toBeGreaterThan(0)
    await coordinator.shutdown()
    expect(await restoredFrom(inner)).toBe('a=1 b=3')
  })

  it('has its own retention', async () => {
    const inner = new MemoryCheckpointStorage()
    const options = { incremental: false, maxCheckpoints: 5 }
    const { coordinator, backend, storage, next } = withMirror({ storage: inner, maxCheckpoints: 2 }, options)
    for (let sequence = 1; sequence <= 4; sequence++) {
      await put(backend, `a=${sequence}`)
      await coordinator.createCheckpoint()
      expect(await next()).toBe(`mirrored ${CHK(sequence)}`)
    }
    await coordinator.shutdown()
    const listed = async (from: MemoryCheckpointStorage) =>
      (await new CheckpointArchive(from).list()).map(({ sequence }) => sequence)
    expect(await listed(storage)).toEqual([5, 4, 3, 2, 1])
    expect(await listed(inner)).toEqual([5, 4])
    expect(await namesIn(inner)).not.toContain(segmentName(1, 'base'))
  })

  it('copies a base again that its own retention has removed, where a later checkpoint builds on it', async () => {
    const inner = new MemoryCheckpointStorage()
    const options = { maxCheckpoints: 5, maxDeltaRatio: 1 }
    const { coordinator, backend, next } = withMirror({ storage: inner, maxCheckpoints: 1 }, options)
    for (let key = 0; key < 50; key++) await put(backend, `key${key}=${'v'.repeat(50)}`)
    const first = await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    await coordinator.restore(first.id, { downtime: 'pauses' })
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    await settled()
    expect(await namesIn(inner)).not.toContain(segmentName(1, 'base'))
    await coordinator.restore(first.id)
    await put(backend, 'b=2')
    expect((await coordinator.createCheckpoint()).kind).toBe('incremental')
    expect(await next()).toBe(`mirrored ${CHK(3)}`)
    await settled()
    expect(await namesIn(inner)).toContain(segmentName(1, 'base'))
    await new CheckpointArchive(inner).verify(CHK(3))
    expect(await restoredFrom(inner)).toBe(await contentOf(backend))
  })

  it('is told of in options that are wrong', () => {
    const storage = new MemoryCheckpointStorage()
    const wrong = [
      { storage },
      {},
      { storage: 7 },
      { storage: new MemoryCheckpointStorage(), drainMs: -1 },
      { storage: new MemoryCheckpointStorage(), unknown: 1 },
      7,
    ]
    for (const mirror of wrong) {
      expect(() => bench({ mirror } as never, storage)).toThrow(/options\.mirror/)
    }
  })

  it('takes no savepoint, and nothing of what was deleted is deleted there', async () => {
    const inner = new MemoryCheckpointStorage()
    const { coordinator, backend, storage, next } = withMirror({ storage: inner })
    await put(backend, 'a=1')
    await coordinator.createSavepoint(storage)
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    await coordinator.deleteCheckpoint(CHK(2))
    await coordinator.start()
    await coordinator.shutdown()
    const there = (await new CheckpointArchive(inner).list()).map(({ sequence }) => sequence)
    expect(there).toContain(2)
    expect(there).not.toContain(1)
  })

  it('is copied to by the next process, what the last one did not come to: the newest first', async () => {
    const inner = new MemoryCheckpointStorage()
    const storage = new MemoryCheckpointStorage()
    const alone = bench({ incremental: true }, storage)
    await put(alone.backend, 'a=1')
    for (let made = 0; made < 3; made++) await alone.coordinator.createCheckpoint()
    crash(storage)
    const { coordinator, next } = withMirror({ storage: inner, maxCheckpoints: 2 }, {}, storage)
    await coordinator.restoreLatest()
    await coordinator.start()
    expect(await next()).toBe(`mirrored ${CHK(3)}`)
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    await coordinator.start()
    await settled()
    // All of it is known to be there, and nothing is read or written again.
    expect(coordinator.stats().mirror).toMatchObject({ copied: 2, failed: 0, lagMs: 0 })
  })
})

describe('the lag of a mirror', () => {
  const DAY_MS = 86_400_000

  it('counts from when the oldest checkpoint was made that it lacks, also in the next process', async () => {
    const inner = new MemoryCheckpointStorage()
    const first = withMirror({ storage: inner })
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    expect(await first.next()).toBe(`mirrored ${CHK(1)}`)
    await settled()
    crash(inner)
    crash(first.storage)
    const alone = bench({ incremental: true }, first.storage)
    for (let day = 1; day <= 3; day++) {
      alone.clock.advance(DAY_MS)
      await alone.coordinator.createCheckpoint()
    }
    crash(first.storage)
    const mirror = new FaultyCheckpointStorage(inner)
    mirror.inject({ effect: 'fail', operation: 'create', forever: true })
    const after = withMirror({ storage: mirror, maxCheckpoints: 1 }, {}, first.storage)
    after.clock.advance(4 * DAY_MS)
    await after.coordinator.start()
    expect(await after.next()).toBe(`failed ${CHK(4)} STORAGE_ERROR`)
    expect(after.coordinator.stats().mirror).toMatchObject({ waiting: 1, lagMs: 3 * DAY_MS })
    await settled()
    mirror.heal()
    after.clock.advance(1_000)
    expect(await after.next()).toBe(`mirrored ${CHK(4)}`)
    expect(after.coordinator.stats().mirror?.lagMs).toBe(0)
  })

  it('counts from now where the checkpoint that it lacks cannot be read', async () => {
    const storage = new MemoryCheckpointStorage()
    const alone = bench({}, storage)
    await alone.coordinator.createCheckpoint()
    crash(storage)
    storage.tamper(manifestName(1), Buffer.from('rotten'))
    const { coordinator, clock, next } = withMirror({ storage: new MemoryCheckpointStorage() }, {}, storage)
    clock.advance(DAY_MS)
    await coordinator.start()
    expect(await next()).toBe(`failed ${CHK(1)} CORRUPTION`)
    clock.advance(1_000)
    expect(coordinator.stats().mirror?.lagMs).toBe(1_000)
  })
})

describe('the owner of a mirror', () => {
  it('waits until another one lets go of it', async () => {
    const inner = new MemoryCheckpointStorage()
    const lease = await inner.acquire()
    const { coordinator, backend, next, clock } = withMirror({ storage: inner })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe('failed undefined FENCED')
    await lease.release()
    await settled()
    clock.advance(1_000)
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
  })

  it('writes nothing once another one has taken it over, until start', async () => {
    const inner = new MemoryCheckpointStorage()
    const { coordinator, backend, next } = withMirror({ storage: inner })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    await settled()
    const lease = await inner.acquire({ takeOver: true })
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`failed ${CHK(2)} FENCED`)
    await coordinator.createCheckpoint()
    await settled()
    expect(coordinator.stats()).toMatchObject({ created: 3, failed: 0, mirror: { copied: 1, failed: 1 } })
    expect(await namesIn(inner)).not.toContain(manifestName(2))
    await lease.release()
    await coordinator.start()
    expect(await next()).toBe(`mirrored ${CHK(3)}`)
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
  })

  it('lets the mirror of the next owner in where it has lost its own storage', async () => {
    const inner = new MemoryCheckpointStorage()
    const first = withMirror({ storage: inner })
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    expect(await first.next()).toBe(`mirrored ${CHK(1)}`)
    const second = withMirror({ storage: inner }, {}, first.storage)
    await second.coordinator.start({ takeOver: true })
    await expect(first.coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'FENCED' })
    await put(second.backend, 'a=2')
    const { id } = await second.coordinator.createCheckpoint()
    expect(await second.next()).toBe(`mirrored ${id}`)
    expect(first.coordinator.stats().mirror?.failed).toBe(0)
  })

  it('is let in by shutdown, whatever else of it fails', async () => {
    const inner = new MemoryCheckpointStorage()
    const { coordinator, backend, storage, next } = withMirror({ storage: inner })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    const failing = vi.spyOn(CheckpointMaker.prototype, 'close').mockRejectedValueOnce(new Error('no base'))
    onTestFinished(() => failing.mockRestore())
    await expect(coordinator.shutdown()).rejects.toThrow('no base')
    await (await storage.acquire()).release()
    await (await inner.acquire()).release()
  })

  it('is not asked for by a start that ends after shutdown has given up', async () => {
    const inner = new MemoryCheckpointStorage()
    const mirror = new FaultyCheckpointStorage(inner)
    const own = new MemoryCheckpointStorage()
    const { storage, release } = hanging(own, 'acquire')
    const { coordinator } = withMirror({ storage: mirror }, { storage, maxSilenceMs: 50 })
    const starting = coordinator.start()
    const ends = await Promise.allSettled([coordinator.shutdown(), starting])
    expect(ends.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    release()
    await settled()
    await (await own.acquire()).release()
    expect(mirror.count()).toBe(0)
  })

  it('goes on from a checkpoint of the mirror where the storage itself was lost', async () => {
    const inner = new MemoryCheckpointStorage()
    const { coordinator, backend, next } = withMirror({ storage: inner })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await next()
    await coordinator.shutdown()
    const replacement = new MemoryCheckpointStorage()
    const [newest] = await new CheckpointArchive(inner).list()
    await new CheckpointArchive(inner).copyTo(replacement, newest?.id ?? '')
    const after = withMirror({ storage: inner }, {}, replacement)
    expect((await after.coordinator.restoreLatest())?.id).toBe(newest?.id)
    await put(after.backend, 'b=2')
    const { sequence } = await after.coordinator.createCheckpoint()
    expect(sequence).toBe(3)
    expect(await after.next()).toBe(`mirrored ${CHK(3)}`)
    expect(await restoredFrom(inner)).toBe('a=1 b=2')
  })
})
