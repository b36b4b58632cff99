import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { shutDownAfterTest, worker } from '../../../test/support/coordinator-bench.js'
import { runs } from '../../../test/support/long.js'
import {
  fillWith,
  itIsRestoredWhole,
  keyOf,
  moduleOf,
  shown,
} from '../../../test/support/restored-elsewhere.js'
import type { StateBuilding } from '../../backend/built-state.js'
import type { EntryBlock } from '../../backend/entry-block.js'
import type { ReplaceOptions } from '../../backend/types.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { RestoreStream } from '../worker/restore-stream.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'
import type { CheckpointCoordinatorOptions } from './coordinator-options.js'

/** Enough that the worker puts together what is restored; and that it has another thread do it, where there is a processor for that. */
const SIZES = [11_100, 270_000]
const NOW_MS = 1_700_000_000_000

/** Notes whether the blocks were handed to it, or what was made of them. */
class NotingBackend extends MemoryStateBackend {
  readonly restores: string[] = []
  /** In the place of its own. */
  replacedBuilding: StateBuilding | undefined

  override get building(): StateBuilding | undefined {
    return this.replacedBuilding ?? super.building
  }

  override replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    const isBuilt = 'takeBuilt' in blocks && blocks.takeBuilt !== undefined
    this.restores.push(isBuilt ? 'built' : 'iterated')
    return super.replaceAll(blocks, options)
  }
}

/** Has each block handed to it, as a backend of somebody else's may that wraps this one. */
class WrappingBackend extends MemoryStateBackend {
  override async replaceAll(blocks: AsyncIterable<EntryBlock>, options?: ReplaceOptions): Promise<void> {
    const handedOn = async function* () {
      yield* blocks
    }
    await super.replaceAll(handedOn(), options)
  }
}

/** Asks for the first block, and wants none any more before it is there. */
class HastyBackend extends MemoryStateBackend {
  first: Promise<unknown> | undefined

  override async replaceAll(blocks: AsyncIterable<EntryBlock>): Promise<void> {
    this.first = blocks[Symbol.asyncIterator]().next()
    this.first.catch(() => {})
    throw new Error('it changed its mind')
  }
}

function bench(
  options: Partial<CheckpointCoordinatorOptions> = {},
  storage = new MemoryCheckpointStorage(),
  makeBackend = (clock: ManualClock) => new NotingBackend({ clock }),
) {
  const clock = new ManualClock(NOW_MS)
  const backend = makeBackend(clock)
  const coordinator = new CheckpointCoordinator(backend, { storage, clock, worker, ...options })
  const skipped: string[] = []
  coordinator.on('skipped', ({ id, code }) => skipped.push(`${id} ${code}`))
  shutDownAfterTest(coordinator)
  onTestFinished(() => backend.close())
  return { clock, backend, coordinator, storage, skipped, restores: backend.restores }
}

const TTL_MS = 1_000

/** A checkpoint of so many entries, of which a third expires, and what an engine without a limit takes for them. */
async function checkpointOf(entries: number) {
  const { backend, coordinator, storage } = bench()
  fillWith(entries, backend, 'a', TTL_MS)
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  return { storage, expected: shown(backend), neededBytes: backend.memoryUsage().totalBytes }
}

/** Restores it into a backend with a limit, in which there is something, and tells how that went. */
async function restoreWithin(maxBytes: number, storage: MemoryCheckpointStorage, nowMs = NOW_MS) {
  const makeBackend = (clock: ManualClock) => new NotingBackend({ clock, maxBytes })
  const made = bench({}, storage, makeBackend)
  const { backend, coordinator } = made
  made.clock.set(nowMs)
  backend.putSync(keyOf(0), Buffer.from('was there'))
  const iterate = vi.spyOn(RestoreStream.prototype, Symbol.asyncIterator)
  const outcome = await coordinator.restoreLatest().catch((error: unknown) => error)
  const way = iterate.mock.calls.length === 0 ? 'adopted' : 'iterated'
  iterate.mockRestore()
  await coordinator.shutdown()
  return { backend, outcome, way }
}

it('a restore that fits only without what has expired is made of the blocks themselves', async () => {
  const [entries] = SIZES as [number]
  const { storage, neededBytes } = await checkpointOf(entries)
  const limit = Math.floor(neededBytes * 0.85)
  const early = await restoreWithin(limit, storage, NOW_MS)
  expect(early.outcome).toMatchObject({ code: 'RESTORE_FAILED', cause: { code: 'BACKEND_FULL' } })
  const late = await restoreWithin(limit, storage, NOW_MS + 2 * TTL_MS)
  expect(late.way).toBe('iterated')
  expect(late.outcome).toMatchObject({ entryCount: entries })
  expect(await late.backend.count()).toBe((entries * 2) / 3)
})

