import { describe, expect, it, onTestFinished } from 'vitest'
import { shutDownAfterTest, worker } from '../../../test/support/coordinator-bench.js'
import {
  fillWith,
  itIsRestoredWhole,
  keyOf,
  moduleOf,
  shown,
} from '../../../test/support/restored-elsewhere.js'
import type { EntryBlock } from '../../backend/entry-block.js'
import type { BlockPreparing } from '../../backend/prepared-blocks.js'
import type { ReplaceOptions } from '../../backend/types.js'
import { LmdbStateBackend } from '../../lmdb/lmdb-state-backend.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from './coordinator-options.js'

/** Enough that the worker makes what is restored ready. */
const ENTRIES = 11_100
const NOW_MS = 1_700_000_000_000

/** How a store is given the blocks of a restore, and what stands in the place of what makes them ready. */
interface Given {
  readonly restores: string[]
  preparing?: BlockPreparing
  /** As a backend of somebody else's may that wraps this one. */
  wraps?: boolean
}

/** A store that notes whether the blocks were handed to it, or what was made of them. */
async function openNoting(clock: ManualClock, given: Given): Promise<LmdbStateBackend> {
  const backend = await LmdbStateBackend.temporary({ clock })
  const { preparing } = backend
  const replaceAll = backend.replaceAll.bind(backend)
  return Object.defineProperties(backend, {
    preparing: { get: () => given.preparing ?? preparing },
    replaceAll: {
      value: (blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> => {
        const isPrepared = 'takePrepared' in blocks && blocks.takePrepared !== undefined
        given.restores.push(isPrepared ? 'prepared' : 'iterated')
        const handedOn = async function* () {
          yield* blocks
        }
        return replaceAll(given.wraps === true ? handedOn() : blocks, options)
      },
    },
  })
}

async function bench(
  options: Partial<CheckpointCoordinatorOptions> = {},
  storage = new MemoryCheckpointStorage(),
) {
  const clock = new ManualClock(NOW_MS)
  const given: Given = { restores: [] }
  const backend = await openNoting(clock, given)
  const coordinator = new CheckpointCoordinator(backend, { storage, clock, worker, ...options })
  const skipped: string[] = []
  coordinator.on('skipped', ({ id, code }) => skipped.push(`${id} ${code}`))
  onTestFinished(() => backend.close())
  shutDownAfterTest(coordinator)
  return { clock, backend, coordinator, storage, skipped, given, restores: given.restores }
}

describe('a restore into a store whose records the worker makes', () => {
  const fill = (backend: LmdbStateBackend, version: string, ttlMs?: number) =>
    fillWith(ENTRIES, backend, version, ttlMs)
  itIsRestoredWhole(ENTRIES, 'prepared', bench)

  it('brings base and deltas back, tells how far it is, and what expires does so in time', async () => {
    const first = await bench()
    fill(first.backend, 'a', 60_000)
    await first.coordinator.createCheckpoint()
    for (let i = 0; i < 500; i++) first.backend.deleteSync(keyOf(i * 7))
    for (let i = 0; i < 500; i++) first.backend.putSync(keyOf(i * 11), Buffer.from(`b ${i}`))
    await first.coordinator.createCheckpoint()
    const expected = shown(first.backend)
    await first.coordinator.shutdown()
    const second = await bench({}, first.storage)
    second.backend.putSync(keyOf(1_000_000), Buffer.from('was there'))
    const progress: number[] = []
    const restored = await second.coordinator.restoreLatest({
      onProgress: ({ entries }) => progress.push(entries),
    })
    expect(restored?.kind).toBe('incremental')
    expect(second.given.restores).toEqual(['prepared'])
    expect(shown(second.backend)).toBe(expected)
    expect(progress.at(-1)).toBe(restored?.entryCount)
    const memory = new MemoryStateBackend({ clock: second.clock })
    const other = new CheckpointCoordinator(memory, { storage: first.storage, clock: second.clock, worker })
    await second.coordinator.shutdown()
    shutDownAfterTest(other)
    await other.restoreLatest()
    second.clock.advance(60_000)
    expect(await second.backend.count()).toBeLessThan(ENTRIES)
    expect(await second.backend.count()).toBe(await memory.count())
    expect(shown(second.backend)).toBe(shown(memory))
  })

  it('goes on with times to live as if no time had passed, where it is told so, also where each block is looked at', async () => {
    const first = await bench()
    fill(first.backend, 'a', 1_000)
    await first.coordinator.createCheckpoint()
    for (const wraps of [false, true]) {
      const second = await bench({}, first.storage)
      second.given.wraps = wraps
      second.clock.set(NOW_MS + 500_000)
      await second.coordinator.restoreLatest({ downtime: 'pauses' })
      second.clock.advance(999)
      expect(shown(second.backend)).toBe(shown(first.backend))
      second.clock.advance(1)
      expect(await second.backend.count()).toBe((ENTRIES * 2) / 3)
    }
  })

  it('fails for what is no fault of the checkpoint, and takes no older one', async () => {
    const own = new CheckpointWorker()
    onTestFinished(() => own.close())
    const { backend, coordinator, skipped, given } = await bench({ worker: own, incremental: false })
    fill(backend, 'a')
    await coordinator.createCheckpoint()
    fill(backend, 'b')
    const { id } = await coordinator.createCheckpoint()
    const present = shown(backend)
    const preparer = (prepare: string) =>
      moduleOf(`export const openBlockPreparer = () => ({ prepare() { ${prepare} } })`)
    for (const [preparing, reason] of [
      [preparer('throw new RangeError("no memory")'), /did not take it: no memory/],
      [moduleOf('throw new Error("cannot be loaded")'), /did not take it: cannot be loaded/],
      [preparer('process.exit(7)'), /exit code 7/],
    ] as const) {
      given.preparing = preparing
      await expect(coordinator.restoreLatest()).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        details: { checkpointId: id },
        message: expect.stringMatching(reason),
      })
      expect(shown(backend)).toBe(present)
    }
    expect(skipped).toEqual([])
    // Writes are taken again.
    delete given.preparing
    backend.putSync(keyOf(0), Buffer.from('c'))
    await coordinator.restoreLatest()
    expect(shown(backend)).toBe(present)
  })
})
