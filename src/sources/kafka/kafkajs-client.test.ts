import { describe, expect, it, vi } from 'vitest'
import { type Kafkajs, kafkajsClient } from './kafkajs-client.js'
import type { KafkajsConsumer, KafkajsEachBatch } from './kafkajs-reader.js'

// What a real broker is needed for is in test/services.

/** An admin client that has lost sight of a topic, as it may while it asks for another one. */
function blindKafkajs() {
  const admin = {
    connect: async () => {},
    disconnect: async () => {},
    fetchTopicMetadata: async () => ({ topics: [{ partitions: [] }] }),
    fetchTopicOffsets: async () => [],
    fetchOffsets: async () => [{ topic: 'out', partitions: [] }],
  }
  return kafkajsClient({ admin: () => admin } as unknown as Kafkajs)
}

it('J3: a mark that the client has not asked for is not taken for none', async () => {
  const { transactions } = blindKafkajs()
  if (typeof transactions === 'string') throw new Error(transactions)
  await expect(transactions.readMark('group', 'out')).rejects.toThrow('partition 0 of out')
})

it('J3: messages for a partition that the client does not know of are not taken for written', async () => {
  // It leaves them out, and says which partitions it has written.
  const producer = {
    connect: async () => {},
    disconnect: async () => {},
    send: async () => [{ topicName: 'out', partition: 0 }],
  }
  const client = kafkajsClient({ producer: () => producer } as unknown as Kafkajs)
  const sender = await client.openProducer()
  const messages = [
    { value: 'a', partition: 0 },
    { value: 'b', partition: 1 },
  ]
  await expect(sender.send('out', messages)).rejects.toThrow('partition 1 of out')
  await sender.send('out', messages.slice(0, 1))
  await sender.send('out', [{ value: 'c' }])
})

it('J3: a mark is asked for where brokers are known: an admin client that has asked for nothing yet knows none', async () => {
  let knowsBrokers = false
  const admin = {
    connect: async () => {},
    disconnect: async () => {},
    fetchTopicMetadata: async () => {
      knowsBrokers = true
      return { topics: [{ partitions: [] }] }
    },
    fetchOffsets: async () => {
      if (!knowsBrokers) throw new Error('No brokers in the broker pool')
      return [{ topic: 'out', partitions: [{ partition: 0, offset: '3' }] }]
    },
  }
  const { transactions } = kafkajsClient({ admin: () => admin } as unknown as Kafkajs)
  if (typeof transactions === 'string') throw new Error(transactions)
  expect(await transactions.readMark('group', 'out')).toBe(3)
})

it('writes in transactions also where its instance of kafkajs makes no second attempts', async () => {
  const asked: unknown[] = []
  const transaction = { abort: async () => {} }
  const producer = ({ retry }: { retry?: { retries: number } }) => {
    asked.push(retry)
    if (retry === undefined) throw new Error('Idempotent producer must allow retries')
    return { connect: async () => {}, disconnect: async () => {}, transaction: async () => transaction }
  }
  const { transactions } = kafkajsClient({ producer } as unknown as Kafkajs)
  if (typeof transactions === 'string') throw new Error(transactions)
  await (await transactions.open('id')).close()
  expect(asked).toEqual([undefined, { retries: 1 }])
})

it('leaves nothing open of what has failed before it was of use', async () => {
  const failing = () => {
    const consumer = new GivingUp()
    consumer.subscribe = () => Promise.reject(new Error('gone'))
    const half = { connect: () => Promise.reject(new Error('gone')), disconnect: () => consumer.disconnect() }
    const kafka = { consumer: () => consumer, producer: () => half, admin: () => half }
    return { client: kafkajsClient(kafka as unknown as Kafkajs), calls: consumer.calls }
  }
  const member = { groupId: 'g', topic: 'in', sessionTimeoutMs: 1, onAssigned: () => {}, onFailure: () => {} }
  const read = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1, from: new Map() }
  const attempts: ((client: ReturnType<typeof kafkajsClient>) => Promise<unknown> | undefined)[] = [
    (client) => client.joinGroup?.(member),
    (client) => client.openReader(read),
    (client) => client.openProducer(),
    (client) => client.describe('in'),
    ({ transactions }) => (typeof transactions === 'string' ? undefined : transactions.open('id')),
  ]
  for (const attempt of attempts) {
    const { client, calls } = failing()
    await expect(attempt(client)).rejects.toThrow('gone')
    expect(calls).toEqual(['disconnect'])
  }
})

