import { afterAll, describe, expect, it } from 'vitest'
import { Broker, counts, Gate, member, push, read } from '../../../test/support/partition-broker.js'
import { nextTurn } from '../../base/slices.js'
import { silentLogger } from '../../checkpoint/types.js'
import { CheckpointWorker } from '../../checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import type { Sink } from '../sink/sink.js'
import type { Source } from '../source/source.js'
import type { PartitionGroup, PartitionOwner } from './partition-group.js'
import { type PartitionPlace, runJobPerPartition } from './run-job-per-partition.js'

const worker = new CheckpointWorker()
afterAll(() => worker.close())

describe('J9: a job whose partition hangs', () => {
  let hanging = 0
  const never = () => {
    hanging++
    return new Promise<never>(() => {})
  }
  const isAsked = (name: unknown) => typeof name !== 'string' || name.includes('chk-')
  const hangs = (storage: CheckpointStorage, call: 'acquire' | 'read'): CheckpointStorage =>
    new Proxy(storage, {
      get: (target, name) => {
        const found = Reflect.get(target, name, target) as unknown
        // Who has it is asked before anything of a checkpoint is read.
        if (name === call)
          return (of?: unknown) => (isAsked(of) ? never() : storage.read(of as string, 2 ** 20))
        return typeof found === 'function' ? found.bind(target) : found
      },
    })
  const backend = () => new MemoryStateBackend()
  const sink = { name: 'never', guarantee: 'idempotent', open: never } as Sink<unknown>
  const source = { name: 'never', open: never } as Source<number>
  const closesNever = () => Object.assign(backend(), { close: never })
  const cases: {
    readonly [call: string]: {
      readonly source?: Source<number>
      place(storage: CheckpointStorage, clock: ManualClock): PartitionPlace<unknown> | Promise<never>
    }
  } = {
    'its place to be made': { place: never },
    'the owner to be asked': {
      place: (storage) => ({
        backend: backend(),
        checkpoints: { storage: hangs(storage, 'acquire'), worker },
      }),
    },
    'the state to be restored': {
      place: (storage) => ({ backend: backend(), checkpoints: { storage: hangs(storage, 'read'), worker } }),
    },
    'the source to open': {
      source,
      place: (storage) => ({ backend: backend(), checkpoints: { storage, worker } }),
    },
    'the sink to open': {
      place: (storage) => ({ backend: backend(), sink, checkpoints: { storage, worker } }),
    },
    'the backend to close': {
      // Its last cut may take as long as it does: no time passes meanwhile.
      place: (storage, clock) => ({ backend: closesNever(), clock, checkpoints: { storage, worker } }),
    },
  }
  for (const [call, { place, source: given }] of Object.entries(cases)) {
    for (const how of ['stopped', 'taken away'] as const) {
      it(`is ${how} in time, and tells of it: ${call}`, async () => {
        const broker = new Broker(worker)
        const warnings: string[] = []
        const warn = (fields: object) => void warnings.push(String((fields as { reason?: string }).reason))
        const { storage } = broker.of('x')
        // There is a state to be restored.
        push(broker, 'x', 1)
        await using before = await member(broker, 'first')
        await broker.assign('first', 'x')
        await read(broker, before, 'x')
        await before.stop()
        const clock = new ManualClock()
        const job = await runJobPerPartition({
          ...counts,
          group: broker.group('first'),
          logger: { ...silentLogger, warn },
          place: (id) =>
            id === 'x'
              ? place(storage, clock)
              : { backend: backend(), clock, checkpoints: { storage: broker.of(id).storage, worker } },
        })
        const owner = broker.owners.get('first') as PartitionOwner<number>
        const hungBefore = hanging
        if (given === undefined) broker.assign('first', 'x').catch(() => {})
        else owner.assigned([{ partition: 'x', source: given }]).catch(() => {})
        await broker.assign('first', 'y')
        const isBegun = call === 'the backend to close'
        await expect.poll(() => (isBegun ? job.jobs.has('x') : hanging > hungBefore)).toBe(true)
        const untilItHangs = async () => {
          await expect.poll(() => hanging > hungBefore).toBe(true)
          if (isBegun) clock.advance(300)
        }
        if (how === 'stopped') {
          const stopped = job.stop({ timeoutMs: 300 })
          const reason = `it was to end, and ${call} did not`
          const failed = { code: 'JOB_FAILED', message: expect.stringContaining(reason) }
          await Promise.all([expect(stopped).rejects.toMatchObject(failed), untilItHangs()])
        } else {
          await Promise.all([owner.revoked(['x'], { timeoutMs: 100 }), untilItHangs()])
          expect(warnings).toEqual([expect.stringContaining(`and ${call} did not`)])
          expect(job.health()).toMatchObject({ state: 'running', isHealthy: true })
          await job.stop()
        }
        expect(broker.owners.size).toBe(0)
      })
    }
  }

  it('is stopped in time where its group is not left', async () => {
    const group: PartitionGroup<number> = { name: 'broker', join: async () => ({ leave: never }) }
    const job = await runJobPerPartition({ ...counts, group, place: () => ({ backend: backend() }) })
    await expect(job.stop({ timeoutMs: 20 })).rejects.toMatchObject({
      code: 'JOB_FAILED',
      message: expect.stringContaining('the group to be left did not'),
    })
  })

  it('closes what comes of its place behind that', async () => {
    const broker = new Broker(worker)
    const gate = new Gate()
    gate.close()
    const late = backend()
    const job = await runJobPerPartition({
      ...counts,
      group: broker.group('first'),
      place: async () => {
        await gate.pass()
        return { backend: late }
      },
    })
    broker.assign('first', 'x').catch(() => {})
    await gate.reached()
    await expect(job.stop({ timeoutMs: 20 })).rejects.toMatchObject({ code: 'JOB_FAILED' })
    gate.open()
    for (let turn = 0; turn < 5; turn++) await nextTurn()
    await expect(late.get(new Uint8Array(1))).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
