import { describe, expect, it } from 'vitest'
import { FakePostgres } from '../../../test/support/fake-postgres.js'
import { FakeRedis } from '../../../test/support/fake-redis.js'
import { RemoteServer, ToyBackend } from '../../../test/support/remote-engine.js'
import { StateError } from '../../base/errors.js'
import { CheckpointArchive } from '../../checkpoint/archive/checkpoint-archive.js'
import { runJob } from '../../job/run-job.js'
import type { EpochId, OpenSinkOptions, PreparedEpoch, Sink, SinkWriter } from '../../job/sink/sink.js'
import { arraySource } from '../../job/source/iterable-source.js'
import { mergedSource } from '../../job/source/merged-source.js'
import type { OpenSourceOptions, Source } from '../../job/source/source.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import type { PostgresPool } from '../../remote/postgres-client.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { uint32 } from '../../state/codec/numbers.js'
import { value } from '../../state/kinds/definitions.js'
import { defineState } from '../../state/schema/define-state.js'
import { MemoryCheckpointStorage } from '../../storage/memory-checkpoint-storage.js'
import { FakeKafka } from '../../testing/fake-kafka.js'
import { kafkaSink } from '../kafka/kafka-sink.js'
import { postgresSink } from '../postgres-tables/postgres-sink.js'
import { redisStreamSink } from '../redis-streams/redis-stream-sink.js'

// A sink belongs to whoever owns the job, also where a process that was overtaken comes late with its claim.

const counting = () => defineState({ key: utf8, states: { count: value(uint32, { default: () => 0 }) } })
const state = { put: () => {}, read: () => [[0, 'x']] as const, removeFrom: () => {} }
const first = { epoch: { lineage: 'l', number: 0 }, token: { first: 0, next: 1 } }
const second = { epoch: { lineage: 'l', number: 1 }, token: { first: 0, next: 1 } }
const owned: OpenSinkOptions = { prepared: [], state, checkOwner: async () => {} }
const overtaken = async () => {
  throw new StateError('FENCED', { resource: 'the checkpoints', owner: 'another process' })
}

interface Fixture {
  readonly sink: Sink<string>
  readonly written: () => number
  /** From now on, the next claim is not carried out before `arrive`. */
  holdClaim(): void
  arrive(): Promise<void>
}

/** Holds one call back, as a way that is slow. */
class SlowWay {
  #isHolding = false
  #arrive = () => {}
  #isDone: Promise<unknown> = Promise.resolve()

  hold(): void {
    this.#isHolding = true
  }

  async arrive(): Promise<void> {
    this.#arrive()
    await this.#isDone
  }