it('a consumer that fails while it is closed, or leaves, does not begin anew', async () => {
  const restarts: (() => Promise<boolean>)[] = []
  const consumer = ({ retry }: Parameters<Kafkajs['consumer']>[0]) => {
    restarts.push(retry.restartOnFailure)
    return new GivingUp()
  }
  const client = kafkajsClient({ consumer } as unknown as Kafkajs)
  const read = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1, from: new Map() }
  const reader = await client.openReader(read)
  const none = { onAssigned: () => {}, onFailure: () => {} }
  const member = await client.joinGroup?.({ groupId: 'g', topic: 'in', sessionTimeoutMs: 1, ...none })
  const begin = async () => await Promise.all(restarts.map((restartOnFailure) => restartOnFailure()))
  // A reader makes another consumer; a member stays the same.
  expect(await begin()).toEqual([false, true])
  await reader.close()
  await member?.leave()
  expect(await begin()).toEqual([false, false])
})

it('J6: a topic of which the client knows no partitions is not taken for one that has none', async () => {
  await expect(blindKafkajs().describe('in')).rejects.toThrow('partitions of in')
})

it('a topic that was deleted hides no other one', async () => {
  let admins = 0
  const admin = () => {
    admins++
    const heard = new Set<string>()
    const hear = (topic: string) => {
      heard.add(topic)
      if (heard.has('deleted')) throw Object.assign(new Error('unknown'), { code: 3 })
    }
    return {
      connect: async () => {},
      disconnect: async () => {},
      fetchTopicOffsets: async (topic: string) => {
        hear(topic)
        return [{ partition: 0, low: '0', high: '7' }]
      },
      fetchTopicMetadata: async () => ({ topics: [{ partitions: [{ partitionId: 0, leader: 1 }] }] }),
      fetchOffsets: async ({ topics: [topic = ''] }: { topics: string[] }) => {
        hear(topic)
        return [{ topic, partitions: [{ partition: 0, offset: '3' }] }]
      },
    }
  }
  const client = kafkajsClient({ admin } as unknown as Kafkajs)
  const { transactions } = client
  if (typeof transactions === 'string') throw new Error(transactions)
  expect((await client.describe('in')).partitions).toMatchObject([{ end: 7 }])
  await expect(client.describe('deleted')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect((await client.describe('in')).partitions).toMatchObject([{ end: 7 }])
  expect(await transactions.readMark('group', 'in')).toBe(3)
  // The first one, another one that fails for the deleted topic alone, and one for the rest.
  expect(admins).toBe(3)
})

it('J6: reads ahead from where it is told to, and nothing of other partitions', async () => {
  const calls: string[] = []
  let onJoin: Parameters<KafkajsConsumer['on']>[1] = () => {}
  let eachBatch: (payload: KafkajsEachBatch) => Promise<void> = async () => {}
  const consumer: KafkajsConsumer = {
    events: {
      GROUP_JOIN: 'consumer.group_join',
      FETCH: 'consumer.fetch',
      CRASH: 'consumer.crash',
      END_BATCH_PROCESS: 'consumer.end_batch_process',
    },
    connect: async () => {},
    disconnect: async () => {},
    subscribe: async () => {},
    on: (event, listener) => {
      if (event === 'consumer.group_join') onJoin = listener
    },
    run: async (options) => {
      eachBatch = options.eachBatch
      onJoin({ payload: { memberAssignment: { in: [0, 1, 2] } } })
      calls.push('run')
    },
    seek: ({ partition, offset }) => void calls.push(`seek ${partition} ${offset}`),
    pause: ([paused]) => void calls.push(`pause ${paused?.partitions.join()}`),
    resume: ([resumed]) => void calls.push(`resume ${resumed?.partitions.join()}`),
  }
  const client = kafkajsClient({ consumer: () => consumer } as unknown as Kafkajs)
  const from = new Map([[1, 7]])
  const settings = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1 }
  const reader = await client.openReader({ ...settings, from })
  expect(calls).toEqual(['seek 1 7', 'pause 0,2', 'run'])
  // A group that is joined anew has forgotten all of it.
  onJoin({ payload: { memberAssignment: { in: [0, 1, 2, 3] } } })
  expect(calls.splice(0).slice(3)).toEqual(['seek 1 7', 'pause 0,2,3'])
  const message = { key: null, value: Buffer.from('a'), timestamp: '5', offset: '7' }
  const batch = { topic: 'in', partition: 1, fetchedOffset: '7', highWatermark: '8', messages: [message] }
  const processed = eachBatch({
    batch: { ...batch, lastOffset: () => '7' },
    resolveOffset: () => {},
    heartbeat: async () => {},
    isRunning: () => true,
  })
  const [fetched] = await reader.fetch({ from, waitMs: 0 })
  await processed
  expect(fetched).toMatchObject({ partition: 1, next: 8, messages: [{ offset: 7, timestampMs: 5 }] })
  // Of a partition that is wanted later it is told where to begin then.
  await reader.fetch({ from: new Map([[2, 3]]), waitMs: 0 })
  expect(calls).toEqual(['seek 2 3', 'resume 2'])
  await reader.close()
})

