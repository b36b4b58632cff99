// A group whose partitions are given to members of one process, and what a broker and outside places would have of them.

import { nextTurn } from '../../src/base/slices.js'
import { type Logger, silentLogger } from '../../src/checkpoint/types.js'
import type { CheckpointWorker } from '../../src/checkpoint/worker/checkpoint-worker.js'
import { defineJob } from '../../src/job/define-job.js'
import type { PartitionGroup, PartitionOwner } from '../../src/job/partitions/partition-group.js'
import {
  type PartitionedJob,
  type PartitionPlace,
  runJobPerPartition,
} from '../../src/job/partitions/run-job-per-partition.js'
import type { PreparedEpoch, Sink } from '../../src/job/sink/sink.js'
import type { PolledEvents, Position, Positions, Source, SourceReader } from '../../src/job/source/source.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { utf8 } from '../../src/state/codec/byte-strings.js'
import { uint32 } from '../../src/state/codec/numbers.js'
import { value } from '../../src/state/kinds/definitions.js'
import { defineState } from '../../src/state/schema/define-state.js'
import type { CheckpointStorage } from '../../src/storage/checkpoint-storage.js'
import { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'
import type { ManualClock } from '../../src/testing/manual-clock.js'

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

export class Broker {
  /** Of the test file, which closes it: to start one takes longer than most tests. */
  readonly worker: CheckpointWorker
  readonly partitions = new Map<string, SharedPartition>()
  readonly opened: string[] = []
  openReaders = 0
  /** The one that was made last. */
  backend: MemoryStateBackend | undefined
  readonly owners = new Map<string, PartitionOwner<number>>()
  /** Calls when a partition is asked for events. */
  onPoll: (partition: string) => void = () => {}

  constructor(worker: CheckpointWorker) {
    this.worker = worker
  }

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

export const counts = defineJob<number, unknown>()({
  name: 'counts',
  key: () => 'all',
  schema: defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } }),
  process: (event, { state, emit }) => {
    state.count.update((before) => before + 1)
    emit(`${event} is number ${state.count.get()}`)
  },
})

/** Counts, in one place for each partition. */
export function member(
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
      checkpoints: { storage: storageOf(id), intervalMs: 60_000, worker: broker.worker },
      sink: broker.of(id).sink(),
      ...overrides(id),
    }),
  })
}

/** Lets time pass until a partition was begun. */
export async function begun(job: PartitionedJob<unknown>, id: string, clock: ManualClock): Promise<void> {
  while (job.jobs.get(id)?.health().isReady !== true) {
    clock.advance(1_000)
    await nextTurn()
  }
}

export const numbered = (length: number) => Array.from({ length }, (_, i) => `${i} is number ${i + 1}`)

export function push(broker: Broker, id: string, added: number): void {
  const { events } = broker.of(id)
  for (let i = 0; i < added; i++) events.push(events.length)
}

const ofOwn = (positions: Positions | undefined, id: string): Position | undefined =>
  positions !== undefined && Object.hasOwn(positions, id) ? positions[id] : undefined

/** Until the jobs here have read all that there is of them. */
export async function read(broker: Broker, job: PartitionedJob<unknown>, ...ids: string[]): Promise<void> {
  for (const id of ids) {
    const { length } = broker.of(id).events
    while ((ofOwn(job.stats()[id]?.positions, id) ?? 0) !== length) await nextTurn()
  }
}

/** A step that waits until it may go on, and tells when somebody has come to it. */
export class Gate {
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
export const gatedSink = (broker: Broker, id: string, gate: Gate): Sink<unknown> => ({
  ...broker.of(id).sink(),
  open: async (request) => {
    await gate.pass()
    return await broker.of(id).sink().open(request)
  },
})
