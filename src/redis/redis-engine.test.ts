import { describe, expect, it } from 'vitest'
import { RemoteBackend } from '../backend/facade/remote-backend.js'
import { WriteBatch } from '../backend/write-batch.js'
import type { Command, IoredisBytesClient } from './clients.js'
import { storedValue } from './layout.js'
import { RedisEngine } from './redis-engine.js'
import { RedisStateBackend } from './redis-state-backend.js'
import { APPLY, CLAIM } from './scripts.js'
import { type RedisStateBackendOptions, settingsFrom } from './settings.js'

const bytes = (text: string) => Buffer.from(text)
const stored = (text: string) => storedValue(bytes(text), Infinity)
const textOf = (value: Uint8Array | undefined) => value && Buffer.from(value).toString()

/** One part of a store without times to live, as the scripts keep it; texts stand for bytes. */
class FakeServer implements IoredisBytesClient {
  readonly data = new Map<string, Buffer>()
  readonly answers = new Map<number, string>()
  /** Names of commands, in the order in which they came. */
  readonly commands: string[] = []
  last = 0
  policy = 'noeviction'
  /** Another one that has opened the store. */
  owner: string | undefined
  /** What comes before a command is done; where it throws, it is not. */
  before: (name: string) => Promise<void> | void = () => {}
  /** What becomes of an answer: where it throws, it is lost. */
  after: (name: string) => void = () => {}
  /** How many replicas have what was written, each time that somebody asks. */
  replicas: () => number = () => 1

  isTakenBy(owner: string): void {
    this.owner = owner
  }

  /** As after a failover to a replica that has heard of nothing. */
  goesBack(): void {
    this.last = 0
  }

  async callBuffer(command: string, args: (string | Buffer)[]): Promise<unknown> {
    const name = command === 'EVALSHA' ? (NAMES.get(String(args[0])) ?? '') : command
    this.commands.push(name)
    await this.before(name)
    const answer = this.#answer(name, args)
    this.after(name)
    return answer
  }

  pipeline() {
    const commands: Command[] = []
    return {
      callBuffer: (name: string, args: (string | Buffer)[]) => commands.push([name, ...args]),
      exec: () =>
        Promise.all(
          commands.map(async ([name, ...args]): Promise<[Error | null, unknown]> => {
            try {
              return [null, await this.callBuffer(String(name), args)]
            } catch (error) {
              return [error as Error, undefined]
            }
          }),
        ),
    }
  }

  #answer(name: string, args: Command): unknown {
    if (name === 'CLAIM') return 'OK 1 0 0 '
    if (name === 'APPLY') return this.#applied(args.slice(2 + APPLY.keys))
    if (name === 'HMGET') return args.slice(1).map((key) => this.data.get(String(key)) ?? null)
    if (name === 'HSCAN') return ['0', [...this.data].flatMap(([key, value]) => [bytes(key), value])]
    if (name === 'INFO') return `maxmemory_policy:${this.policy}\r\n`
    if (name === 'HGET' && args[1] === 'layout') return null
    if (name === 'WAITAOF') return [1, this.replicas()]
    return name === 'WAIT' ? this.replicas() : 0
  }

  #applied(args: Command): string {
    if (this.owner !== undefined) return `FENCED ${this.owner}`
    const number = Number(args[1])
    if (number > this.last + 1) return `AHEAD ${this.last}`
    if (number <= this.last) return this.answers.get(number) ?? 'LATE'
    this.last = number
    let answer = 'SKIPPED'
    if (args[3] !== 'skip') {
      this.#run(args.slice(7))
      answer = `OK 0 ${this.data.size} 0 `
    }
    this.answers.set(number, answer)
    this.answers.delete(number - 64)
    return answer
  }

  #run(runs: Command): void {
    for (let at = 0; at < runs.length; ) {
      if (runs[at] === 'c') {
        this.data.clear()
        at++
        continue
      }
      const isPut = runs[at] === 'p'
      const end = at + 2 + Number(runs[at + 1]) * (isPut ? 2 : 1)
      for (let i = at + 2; i < end; i += isPut ? 2 : 1)
        if (isPut) this.data.set(String(runs[i]), runs[i + 1] as Buffer)
        else this.data.delete(String(runs[i]))
      at = end
    }
  }
}

const NAMES = new Map([
  [APPLY.sha, 'APPLY'],
  [CLAIM.sha, 'CLAIM'],
])

const opened = (server: FakeServer, options: Partial<RedisStateBackendOptions> = {}) =>
  RedisStateBackend.open({ client: server, name: 'usage', ...options })