/** A consumer that can be made to give up, as one of kafkajs does where brokers are away for longer than it tries. */
class GivingUp implements KafkajsConsumer {
  readonly events = {
    GROUP_JOIN: 'consumer.group_join',
    FETCH: 'consumer.fetch',
    CRASH: 'consumer.crash',
    END_BATCH_PROCESS: 'consumer.end_batch_process',
  } as const
  readonly calls: string[] = []
  readonly #listeners = new Map<string, Parameters<KafkajsConsumer['on']>[1]>()
  /** What connecting fails with. */
  readonly #failure: Error | undefined
  /** One that does not run takes no position, as with kafkajs. */
  isRunning = false
  eachBatch: (payload: KafkajsEachBatch) => Promise<void> = async () => {}

  constructor(failure?: Error) {
    this.#failure = failure
  }

  giveUp(error: Error): void {
    this.isRunning = false
    this.tell('consumer.crash', { error, restart: true })
  }

  tell(event: string, payload: object): void {
    this.#listeners.get(event)?.({ payload })
  }

  on(event: string, listener: Parameters<KafkajsConsumer['on']>[1]): void {
    this.#listeners.set(event, listener)
  }

  async connect(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
  }

  async disconnect(): Promise<void> {
    this.calls.push('disconnect')
  }

  async subscribe(): Promise<void> {}

  async run({ eachBatch }: Parameters<KafkajsConsumer['run']>[0]): Promise<void> {
    this.isRunning = true
    this.eachBatch = eachBatch
    this.tell('consumer.group_join', { memberAssignment: { in: [0, 1] } })
    this.calls.push('run')
  }

  seek({ partition, offset }: { partition: number; offset: string }): void {
    if (!this.isRunning) throw new Error('it does not run')
    this.calls.push(`seek ${partition} ${offset}`)
  }

  pause([paused]: { partitions: number[] }[]): void {
    this.calls.push(`pause ${paused?.partitions.join()}`)
  }

  resume([resumed]: { partitions: number[] }[]): void {
    this.calls.push(`resume ${resumed?.partitions.join()}`)
  }
}

/** The broker's GROUP_AUTHORIZATION_FAILED. */
const notAllowed = () => Object.assign(new Error('not allowed'), { code: 30 })

