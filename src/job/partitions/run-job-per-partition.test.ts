import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { StateError } from '../../base/errors.js'
import { nextTurn } from '../../base/slices.js'
import { type Logger, silentLogger } from '../../checkpoint/types.js'
import { CheckpointWorker } from '../../checkpoint/worker/checkpoint-worker.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { uint32 } from '../../state/codec/numbers.js'
import { value } from '../../state/kinds/definitions.js'
import { defineState } from '../../state/schema/define-state.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { ManualClock } from '../../testing/manual-clock.js'
import { count } from '../../window/aggregate/ready-made.js'
import { tumbling } from '../../window/assign/assigner.js'
import { ascending } from '../../window/time/watermark-strategy.js'
import { windowed } from '../../window/windowed.js'
import { defineJob } from '../define-job.js'
import type { PreparedEpoch, Sink } from '../sink/sink.js'
import type { PolledEvents, Position, Positions, Source, SourceReader } from '../source/source.js'
import type { PartitionGroup, PartitionOwner } from './partition-group.js'
import { type PartitionedJob, type PartitionPlace, runJobPerPartition } from './run-job-per-partition.js'

/** What a broker has of a partition: events, a place for checkpoints, and what is committed at the sink. */
class SharedPartition {
  readonly events: number[] = []
  readonly storage = new MemoryCheckpointStorage()
  readonly committed: unknown[] = []
  readonly acknowledged: [member: string, position: Position | undefined][] = []
  readonly prepared = new Map<string, readonly unknown[]>()

  /** A sink of which readers see what was committed. */
  sink(): Sink<unknown> {
    const nameOf = ({ lineage, number }: PreparedEpoch['epoch']) => `${lineage} ${number}`
    return {
      name: 'shared',
      guarantee: 'transactional',
      open: async ({ prepared }) => {
        const commit = async ({ epoch }: Pick<PreparedEpoch, 'epoch'>) => {
          this.committed.push(...(this.prepared.get(nameOf(epoch)) ?? []))
          this.prepared.delete(nameOf(epoch))
        }
        for (const each of prepared) await commit(each)
        this.prepared.clear()
        let open: unknown[] = []
        return {
          write: async (outputs) => void open.push(...outputs),
          prepare: async (epoch) => {
            this.prepared.set(nameOf(epoch), open)
            open = []
            return null
          },
          commit,
          close: async () => {},
        }
      },
    }
  }
}

class Broker {
  readonly partitions = new Map<string, SharedPartition>()
  readonly opened: string[] = []
  openReaders = 0
  /** The one that was made last. */
  backend: MemoryStateBackend | undefined
  readonly owners = new Map<string, PartitionOwner<number>>()
  /** Calls when a partition is asked for events. */
  onPoll: (partition: string) => void = () => {}

  of(id: string): SharedPartition {
    const found = this.partitions.get(id) ?? new SharedPartition()
    this.partitions.set(id, found)
    return found
  }

  group(member: string): PartitionGroup<number> {
    return {
      name: 'broker',
      join: async (owner) => {
        this.owners.set(member, owner)
        return { leave: async () => void this.owners.delete(member) }
      },
    }
  }