  through<Answer>(isClaim: boolean, call: () => Promise<Answer>): Promise<Answer> {
    if (!isClaim || !this.#isHolding) return call()
    this.#isHolding = false
    const answer = new Promise<void>((resolve) => {
      this.#arrive = resolve
    }).then(call)
    this.#isDone = answer
    return answer
  }
}

const sinks: { readonly [name: string]: () => Fixture } = {
  redisStreamSink: () => {
    const redis = new FakeRedis()
    const way = new SlowWay()
    const call = (command: string, ...args: string[]) =>
      way.through(command === 'EVAL' && args[1] === '1', () => redis.ioredis.call(command, ...args))
    return {
      sink: redisStreamSink<string>({ client: { call }, stream: 'out', answerWithinMs: 5 }),
      written: () => redis.entries('out').length,
      holdClaim: () => way.hold(),
      arrive: () => way.arrive(),
    }
  },
  postgresSink: () => {
    const postgres = new FakePostgres()
    const way = new SlowWay()
    const written: string[] = []
    const pool: PostgresPool = {
      connect: async () => {
        const client = await postgres.connect()
        return {
          ...client,
          query: (text, values) =>
            way.through(text.startsWith('INSERT') && text.includes("$1, ''"), () =>
              client.query(text, values),
            ),
        }
      },
    }
    return {
      sink: postgresSink<string>({
        pool,
        name: 's',
        answerWithinMs: 5,
        write: async (_, outputs) => void written.push(...outputs.map(({ id }) => id)),
      }),
      written: () => written.length,
      holdClaim: () => way.hold(),
      arrive: () => way.arrive(),
    }
  },
}

for (const [name, create] of Object.entries(sinks)) {
  describe(`an owner that comes late to ${name}`, () => {
    it('is refused where it was overtaken before, and its successor goes on', async () => {
      const { sink, written } = create()
      const successor = await sink.open(owned)
      await expect(sink.open({ ...owned, checkOwner: overtaken })).rejects.toMatchObject({ code: 'FENCED' })
      await successor.commit(first)
      expect(written()).toBe(1)
    })

    it('is refused where it is overtaken between its look and its claim', async () => {
      const { sink, written } = create()
      let looks = 0
      let successor: Awaited<ReturnType<typeof sink.open>> | undefined
      const checkOwner = async () => {
        if (looks++ > 0) await overtaken()
        successor = await sink.open(owned)
      }
      await expect(sink.open({ ...owned, checkOwner })).rejects.toMatchObject({ code: 'FENCED' })
      await successor?.commit(first)
      expect([looks, written()]).toEqual([2, 1])
    })

    it('changes nothing by a claim that was given up and arrives behind that of its successor', async () => {
      const { sink, written, holdClaim, arrive } = create()
      holdClaim()
      const old = await sink.open(owned)
      const successor = await sink.open(owned)
      await arrive()
      await successor.commit(first)
      await expect(old.commit(first)).rejects.toMatchObject({ code: 'FENCED' })
      expect(written()).toBe(1)
    })
  })
}

for (const [name, create] of Object.entries({
  ...sinks,
  'a transactional kafkaSink': () => {
    const client = new FakeKafka()
    client.createTopic('t', 1)
    const options = { client, topic: 't', guarantee: 'transactional', transactionalId: 'job' } as const
    return { sink: kafkaSink<string>(options), written: () => client.valuesOf('t').length }
  },
})) {
  describe(`two jobs that go on from copies of the same checkpoints, to ${name},`, () => {
    const goesOn = { ...owned, lineage: 'l' }

    it('are told of it where the other one has written more epochs', async () => {
      const { sink, written } = create()
      const one = await sink.open({ ...goesOn, prepared: [] })
      await one.commit(first)
      await one.commit(second)
      const other = sink.open({ ...goesOn, prepared: [first] })
      await expect(other).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining('epoch 1 of l was written there, and the checkpoints know of 0'),
      })
      // Back to an older cut: what follows is of another lineage.
      await sink.open({ ...goesOn, lineage: 'another', prepared: [first] })
      expect(written()).toBe(2)
    })

    it('J2: and one of them goes on, as it is told to begin a new lineage', async () => {
      const { sink, written } = create()
      const storage = new MemoryCheckpointStorage()
      const copy = new MemoryCheckpointStorage()
      const run = async (events: number, at: MemoryCheckpointStorage, lineage?: 'new') => {
        await using backend = new MemoryStateBackend()
        const job = await runJob<number, ReturnType<typeof counting>, string>({
          name: 'counts',
          source: arraySource(Array.from({ length: events }, (_, i) => i)),
          key: () => 'all',
          schema: counting(),
          process: (_, { state: { count }, emit }) => {
            count.update((before) => before + 1)
            emit(`${count.get()}`)
          },
          backend,
          checkpoints: { storage: at },
          sink,
          ...(lineage !== undefined && { lineage }),
        })
        await job.finished
      }
      await run(2, storage)
      const archive = new CheckpointArchive(storage)
      for (const { id } of await archive.list()) await archive.copyTo(copy, id)
      await run(4, storage)
      expect(written()).toBe(4)
      await expect(run(5, copy)).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining("`lineage: 'new'`"),
      })
      expect(written()).toBe(4)
      await run(5, copy, 'new')
      expect(written()).toBe(7)
      // From then on as every job, on its own.
      await run(6, copy)
      await run(6, copy)
      expect(written()).toBe(8)
    })
  })
}