describe('state in Redis', () => {
  it('takes no batch that would hold the server for longer than it may', async () => {
    const server = new FakeServer()
    const backend = await opened(server, { maxBatchEntries: 3, maxBatchBytes: 40 })
    const write = (...values: readonly string[]) => {
      const batch = new WriteBatch().expect(bytes('x'), undefined)
      for (const [i, value] of values.entries()) batch.put(bytes(`${i}`), bytes(value))
      return backend.write(batch)
    }
    await write('1', '2')
    await expect(write('1', '2', '3')).rejects.toThrow('has 4 entries; maxBatchEntries is 3')
    await expect(write('x'.repeat(39))).rejects.toThrow('has 41 bytes; maxBatchBytes is 40')
    expect(server.data.size).toBe(2)
    await expect(opened(server, { maxBatchEntries: 0, maxBatchBytes: 1e9 })).rejects.toThrow(
      /maxBatchEntries.*maxBatchBytes/s,
    )
    await backend.close()
  })

  it('refuses a batch that no server takes, and says what makes it smaller', async () => {
    const server = new FakeServer()
    const backend = await opened(server)
    const batch = new WriteBatch()
    for (const key of ['a', 'b', 'c', 'd', 'e']) batch.put(bytes(key), new Uint8Array(14 * 1_048_576))
    await expect(backend.write(batch)).rejects.toThrow(/limit of this engine is 67108864: .*flushIntervalMs/)
    expect(server.data.size).toBe(0)
    await backend.close()
  })

  it('is read whole where some keys are in the near cache and a write is under way', async () => {
    const server = new FakeServer()
    const backend = await opened(server, { nearCacheBytes: 10_000 })
    await backend.put(bytes('a'), bytes('1'))
    server.data.set('b', stored('2'))
    let goOn = () => {}
    const held = new Promise<void>((resolve) => {
      goOn = resolve
    })
    server.before = (name) => (name === 'APPLY' ? held : undefined)
    const putting = backend.put(bytes('c'), bytes('3'))
    const values = await backend.getMany([bytes('a'), bytes('b')])
    expect(values.map(textOf)).toEqual(['1', '2'])
    goOn()
    await putting
    await backend.close()
  })

  it('is cleared behind a write that waits for one whose keys are still looked for', async () => {
    const server = new FakeServer()
    const backend = await opened(server)
    await backend.put(bytes('a 1'), bytes('1'))
    const written = [
      backend.deleteRange({ prefix: bytes('a ') }),
      backend.put(bytes('b'), bytes('2')),
      backend.clear(),
      backend.put(bytes('c'), bytes('3')),
    ]
    await Promise.all(written)
    expect([...server.data.keys()]).toEqual(['c'])
    await backend.close()
  })

  it('is not what it was before a later write, where the answer to the earlier one was lost: of a near cache', async () => {
    const server = new FakeServer()
    const backend = await opened(server, { nearCacheBytes: 10_000 })
    let isLost = false
    server.after = (name) => {
      if (name !== 'APPLY' || isLost) return
      isLost = true
      throw new Error('Connection is closed.')
    }
    await Promise.all(['1', '2'].map((value) => backend.put(bytes('a'), bytes(value))))
    expect(server.commands.filter((name) => name === 'APPLY')).toHaveLength(3)
    expect(textOf(await backend.get(bytes('a')))).toBe('2')
    await backend.close()
  })

  it.each([
    ['FENCED', (server: FakeServer) => server.isTakenBy('2')],
    ['STORAGE_ERROR', (server: FakeServer) => server.goesBack()],
  ] as const)(
    'is what another one has written since, once this one is told (%s): of a near cache',
    async (code, happens) => {
      const server = new FakeServer()
      const backend = await opened(server, { nearCacheBytes: 10_000 })
      await backend.put(bytes('a'), bytes('1'))
      await backend.put(bytes('b'), bytes('1'))
      server.data.set('a', stored('9'))
      happens(server)
      await expect(backend.put(bytes('b'), bytes('2'))).rejects.toMatchObject({ code })
      expect(textOf(await backend.get(bytes('a')))).toBe('9')
      await backend.close()
    },
  )

  it('takes batches and reads of more keys than a call may have arguments', async () => {
    const server = new FakeServer()
    const backend = await opened(server, { reconnectForMs: 0 })
    const batch = new WriteBatch()
    const [key, value] = [bytes('a'), bytes('1')]
    for (let i = 0; i < 70_000; i++) batch.put(key, value)
    await backend.write(batch)
    const values = await backend.getMany(Array<Buffer>(130_000).fill(bytes('a')))
    expect([values.length, textOf(values.at(-1))]).toEqual([130_000, '1'])
    await backend.close()
  })

  it('is not acknowledged with eachWrite where its server has no replica', async () => {
    const server = new FakeServer()
    server.replicas = () => 0
    const backend = await opened(server, { replicas: 1, eachWrite: true, reconnectForMs: 0 })
    await expect(backend.put(bytes('a'), bytes('1'))).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('on 0 replicas, not on 1'),
    })
    await backend.close()
  })

  it('is on the replicas when it is closed, where flush would have it there', async () => {
    for (const [settings, expected] of [
      [{ replicas: 1 }, 1],
      [{ replicas: 1, eachWrite: true }, 0],
      [{}, 0],
    ] as const) {
      const server = new FakeServer()
      const backend = await opened(server, settings)
      await backend.put(bytes('a'), bytes('1'))
      server.commands.length = 0
      await backend.close()
      expect(server.commands.filter((name) => name === 'WAIT')).toHaveLength(expected)
    }
  })

  it.each([
    [{}, ['HSCAN', 'APPLY']],
    [{ replicas: 1 }, ['HSCAN', 'APPLY', 'APPLY', 'WAIT']],
  ] as const)(
    'has ended what it still looks for keys of when it is closed, and what waits behind that: with %o',
    async (settings, expected) => {
      const server = new FakeServer()
      const backend = await opened(server, settings)
      await backend.put(bytes('a 1'), bytes('1'))
      await backend.flush()
      server.commands.length = 0
      server.before = (name) => (name === 'HSCAN' ? new Promise(setImmediate) : undefined)
      const written = [backend.deleteRange({ prefix: bytes('a ') }), backend.put(bytes('b'), bytes('2'))]
      await backend.close()
      await Promise.all(written)
      expect([...server.data.keys()]).toEqual(['b'])
      expect([...new Set(server.commands)]).toEqual([...new Set(expected)])
    },
  )

  it('is on the replicas when it is closed although keys are still looked for, for too long: what waits behind that is CLOSED', async () => {
    const server = new FakeServer()
    const settings = settingsFrom({ client: server, name: 'usage', replicas: 1 })
    const engine = await RedisEngine.open({ ...settings, closeWithinMs: 1 })
    const backend = new (class extends RemoteBackend {})(engine)
    await backend.put(bytes('a 1'), bytes('1'))
    server.before = (name) => (name === 'HSCAN' ? new Promise(() => {}) : undefined)
    const written = [backend.deleteRange({ prefix: bytes('a ') }), backend.put(bytes('b'), bytes('2'))]
    const settled = Promise.allSettled(written)
    await backend.close()
    expect(server.commands).toContain('WAIT')
    for (const result of await settled) expect(result).toMatchObject({ reason: { code: 'CLOSED' } })
  })

  it('that was flushed, or not written, is closed without a word to its server', async () => {
    const server = new FakeServer()
    const backend = await opened(server, { replicas: 1 })
    await backend.put(bytes('a'), bytes('1'))
    await backend.flush()
    server.commands.length = 0
    await backend.close()
    expect(server.commands).toEqual([])
  })

  it('is closed with STORAGE_ERROR where it is not on its replicas in time, and with nothing where it was told before', async () => {
    const server = new FakeServer()
    server.replicas = () => 0
    const engine = await RedisEngine.open({
      ...settingsFrom({ client: server, name: 'usage', replicas: 1 }),
      closeWithinMs: 1,
    })
    const backend = new (class extends RemoteBackend {})(engine)
    await backend.put(bytes('a'), bytes('1'))
    await expect(backend.close()).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      details: { operation: 'close' },
    })
    const fenced = new FakeServer()
    const old = await opened(fenced, { replicas: 1 })
    await old.put(bytes('a'), bytes('1'))
    fenced.owner = '2'
    await expect(old.put(bytes('a'), bytes('2'))).rejects.toMatchObject({ code: 'FENCED' })
    await old.close()
  })

  it.each([
    ["ERR unknown command 'WAITAOF', with args beginning with: '1'", 'ERR unknown command'],
    ['ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.', 'appendonly is disabled'],
  ])('is refused at opening where the server cannot wait for its disk: %s', async (message, found) => {
    const server = new FakeServer()
    server.before = (name) => {
      if (name === 'WAITAOF') throw Object.assign(new Error(message), { name: 'ReplyError' })
    }
    await (await opened(server)).close()
    await expect(opened(server, { fsync: 'waited' })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
      details: { found: expect.stringContaining(found) },
    })
  })

  it('is refused where several write and the server throws away what has a time to live', async () => {
    const server = new FakeServer()
    server.policy = 'volatile-lru'
    await (await opened(server)).close()
    await expect(opened(server, { shared: true })).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
  })
})
