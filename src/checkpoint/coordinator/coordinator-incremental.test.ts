import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { bytesIn, bytesOf, namesIn } from '../../../test/support/checkpoints.js'
import { contentOf, crash, put, shutDownAfterTest, worker } from '../../../test/support/coordinator-bench.js'
import { base, bench, delta, fill, merged, segmentsOf } from '../../../test/support/incremental-bench.js'
import type { Replaceable } from '../../backend/state-backend.js'
import type { SnapshotOptions } from '../../backend/state-snapshot.js'
import { isErrorLike } from '../../base/shapes.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FaultyCheckpointStorage } from '../../testing/faulty-storage.js'
import { ModelStateBackend } from '../../testing/model-state-backend.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

describe('incremental checkpoints', () => {
  it('hold what changed since the last one, and restore to the whole', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await put(backend, 'a=1 b=1')
    const first = await coordinator.createCheckpoint()
    expect(first.kind).toBe('full')
    await put(backend, 'b=2 c=3')
    await backend.delete(bytesOf('a'))
    const expected = await contentOf(backend)
    const second = await coordinator.createCheckpoint()
    expect(second).toMatchObject({ kind: 'incremental', entryCount: 52 })
    expect(await segmentsOf(storage, 2)).toEqual([base(1), delta(2)])
    const { lastKind, lastWrittenBytes, writtenBytes, chainDeltas, lastCutMs } = coordinator.stats()
    expect({ lastKind, chainDeltas }).toEqual({ lastKind: 'incremental', chainDeltas: 1 })
    expect(lastWrittenBytes).toBe(second.sizeBytes - (await bytesIn(storage, base(1))).length)
    expect(writtenBytes).toBe(first.sizeBytes + (lastWrittenBytes ?? 0))
    expect(lastCutMs).toBeGreaterThan(0)
    await backend.clear()
    expect(await coordinator.restoreLatest()).toEqual(second)
    expect(await contentOf(backend)).toBe(expected)
    expect(await coordinator.verify(second.id)).toMatchObject({ segments: 2, entryCount: 52 })
  })

  it('are made of an asynchronous backend too, from the changes that its snapshots tell', async () => {
    const inner = new ModelStateBackend()
    const supports = { ...inner.supports, sync: false, sharing: false }
    const backend = new Proxy(inner, {
      get: (target, name) => {
        if (name === 'supports') return supports
        if (name === 'snapshotSync') return undefined
        if (name === 'snapshot') {
          return async (options?: SnapshotOptions) => {
            const snapshot = target.snapshotSync(options)
            await nextTurn()
            return Object.assign(snapshot, { share: undefined })
          }
        }
        const member: unknown = Reflect.get(target, name)
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
    const storage = new MemoryCheckpointStorage()
    const coordinator = new CheckpointCoordinator(backend, { storage, worker })
    for (let i = 0; i < 50; i++) inner.putSync(bytesOf(`k${i}`), bytesOf(`${i}`))
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
    inner.deleteRangeSync({ gte: bytesOf('k40') })
    inner.putSync(bytesOf('k3'), bytesOf('changed'))
    const expected = await contentOf(inner)
    const second = await coordinator.createCheckpoint()
    expect(second).toMatchObject({ kind: 'incremental', entryCount: inner.stats().entries })
    await inner.clear()
    await coordinator.restoreLatest()
    expect(await contentOf(inner)).toBe(expected)
    // Nothing has changed since, as far as anybody knows.
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
    await coordinator.shutdown()
  })

  it('need not name what has expired: its time is in the entry', async () => {
    const { coordinator, backend, clock } = bench()
    await fill(backend)
    await backend.put(bytesOf('short'), bytesOf('1'), { ttlMs: 1_000 })
    await coordinator.createCheckpoint()
    clock.advance(1_000)
    expect((await coordinator.createCheckpoint()).entryCount).toBe(50)
    await backend.clear()
    await coordinator.restoreLatest()
    expect(await backend.count()).toBe(50)
  })

  it('hold a clear', async () => {
    const { coordinator, backend } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    await backend.clear()
    await put(backend, 'a=1')
    expect((await coordinator.createCheckpoint()).entryCount).toBe(1)
    await fill(backend)
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe('a=1')
  })

  it('are full ones where they are not wanted, and where the backend cannot tell', async () => {
    const { coordinator, backend } = bench({ incremental: false })
    await fill(backend)
    for (let i = 0; i < 2; i++) expect((await coordinator.createCheckpoint()).kind).toBe('full')
    const other = bench()
    await fill(other.backend)
    await other.coordinator.createCheckpoint()
    const blocks = other.backend.snapshotSync().blocks()
    await other.backend.replaceAll(blocks)
    expect((await other.coordinator.createCheckpoint()).kind).toBe('full')
    expect((await other.coordinator.createCheckpoint()).kind).toBe('incremental')
  })

  it('are full ones where the changes would be larger than the base', async () => {
    const { coordinator, backend, storage } = bench()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await fill(backend)
    expect(await coordinator.createCheckpoint()).toMatchObject({ kind: 'full', entryCount: 51 })
    expect(await segmentsOf(storage, 2)).toEqual([base(2)])
    expect(await namesIn(storage)).not.toContain(delta(2))
  })

  it('never build on one that failed', async () => {
    const storage = new MemoryCheckpointStorage()
    const faulty = new FaultyCheckpointStorage(storage)
    const { coordinator, backend } = bench({ storage: faulty })
    await fill(backend)
    await coordinator.createCheckpoint()
    await put(backend, 'a=1')
    // Its segment was written, and its manifest nearly.
    faulty.inject({ effect: 'fail', operation: 'writer.commit', object: '.manifest' })
    await expect(coordinator.createCheckpoint()).rejects.toMatchObject({ code: 'CHECKPOINT_FAILED' })
    await put(backend, 'b=2')
    const expected = await contentOf(backend)
    expect((await coordinator.createCheckpoint()).kind).toBe('incremental')
    expect(await segmentsOf(storage, 3)).toEqual([base(1), delta(3)])
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe(expected)
  })

  it('are not disturbed by savepoints', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    await put(backend, 'a=1')
    expect((await coordinator.createSavepoint(storage)).kind).toBe('full')
    await put(backend, 'b=1')
    await coordinator.createCheckpoint()
    expect(await segmentsOf(storage, 3)).toEqual([base(1), delta(3)])
    await backend.clear()
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toContain('a=1 b=1')
  })

  it('keep the segments they share, until no checkpoint needs them', async () => {
    const { coordinator, backend, storage } = bench({ maxCheckpoints: 2 })
    await fill(backend)
    for (let i = 0; i < 4; i++) {
      await put(backend, `a=${i}`)
      await coordinator.createCheckpoint()
    }
    const shared = [base(1), delta(2), delta(3), delta(4)]
    expect((await namesIn(storage)).filter((name) => name.includes('segment')).sort()).toEqual(shared.sort())
    await coordinator.restore('chk-0000000003')
    expect(await contentOf(backend)).toContain('a=2')
  })
})

describe('after a restore', () => {
  it('a checkpoint builds on what was restored', async () => {
    const first = bench()
    await fill(first.backend)
    await first.coordinator.createCheckpoint()
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    crash(first.storage)
    const second = bench({}, first.storage)
    await second.coordinator.restoreLatest()
    await put(second.backend, 'b=2')
    const expected = await contentOf(second.backend)
    expect((await second.coordinator.createCheckpoint()).kind).toBe('incremental')
    expect(await segmentsOf(first.storage, 3)).toEqual([base(1), delta(2), delta(3)])
    await second.backend.clear()
    await second.coordinator.restoreLatest()
    expect(await contentOf(second.backend)).toBe(expected)
  })

  it('a checkpoint builds on an older one, where that was restored', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    for (const value of [1, 2, 3]) {
      await put(backend, `a=${value}`)
      await coordinator.createCheckpoint()
    }
    await coordinator.restore('chk-0000000002')
    await coordinator.createCheckpoint()
    expect(await segmentsOf(storage, 4)).toEqual([base(1), delta(2), delta(4)])
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toContain('a=2')
  })

  it('a checkpoint is a full one where that was a savepoint, which stands alone', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createSavepoint(storage)
    await coordinator.restoreLatest()
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
  })

  it.each([
    ['a put', (backend: ModelStateBackend) => backend.putSync(bytesOf('gap'), bytesOf('1'))],
    ['a delete', (backend: ModelStateBackend) => backend.deleteSync(bytesOf('fill-1'))],
    ['a clear', (backend: ModelStateBackend) => void backend.clear()],
  ])('a checkpoint is a full one where %s came before anybody could look', async (_, write) => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    crash(storage)
    const inner = new ModelStateBackend()
    const hasty = new Proxy<ModelStateBackend>(inner, {
      get: (target, name) => {
        if (name === 'replaceAll') {
          return async (...drawn: Parameters<Replaceable['replaceAll']>) => {
            await target.replaceAll(...drawn)
            write(target)
          }
        }
        const member: unknown = Reflect.get(target, name)
        return typeof member === 'function' ? member.bind(target) : member
      },
    })
    const next = new CheckpointCoordinator(hasty, { storage, worker })
    shutDownAfterTest(next)
    await next.restoreLatest()
    const expected = await contentOf(inner)
    expect((await next.createCheckpoint()).kind).toBe('full')
    await put(inner, 'fill-2=overwritten')
    await next.restoreLatest()
    expect(await contentOf(inner)).toBe(expected)
  })

  it('a checkpoint is a full one where another owner has removed the files meanwhile', async () => {
    const first = bench({ maxCheckpoints: 1, incremental: false })
    await fill(first.backend)
    await first.coordinator.createCheckpoint()
    const reader = bench({}, first.storage)
    await reader.coordinator.restoreLatest()
    await first.coordinator.createCheckpoint()
    crash(first.storage)
    expect(await namesIn(first.storage)).not.toContain(base(1))
    const { sequence, kind } = await reader.coordinator.createCheckpoint()
    expect(kind).toBe('full')
    expect(await segmentsOf(first.storage, sequence)).toEqual([base(sequence)])
  })
})