/** What a consumer says that has gone past offsets which are not there. */
const gap = { partition: 0, batchSize: 0, firstOffset: '9', lastOffset: '9' }

it('a consumer that has given up is replaced by one of another group, as its old one would wait for the member that it was', async () => {
  const away = new Error('connection refused')
  const made = [new GivingUp(), new GivingUp(away), new GivingUp()]
  const [first, , third] = made as [GivingUp, GivingUp, GivingUp]
  const groups: string[] = []
  const consumer = ({ groupId }: { groupId: string }) => made[groups.push(groupId) - 1]
  const client = kafkajsClient({ consumer } as unknown as Kafkajs)
  const from = new Map([[0, 7]])
  const settings = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1 }
  const reader = await client.openReader({ ...settings, from })
  const fetch = () => reader.fetch({ from, waitMs: 0 })
  first.giveUp(new Error('gone'))
  await expect(fetch()).rejects.toThrow('gone')
  // The second one is not answered either.
  await expect(fetch()).rejects.toThrow('connection refused')
  await expect(fetch()).rejects.toThrow('connection refused')
  await new Promise(setImmediate)
  expect(third.calls).toEqual(['seek 0 7', 'pause 1', 'run'])
  // What the first one says is of no account any more.
  first.tell('consumer.fetch', { nodeId: 1 })
  await expect(fetch()).rejects.toThrow('connection refused')
  third.tell('consumer.fetch', { nodeId: 1 })
  expect(await fetch()).toEqual([])
  expect(new Set(groups).size).toBe(3)
  await reader.close()
  expect(made.map(({ calls }) => calls.at(-1))).toEqual(['disconnect', 'disconnect', 'disconnect'])
})

it.each(['before', 'after'])(
  'a partition is read on whose offset is asked for when its consumer has given up: %s that is known',
  async (moment) => {
    const made = [new GivingUp(), new GivingUp()]
    const [first, second] = made as [GivingUp, GivingUp]
    const unused = made.slice()
    const client = kafkajsClient({ consumer: () => unused.shift() } as unknown as Kafkajs)
    const settings = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1 }
    const reader = await client.openReader({ ...settings, from: new Map([[0, 7]]) })
    const fetch = (offset: number) => reader.fetch({ from: new Map([[0, offset]]), waitMs: 0 })
    first.tell('consumer.end_batch_process', gap)
    expect(await fetch(7)).toMatchObject([{ isOutOfRange: true }])
    first.isRunning = false
    if (moment === 'before') await expect(fetch(9)).rejects.toThrow('it does not run')
    first.giveUp(new Error('gone'))
    await expect(fetch(9)).rejects.toThrow('gone')
    await new Promise(setImmediate)
    second.tell('consumer.fetch', { nodeId: 1 })
    await fetch(9)
    expect(second.calls).toContain('seek 0 9')
    expect(second.calls.findLast((call) => /^(pause|resume).*0/.test(call)) ?? 'resume 0').toBe('resume 0')
    await reader.close()
  },
)

it('a consumer that has given up is replaced the next time where no other one can be made at once', async () => {
  const [first, second] = [new GivingUp(), new GivingUp()]
  const made = [() => first, () => expect.fail('too many'), () => second]
  const client = kafkajsClient({ consumer: () => made.shift()?.() } as unknown as Kafkajs)
  const from = new Map([[0, 7]])
  const settings = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1 }
  const reader = await client.openReader({ ...settings, from })
  first.giveUp(new Error('gone'))
  await expect(reader.fetch({ from, waitMs: 0 })).rejects.toThrow('too many')
  await expect(reader.fetch({ from, waitMs: 0 })).rejects.toThrow('gone')
  await new Promise(setImmediate)
  second.tell('consumer.fetch', { nodeId: 1 })
  expect(await reader.fetch({ from, waitMs: 0 })).toEqual([])
  await reader.close()
})