for (const [name, create] of Object.entries(sinks)) {
  describe(`two jobs that go on from copies of the same checkpoints, to ${name},`, () => {
    it('are told of it where both have made the same epoch', async () => {
      const { sink, written } = create()
      const open = (prepared: readonly PreparedEpoch[]) => sink.open({ ...owned, lineage: 'l', prepared })
      const prepare = async (writer: SinkWriter<string>, epoch: EpochId) => {
        const { by } = (await writer.prepare(epoch)) as { readonly by: string }
        return { epoch, token: { ...first.token, by } }
      }
      const one = await open([])
      const ownOfOne = await prepare(one, first.epoch)
      const other = await open([])
      const ownOfOther = await prepare(other, first.epoch)
      await other.commit(ownOfOther)
      await expect(one.commit(ownOfOne)).rejects.toMatchObject({ code: 'FENCED' })
      await expect(open([ownOfOne])).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining('epoch 0 of l was written there, by another job'),
      })
      await open([ownOfOther])
      expect(written()).toBe(1)
    })
  })
}

describe('an owner that comes late to a transactional kafkaSink', () => {
  const create = () => {
    const client = new FakeKafka()
    client.createTopic('t', 1)
    const sink = kafkaSink<string>({ client, topic: 't', guarantee: 'transactional', transactionalId: 'job' })
    return { client, sink }
  }

  it('does not open the transactional id where it was overtaken before', async () => {
    const { client, sink } = create()
    const successor = await sink.open(owned)
    await expect(sink.open({ ...owned, checkOwner: overtaken })).rejects.toMatchObject({ code: 'FENCED' })
    await successor.commit(first)
    expect(client.calls.filter((call) => call === 'open')).toHaveLength(1)
  })

  it('does not end its successor, which opens the id anew, once', async () => {
    const { client, sink } = create()
    const successor = await sink.open(owned)
    await client.open('job')
    await successor.commit(first)
    await successor.commit(first)
    expect(client.valuesOf('t')).toEqual(['"x"'])
    await client.open('job')
    await expect(successor.commit(second)).rejects.toMatchObject({ code: 'FENCED' })
  })

  it('asks again where the storage of the checkpoints is away as well, for a moment', async () => {
    const { client, sink } = create()
    let isAway = false
    const checkOwner = async () => {
      if (!isAway) return
      isAway = false
      throw new StateError('STORAGE_ERROR', {
        storage: 'the checkpoints',
        operation: 'check',
        reason: 'away',
      })
    }
    const writer = await sink.open({ ...owned, checkOwner })
    for (const failure of [new Error('connection lost'), Object.assign(new Error('fenced'), { code: 90 })]) {
      client.failures.push(['send', failure])
      isAway = true
      await writer.commit(client.valuesOf('t').length === 0 ? first : second)
    }
    expect(client.valuesOf('t')).toEqual(['"x"', '"x"'])
  })

  it('is FENCED, and not told of a loss, where it reads an older mark than its successor has written', async () => {
    const { client, sink } = create()
    const old = await sink.open({ prepared: [], state })
    const successor = await sink.open(owned)
    await successor.commit(first)
    const third = { epoch: { lineage: 'l', number: 2 }, token: { first: 0, next: 1 } }
    Object.assign(client.transactions, { readMark: async () => undefined })
    await expect(old.commit(third)).rejects.toMatchObject({ code: 'FENCED' })
    // Its successor has not lost anything either, and is told of what it has: it does not know of the second epoch.
    await expect(successor.commit(third)).rejects.toMatchObject({ code: 'RESTORE_FAILED' })
  })

  it('is told of a loss in the same words each time', async () => {
    const { sink } = create()
    for (let i = 0; i < 2; i++) {
      const owner = await sink.open(owned)
      await expect(owner.commit(second)).rejects.toMatchObject({
        code: 'RESTORE_FAILED',
        message: expect.stringContaining('it has none'),
      })
    }
  })

  it('is FENCED at its next transaction', async () => {
    const { sink } = create()
    let isOvertaken = false
    const old = await sink.open({ ...owned, checkOwner: async () => (isOvertaken ? overtaken() : undefined) })
    const successor = await sink.open(owned)
    isOvertaken = true
    await expect(old.commit(first)).rejects.toMatchObject({ code: 'FENCED' })
    await successor.commit(first)
  })
})