describe('a chain is broken off', () => {
  it('when its newest checkpoint is deleted', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    await coordinator.deleteCheckpoint('chk-0000000002')
    expect(await namesIn(storage)).not.toContain(delta(2))
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
  })

  it('not when another one is', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    await coordinator.deleteCheckpoint('chk-0000000001')
    expect((await coordinator.createCheckpoint()).kind).toBe('incremental')
    expect(await segmentsOf(storage, 3)).toEqual([base(1), delta(2), delta(3)])
  })

  it('when damage was found in what it may consist of', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    await coordinator.createCheckpoint()
    const bytes = await bytesIn(storage, base(1))
    bytes[60] = (bytes[60] as number) ^ 1
    storage.tamper(base(1), bytes)
    await expect(coordinator.verify('chk-0000000002')).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
    expect((await coordinator.createCheckpoint()).kind).toBe('incremental')
  })

  it('when a file of it is seen to be missing', async () => {
    const { coordinator, backend, storage } = bench()
    await fill(backend)
    await coordinator.createCheckpoint()
    storage.tamper(base(1), undefined)
    await coordinator.createCheckpoint()
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
  })

  it('when it was not merged in time', async () => {
    const storage = new MemoryCheckpointStorage()
    const faulty = new FaultyCheckpointStorage(storage)
    faulty.inject({ effect: 'fail', object: '.merged.', forever: true })
    const { coordinator, backend, log } = bench({ storage: faulty, maxDeltas: 1 })
    await fill(backend)
    const kinds: string[] = []
    for (let i = 0; i < 7; i++) {
      kinds.push((await coordinator.createCheckpoint()).kind)
      await merged(coordinator)
    }
    expect(kinds).toEqual(['full', ...Array<string>(4).fill('incremental'), 'full', 'incremental'])
    expect(coordinator.stats()).toMatchObject({ merges: 0, mergeFailures: 3, failed: 0 })
    expect(log.filter((line) => line.includes('merge failed'))).toHaveLength(3)
  })
})

