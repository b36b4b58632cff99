import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import {
  Broker,
  begun,
  counts,
  member,
  numbered,
  push,
  read,
} from '../../../test/support/partition-broker.js'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import { silentLogger } from '../../checkpoint/types.js'
import { CheckpointWorker } from '../../checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { uint32 } from '../../state/codec/numbers.js'
import { value } from '../../state/kinds/definitions.js'
import { defineState } from '../../state/schema/define-state.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { count } from '../../window/aggregate/ready-made.js'
import { tumbling } from '../../window/assign/assigner.js'
import { ascending } from '../../window/time/watermark-strategy.js'
import { windowed } from '../../window/windowed.js'
import { defineJob } from '../define-job.js'
import type { Sink } from '../sink/sink.js'
import type { PartitionGroup } from './partition-group.js'
import { type PartitionedJob, runJobPerPartition } from './run-job-per-partition.js'

const worker = new CheckpointWorker()
afterAll(() => worker.close())

describe('J10: a partition', () => {
  it('is told of, and goes on elsewhere, by the name of what every object inherits too', async () => {
    const broker = new Broker(worker)
    const names = ['__proto__', 'constructor']
    for (const id of names) push(broker, id, 2)
    const first = await member(broker, 'first')
    await broker.assign('first', ...names)
    await read(broker, first, ...names)
    expect(Object.keys(first.health().partitions).sort()).toEqual(names)
    await first.stop()
    for (const id of names) push(broker, id, 1)
    await using second = await member(broker, 'second')
    await broker.assign('second', ...names)
    await read(broker, second, ...names)
    await second.stop()
    for (const id of names) {
      expect(broker.of(id).committed).toEqual(numbered(3))
      expect(broker.opened).toContain(`second ${id} at 2`)
    }
  })

  it('that is taken away leaves with its state, and is restored where it goes before its first event', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 3)
    push(broker, 'y', 2)
    await using first = await member(broker, 'first')
    await broker.assign('first', 'y')
    await broker.assign('first', 'x')
    await read(broker, first, 'x', 'y')
    const { backend } = broker
    await broker.revoke('first', 'x')
    expect(broker.of('x').committed).toEqual(numbered(3))
    expect(broker.of('x').acknowledged).toEqual([['first', 3]])
    await expect(backend?.get(new Uint8Array(1))).rejects.toMatchObject({ code: 'CLOSED' })
    push(broker, 'x', 2)
    await using second = await member(broker, 'second')
    await broker.assign('second', 'x')
    await read(broker, second, 'x')
    await second.stop()
    expect(broker.of('x').committed).toEqual(numbered(5))
    expect(broker.opened).toContain('second x at 3')
    expect(Object.keys(first.stats())).toEqual(['y'])
    expect(first.health()).toMatchObject({
      isReady: true,
      isHealthy: true,
      partitions: { y: { state: 'running' } },
    })
    await first.stop()
    expect(broker.of('y').committed).toEqual(numbered(2))
    expect(broker.owners.size).toBe(0)
  })

  it('that was lost is not put out, cut or acknowledged here any more', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    await using first = await member(broker, 'first')
    await broker.assign('first', 'x')
    await read(broker, first, 'x')
    await broker.lose('first', 'x')
    expect(broker.of('x')).toMatchObject({ committed: [], acknowledged: [] })
    await using second = await member(broker, 'second')
    await broker.assign('second', 'x')
    await read(broker, second, 'x')
    await second.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
    expect(first.health()).toMatchObject({ state: 'running', isHealthy: true, partitions: {} })
  })

  it('that is taken away in the middle of a checkpoint is in it wholly, and nothing behind it', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 4)
    let onWrite = () => {}
    const { storage } = broker.of('x')
    const slow: CheckpointStorage = new Proxy(storage, {
      get: (target, name) => {
        const found = Reflect.get(target, name, target) as unknown
        if (typeof found !== 'function') return found
        return (...args: unknown[]) => {
          onWrite()
          return Reflect.apply(found, target, args) as unknown
        }
      },
    })
    await using first = await member(broker, 'first', () => slow)
    await broker.assign('first', 'x')
    await read(broker, first, 'x')
    let revoked: Promise<void> | undefined
    onWrite = () => {
      if (revoked !== undefined) return
      push(broker, 'x', 3)
      revoked = broker.revoke('first', 'x')
    }
    const job = first.jobs.get('x')
    await job?.stop()
    await revoked
    const { committed, acknowledged } = broker.of('x')
    expect(committed).toEqual(numbered(committed.length))
    expect(acknowledged.at(-1)).toEqual(['first', committed.length])
    await using second = await member(broker, 'second')
    await broker.assign('second', 'x')
    await read(broker, second, 'x')
    await second.stop()
    expect(broker.of('x').committed).toEqual(numbered(7))
  })

  it('that another member has taken over is fenced here, and the others go on', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    push(broker, 'y', 2)
    await using first = await member(broker, 'first')
    await broker.assign('first', 'x', 'y')
    await read(broker, first, 'x', 'y')
    const { storage } = broker.of('x')
    // As a process does that holds this one for dead.
    await (await storage.acquire({ takeOver: true })).release()
    const fenced = first.jobs.get('x')
    await fenced?.stop().catch(() => {})
    await nextTurn()
    expect(first.health()).toMatchObject({
      state: 'running',
      isHealthy: false,
      partitions: { x: { state: 'fenced' }, y: { state: 'running' } },
    })
    await broker.lose('first', 'x')
    expect(first.health()).toMatchObject({ isHealthy: true })
    await broker.assign('first', 'x')
    await read(broker, first, 'x')
    await first.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
    expect(broker.of('y').committed).toEqual(numbered(2))
  })

  it('that somebody else has while it begins is tried again, and the others go on', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    push(broker, 'y', 2)
    const clock = new ManualClock()
    const other = await broker.of('x').storage.acquire()
    await using first = await member(broker, 'first', undefined, () => ({ clock, waitForOwnerMs: 0 }))
    await broker.assign('first', 'x', 'y')
    expect(first.health()).toMatchObject({
      state: 'running',
      isHealthy: false,
      partitions: { x: { state: 'fenced' }, y: { state: 'running' } },
    })
    await other.release()
    await begun(first, 'x', clock)
    await read(broker, first, 'x', 'y')
    expect(first.health()).toMatchObject({ isHealthy: true })
    await first.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
    expect(broker.of('y').committed).toEqual(numbered(2))
  })

  it('that was taken over while it ran is begun again where it is let go of, and the group still gives it to us', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    const clock = new ManualClock()
    await using first = await member(broker, 'first', undefined, () => ({ clock }))
    await broker.assign('first', 'x')
    await read(broker, first, 'x')
    await (await broker.of('x').storage.acquire({ takeOver: true })).release()
    await first.jobs
      .get('x')
      ?.stop()
      .catch(() => {})
    await nextTurn()
    expect(first.health()).toMatchObject({ partitions: { x: { state: 'fenced' } } })
    await begun(first, 'x', clock)
    await read(broker, first, 'x')
    await first.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
  })

  it('that somebody else keeps is given up after a while, and begun when the group gives it again', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    const clock = new ManualClock()
    const other = await broker.of('x').storage.acquire()
    const pauses: unknown[] = []
    const warn = (fields: { readonly afterMs?: number }) => void pauses.push(fields.afterMs)
    const place = () => ({ clock, waitForOwnerMs: 0 })
    await using first = await member(broker, 'first', undefined, place, { ...silentLogger, warn })
    await broker.assign('first', 'x')
    while (pauses.at(-1) !== undefined) {
      clock.advance(1_000)
      await nextTurn()
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 30_000, undefined])
    await other.release()
    clock.advance(60_000)
    for (let turn = 0; turn < 100; turn++) await nextTurn()
    expect(first.health()).toMatchObject({ state: 'running', partitions: { x: { state: 'fenced' } } })
    await broker.assign('first', 'x')
    await read(broker, first, 'x')
    await first.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
  })

  it('whose place is out of reach while it begins is tried again, and ends the job where that lasts', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    const clock = new ManualClock()
    let failures = 1
    const sink = (id: string): Sink<unknown> => ({
      ...broker.of(id).sink(),
      open: async (request) => {
        if (failures-- > 0)
          throw new StateError('STORAGE_ERROR', { storage: 'sink', operation: 'open', reason: 'away' })
        return await broker.of(id).sink().open(request)
      },
    })
    const place = (id: string) => ({ clock, sink: sink(id) })
    const first = await member(broker, 'first', undefined, place)
    await broker.assign('first', 'x')
    expect(first.health()).toMatchObject({ state: 'running', partitions: { x: { state: 'restoring' } } })
    await begun(first, 'x', clock)
    await read(broker, first, 'x')
    await first.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
    failures = Infinity
    const second = await member(broker, 'second', undefined, place)
    await broker.assign('second', 'x')
    // Its end comes behind that of what it has begun.
    while (second.health().state !== 'failed') {
      clock.advance(60_000)
      await nextTurn()
    }
    await expect(second.finished).rejects.toMatchObject({ code: 'STORAGE_ERROR' })
  })

  it('that is taken away while it waits to be begun again is begun no more', async () => {
    const broker = new Broker(worker)
    const clock = new ManualClock()
    const other = await broker.of('x').storage.acquire()
    await using first = await member(broker, 'first', undefined, () => ({ clock, waitForOwnerMs: 0 }))
    await broker.assign('first', 'x')
    await broker.revoke('first', 'x')
    await other.release()
    clock.advance(60_000)
    for (let turn = 0; turn < 100; turn++) await nextTurn()
    expect(first.health()).toMatchObject({ state: 'running', isHealthy: true, partitions: {} })
    expect(broker.opened).toEqual([])
  })

  it('whose job fails ends the others with their last cut, and the group is left', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    push(broker, 'y', 1)
    const failing = defineJob<number, unknown>()({
      name: 'failing',
      key: () => 'all',
      schema: defineState({ key: utf8, states: { count: value(uint32) } }),
      process: (event, { partition, emit }) => {
        if (partition === 'y') throw new Error('not this one')
        emit(event)
      },
    })
    const job = await runJobPerPartition({
      ...failing,
      group: broker.group('first'),
      place: (id) => ({
        backend: new MemoryStateBackend(),
        checkpoints: { storage: broker.of(id).storage, intervalMs: 60_000, worker },
        sink: broker.of(id).sink(),
      }),
    })
    await broker.assign('first', 'x')
    await read(broker, job, 'x')
    await broker.assign('first', 'y')
    await expect(job.finished).rejects.toMatchObject({
      code: 'JOB_FAILED',
      details: { partition: 'y', reason: 'not this one' },
    })
    expect(broker.of('x').committed).toEqual([0, 1])
    expect(job.health()).toMatchObject({ state: 'failed', isReady: false })
    expect(broker.owners.size).toBe(0)
  })

  it('has watermarks and windows of its own, which go with it', async () => {
    const broker = new Broker(worker)
    const start = (name: string) =>
      runJobPerPartition({
        group: broker.group(name),
        name: 'windows',
        key: () => 'all',
        timestamp: (at: number) => at,
        time: { watermarks: ascending() },
        schema: defineState({ key: utf8, states: {} }),
        windows: {
          tens: windowed({
            windows: tumbling({ sizeMs: 10 }),
            aggregate: count(),
            output: ({ window, value: found }): unknown => `${window.startMs}: ${found}`,
          }),
        },
        place: (id) => ({
          backend: new MemoryStateBackend(),
          checkpoints: { storage: broker.of(id).storage, intervalMs: 60_000, worker },
          sink: broker.of(id).sink(),
        }),
      })
    push(broker, 'ahead', 25)
    push(broker, 'behind', 5)
    await using first = await start('first')
    await broker.assign('first', 'ahead', 'behind')
    await read(broker, first, 'ahead', 'behind')
    expect(first.stats()).toMatchObject({ ahead: { watermarkMs: 23 }, behind: { watermarkMs: 3 } })
    await using second = await start('second')
    await broker.revoke('first', 'behind')
    push(broker, 'behind', 6)
    await broker.assign('second', 'behind')
    await read(broker, second, 'behind')
    await Promise.all([first.stop(), second.stop()])
    expect(broker.of('ahead').committed).toEqual(['0: 10', '10: 10'])
    expect(broker.of('behind').committed).toEqual(['0: 10'])
  })

  it('is counted exactly once through rebalances in any order', async () => {
    const step = fc.record({
      kind: fc.constantFrom('revoke', 'lose', 'push', 'read'),
      partition: fc.constantFrom('x', 'y'),
      to: fc.constantFrom('a', 'b', 'c'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const broker = new Broker(worker)
        const members = new Map<string, PartitionedJob<unknown>>()
        for (const name of ['a', 'b', 'c']) members.set(name, await member(broker, name))
        const owners = new Map([
          ['x', 'a'],
          ['y', 'b'],
        ])
        for (const [id, owner] of owners) await broker.assign(owner, id)
        for (const { kind, partition, to } of steps) {
          const owner = owners.get(partition) as string
          if (kind === 'push') push(broker, partition, 3)
          else if (kind === 'read')
            await read(broker, members.get(owner) as PartitionedJob<unknown>, partition)
          else {
            await (kind === 'revoke' ? broker.revoke(owner, partition) : broker.lose(owner, partition))
            owners.set(partition, to)
            await broker.assign(to, partition)
          }
        }
        for (const [id, owner] of owners)
          await read(broker, members.get(owner) as PartitionedJob<unknown>, id)
        for (const job of members.values()) await job.stop()
        for (const { events, committed } of broker.partitions.values()) {
          expect(committed).toEqual(numbered(events.length))
        }
      }),
      { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 100 : 3 },
    )
  })
})

it('leaves a group that has failed before it was joined', async () => {
  const broker = new Broker(worker)
  const group: PartitionGroup<number> = {
    name: 'broker',
    join: async (owner) => {
      const joined = await broker.group('first').join(owner)
      owner.failed(new Error('no group any more'))
      for (let turn = 0; turn < 10; turn++) await nextTurn()
      return joined
    },
  }
  const joining = runJobPerPartition({
    ...counts,
    group,
    place: () => ({ backend: new MemoryStateBackend() }),
  })
  await expect(joining).rejects.toMatchObject({ code: 'JOB_FAILED' })
  expect(broker.owners.size).toBe(0)
})

it('refuses what is no group, and a backend that two partitions share', async () => {
  const wrong = { group: {}, place: 1 } as never
  await expect(runJobPerPartition(wrong)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  const broker = new Broker(worker)
  await using backend = new MemoryStateBackend()
  const job = await runJobPerPartition({
    group: broker.group('first'),
    name: 'shared',
    key: () => 'all',
    schema: defineState({ key: utf8, states: {} }),
    process: () => {},
    place: (id) => ({ backend, checkpoints: { storage: broker.of(id).storage, worker } }),
  })
  await broker.assign('first', 'x', 'y')
  await expect(job.finished).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