describe('a job that stops while its brokers are away for a moment', () => {
  it('delivers its last outputs, as the owner that it is until then', async () => {
    const client = new FakeKafka()
    client.createTopic('t', 1)
    client.failures.push(['send', new Error('connection lost')])
    const job = await runJob({
      name: 'users',
      source: arraySource([{ user: 'ann' }]),
      key: ({ user }) => user,
      schema: defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } }),
      process: ({ user }, { emit }) => emit(user),
      sink: kafkaSink<string>({ client, topic: 't', guarantee: 'transactional', transactionalId: 'job' }),
      backend: new MemoryStateBackend(),
      checkpoints: { storage: new MemoryCheckpointStorage(), intervalMs: 60_000 },
    })
    await job.finished
    expect(client.valuesOf('t')).toEqual(['"ann"'])
  })
})

describe('a merged source', () => {
  it('passes on what tells whether the job is still owned', async () => {
    const asked: OpenSourceOptions[] = []
    const source = {
      name: 'own',
      open: async (options: OpenSourceOptions) => {
        asked.push(options)
        return { partitions: () => [], poll: async () => [], close: async () => {} }
      },
    }
    const checkOwner = async () => {}
    await mergedSource({ left: source, right: source }).open({ positions: {}, checkOwner })
    expect(asked.map((options) => options.checkOwner)).toEqual([checkOwner, checkOwner])
  })
})

describe('a job that is overtaken while its source is opened', () => {
  /** Which opens, or reads, only once it may. */
  function gated(gates: { readonly opens?: Promise<void>; readonly reads?: Promise<void> }) {
    const inner = arraySource([{ user: 'ann' }])
    let enter = () => {}
    const entered = new Promise<void>((resolve) => {
      enter = resolve
    })
    const open = async (options: OpenSourceOptions) => {
      enter()
      await gates.opens
      const reader = await inner.open(options)
      const poll: typeof reader.poll = async (request) => {
        await gates.reads
        return await reader.poll(request)
      }
      return { partitions: () => reader.partitions(), poll, close: () => reader.close() }
    }
    return { source: { name: 'gated', open }, entered }
  }

  const gate = () => {
    let open = () => {}
    const isOpen = new Promise<void>((resolve) => {
      open = resolve
    })
    return { open, isOpen }
  }

  it('does not take the sink from its successor', async () => {
    const redis = new FakeRedis()
    const storage = new MemoryCheckpointStorage()
    const begin = (source: Source<{ user: string }>) =>
      runJob({
        name: 'users',
        source,
        key: ({ user }) => user,
        schema: defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } }),
        process: ({ user }, { emit }) => emit({ user }),
        sink: redisStreamSink({ client: redis.ioredis, stream: 'out' }),
        backend: new MemoryStateBackend(),
        checkpoints: { storage, intervalMs: 60_000 },
      })
    const [opens, reads] = [gate(), gate()]
    const late = gated({ opens: opens.isOpen })
    const beginning = begin(late.source)
    await late.entered
    await (await storage.acquire({ takeOver: true })).release()
    const successor = await begin(gated({ reads: reads.isOpen }).source)
    opens.open()
    await expect(beginning).rejects.toMatchObject({ code: 'FENCED' })
    reads.open()
    await successor.finished
    expect(redis.entries('out')).toHaveLength(1)
  })

  it('does not take it either where the engine keeps the state', async () => {
    const redis = new FakeRedis()
    const server = new RemoteServer()
    const sink = redisStreamSink<{ user: string }>({ client: redis.ioredis, stream: 'out' })
    const successor = await sink.open({
      prepared: [],
      state: { ...state, read: () => [[0, { user: 'bob' }]] },
    })
    const backend = new ToyBackend(server)
    const late = gated({})
    const source: Source<{ user: string }> = {
      name: late.source.name,
      open: async (options) => {
        // The store is somebody else's from here on.
        backend.write = overtaken
        return await late.source.open(options)
      },
    }
    const beginning = runJob({
      name: 'users',
      source,
      key: ({ user }) => user,
      schema: defineState({ key: utf8, states: { seen: value(uint32, { default: () => 0 }) } }),
      process: ({ user }, { emit }) => emit({ user }),
      sink,
      backend,
    })
    await expect(beginning).rejects.toMatchObject({ code: 'FENCED' })
    await successor.commit(first)
    expect(redis.entries('out')).toHaveLength(1)
  })
})
