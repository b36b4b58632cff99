import { describe, expect, it, vi } from 'vitest'
import { MemoryStateBackend } from '../../index.js'
import { checkpointSaver, type LangGraphCheckpointModule } from './checkpoint-saver.js'

interface Config {
  readonly configurable: { thread_id: string; checkpoint_ns?: string; checkpoint_id?: string }
}

interface Saver {
  getTuple(config: Config): Promise<{ checkpoint: { id: string }; pendingWrites: unknown[] } | undefined>
  put(config: Config, checkpoint: object, metadata: object): Promise<Config>
  putWrites(config: Config, writes: [channel: string, value: unknown][], taskId: string): Promise<void>
  deleteThread(thread: string): Promise<void>
}

/** As much of LangGraph's package as a saver needs; its own suite is run apart. */
const langgraph: LangGraphCheckpointModule<Saver> = {
  BaseCheckpointSaver: class {
    serde = {
      dumpsTyped: async (value: unknown) => ['json', Buffer.from(JSON.stringify(value))] as const,
      loadsTyped: async (_type: string, bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString()),
    }
  } as unknown as abstract new () => Saver,
  WRITES_IDX_MAP: {},
  copyCheckpoint: (checkpoint: object) => ({ ...checkpoint }),
  maxChannelVersion: () => 1,
  writesSortKey: (path, task = '', index = 0) => [path, task, index],
  compareWritesSortKeys: (left, right) => left[2] - right[2],
}

const config: Config = { configurable: { thread_id: 'one' } }
const checkpoint = (id: string) => ({ v: 4, id })

function saverWith(keepCheckpoints?: number) {
  const backend = new MemoryStateBackend()
  const saver = checkpointSaver(langgraph, {
    backend,
    ...(keepCheckpoints === undefined ? {} : { keepCheckpoints }),
  })
  return { backend, saver, [Symbol.asyncDispose]: () => backend.close() }
}

describe('options of a saver', () => {
  it.each([
    { ttlMs: 0 },
    { ttlMs: -1 },
    { ttlMs: Number.NaN },
    { keepCheckpoints: 0 },
    { keepCheckpoints: 1.5 },
  ])('are refused before anything is written: %j', async (options) => {
    await using of = saverWith()
    const attempt = () => checkpointSaver(langgraph, { backend: of.backend, ...options })
    expect(attempt).toThrow(`options.${Object.keys(options)[0]} must be`)
  })
})

