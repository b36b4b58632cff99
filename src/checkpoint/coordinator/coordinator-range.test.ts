import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { bytesIn, bytesOf, textOf } from '../../../test/support/checkpoints.js'
import { bench, contentOf, put, worker } from '../../../test/support/coordinator-bench.js'
import { farAway } from '../../../test/support/far-storage.js'
import { runs } from '../../../test/support/long.js'
import { onRandomRuns } from '../../../test/support/random-runs.js'
import type { KeyRange } from '../../backend/types.js'
import { isStateError } from '../../base/errors.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { segmentName } from '../format/object-names.js'
import { CheckpointWorker } from '../worker/checkpoint-worker.js'
import { CheckpointCoordinator } from './checkpoint-coordinator.js'

function workerOfTest(): CheckpointWorker {
  const own = new CheckpointWorker()
  onTestFinished(async () => await own.close())
  return own
}

describe('restoring a range', () => {
  it('replaces what the backend has in it, and keeps the rest', async () => {
    const storage = new MemoryCheckpointStorage()
    const backend = new MemoryStateBackend()
    await using coordinator = new CheckpointCoordinator(backend, { storage, worker })
    await put(backend, 'a=1 b=1 c=1 d=1')
    await coordinator.createCheckpoint()
    await put(backend, 'b=2')
    backend.deleteSync(bytesOf('c'))
    const { id, kind } = await coordinator.createCheckpoint()
    expect(kind).toBe('incremental')
    await put(backend, 'a=9 b=9 bb=9 c=9 d=9')
    const restored = await coordinator.restoreLatest({ range: { gte: bytesOf('b'), lt: bytesOf('d') } })
    expect(restored?.id).toBe(id)
    expect(await contentOf(backend)).toBe('a=9 b=2 d=9')
    await coordinator.restore(id, { range: { prefix: bytesOf('d') } })
    expect(await contentOf(backend)).toBe('a=9 b=2 d=1')
    // What the backend holds is the state of no checkpoint: nothing is built on one.
    expect((await coordinator.createCheckpoint()).kind).toBe('full')
    await backend.clear()
    await coordinator.restoreLatest()
    expect(await contentOf(backend)).toBe('a=9 b=2 d=1')
    await coordinator.restore(id, { range: {} })
    expect(await contentOf(backend)).toBe('a=1 b=2 d=1')
    await coordinator.restore(id, { range: { gt: bytesOf('x'), lt: bytesOf('c') } })
    expect(await contentOf(backend)).toBe('a=1 b=2 d=1')
  })

  it('is what the checkpoint has there, for any content and range', async () => {
    const key = fc.constantFrom('a', 'aa', 'ab', 'b', 'ba', 'c', 'cc', 'd')
    const entries = fc.array(fc.tuple(key, fc.constantFrom('1', '2', '3')), { maxLength: 10 })
    const bound = fc.option(key, { nil: undefined })
    await onRandomRuns(
      fc.asyncProperty(
        entries,
        entries,
        entries,
        bound,
        bound,
        fc.boolean(),
        async (first, second, now, from, until, runsHere) => {
          const storage = new MemoryCheckpointStorage()
          const backend = new MemoryStateBackend()
          const coordinator = new CheckpointCoordinator(backend, { storage, worker })
          const write = (pairs: readonly [string, string][]) => {
            for (const [name, value] of pairs) backend.putSync(bytesOf(name), bytesOf(value))
          }
          write(first)
          await coordinator.createCheckpoint()
          write(second)
          const { id } = await coordinator.createCheckpoint()
          const saved = new Map([...first, ...second])
          await backend.clear()
          write(now)
          const isWithin = (name: string) =>
            (from === undefined || name >= from) && (until === undefined || name < until)
          // By the thread, and by this one, as a process does that has just begun.
          const restorer = runsHere ? new CheckpointCoordinator(backend, { storage }) : coordinator
          if (runsHere) await coordinator.shutdown()
          const expected = [...new Map(now)].filter(([name]) => !isWithin(name))
          expected.push(...[...saved].filter(([name]) => isWithin(name)))
          const range: KeyRange = {
            ...(from && { gte: bytesOf(from) }),
            ...(until && { lt: bytesOf(until) }),
          }
          await restorer.restore(id, { range })
          const found = [...backend.scanSync()].map(([name, value]) => [textOf(name), textOf(value)])
          expect(found).toEqual(expected.sort(([left = ''], [right = '']) => (left < right ? -1 : 1)))
          await restorer.shutdown()
        },
      ),
      { runs: runs(100, 10) },
    )
  })

  it('passes over a checkpoint whose blocks of that range are damaged, and does not look at others', async () => {
    const { coordinator, backend, storage, events } = bench({ compression: 'none' })
    await put(backend, `a=${'1'.repeat(300_000)} z=1`)
    await coordinator.createCheckpoint()
    await put(backend, `a=${'2'.repeat(300_000)} z=2`)
    await coordinator.createCheckpoint()
    const rotten = await bytesIn(storage, segmentName(2, 'base'))
    rotten[60] = (rotten[60] as number) ^ 1
    storage.tamper(segmentName(2, 'base'), rotten)
    expect((await coordinator.restoreLatest({ range: { gte: bytesOf('z') } }))?.sequence).toBe(2)
    expect((await coordinator.restoreLatest({ range: { prefix: bytesOf('a') } }))?.sequence).toBe(1)
    expect(events).toContain('skipped chk-0000000002 CORRUPTION')
  })

  it('reads a small one where it is asked for, as long as the thread does not run: damage is found as well', async () => {
    const { storage, backend, coordinator } = bench({ compression: 'none' })
    await put(backend, `a=${'1'.repeat(300_000)} z=1`)
    await coordinator.createCheckpoint()
    await put(backend, `a=${'2'.repeat(300_000)} z=2`)
    await coordinator.createCheckpoint()
    // It makes a last one.
    await coordinator.shutdown()
    const own = workerOfTest()
    const restorer = bench({ worker: own }, storage)
    await restorer.coordinator.restoreLatest({ range: { gte: bytesOf('z') } })
    expect(await contentOf(restorer.backend)).toBe('z=2')
    const rotten = await bytesIn(storage, segmentName(3, 'base'))
    rotten[60] = (rotten[60] as number) ^ 1
    storage.tamper(segmentName(3, 'base'), rotten)
    expect((await restorer.coordinator.restoreLatest({ range: { prefix: bytesOf('a') } }))?.sequence).toBe(2)
    expect(restorer.events).toContain('skipped chk-0000000003 CORRUPTION')
    expect(own.isReadyFor(undefined), 'no thread was needed').toBe(false)
    // The next one finds it running.
    await own.ready()
    await restorer.coordinator.restoreLatest({ range: { gte: bytesOf('z') } })
    expect((await contentOf(restorer.backend)).endsWith(' z=2')).toBe(true)
  })

  it('reads a large one in the thread', async () => {
    const { storage, backend, coordinator } = bench({ compression: 'none' })
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) {
      backend.putSync(bytesOf(name), Buffer.alloc(1_000_000, name))
    }
    await coordinator.createCheckpoint()
    await coordinator.shutdown()
    const own = workerOfTest()
    const restorer = bench({ worker: own }, storage)
    await restorer.coordinator.restoreLatest({ range: { gte: bytesOf('b') } })
    expect(own.isReadyFor(undefined)).toBe(true)
    expect([...restorer.backend.scanSync()].map(([name]) => textOf(name)).join('')).toBe('bcdef')
  })

  it('ends when its signal fires, or its worker is closed, while the storage that it reads hangs: the backend is free again', async () => {
    const { storage, backend, coordinator } = bench()
    await put(backend, 'a=1')
    await coordinator.createCheckpoint()
    await coordinator.shutdown()
    for (const ending of ['signal', 'close']) {
      const own = workerOfTest()
      const hung: CheckpointStorage = {
        name: 'hung',
        list: () => storage.list(),
        acquire: () => storage.acquire(),
        open: (name) => storage.open(name),
        read: async (name, maxBytes) => {
          if (name.endsWith('.segment')) return await new Promise<undefined>(() => {})
          return await storage.read(name, maxBytes)
        },
      }
      const controller = new AbortController()
      const fresh = new MemoryStateBackend()
      const restorer = new CheckpointCoordinator(fresh, { storage: hung, worker: own, maxSilenceMs: 100 })
      const restoring = restorer.restoreLatest({ range: { gte: bytesOf('a') }, signal: controller.signal })
      const ended = restoring.then(
        () => 'restored',
        (error: unknown) => (isStateError(error) ? error.code : error),
      )
      await nextTurn()
      await nextTurn()
      if (ending === 'signal') controller.abort()
      else await own.close()
      expect(await ended).toBe(ending === 'signal' ? 'ABORTED' : 'RESTORE_FAILED')
      await fresh.put(bytesOf('b'), bytesOf('1'))
      expect(await contentOf(fresh)).toBe('b=1')
      await fresh.close()
    }
  })

  it('refuses what is no range of keys', async () => {
    const { coordinator } = bench()
    const wrong = [{ limit: 1 }, { gte: 'a' }, null, 'a'] as unknown as KeyRange[]
    for (const range of [...wrong, { prefix: undefined }, undefined] as unknown as KeyRange[]) {
      await expect(coordinator.restoreLatest({ range })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
  })

  it('does not let an empty state be saved over what was not restored', async () => {
    const first = bench()
    await put(first.backend, 'a=1')
    await first.coordinator.createCheckpoint()
    first.storage.forgetOwner()
    const backend = new MemoryStateBackend()
    const next = new CheckpointCoordinator(backend, { storage: first.storage, worker })
    await next.restoreLatest({ range: { gte: bytesOf('x') } })
    await next.shutdown()
    expect((await first.coordinator.listCheckpoints()).map(({ sequence }) => sequence)).toEqual([1])
  })

  it('of one of 128 reads at most 3 % of the bytes, and takes a small part of the time', async () => {
    const count = runs(1_000_000, 60_000)
    const valueBytes = runs(100, 300)
    const storage = new MemoryCheckpointStorage()
    const backend = new MemoryStateBackend()
    const keyOf = (i: number) => Buffer.from(`key-${String(i).padStart(9, '0')}`)
    // Not to be compressed, so that what is read is what there is.
    for (let i = 0; i < count; i++) backend.putSync(keyOf(i), Buffer.alloc(valueBytes, `${i * 7919}`))
    const maker = new CheckpointCoordinator(backend, { storage, worker, compression: 'none' })
    const { id, sizeBytes } = await maker.createCheckpoint()
    const far = farAway(storage)
    const counted = {
      ...far.storage,
      name: 'far',
      list: () => storage.list(),
      acquire: () => storage.acquire(),
    }
    const slice = Math.floor(count / 128)
    const range = { gte: keyOf(slice * 57), lt: keyOf(slice * 58) }
    /** How much processor time, of all threads, it takes to restore into an engine that holds something else. */
    const timeOf = async (options?: { readonly range: KeyRange }): Promise<number> => {
      const fresh = new MemoryStateBackend()
      fresh.putSync(bytesOf('other'), bytesOf('1'))
      const restorer = new CheckpointCoordinator(fresh, { storage: counted, worker })
      const before = process.cpuUsage()
      await restorer.restore(id, options)
      const { user, system } = process.cpuUsage(before)
      expect(await fresh.count()).toBe(options === undefined ? count : slice + 1)
      await fresh.close()
      return user + system
    }
    const first = await timeOf({ range })
    expect(far.bytesRead).toBeLessThanOrEqual(0.03 * sizeBytes)
    // Of several, the least: what else the process does makes it more, never less.
    const ranges = [first]
    const wholes: number[] = []
    for (let round = 0; round < runs(3, 1); round++) {
      ranges.push(await timeOf({ range }), await timeOf({ range }))
      wholes.push(await timeOf())
    }
    expect(Math.min(...ranges)).toBeLessThan(runs(0.05, 0.5) * Math.min(...wholes))
  })
})