describe('aborting a checkpoint', () => {
  it('leaves nothing visible, wherever it is, and the next one works', async () => {
    const storage = new MemoryCheckpointStorage()
    let onCall: () => void = () => {}
    const { coordinator, backend } = bench({ storage: observed(storage, () => onCall()) })
    await fill(backend)
    await coordinator.createCheckpoint()
    const before = await namesIn(storage)
    let aborted = 0
    for (let nth = 1; ; nth++) {
      await put(backend, `a=${nth}`)
      const controller = new AbortController()
      let calls = 0
      onCall = () => {
        if (++calls === nth) controller.abort(new Error('enough'))
      }
      const outcome = await coordinator
        .createCheckpoint({ signal: controller.signal })
        .catch((error: unknown) => error)
      if (!isErrorLike(outcome)) break
      aborted++
      expect(outcome).toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } })
      expect(await namesIn(storage)).toEqual(before)
      expect(backend.stats().openSnapshots).toBe(0)
    }
    expect(aborted).toBeGreaterThan(6)
    await put(backend, 'b=1')
    const expected = await contentOf(backend)
    await coordinator.createCheckpoint()
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe(expected)
  })

  it('does not wait for the rest that its limits call for', async () => {
    const backend = new ModelStateBackend()
    await fill(backend)
    const storage = new MemoryCheckpointStorage()
    // Not shut down: its final checkpoint would take hours.
    const coordinator = new CheckpointCoordinator(backend, { storage, worker, maxBytesPerSecond: 1 })
    const controller = new AbortController()
    const making = coordinator.createCheckpoint({ signal: controller.signal })
    for (let turn = 0; turn < 20; turn++) await nextTurn()
    controller.abort()
    await expect(making).rejects.toMatchObject({ code: 'ABORTED' })
    await backend.close()
  })
})

/** A storage that tells of every call before it is made. */
function observed<Target extends object>(target: Target, onCall: () => void): Target {
  return new Proxy(target, {
    get: (inner, name) => {
      const member: unknown = Reflect.get(inner, name)
      if (typeof member !== 'function') return member
      return async (...given: unknown[]) => {
        onCall()
        const result: unknown = await Reflect.apply(member, inner, given)
        return isHandle(result) ? observed(result, onCall) : result
      }
    },
  })
}

/** Leases, readers and writers are observed in their turn. */
function isHandle(result: unknown): result is object {
  if (typeof result !== 'object' || result === null) return false
  return ['close', 'commit', 'release'].some((method) => method in result)
}