  assign(member: string, ...ids: string[]): Promise<void> {
    const partitions = ids.map((partition) => ({ partition, source: this.#source(member, partition) }))
    return this.#owner(member).assigned(partitions)
  }

  revoke(member: string, ...ids: string[]): Promise<void> {
    return this.#owner(member).revoked(ids)
  }

  lose(member: string, ...ids: string[]): Promise<void> {
    return this.#owner(member).lost(ids)
  }

  #owner(member: string): PartitionOwner<number> {
    const owner = this.owners.get(member)
    if (owner === undefined) throw new Error(`${member} is no member`)
    return owner
  }

  #source(member: string, id: string): Source<number> {
    const shared = this.of(id)
    return {
      name: id,
      open: async ({ positions }: { readonly positions: Positions }): Promise<SourceReader<number>> => {
        const position = ofOwn(positions, id) ?? 0
        this.opened.push(`${member} ${id} at ${position}`)
        this.openReaders++
        let next = Number(position)
        return {
          partitions: () => [id],
          poll: async ({ maxEvents }): Promise<readonly PolledEvents<number>[]> => {
            this.onPoll(id)
            await nextTurn()
            const from = next
            const events = shared.events.slice(from, from + maxEvents)
            next += events.length
            return [{ partition: id, events, positionAfter: (place) => from + place + 1 }]
          },
          checkpointCompleted: async (completed) => void shared.acknowledged.push([member, completed[id]]),
          close: async () => void this.openReaders--,
        }
      },
    }
  }
}

const worker = new CheckpointWorker()
afterAll(() => worker.close())

const counts = defineJob<number, unknown>()({
  name: 'counts',
  key: () => 'all',
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  process: (event, { state, emit }) => {
    state.count.update((before) => before + 1)
    emit(`${event} is number ${state.count.get()}`)
  },
})

/** Counts, in one place for each partition. */
function member(
  broker: Broker,
  name: string,
  storageOf: (id: string) => CheckpointStorage = (id) => broker.of(id).storage,
  overrides: (id: string) => Partial<PartitionPlace<unknown>> = () => ({}),
  logger: Logger = silentLogger,
): Promise<PartitionedJob<unknown>> {
  return runJobPerPartition({
    group: broker.group(name),
    ...counts,
    logger,
    place: (id) => ({
      backend: (broker.backend = new MemoryStateBackend()),
      checkpoints: { storage: storageOf(id), intervalMs: 60_000, worker },
      sink: broker.of(id).sink(),
      ...overrides(id),
    }),
  })
}

/** Lets time pass until a partition was begun. */
async function begun(job: PartitionedJob<unknown>, id: string, clock: ManualClock): Promise<void> {
  while (job.jobs.get(id)?.health().isReady !== true) {
    clock.advance(1_000)
    await nextTurn()
  }
}

const numbered = (length: number) => Array.from({ length }, (_, i) => `${i} is number ${i + 1}`)

function push(broker: Broker, id: string, added: number): void {
  const { events } = broker.of(id)
  for (let i = 0; i < added; i++) events.push(events.length)
}

const ofOwn = (positions: Positions | undefined, id: string): Position | undefined =>
  positions !== undefined && Object.hasOwn(positions, id) ? positions[id] : undefined

/** Until the jobs here have read all that there is of them. */
async function read(broker: Broker, job: PartitionedJob<unknown>, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    const { length } = broker.of(id).events
    while ((ofOwn(job.stats()[id]?.positions, id) ?? 0) !== length) await nextTurn()
  }
}

describe('J10: a partition', () => {
  it('is told of, and goes on elsewhere, by the name of what every object inherits too', async () => {
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
        const broker = new Broker()
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

/** A step that waits until it may go on, and tells when somebody has come to it. */
class Gate {
  arrived = 0
  #open: () => void = () => {}
  #opened = Promise.resolve()

  close(): void {
    this.arrived = 0
    this.#opened = new Promise((resolve) => (this.#open = resolve))
  }

  open(): void {
    this.#open()
  }

  async pass(): Promise<void> {
    this.arrived++
    await this.#opened
  }

  async reached(): Promise<void> {
    while (this.arrived === 0) await nextTurn()
  }
}

/** A sink that is opened when a gate is. */
const gatedSink = (broker: Broker, id: string, gate: Gate): Sink<unknown> => ({
  ...broker.of(id).sink(),
  open: async (request) => {
    await gate.pass()
    return await broker.of(id).sink().open(request)
  },
})

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
        const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
    const broker = new Broker()
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
        const broker = new Broker()
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
    const broker = new Broker()
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

it('leaves a group that has failed before it was joined', async () => {
  const broker = new Broker()
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
  const broker = new Broker()
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
