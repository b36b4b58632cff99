// Writes that wait for replicas and for the disk of their server, and a failover by sentinels.

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createSentinel } from 'redis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { startValkeyNode, startValkeySentinel, type ValkeyNode } from '../../scripts/services/services.mjs'
import { type RedisBackendClient, RedisStateBackend } from '../../src/redis.js'
import { runConformanceSuite } from '../../src/testing/conformance.js'
import { runs } from '../support/long.js'
import { LaneWriters } from './lane-writers.js'
import { Proxy } from './proxy.js'
import { LACKS } from './redis-state.js'

const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(10, 2))
const LIMIT_MS = 60_000
const SENTINELS = 3
const DOWN_AFTER_MS = 2_000
const bytes = (text: string) => Buffer.from(text)

let folder: string
const nodes: ValkeyNode[] = []
const cleanups: (() => unknown)[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-replicas-'))
})
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean()
  await Promise.all(nodes.splice(0).map((node) => node.kill()))
  await rm(folder, { recursive: true, force: true })
})

async function ownFolder(): Promise<string> {
  const own = join(folder, String(nodes.length))
  await mkdir(own)
  return own
}

async function start(...args: string[]): Promise<ValkeyNode> {
  const node = await startValkeyNode(await ownFolder(), ['--repl-diskless-sync-delay', '0', ...args])
  nodes.push(node)
  return node
}

/** A primary with so many replicas that hear of everything. */
async function replicated(replicas: number): Promise<ValkeyNode[]> {
  const primary = await start()
  const all = [primary]
  for (let i = 0; i < replicas; i++) all.push(await start('--replicaof', '127.0.0.1', String(primary.port)))
  const admin = clientAt(primary.port)
  await until(async () => {
    const online = [...(await admin.info('replication')).matchAll(/^slave\d+:.*state=online/gm)].length
    return online === replicas
  })
  return all
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endsAtMs = performance.now() + LIMIT_MS
  while (!(await isSo())) {
    if (performance.now() > endsAtMs) throw new Error(`not within ${LIMIT_MS} ms`)
    await sleep(20)
  }
}

function clientAt(port: number): Redis {
  const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 1, retryStrategy: () => 20 })
  client.on('error', () => {})
  cleanups.push(() => client.disconnect())
  return client
}

describe('a write that waits for a replica', () => {
  it('is not acknowledged before the replica has it, also where its first answer was lost and it is sent again', async () => {
    const [primary, replica] = await replicated(1)
    const proxy = new Proxy(primary?.port ?? 0)
    cleanups.push(() => proxy.close())
    const client = clientAt(await proxy.listen())
    const options = { client, name: 'lost', replicas: 1, eachWrite: true, replicateWithinMs: 200 }
    const backend = await RedisStateBackend.open(options)
    await backend.put(bytes('a'), bytes('1'))
    let attempts = 0
    let thirdAttempt = () => {}
    const third = new Promise<string>((resolve) => {
      thirdAttempt = () => resolve('sent a third time')
    })
    proxy.losesAnswerTo = (request) => {
      if (!request.includes('evalsha') && !request.includes('EVALSHA')) return undefined
      attempts++
      if (attempts === 3) thirdAttempt()
      return attempts === 1 ? 'answer' : undefined
    }
    process.kill(replica?.pid() ?? 0, 'SIGSTOP')
    const put = backend.put(bytes('a'), bytes('2'))
    const happened = await Promise.race([put.then(() => 'acknowledged'), third])
    process.kill(replica?.pid() ?? 0, 'SIGCONT')
    expect(happened).toBe('sent a third time')
    await put
    expect(proxy.lost).toBe(1)
    await backend.close()
  })

  it('is STORAGE_ERROR where there is no replica, and on the disk with WAITAOF where that is asked for', async () => {
    const [primary] = await replicated(0)
    const client = clientAt(primary?.port ?? 0)
    const asked = { client, replicas: 1, replicateWithinMs: 50, reconnectForMs: 100 }
    const backend = await RedisStateBackend.open({ ...asked, name: 'alone', eachWrite: true })
    await expect(backend.put(bytes('a'), bytes('1'))).rejects.toMatchObject({
      code: 'STORAGE_ERROR',
      message: expect.stringContaining('on 0 replicas, not on 1'),
    })
    await backend.close()
    const onDisk = await RedisStateBackend.open({ client, name: 'disk', fsync: 'waited' })
    await onDisk.put(bytes('a'), bytes('1'))
    await onDisk.flush()
    const stats = String(await client.call('INFO', 'commandstats'))
    expect(stats).toMatch(/cmdstat_waitaof:calls=2/)
    await onDisk.close()
    await client.config('SET', 'appendonly', 'no')
    await expect(RedisStateBackend.open({ client, name: 'disk', fsync: 'waited' })).rejects.toMatchObject({
      code: 'INCOMPATIBLE',
    })
  })
})

