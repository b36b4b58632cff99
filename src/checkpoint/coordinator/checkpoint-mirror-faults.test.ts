import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it, vi } from 'vitest'
import { bytesIn, namesIn, patchLeases } from '../../../test/support/checkpoints.js'
import { bench, contentOf, crash, put } from '../../../test/support/coordinator-bench.js'
import { runs } from '../../../test/support/long.js'
import { CHK, hanging, restoredFrom, settled, withMirror } from '../../../test/support/mirrored-bench.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../testing/faulty-storage.js'
import type { ManualClock } from '../../testing/manual-clock.js'
import { CheckpointArchive } from '../archive/checkpoint-archive.js'
import { manifestName, segmentName } from '../format/object-names.js'
import type { CheckpointCoordinator } from './checkpoint-coordinator.js'

/** Every call fails in the long run, and one of so many otherwise. */
const EVERY = runs(1, 5)

describe('a mirror that fails', () => {
  it('holds up no checkpoint, is tried again after pauses that grow, and catches up', async () => {
    const inner = new MemoryCheckpointStorage()
    const mirror = new FaultyCheckpointStorage(inner)
    mirror.inject({ effect: 'fail', operation: 'create', forever: true })
    const { coordinator, backend, clock, next } = withMirror({ storage: mirror })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`failed ${CHK(1)} STORAGE_ERROR`)
    for (const pauseMs of [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      await expectQuiet(clock, pauseMs - 1, coordinator)
      clock.advance(1)
      expect(await next()).toBe(`failed ${CHK(1)} STORAGE_ERROR`)
    }
    await put(backend, 'a=2')
    const second = await coordinator.createCheckpoint()
    const { mirror: stats } = coordinator.stats()
    expect(stats).toMatchObject({ copied: 0, failed: 9, waiting: 2, lagMs: 183_000 })
    expect(stats?.lastError).toMatchObject({ code: 'STORAGE_ERROR' })
    mirror.heal()
    clock.advance(60_000)
    // The newest first: it is what would be restored.
    expect(await next()).toBe(`mirrored ${second.id}`)
    expect(coordinator.stats().mirror?.lagMs).toBe(0)
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
  })

  async function expectQuiet(clock: ManualClock, forMs: number, coordinator: CheckpointCoordinator) {
    const failed = coordinator.stats().mirror?.failed
    await settled()
    clock.advance(forMs)
    await settled()
    expect(coordinator.stats().mirror?.failed).toBe(failed)
  }

  it('is whole in the end, whatever call of it fails once, with what it did or before', async () => {
    let struck = 0
    for (const when of ['before', 'after'] as const) {
      for (let nth = 1; ; nth += EVERY) {
        const inner = new MemoryCheckpointStorage()
        const mirror = new FaultyCheckpointStorage(inner)
        mirror.inject({ effect: 'fail', when, nth })
        const { coordinator, backend, clock, next } = withMirror({ storage: mirror })
        await put(backend, 'a=1')
        await coordinator.createCheckpoint()
        const first = await next()
        if (first.startsWith('failed')) {
          struck++
          await settled()
          // The lease that nobody was told of: how a storage finds out is its own affair.
          if (mirror.count() === 1) crash(inner)
          clock.advance(1_000)
          expect(await next()).toBe(`mirrored ${CHK(1)}`)
        }
        expect(coordinator.stats()).toMatchObject({ created: 1, failed: 0, mirror: { lagMs: 0 } })
        await settled()
        const calls = mirror.count()
        await new CheckpointArchive(inner).verify(CHK(1))
        crash(inner)
        if (nth > calls) break
      }
    }
    expect(struck).toBeGreaterThan(20 / EVERY)
  })

  it('has each checkpoint whole or not at all where the process dies in any call, and the next one goes on', async () => {
    for (const when of ['before', 'after'] as const) {
      for (let nth = when === 'before' ? 1 : 2; ; nth += EVERY) {
        const inner = new MemoryCheckpointStorage()
        const mirror = new FaultyCheckpointStorage(inner)
        const { coordinator, backend, storage, next } = withMirror({ storage: mirror })
        await put(backend, 'a=1')
        await coordinator.createCheckpoint()
        await next()
        await settled()
        const before = mirror.count()
        mirror.inject({ effect: 'crash', when, nth })
        await put(backend, 'a=2')
        await coordinator.createCheckpoint()
        await next()
        await settled()
        const calls = mirror.count() - before
        const archive = new CheckpointArchive(inner)
        for (const { id } of await archive.list()) await archive.verify(id)
        crash(storage)
        crash(inner)
        await coordinator.shutdown().catch(() => {})
        const after = withMirror({ storage: inner }, {}, storage)
        await after.coordinator.start()
        await after.coordinator.shutdown()
        expect((await archive.list()).map(({ sequence }) => sequence)).toEqual(expect.arrayContaining([1, 2]))
        for (const { id } of await archive.list()) await archive.verify(id)
        expect(await restoredFrom(inner)).toBe(await restoredFrom(storage))
        if (nth > calls) break
      }
    }
  })

  it('that hangs in any kind of call holds up no checkpoint, and shutdown only for drainMs', async () => {
    for (const operation of ['acquire', 'list'] as const) {
      const inner = new MemoryCheckpointStorage()
      const { storage: mirror, release } = hanging(inner, operation)
      const { coordinator, backend, clock, storage, log } = withMirror({ storage: mirror, drainMs: 3_000 })
      await put(backend, 'a=1')
      await coordinator.createCheckpoint()
      clock.advance(5_000)
      await coordinator.createCheckpoint()
      expect(coordinator.stats().mirror).toMatchObject({ copied: 0, waiting: 2, lagMs: 5_000 })
      let isOver = false
      const shutdown = coordinator.shutdown().finally(() => {
        isOver = true
      })
      // The next owner of the storage itself waits for nothing of this.
      while (coordinator.stats().created < 3) await nextTurn()
      await settled()
      await (await storage.acquire()).release()
      clock.advance(2_999)
      await settled()
      expect(isOver).toBe(false)
      clock.advance(1)
      await shutdown
      expect(log).toContain('warn: the mirror did not catch up; the next owner copies what is missing')
      release()
      await settled()
      // What was given up publishes nothing, and lets the next owner in.
      expect((await new CheckpointArchive(inner).list()).length).toBe(0)
      await (await inner.acquire()).release()
    }
  })

  it('gives up what is damaged here or is another checkpoint there, says so once, and goes on with the next', async () => {
    const inner = new MemoryCheckpointStorage()
    const other = bench({}, inner)
    await put(other.backend, 'other=1')
    await other.coordinator.createCheckpoint()
    crash(inner)
    const { coordinator, backend, next, clock, storage } = withMirror(
      { storage: inner },
      { incremental: false },
    )
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`failed ${CHK(1)} INVALID_ARGUMENT`)
    clock.advance(5_000)
    expect(coordinator.stats().mirror).toMatchObject({ waiting: 0, lagMs: 5_000 })
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    expect(coordinator.stats().mirror?.lagMs).toBe(0)
    coordinator.on('completed', ({ checkpoint }) => {
      if (checkpoint.sequence === 3) storage.tamper(segmentName(3, 'base'), Buffer.from('rotten'))
    })
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`failed ${CHK(3)} CORRUPTION`)
    expect(await namesIn(inner)).not.toContain(manifestName(3))
    expect(await namesIn(inner)).not.toContain(segmentName(3, 'base'))
  })

  it('takes a segment of other bytes that no checkpoint names for what it is, and copies its own', async () => {
    const inner = new MemoryCheckpointStorage()
    inner.tamper(segmentName(1, 'base'), Buffer.from('of a checkpoint that was never published'))
    const { coordinator, backend, next } = withMirror({ storage: inner })
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    await new CheckpointArchive(inner).verify(CHK(1))
  })

  it('copies a segment again that an earlier attempt had left there and the grace period was too short for', async () => {
    const inner = new MemoryCheckpointStorage()
    const mirror = new FaultyCheckpointStorage(inner)
    mirror.inject({ effect: 'fail', operation: 'create', object: manifestName(1), forever: true })
    const options = { incremental: false, maxCheckpoints: 5, graceMs: 10 }
    const { coordinator, backend, clock, next } = withMirror({ storage: mirror, maxCheckpoints: 5 }, options)
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`failed ${CHK(1)} STORAGE_ERROR`)
    for (const sequence of [2, 3]) {
      expect(await namesIn(inner)).toContain(segmentName(1, 'base'))
      if (sequence === 3) mirror.heal()
      await coordinator.createCheckpoint()
      await settled()
      clock.advance(60_000)
      expect(await next()).toBe(`mirrored ${CHK(sequence)}`)
      if (sequence === 2) expect(await next()).toBe(`failed ${CHK(1)} STORAGE_ERROR`)
    }
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    for (const sequence of [1, 2, 3]) await new CheckpointArchive(inner).verify(CHK(sequence))
  })

  it('looks once more for what is missing where its coordinator starts again while it looks', async () => {
    const inner = new MemoryCheckpointStorage()
    const from = new MemoryCheckpointStorage()
    const { coordinator } = withMirror({ storage: inner }, {}, from)
    let lists = 0
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    const list = from.list.bind(from)
    from.list = async () => {
      const own = ++lists
      const listed = await list()
      // The first is that of the coordinator, the second that of its mirror.
      if (own === 2) await answered
      return listed
    }
    await coordinator.start()
    await expect.poll(() => lists).toBe(2)
    const other = bench({}, from)
    await other.coordinator.acquire({ takeOver: true })
    await other.coordinator.createCheckpoint()
    await expect(coordinator.checkOwnership()).rejects.toMatchObject({ code: 'FENCED' })
    await coordinator.start({ takeOver: true })
    answer()
    await coordinator.shutdown()
    expect(await namesIn(inner)).toContain(manifestName(1))
  })

  it('copies a segment anew that was damaged there, though a checkpoint there names it', async () => {
    const inner = new MemoryCheckpointStorage()
    const first = withMirror({ storage: inner }, { maxDeltaRatio: 1 })
    for (let key = 0; key < 50; key++) await put(first.backend, `key${key}=${'v'.repeat(50)}`)
    await first.coordinator.createCheckpoint()
    expect(await first.next()).toBe(`mirrored ${CHK(1)}`)
    await settled()
    crash(first.storage)
    crash(inner)
    inner.tamper(segmentName(1, 'base'), Buffer.from('rotten'))
    const { coordinator, backend, next } = withMirror({ storage: inner }, { maxDeltaRatio: 1 }, first.storage)
    await coordinator.restoreLatest()
    await put(backend, 'b=2')
    expect((await coordinator.createCheckpoint()).kind).toBe('incremental')
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    await coordinator.start()
    await settled()
    for (const sequence of [1, 2]) await new CheckpointArchive(inner).verify(CHK(sequence))
    expect(coordinator.stats().mirror?.failed).toBe(0)
    crash(inner)
    expect(await restoredFrom(inner)).toBe(await contentOf(backend))
  })

  it('reads each segment there again after verifyEveryMs, one with each checkpoint, and copies anew what is damaged in equal length', async () => {
    const inner = new MemoryCheckpointStorage()
    const made = withMirror({ storage: inner, verifyEveryMs: 1_000 })
    const { coordinator, backend, storage, clock, next } = made
    for (let key = 0; key < 50; key++) await put(backend, `key${key}=${'v'.repeat(50)}`)
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    await settled()
    const base = segmentName(1, 'base')
    const rotten = (await bytesIn(inner, base)).map((byte, at) => (at === 100 ? byte ^ 1 : byte))
    inner.tamper(base, rotten)
    // Its time has not come.
    await put(backend, 'a=2')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    await settled()
    expect(await bytesIn(inner, base)).toEqual(rotten)
    clock.advance(1_000)
    await put(backend, 'a=3')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(3)}`)
    // The newest checkpoint that needs the base is copied once more, as far as it is not there whole.
    expect(await next()).toBe(`mirrored ${CHK(3)}`)
    expect(await bytesIn(inner, base)).toEqual(await bytesIn(storage, base))
    expect(coordinator.stats().mirror).toMatchObject({ copied: 4, failed: 0 })
    await coordinator.shutdown()
    expect(await restoredFrom(inner)).toBe(await contentOf(backend))
  })

  it('gives up reading again what is there where it is closed: what is missing there is copied in time', async () => {
    const inner = new MemoryCheckpointStorage()
    const mirror = new FaultyCheckpointStorage(inner)
    const { coordinator, backend, clock, next } = withMirror({ storage: mirror, verifyEveryMs: 1_000 })
    const base = segmentName(1, 'base')
    for (let key = 0; key < 60; key++) await put(backend, `key${key}=${randomBytes(100_000).toString('hex')}`)
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    await settled()
    let release: () => void = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const reads: number[] = []
    const open = mirror.open.bind(mirror)
    mirror.open = async (name, options) => {
      const reader = await open(name, options)
      if (reader === undefined || name !== base) return reader
      const read = async (offset: number, length: number) => {
        reads.push(offset)
        await released
        return await reader.read(offset, length)
      }
      return { sizeBytes: reader.sizeBytes, read, close: () => reader.close() }
    }
    clock.advance(1_000)
    await put(backend, 'a=2')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    while (reads.length === 0) await nextTurn()
    await put(backend, 'a=3')
    await coordinator.createCheckpoint()
    const shutdown = coordinator.shutdown()
    while (coordinator.stats().created < 4) await nextTurn()
    await settled()
    release()
    await shutdown
    // Those that were under way, of more than twenty.
    expect(reads.length).toBeLessThan(10)
    expect(coordinator.stats().mirror).toMatchObject({ waiting: 0, failed: 0 })
    expect(await restoredFrom(inner)).toBe(await contentOf(backend))
  })

  it('tells of a damaged checkpoint there that is no longer here', async () => {
    const inner = new MemoryCheckpointStorage()
    const mirror = { storage: inner, maxCheckpoints: 5, verifyEveryMs: 1_000 }
    const { coordinator, backend, clock, next } = withMirror(mirror, {
      incremental: false,
      maxCheckpoints: 1,
    })
    for (let sequence = 1; sequence <= 2; sequence++) {
      await put(backend, `a=${sequence}`)
      await coordinator.createCheckpoint()
      expect(await next()).toBe(`mirrored ${CHK(sequence)}`)
      await settled()
      clock.advance(500)
    }
    const base = segmentName(1, 'base')
    inner.tamper(
      base,
      (await bytesIn(inner, base)).map((byte, at) => (at === 30 ? byte ^ 1 : byte)),
    )
    clock.advance(1_000)
    await put(backend, 'a=3')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(3)}`)
    expect(await next()).toBe(`failed ${CHK(1)} CORRUPTION`)
    await coordinator.shutdown()
  })

  it('leaves alone what is damaged there where it is damaged here, too, or whole for a checkpoint there', async () => {
    const options = { maxDeltaRatio: 1 }
    for (const whose of ['its own', "another's"] as const) {
      const inner = new MemoryCheckpointStorage()
      const made = bench({ incremental: true, ...options })
      for (let key = 0; key < 50; key++) await put(made.backend, `key${key}=${'v'.repeat(50)}`)
      await made.coordinator.createCheckpoint()
      crash(made.storage)
      if (whose === 'its own') {
        await new CheckpointArchive(made.storage).copyTo(inner, CHK(1))
        inner.tamper(segmentName(1, 'base'), Buffer.from('rotten there'))
      } else {
        const other = bench({}, inner)
        await put(other.backend, 'other=1')
        await other.coordinator.createCheckpoint()
        crash(inner)
      }
      const before = await bytesIn(inner, segmentName(1, 'base'))
      const { coordinator, backend, next } = withMirror({ storage: inner }, options, made.storage)
      await coordinator.restoreLatest()
      coordinator.on('completed', () => {
        if (whose === 'its own') made.storage.tamper(segmentName(1, 'base'), Buffer.from('rotten here'))
      })
      await put(backend, 'b=2')
      expect((await coordinator.createCheckpoint()).kind).toBe('incremental')
      expect(await next()).toBe(`failed ${CHK(2)} CORRUPTION`)
      expect(await bytesIn(inner, segmentName(1, 'base'))).toEqual(before)
      expect(await namesIn(inner)).not.toContain(manifestName(2))
    }
  })

  it('publishes no checkpoint there of which somebody has removed a segment meanwhile, and copies that again', async () => {
    const inner = new MemoryCheckpointStorage()
    inner.tamper(segmentName(2, 'delta'), Buffer.from('of a checkpoint that was never published'))
    patchLeases(inner, (lease) => {
      const remove = lease.remove.bind(lease)
      vi.spyOn(lease, 'remove').mockImplementation(async (name) => {
        for (const each of [segmentName(1, 'base'), name]) inner.tamper(each, undefined)
        return await remove(name)
      })
    })
    const { coordinator, backend, clock, next } = withMirror({ storage: inner }, { maxDeltaRatio: 1 })
    for (let key = 0; key < 50; key++) await put(backend, `key${key}=${'v'.repeat(50)}`)
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`mirrored ${CHK(1)}`)
    await put(backend, 'b=2')
    await coordinator.createCheckpoint()
    expect(await next()).toBe(`failed ${CHK(2)} STORAGE_ERROR`)
    expect(await namesIn(inner)).not.toContain(manifestName(2))
    await settled()
    clock.advance(1_000)
    expect(await next()).toBe(`mirrored ${CHK(2)}`)
    for (const sequence of [1, 2]) await new CheckpointArchive(inner).verify(CHK(sequence))
  })

  it('passes over what retention has removed meanwhile', async () => {
    const inner = new MemoryCheckpointStorage()
    const { storage: mirror, release } = hanging(inner, 'acquire')
    const options = { incremental: false, maxCheckpoints: 1 }
    const { coordinator, backend, next } = withMirror({ storage: mirror, maxCheckpoints: 3 }, options)
    await put(backend, 'a=1')
    for (let made = 0; made < 4; made++) await coordinator.createCheckpoint()
    expect(coordinator.stats().mirror).toMatchObject({ waiting: 3, passedOver: 1 })
    release()
    expect(await next()).toBe(`mirrored ${CHK(4)}`)
    await settled()
    expect(coordinator.stats().mirror).toMatchObject({
      copied: 1,
      failed: 0,
      passedOver: 3,
      waiting: 0,
      lagMs: 0,
    })
  })
})
