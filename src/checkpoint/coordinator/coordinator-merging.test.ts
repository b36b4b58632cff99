import { describe, expect, it } from 'vitest'
import { bytesIn, bytesOf, namesIn } from '../../../test/support/checkpoints.js'
import { contentOf, put } from '../../../test/support/coordinator-bench.js'
import { base, bench, delta, fill, merged, segmentsOf } from '../../../test/support/incremental-bench.js'
import type { StorageLease } from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { manifestName, segmentName } from '../format/object-names.js'

describe('merging', () => {
  it('goes on beside the checkpoints; the next one names the new base and what came after it', async () => {
    const { coordinator, backend, storage, events } = bench({ maxDeltas: 2, maxCheckpoints: 1, graceMs: 0 })
    const told: object[] = []
    coordinator.on('merged', (event) => told.push(event))
    await fill(backend)
    for (let i = 0; i < 4; i++) {
      await put(backend, `a=${i}`)
      await coordinator.createCheckpoint()
    }
    await merged(coordinator)
    const { sizeBytes } = { sizeBytes: (await bytesIn(storage, segmentName(4, 'merged'))).length }
    expect(told).toEqual([{ through: 'chk-0000000004', sizeBytes, durationMs: 0 }])
    await backend.delete(bytesOf('a'))
    const expected = await contentOf(backend)
    expect(await coordinator.createCheckpoint()).toMatchObject({ kind: 'incremental', entryCount: 50 })
    expect(await segmentsOf(storage, 5)).toEqual([segmentName(4, 'merged'), delta(5)])
    expect(await namesIn(storage)).toEqual(
      [segmentName(4, 'merged'), delta(5), manifestName(5), 'sequence'].sort(),
    )
    expect(coordinator.stats()).toMatchObject({ merges: 1, mergeFailures: 0, chainDeltas: 1 })
    await backend.clear()
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe(expected)
    expect(events.filter((event) => event.startsWith('failed'))).toEqual([])
  })

  it.each(['create', 'read'] as const)(
    'lets checkpoints be made while it is held at %s, and retention takes it for no orphan',
    async (at) => {
      const storage = new HeldMerges(at)
      const { coordinator, backend } = bench({ storage, maxDeltas: 1, graceMs: 0, maxCheckpoints: 1 })
      await fill(backend)
      for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
      await storage.reached
      for (let i = 0; i < 2; i++) {
        await put(backend, `a=${i}`)
        await coordinator.createCheckpoint()
      }
      storage.letGo()
      await merged(coordinator)
      await put(backend, 'b=1')
      const expected = await contentOf(backend)
      await coordinator.createCheckpoint()
      expect(await segmentsOf(storage, 6)).toEqual([segmentName(3, 'merged'), delta(4), delta(5), delta(6)])
      await backend.clear()
      await coordinator.restoreLatest()
      expect(await contentOf(backend)).toBe(expected)
    },
  )

  it('that reads damage ends the chain', async () => {
    const { coordinator, backend, storage } = bench({ maxDeltas: 1 })
    await fill(backend)
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    const bytes = await bytesIn(storage, base(1))
    bytes[60] = (bytes[60] as number) ^ 1
    storage.tamper(base(1), bytes)
    await coordinator.createCheckpoint()
    await merged(coordinator)
    expect(coordinator.stats()).toMatchObject({ mergeFailures: 1, lastError: { code: 'CORRUPTION' } })
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
  })

  it('is given up by a shutdown, and leaves nothing', async () => {
    const storage = new HeldMerges()
    const { coordinator, backend } = bench({ storage, maxDeltas: 1 })
    await fill(backend)
    for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
    await storage.reached
    const closing = coordinator.shutdown()
    storage.letGo()
    await closing
    expect(coordinator.stats()).toMatchObject({ merges: 0, mergeFailures: 0, merging: false, created: 4 })
    expect((await namesIn(storage)).filter((name) => name.includes('merged'))).toEqual([])
    expect(await segmentsOf(storage, 4)).toEqual([base(1), delta(2), delta(3), delta(4)])
  })

  it('is given up when what it reads is deleted', async () => {
    const storage = new HeldMerges()
    const { coordinator, backend } = bench({ storage, maxDeltas: 1 })
    await fill(backend)
    for (let i = 0; i < 3; i++) await coordinator.createCheckpoint()
    await storage.reached
    const deleting = coordinator.deleteCheckpoint('chk-0000000003')
    storage.letGo()
    expect(await deleting).toBe(true)
    expect((await namesIn(storage)).filter((name) => /delta.*3|merged/.test(name))).toEqual([])
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
  })
})

/** A storage in which a merge stops until it is let go: before its first byte, or when it reads back what it has written. */
class HeldMerges extends MemoryCheckpointStorage {
  readonly #at: 'create' | 'read'
  #reach: () => void = () => {}
  letGo: () => void = () => {}
  readonly reached: Promise<void> = new Promise((resolve) => {
    this.#reach = resolve
  })
  readonly #held: Promise<void> = new Promise((resolve) => {
    this.letGo = resolve
  })

  constructor(at: 'create' | 'read' = 'create') {
    super()
    this.#at = at
  }

  override async acquire(): Promise<StorageLease> {
    const lease = await super.acquire()
    const create = lease.create.bind(lease)
    lease.create = async (name) => {
      await this.#hold('create', name)
      return await create(name)
    }
    return lease
  }

  override async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    await this.#hold('read', name)
    return await super.read(name, maxBytes)
  }

  async #hold(at: 'create' | 'read', name: string): Promise<void> {
    if (at !== this.#at || !name.includes('.merged.')) return
    this.#reach()
    await this.#held
  }
}
