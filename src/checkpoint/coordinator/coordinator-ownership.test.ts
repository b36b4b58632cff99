import { describe, expect, it } from 'vitest'
import { patchLeases } from '../../../test/support/checkpoints.js'
import { bench, contentOf, put } from '../../../test/support/coordinator-bench.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { CheckpointCatalog } from '../archive/checkpoint-catalog.js'
import { LeasedStorage } from '../archive/leased-storage.js'
import { segmentName } from '../format/object-names.js'
import type { Logger } from '../types.js'
import { LeaseKeeper } from './lease-keeper.js'

const noLog: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const NO_SEGMENT = { role: 'base', sizeBytes: 0, rawBytes: 0, entryCount: 0, sha256: '' } as const
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

  it('takes over in turn for good, whatever a look at the former lease says after that', async () => {
    const first = bench()
    let looks = 0
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    patchLeases(first.storage, (lease) => {
      const check = lease.check.bind(lease)
      lease.check = async () => {
        const look = ++looks
        const found = await check().catch((error: unknown) => error)
        // What a failed look is followed by, to see whether it is the lease that is lost.
        if (look === 2) await answered
        if (found !== undefined) throw found
      }
    })
    await first.coordinator.acquire()
    await bench({}, first.storage).coordinator.acquire({ takeOver: true })
    const looking = first.coordinator.checkOwnership().catch((error: unknown) => error)
    await expect.poll(() => looks).toBe(2)
    await expect(first.coordinator.createCheckpoint()).rejects.toEqual(fenced)
    await first.coordinator.acquire({ takeOver: true })
    answer()
    expect(await looking).toEqual(fenced)
    await first.coordinator.checkOwnership()
    await first.coordinator.createCheckpoint()
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

describe('a keeper of a lease', () => {
  it('that lets go of it acquires the next one when the storage has heard of that', async () => {
    const storage = new MemoryCheckpointStorage()
    let hear: () => void = () => {}
    const heard = new Promise<void>((resolve) => {
      hear = resolve
    })
    patchLeases(storage, (lease) => {
      const release = lease.release.bind(lease)
      lease.release = async () => {
        await heard
        await release()
      }
    })
    const keeper = new LeaseKeeper(new CheckpointCatalog(storage), noLog, () => {})
    const former = await keeper.acquire()
    const released = [keeper.release(), keeper.release()]
    const acquiring = keeper.acquire()
    hear()
    const present = await acquiring
    expect(present).not.toBe(former)
    await Promise.all(released)
    await keeper.check()
    await keeper.release()
    await (await storage.acquire()).release()
  })
})

describe('what an owner knows of its storage', () => {
  it('is not what a listing says that was under way when something was written, or found to be wrong', async () => {
    const storage = new MemoryCheckpointStorage()
    const owner = await LeasedStorage.acquire(new CheckpointCatalog(storage), noLog)
    const list = storage.list.bind(storage)
    const segment = segmentName(1, 'base')
    const write = async () => {
      const output = await owner.create(segment)
      await output.write(Uint8Array.of(1))
      await output.commit()
    }
    const afterwards = [
      () => owner.noteSegment({ ...NO_SEGMENT, name: segment, sizeBytes: 1 }),
      () => owner.distrustContents(),
    ]
    for (const note of afterwards) {
      owner.distrustContents()
      storage.list = async () => {
        storage.list = list
        const before = await list()
        await write()
        note()
        return before
      }
      expect((await owner.contents()).segmentSizes.get(segment)).toBe(1)
      await owner.remove(segment)
      expect((await owner.contents()).segmentSizes.has(segment)).toBe(false)
    }
    await owner.release()
  })

  it('is found by one listing, whatever is written meanwhile', async () => {
    const storage = new MemoryCheckpointStorage()
    const owner = await LeasedStorage.acquire(new CheckpointCatalog(storage), noLog)
    const list = storage.list.bind(storage)
    let listings = 0
    storage.list = async () => {
      if (++listings === 10) throw new Error('it is listed again and again')
      const before = await list()
      owner.noteSegment({ ...NO_SEGMENT, name: segmentName(listings, 'base'), sizeBytes: 1 })
      return before
    }
    owner.distrustContents()
    expect([...(await owner.contents()).segmentSizes]).toEqual([[segmentName(1, 'base'), 1]])
    expect(listings).toBe(1)
    await owner.release()
  })
})