/** Sentinels that watch a primary. */
async function watched(primary: ValkeyNode | undefined): Promise<ValkeyNode[]> {
  const sentinels: ValkeyNode[] = []
  for (let i = 0; i < SENTINELS; i++) {
    const settings = [
      `sentinel monitor main 127.0.0.1 ${primary?.port} 2`,
      `sentinel down-after-milliseconds main ${DOWN_AFTER_MS}`,
      'sentinel failover-timeout main 5000',
    ]
    const sentinel = await startValkeySentinel(await ownFolder(), settings)
    sentinels.push(sentinel)
    nodes.push(sentinel)
  }
  return sentinels
}

/** Clients that follow sentinels, as docs/redis.md has them. */
const sentinelClients = {
  ioredis: async (sentinels: readonly ValkeyNode[]): Promise<RedisBackendClient> => {
    const client = new Redis({
      sentinels: sentinels.map(({ port }) => ({ host: '127.0.0.1', port })),
      name: 'main',
      maxRetriesPerRequest: 1,
      retryStrategy: () => 50,
      sentinelRetryStrategy: () => 50,
    })
    client.on('error', () => {})
    cleanups.push(() => client.disconnect())
    return client
  },
  'node-redis': async (sentinels: readonly ValkeyNode[]): Promise<RedisBackendClient> => {
    const client = createSentinel({
      sentinelRootNodes: sentinels.map(({ port }) => ({ host: '127.0.0.1', port })),
      name: 'main',
      nodeClientOptions: { socket: { connectTimeout: 500 } },
    })
    client.on('error', () => {})
    await client.connect()
    cleanups.push(() => client.destroy())
    return client
  },
}

describe.each(['ioredis', 'node-redis'] as const)('a failover by sentinels, by %s', (kind) => {
  it(
    `loses nothing that was acknowledged (${KILLS} kills of the primary)`,
    async () => {
      const servers = await replicated(2)
      const sentinels = await watched(servers[0])
      const asks = clientAt(sentinels[0]?.port ?? 0)
      const isWhole = () =>
        until(async () => {
          const [main] = (await asks.call('SENTINEL', 'MASTERS')) as string[][]
          const at = (name: string) => main?.[main.indexOf(name) + 1]
          const replicas = (await asks.call('SENTINEL', 'REPLICAS', 'main')) as string[][]
          const linked = replicas.filter((each) => each.includes('ok') && each.includes('slave')).length
          return (
            at('flags') === 'master' && at('num-other-sentinels') === String(SENTINELS - 1) && linked === 2
          )
        })
      await isWhole()
      const client = await sentinelClients[kind](sentinels)
      const backend = await RedisStateBackend.open({ client, name: 'watched', replicas: 1, eachWrite: true })
      const writers = new LaneWriters(backend)
      await writers.more(200)
      const stalls: number[] = []
      for (let kill = 0; kill < KILLS; kill++) {
        const [, port] = (await asks.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'main')) as string[]
        const owner = servers.find((server) => String(server.port) === port)
        writers.takeStall()
        await owner?.kill()
        await writers.more(200)
        stalls.push(writers.takeStall())
        await owner?.start()
        await isWhole()
      }
      await writers.end()
      expect(await writers.lost()).toEqual([])
      await backend.close()
      process.stdout.write(
        `valkey with sentinels, ${kind}: ${KILLS} kills, ${writers.count} batches acknowledged, none lost; stalls ${stalls.map(Math.round).join(', ')} ms\n`,
      )
      expect(stalls).toHaveLength(KILLS)
    },
    (KILLS + 1) * LIMIT_MS,
  )
})

describe('a client of node-redis that follows sentinels', () => {
  let client: RedisBackendClient
  let next = 0
  const ownNodes: ValkeyNode[] = []
  const ownCleanups: (() => unknown)[] = []
  let ownRoot: string
  beforeAll(async () => {
    ownRoot = await mkdtemp(join(tmpdir(), 'holdfast-sentinel-'))
    folder = ownRoot
    client = await sentinelClients['node-redis'](await watched(await start()))
    // They last for all tests of this suite.
    ownNodes.push(...nodes.splice(0))
    ownCleanups.push(...cleanups.splice(0))
  })
  afterAll(async () => {
    for (const clean of ownCleanups) await clean()
    await Promise.all(ownNodes.map((node) => node.kill()))
    await rm(ownRoot, { recursive: true, force: true })
  })
  runConformanceSuite(
    { describe, it },
    {
      name: 'RedisStateBackend behind sentinels',
      open: ({ clock, ttlMs }) =>
        RedisStateBackend.open({
          client,
          name: `conformance-${next++}`,
          ...(clock !== undefined && { clock }),
          ...(ttlMs !== undefined && { ttlMs }),
          ordered: true,
        }),
      cannot: LACKS,
    },
  )
})