describe.each(SIZES)('a restore of %i entries that the worker puts together', (ENTRIES) => {
  const fill = (backend: MemoryStateBackend, version: string, ttlMs?: number) =>
    fillWith(ENTRIES, backend, version, ttlMs)
  itIsRestoredWhole(ENTRIES, 'built', bench)

  it('is not begun anew where its blocks are asked for and it is over before the first one is there', async () => {
    const { backend, coordinator, storage } = bench()
    fill(backend, 'first')
    await coordinator.shutdown()
    const backends: HastyBackend[] = []
    const made = bench({}, storage, (clock) => {
      const hasty = new HastyBackend({ clock })
      backends.push(hasty)
      return hasty as MemoryStateBackend as NotingBackend
    })
    const start = vi.spyOn(worker, 'start')
    onTestFinished(() => start.mockRestore())
    await expect(made.coordinator.restoreLatest()).rejects.toThrow('it changed its mind')
    await expect(backends[0]?.first).rejects.toMatchObject({ code: 'ABORTED' })
    expect(start.mock.calls.filter(([{ request }]) => request.kind === 'read')).toHaveLength(1)
  })

  it('keeps to the limit of its backend', async () => {
    const { storage, expected, neededBytes } = await checkpointOf(ENTRIES)
    const ample = await restoreWithin(4 * neededBytes, storage)
    expect(ample.way).toBe('adopted')
    expect(shown(ample.backend)).toBe(expected)
    const full = await restoreWithin(Math.floor(neededBytes * 0.4), storage)
    expect(full.way).toBe('iterated')
    expect(full.outcome).toMatchObject({ code: 'RESTORE_FAILED', cause: { code: 'BACKEND_FULL' } })
    expect(shown(full.backend)).toMatch(/^1: /)
  })

  it('brings base and deltas back, tells how far it is, and is built on', async () => {
    const first = bench()
    fill(first.backend, 'a', 60_000)
    await first.coordinator.createCheckpoint()
    for (let i = 0; i < 500; i++) first.backend.deleteSync(keyOf(i * 7))
    for (let i = 0; i < 500; i++) first.backend.putSync(keyOf(i * 11), Buffer.from(`b ${i}`))
    await first.coordinator.createCheckpoint()
    const expected = shown(first.backend)
    await first.coordinator.shutdown()
    const second = bench({}, first.storage)
    second.backend.putSync(keyOf(1_000_000), Buffer.from('was there'))
    const progress: number[] = []
    const restored = await second.coordinator.restoreLatest({
      onProgress: ({ entries }) => progress.push(entries),
    })
    expect(restored?.kind).toBe('incremental')
    expect(second.backend.restores).toEqual(['built'])
    expect(shown(second.backend)).toBe(expected)
    expect(progress.at(-1)).toBe(restored?.entryCount)
    second.backend.putSync(keyOf(5), Buffer.from('c'))
    expect((await second.coordinator.createCheckpoint()).kind).toBe('incremental')
    const third = bench({}, first.storage)
    await second.coordinator.shutdown()
    await third.coordinator.restoreLatest()
    expect(shown(third.backend)).toBe(shown(second.backend))
    for (const { clock } of [second, third]) clock.advance(60_000)
    expect(await third.backend.count()).toBe(await second.backend.count())
    expect(await third.backend.count()).toBeLessThan(ENTRIES)
  })

  it('goes on with times to live as if no time had passed, where it is told so, also in a backend that looks at each block', async () => {
    const first = bench()
    fill(first.backend, 'a', 1_000)
    await first.coordinator.createCheckpoint()
    for (const makeBackend of [
      undefined,
      (clock: ManualClock) => new WrappingBackend({ clock }) as NotingBackend,
    ]) {
      const second = bench({}, first.storage, makeBackend)
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
    const { backend, coordinator, skipped } = bench({ worker: own, incremental: false })
    fill(backend, 'a')
    await coordinator.createCheckpoint()
    fill(backend, 'b')
    const { id } = await coordinator.createCheckpoint()
    const present = shown(backend)
    const builder = (add: string, finish: string) =>
      moduleOf(`export const openStateBuilder = () => ({ add() { ${add} }, finish() { ${finish} } })`)
    for (const [building, reason] of [
      [builder('throw new RangeError("no memory")', ''), /did not take it: no memory/],
      [builder('', 'throw new RangeError("no memory at last")'), /did not take it: no memory at last/],
      [moduleOf('throw new Error("cannot be loaded")'), /did not take it: cannot be loaded/],
      [builder('process.exit(7)', ''), /exit code 7/],
      ...runs([[builder('', 'process.exit(8)'), /exit code 8/] as const], []),
    ] as const) {
      backend.replacedBuilding = building
      await expect(coordinator.restoreLatest()).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        details: { checkpointId: id },
        message: expect.stringMatching(reason),
      })
      expect(shown(backend)).toBe(present)
    }
    expect(skipped).toEqual([])
    // Writes are taken again.
    backend.replacedBuilding = undefined
    backend.putSync(keyOf(0), Buffer.from('c'))
    await coordinator.restoreLatest()
    expect(shown(backend)).toBe(present)
  })
})