describe('calls of a saver that are under way at the same time', () => {
  it('find a newest checkpoint, also where the one that was it is pruned meanwhile', async () => {
    await using of = saverWith(1)
    const { backend, saver } = of
    await saver.put(config, checkpoint('1'), {})
    const listKeys = backend.listKeys.bind(backend)
    vi.spyOn(backend, 'listKeys').mockImplementationOnce(async (...args) => {
      const keys = await listKeys(...args)
      await saver.put(config, checkpoint('2'), {})
      return keys
    })
    expect((await saver.getTuple(config))?.checkpoint.id).toBe('2')
  })

  it('find no checkpoint without what tasks wrote, where that is pruned between the two', async () => {
    await using of = saverWith(1)
    const { backend, saver } = of
    await saver.putWrites(await saver.put(config, checkpoint('1'), {}), [['channel', 1]], 'task')
    const get = backend.get.bind(backend)
    vi.spyOn(backend, 'get').mockImplementationOnce(async (...args) => {
      const value = await get(...args)
      await saver.put(config, checkpoint('2'), {})
      return value
    })
    expect((await saver.getTuple(config))?.checkpoint.id).toBe('2')
  })

  it('fail alone where a value cannot be written, and those after them go on', async () => {
    await using of = saverWith()
    const loop: { self?: unknown } = {}
    loop.self = loop
    const place = { configurable: { thread_id: 'one', checkpoint_id: '1' } }
    const outcomes = await Promise.allSettled([
      of.saver.put(config, checkpoint('1'), {}),
      of.saver.putWrites(place, [['channel', loop]], 'task'),
      of.saver.put(config, checkpoint('2'), loop),
      of.saver.putWrites(place, [['channel', 1]], 'task'),
    ])
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled'])
    expect(await of.saver.getTuple(config)).toMatchObject({
      checkpoint: { id: '1' },
      pendingWrites: [['task', 'channel', 1]],
    })
  })

  it('leave what a task wrote first', async () => {
    await using of = saverWith()
    const put = await of.saver.put(config, checkpoint('1'), {})
    await Promise.all([1, 2].map((value) => of.saver.putWrites(put, [['channel', value]], 'task')))
    expect((await of.saver.getTuple(config))?.pendingWrites).toEqual([['task', 'channel', 1]])
  })

  it('leave what a task wrote first, also where another process has written it meanwhile', async () => {
    await using of = saverWith()
    const { backend } = of
    // Savers of one process wait for each other by their backend.
    const elsewhere = new Proxy(backend, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    const other = checkpointSaver(langgraph, { backend: elsewhere })
    const put = await of.saver.put(config, checkpoint('1'), {})
    const contains = backend.contains.bind(backend)
    vi.spyOn(backend, 'contains').mockImplementationOnce(async (key) => {
      const isThere = await contains(key)
      await other.putWrites(put, [['channel', 1]], 'task')
      return isThere
    })
    const writes: [string, number][] = [
      ['channel', 2],
      ['more', 3],
    ]
    await of.saver.putWrites(put, writes, 'task')
    expect((await of.saver.getTuple(config))?.pendingWrites).toEqual([
      ['task', 'channel', 1],
      ['task', 'more', 3],
    ])
  })

  it('keep each write to channels that have the names of what every object inherits', async () => {
    await using of = saverWith()
    const put = await of.saver.put(config, checkpoint('1'), {})
    const channels = ['constructor', 'constructor', 'toString', '__proto__']
    const write = () =>
      of.saver.putWrites(
        put,
        channels.map((channel, i) => [channel, i]),
        'task',
      )
    await write()
    const written = channels.map((channel, i) => ['task', channel, i])
    expect((await of.saver.getTuple(config))?.pendingWrites).toEqual(written)
    // Those of a task that is run again stay as they are.
    channels.reverse()
    await write()
    expect((await of.saver.getTuple(config))?.pendingWrites).toEqual(written)
  })

  it('keep values as they were when the call was made', async () => {
    await using of = saverWith()
    const [value, metadata] = [{ n: 1 }, { step: 1 }]
    const putting = of.saver.put(config, checkpoint('1'), metadata)
    const writing = of.saver.putWrites(
      { configurable: { thread_id: 'one', checkpoint_id: '1' } },
      [
        ['first', 0],
        ['channel', value],
      ],
      'task',
    )
    value.n = 2
    metadata.step = 2
    await Promise.all([putting, writing])
    expect(await of.saver.getTuple(config)).toMatchObject({
      metadata: { step: 1 },
      pendingWrites: [
        ['task', 'first', 0],
        ['task', 'channel', { n: 1 }],
      ],
    })
  })

  it('leave nothing of a checkpoint that is pruned, or of a thread that is deleted', async () => {
    await using of = saverWith(1)
    const { backend, saver } = of
    const first = await saver.put(config, checkpoint('1'), {})
    await Promise.all([
      saver.putWrites(first, [['channel', 1]], 'task'),
      saver.put(config, checkpoint('2'), {}),
    ])
    expect(await backend.count()).toBe(1)
    await Promise.all([saver.putWrites(first, [['channel', 1]], 'task'), saver.deleteThread('one')])
    expect(await backend.count()).toBe(0)
  })

  it('keep so many checkpoints as they are told to, and what a task wrote first, by two savers of one backend', async () => {
    await using of = saverWith(1)
    const second = checkpointSaver(langgraph, { backend: of.backend, keepCheckpoints: 1 })
    await Promise.all([of.saver.put(config, checkpoint('1'), {}), second.put(config, checkpoint('2'), {})])
    expect(await of.backend.count()).toBe(1)
    const put: Config = { configurable: { thread_id: 'one', checkpoint_id: '2' } }
    await Promise.all([
      of.saver.putWrites(put, [['channel', 1]], 'task'),
      second.putWrites(put, [['channel', 2]], 'task'),
    ])
    expect((await second.getTuple(config))?.pendingWrites).toEqual([['task', 'channel', 1]])
    await Promise.all([of.saver.put(config, checkpoint('3'), {}), second.deleteThread('one')])
    expect(await of.backend.count()).toBe(0)
  })

  it('that come late to a pruned checkpoint leave what the next one removes', async () => {
    await using of = saverWith(1)
    const { backend, saver } = of
    const first = await saver.put(config, checkpoint('1'), {})
    const second = await saver.put(config, checkpoint('2'), {})
    await saver.putWrites(first, [['channel', 1]], 'task')
    await saver.putWrites(second, [['channel', 2]], 'task')
    const inner: Config = { configurable: { thread_id: 'one', checkpoint_ns: 'inner', checkpoint_id: '0' } }
    await saver.putWrites(inner, [['channel', 0]], 'task')
    await saver.put(config, checkpoint('2'), {})
    expect(await backend.count()).toBe(3)
    await saver.put(config, checkpoint('3'), {})
    expect(await backend.count()).toBe(2)
  })
})
