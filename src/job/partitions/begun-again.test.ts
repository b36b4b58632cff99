import { afterAll, describe, expect, it } from 'vitest'
import {
  Broker,
  begun,
  counts,
  Gate,
  gatedSink,
  member,
  numbered,
  push,
  read,
} from '../../../test/support/partition-broker.js'
import { nextTurn } from '../../base/slices.js'
import { CheckpointWorker } from '../../checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { type PartitionedJob, runJobPerPartition } from './run-job-per-partition.js'

const worker = new CheckpointWorker()
afterAll(() => worker.close())

describe('J10: a partition that is begun again', () => {
  const says = {
    'is given again': (broker: Broker) => broker.assign('first', 'x'),
    'is taken away': (broker: Broker) => broker.revoke('first', 'x'),
    'is lost': (broker: Broker) => broker.lose('first', 'x'),
    'is lost and given again': async (broker: Broker) => {
      await Promise.all([broker.lose('first', 'x'), broker.assign('first', 'x')])
    },
    'is stopped': (_: Broker, job: PartitionedJob<unknown>) => job.stop(),
  }
  for (const [said, say] of Object.entries(says)) {
    for (const at of ['its place is made', 'it waits for the owner', 'its sink is opened']) {
      it(`and ${said} while ${at} leaves nothing of that behind`, async () => {
        const broker = new Broker(worker)
        push(broker, 'x', 2)
        const clock = new ManualClock()
        const gates = { place: new Gate(), owner: new Gate(), sink: new Gate() }
        const { storage } = broker.of('x')
        const asked: CheckpointStorage = new Proxy(storage, {
          get: (target, name) => {
            if (name === 'acquire') gates.owner.arrived++
            const found = Reflect.get(target, name, target) as unknown
            return typeof found === 'function' ? found.bind(target) : found
          },
        })
        const backends: MemoryStateBackend[] = []
        await using first = await runJobPerPartition({
          ...counts,
          group: broker.group('first'),
          place: async () => {
            await gates.place.pass()
            const backend = new MemoryStateBackend()
            backends.push(backend)
            const waitForOwnerMs = backends.length === 1 ? 0 : 60_000
            const checkpoints = { storage: asked, intervalMs: 60_000, worker }
            return { backend, clock, waitForOwnerMs, checkpoints, sink: gatedSink(broker, 'x', gates.sink) }
          },
        })
        const other = await storage.acquire()
        await broker.assign('first', 'x')
        expect(first.health()).toMatchObject({ partitions: { x: { state: 'fenced' } } })
        const isWaiting = at === 'it waits for the owner'
        if (!isWaiting) await other.release()
        const gate = isWaiting ? gates.owner : at === 'its place is made' ? gates.place : gates.sink
        gate.close()
        clock.advance(1_000)
        await gate.reached()
        for (let turn = 0; turn < 5; turn++) await nextTurn()
        const done = say(broker, first)
        gate.open()
        // Who is to be let go of waits for nobody; who is given again does.
        if (said.endsWith('given again')) await other.release()
        await done
        const isHere = said.endsWith('given again')
        expect(broker.openReaders).toBe(isHere ? 1 : 0)
        if (isHere) await read(broker, first, 'x')
        await other.release()
        await first.stop()
        expect(broker.openReaders).toBe(0)
        expect(broker.of('x').committed).toEqual(isHere ? numbered(2) : [])
        for (const backend of backends)
          await expect(backend.get(new Uint8Array(1))).rejects.toMatchObject({ code: 'CLOSED' })
        await (await storage.acquire()).release()
      })
    }
  }

  it('is begun again also where its backend cannot be closed', async () => {
    const broker = new Broker(worker)
    push(broker, 'x', 2)
    const clock = new ManualClock()
    const other = await broker.of('x').storage.acquire()
    let closes = 0
    const place = () => {
      const backend = new MemoryStateBackend()
      const close = backend.close.bind(backend)
      backend.close = async () => {
        await close()
        if (closes++ === 0) throw new Error('it does not close')
      }
      return { backend, clock, waitForOwnerMs: 0 }
    }
    await using first = await member(broker, 'first', undefined, place)
    await broker.assign('first', 'x')
    await other.release()
    await begun(first, 'x', clock)
    await read(broker, first, 'x')
    await first.stop()
    expect(broker.of('x').committed).toEqual(numbered(2))
  })
})

describe('J10: partitions that are begun at a time', () => {
  it('do not wait for those that wait for their owners, and these are let go of at once', async () => {
    const broker = new Broker(worker)
    push(broker, 'free', 2)
    const others = ['a', 'b', 'c', 'd', 'e']
    const owners = await Promise.all(others.map((id) => broker.of(id).storage.acquire()))
    const first = await member(broker, 'first')
    const waiting = broker.assign('first', ...others)
    await broker.assign('first', 'free')
    await read(broker, first, 'free')
    await first.stop()
    await waiting
    expect(broker.of('free').committed).toEqual(numbered(2))
    for (const owner of owners) await owner.release()
  })

  it('are four, and whichever of them is done makes room for the next one', async () => {
    const broker = new Broker(worker)
    const gate = new Gate()
    gate.close()
    const place = (id: string) => (id === 'slow' ? { sink: gatedSink(broker, id, gate) } : {})
    await using first = await member(broker, 'first', undefined, place)
    const slow = broker.assign('first', 'slow')
    await broker.assign('first', 'a', 'b', 'c', 'd', 'e')
    expect(Array.from(first.jobs.keys()).sort()).toEqual(['a', 'b', 'c', 'd', 'e'])
    gate.open()
    await slow
    const others = Array.from({ length: 9 }, (_, i) => `other ${i}`)
    const all = new Gate()
    all.close()
    await using second = await member(broker, 'second', undefined, (id) => ({
      sink: gatedSink(broker, id, all),
    }))
    const assigned = broker.assign('second', ...others)
    await all.reached()
    for (let turn = 0; turn < 200; turn++) await nextTurn()
    expect(all.arrived).toBe(4)
    all.open()
    await assigned
    expect(second.jobs.size).toBe(9)
  })
})