it('a consumer that fails for good is not replaced', async () => {
  const made: GivingUp[] = []
  const consumer = () => {
    const next = new GivingUp()
    made.push(next)
    return next
  }
  const client = kafkajsClient({ consumer } as unknown as Kafkajs)
  const from = new Map([[0, 7]])
  const reader = await client.openReader({
    topic: 'in',
    groupId: 'g',
    maxPartitionBytes: 1,
    lookEveryMs: 1,
    from,
  })
  made[0]?.tell('consumer.crash', { error: notAllowed(), restart: false })
  for (let i = 0; i < 2; i++) await expect(reader.fetch({ from, waitMs: 0 })).rejects.toThrow('not allowed')
  expect(made).toHaveLength(1)
  await reader.close()
})

it('a consumer that kafkajs gives up for good is replaced where the failure passes, as that no broker knows a coordinator yet', async () => {
  const made = [new GivingUp(), new GivingUp()]
  const [first, second] = made as [GivingUp, GivingUp]
  const client = kafkajsClient({ consumer: () => made.shift() } as unknown as Kafkajs)
  const from = new Map([[0, 7]])
  const settings = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1 }
  const reader = await client.openReader({ ...settings, from })
  first.tell('consumer.crash', { error: new Error('no coordinator'), restart: false })
  await expect(reader.fetch({ from, waitMs: 0 })).rejects.toThrow('no coordinator')
  await new Promise(setImmediate)
  expect(second.calls).toContain('run')
  second.tell('consumer.fetch', { nodeId: 1 })
  expect(await reader.fetch({ from, waitMs: 0 })).toEqual([])
  await reader.close()
})

