// A Cluster of Valkey servers on loopback, of which tests may kill some.

import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Redis } from 'ioredis'
import { createCluster } from 'redis'
import { startValkeyNode, type ValkeyNode } from '../../scripts/services/services.mjs'
import type { RedisBackendClient } from '../../src/redis.js'

const SLOTS = 16_384
const NODE_TIMEOUT_MS = 2_000
const READY_WITHIN_MS = 60_000

/** Kinds of clients that know a Cluster. */
export const CLUSTER_CLIENTS = ['ioredis', 'node-redis'] as const
export type ClusterClientKind = (typeof CLUSTER_CLIENTS)[number]

export interface OpenClusterClient {
  readonly client: RedisBackendClient
  close(): void
}

export class ValkeyCluster {
  readonly #folder: string
  readonly #nodes: ValkeyNode[] = []

  private constructor(folder: string) {
    this.#folder = folder
  }

  static async start(primaries: number, replicasOfEach: number): Promise<ValkeyCluster> {
    const cluster = new ValkeyCluster(await mkdtemp(join(tmpdir(), 'holdfast-cluster-')))
    try {
      await cluster.#start(primaries, replicasOfEach)
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  /** A client as docs/redis.md has it. */
  async client(kind: ClusterClientKind): Promise<OpenClusterClient> {
    const addresses = this.#nodes.map(({ port }) => ({ host: '127.0.0.1', port }))
    if (kind === 'ioredis') {
      const client = new Cluster(addresses, {
        slotsRefreshTimeout: 500,
        redisOptions: { maxRetriesPerRequest: 1, connectTimeout: 500 },
      })
      client.on('error', () => {})
      return { client, close: () => client.disconnect() }
    }
    const client = createCluster({
      rootNodes: addresses.map((socket) => ({ socket })),
      defaults: { socket: { connectTimeout: 500 } },
      topologyRefreshOnReconnectionAttemptStrategy: 200,
    })
    client.on('error', () => {})
    await client.connect()
    return { client, close: () => client.destroy() }
  }

  /** The primary that has the slot of a key. */
  async ownerOf(key: string): Promise<ValkeyNode> {
    const slot = await this.#ask((client) => client.cluster('KEYSLOT', key))
    const slots = await this.#ask((client) => client.cluster('SLOTS'))
    const range = (slots as [number, number, [string, number]][]).find(
      ([first, last]) => first <= Number(slot) && Number(slot) <= last,
    )
    const node = this.#nodes.find(({ port }) => port === range?.[2][1])
    if (node === undefined) throw new Error(`nobody has slot ${String(slot)}`)
    return node
  }

  /** Resolves when every slot has an owner, and every primary as many replicas as it is to have. */
  async isWhole(primaries: number, replicasOfEach: number): Promise<void> {
    const endsAtMs = performance.now() + READY_WITHIN_MS
    for (;;) {
      const states = await Promise.all(this.#nodes.map((node) => stateOf(node).catch(() => undefined)))
      const isReady = states.every(
        (state) =>
          state?.isOk === true &&
          state.primaries === primaries &&
          (state.replicas ?? replicasOfEach) === replicasOfEach,
      )
      if (isReady) return
      if (performance.now() > endsAtMs) throw new Error(`no whole Cluster within ${READY_WITHIN_MS} ms`)
      await sleep(100)
    }
  }

  /** Resolves when somebody else than this node has the slot of a key, and a replica has what is written to it. */
  async isTakenOver(key: string, from: ValkeyNode): Promise<void> {
    const endsAtMs = performance.now() + READY_WITHIN_MS
    for (;;) {
      if (performance.now() > endsAtMs) throw new Error(`no takeover within ${READY_WITHIN_MS} ms`)
      const owner = await this.ownerOf(key).catch(() => from)
      const replicas = (node: ValkeyNode) =>
        on(node, async (client) => {
          await client.set(key, 'x')
          return await client.wait(1, 5_000)
        })
      if (owner !== from && (await replicas(owner).catch(() => 0)) > 0) return
      await sleep(10)
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.kill()))
    await rm(this.#folder, { recursive: true, force: true })
  }

  async #start(primaries: number, replicasOfEach: number): Promise<void> {
    const count = primaries * (1 + replicasOfEach)
    const buses: string[] = []
    for (let i = 0; i < count; i++) {
      const folder = join(this.#folder, String(i))
      await mkdir(folder)
      const bus = String(await freePort())
      buses.push(bus)
      const own = ['--cluster-enabled', 'yes', '--cluster-port', bus, '--repl-diskless-sync-delay', '0']
      const args = [...own, '--cluster-node-timeout', String(NODE_TIMEOUT_MS)]
      this.#nodes.push(await startValkeyNode(folder, args))
    }
    const ids = await Promise.all(this.#nodes.map((node) => on(node, (client) => client.cluster('MYID'))))
    const share = Math.ceil(SLOTS / primaries)
    const [first] = this.#nodes
    for (const [i, node] of this.#nodes.entries()) {
      await on(node, async (client) => {
        await client.call('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1))
        if (i < primaries) {
          const last = Math.min((i + 1) * share, SLOTS) - 1
          await client.call('CLUSTER', 'ADDSLOTSRANGE', String(i * share), String(last))
        }
        if (i > 0) await client.call('CLUSTER', 'MEET', '127.0.0.1', String(first?.port), buses[0] ?? '')
      })
    }
    const knowAll = async () => {
      const known = await Promise.all(
        this.#nodes.map((node) => on(node, async (client) => String(await client.cluster('INFO')))),
      )
      return known.every((info) => info.includes(`cluster_known_nodes:${count}`))
    }
    const endsAtMs = performance.now() + READY_WITHIN_MS
    while (!(await knowAll())) {
      if (performance.now() > endsAtMs)
        throw new Error(`the servers do not meet within ${READY_WITHIN_MS} ms`)
      await sleep(100)
    }
    for (const [i, node] of this.#nodes.entries()) {
      if (i < primaries) continue
      await on(node, (client) => client.call('CLUSTER', 'REPLICATE', String(ids[i % primaries])))
    }
    await this.isWhole(primaries, replicasOfEach)
  }

  async #ask(question: (client: Redis) => Promise<unknown>): Promise<unknown> {
    for (const node of this.#nodes) {
      if (node.pid() === undefined) continue
      return await on(node, question)
    }
    throw new Error('no node is up')
  }
}

async function on<Answer>(node: ValkeyNode, ask: (client: Redis) => Promise<Answer>): Promise<Answer> {
  const client = new Redis(node.port, '127.0.0.1', { retryStrategy: null, connectTimeout: 1_000 })
  client.on('error', () => {})
  try {
    return await ask(client)
  } finally {
    client.disconnect()
  }
}

async function stateOf(node: ValkeyNode) {
  return await on(node, async (client) => {
    const info = String(await client.cluster('INFO'))
    const replication = await client.info('replication')
    const isPrimary = replication.includes('role:master')
    const replicas = [...replication.matchAll(/^slave\d+:.*state=online/gm)].length
    const isLinked = replication.includes('master_link_status:up')
    return {
      isOk: info.includes('cluster_state:ok') && info.includes(`cluster_slots_ok:${SLOTS}`),
      primaries: Number(/cluster_size:(\d+)/.exec(info)?.[1]),
      /** Of a primary; of a replica that hears of everything: `undefined`. */
      replicas: isPrimary ? replicas : isLinked ? undefined : -1,
    }
  })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