describe('a batch that has come', () => {
  /** A reader that begins at offset 2, and its consumer, which comes with messages from some offset on. */
  const open = async () => {
    const consumer = new GivingUp()
    const client = kafkajsClient({ consumer: () => consumer } as unknown as Kafkajs)
    const settings = { topic: 'in', groupId: 'g', maxPartitionBytes: 1, lookEveryMs: 1 }
    const from = new Map([
      [0, 2],
      [1, 0],
    ])
    const reader = await client.openReader({ ...settings, from })
    const fetch = async (offset: number) => {
      const [fetched] = await reader.fetch({ from: new Map([[0, offset]]), waitMs: 0 })
      return [fetched?.messages[0]?.offset, fetched?.messages.length, fetched?.next]
    }
    const come = async (first: number, count: number) => {
      const none = { key: null, value: null, timestamp: '5' }
      const messages = Array.from({ length: count }, (_, i) => ({ ...none, offset: `${first + i}` }))
      const batch = { topic: 'in', partition: 0, fetchedOffset: `${first}`, highWatermark: '9000', messages }
      await consumer.eachBatch({
        batch: { ...batch, lastOffset: () => `${first + count - 1}` },
        resolveOffset: () => {},
        heartbeat: async () => void consumer.calls.push('heartbeat'),
        isRunning: () => true,
      })
    }
    consumer.calls.length = 0
    return { consumer, reader, fetch, come }
  }

  it('is given in pieces, and the client goes on once half of it was', async () => {
    const { consumer, reader, fetch, come } = await open()
    const first = come(0, 4_000)
    expect(await fetch(2)).toEqual([2, 1_000, 1_002])
    await new Promise(setImmediate)
    expect(consumer.calls).toEqual([])
    expect(await fetch(1_002)).toEqual([1_002, 1_000, 2_002])
    await first
    expect(consumer.calls).toEqual(['heartbeat'])
    // What comes meanwhile is behind the rest of it, and has to wait for its turn.
    const second = come(4_000, 1_500)
    expect(await fetch(2_002)).toEqual([2_002, 1_000, 3_002])
    expect(await fetch(3_002)).toEqual([3_002, 998, 4_000])
    await new Promise(setImmediate)
    expect(consumer.calls).toEqual(['heartbeat'])
    expect(await fetch(4_000)).toEqual([4_000, 1_000, 5_000])
    await second
    expect(await fetch(5_000)).toEqual([5_000, 500, 5_500])
    expect(consumer.calls).toEqual(['heartbeat', 'heartbeat'])
    await reader.close()
  })

  it('J6: is asked for again where an attempt that was given up has fetched some of it, and has told nobody', async () => {
    const { consumer, reader, fetch, come } = await open()
    const first = come(2, 4_000)
    // Nobody waits for this answer any more.
    expect(await fetch(2)).toEqual([2, 1_000, 1_002])
    expect(await fetch(2)).toEqual([undefined, undefined, undefined])
    expect(consumer.calls.splice(0)).toEqual(['seek 0 2', 'resume 0'])
    await first
    const second = come(2, 4_000)
    expect(await fetch(2)).toEqual([2, 1_000, 1_002])
    expect(await fetch(1_002)).toEqual([1_002, 1_000, 2_002])
    await reader.close()
    await second
  })

  it('keeps the client waiting where it is what was waited for: to pause would cost much more', async () => {
    const { consumer, reader, come } = await open()
    const fetching = reader.fetch({ from: new Map([[0, 2]]), waitMs: 5_000 })
    await new Promise(setImmediate)
    const waiting = come(2, 4_000)
    expect((await fetching).map(({ next }) => next)).toEqual([1_002])
    await new Promise(setImmediate)
    expect(consumer.calls).toEqual([])
    await reader.close()
    await waiting
  })

  it('does not keep the client waiting while another partition is waited for', async () => {
    const { consumer, reader, come } = await open()
    const waiting = come(2, 4_000)
    // Much less than a batch may wait.
    expect(await reader.fetch({ from: new Map([[1, 0]]), waitMs: 20 })).toEqual([])
    expect(consumer.calls).toEqual(['pause 0', 'heartbeat'])
    await reader.close()
    await waiting
  })

  it('keeps the client waiting no longer than a group waits for a member: its partition is read on once there is room', async () => {
    vi.useFakeTimers()
    try {
      const { consumer, reader, fetch, come } = await open()
      const waiting = come(2, 4_000)
      await fetch(2)
      await vi.advanceTimersByTimeAsync(1_000)
      expect(consumer.calls).toEqual(['pause 0', 'heartbeat'])
      await fetch(1_002)
      expect(consumer.calls.slice(2)).toEqual(['resume 0'])
      await reader.close()
      await waiting
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('a member of a group', () => {
  const join = async () => {
    const consumer = new GivingUp()
    const told: unknown[] = []
    const member = await kafkajsClient({ consumer: () => consumer } as unknown as Kafkajs).joinGroup?.({
      groupId: 'g',
      topic: 'in',
      sessionTimeoutMs: 10_000,
      onAssigned: (partitions) => told.push(partitions),
      onFailure: (error) => told.push(error),
    })
    const runs = () => consumer.calls.filter((call) => call === 'run').length
    return { consumer, member, told, runs }
  }

  it('joins again where kafkajs gives up for good by a failure that passes', async () => {
    const { consumer, member, told, runs } = await join()
    consumer.tell('consumer.crash', { error: new Error('no coordinator'), restart: false })
    await expect.poll(runs).toBe(2)
    expect(told).toEqual([
      [0, 1],
      [0, 1],
    ])
    await member?.leave()
  })

  it('does not join again where it leaves, or where kafkajs joins by itself', async () => {
    const { consumer, member, runs } = await join()
    consumer.tell('consumer.crash', { error: new Error('gone'), restart: true })
    consumer.tell('consumer.crash', { error: new Error('no coordinator'), restart: false })
    await member?.leave()
    await new Promise(setImmediate)
    expect(runs()).toBe(1)
  })

  it('tells of a failure that does not pass', async () => {
    const { consumer, member, told } = await join()
    const error = notAllowed()
    consumer.tell('consumer.crash', { error, restart: false })
    expect(told.at(-1)).toBe(error)
    await member?.leave()
  })
})
