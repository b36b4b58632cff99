// What holds of the backend in a Cluster: where all keys are in one slot, and where each key group has its own.

import type { Cluster } from 'ioredis'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { seededRandom } from '../../src/base/random.js'
import { type RedisBackendClient, RedisStateBackend, type RedisStateBackendOptions } from '../../src/redis.js'
import { type RedisClient, redisStreamSink, redisStreamSource } from '../../src/redis-streams.js'
import { runConformanceSuite } from '../../src/testing/conformance.js'
import { runSinkConformanceSuite } from '../../src/testing/sink-conformance.js'
import { runSourceConformanceSuite } from '../../src/testing/source-conformance.js'
import { runs } from '../support/long.js'
import { outputsIn } from './redis-counts.js'
import { LACKS } from './redis-state.js'
import {
  CLUSTER_CLIENTS,
  type ClusterClientKind,
  type OpenClusterClient,
  ValkeyCluster,
} from './valkey-cluster.js'

const PRIMARIES = 3
const KEY_GROUPS = 16

let cluster: ValkeyCluster
const clients = new Map<ClusterClientKind, OpenClusterClient>()
const clientOf = (kind: ClusterClientKind) => clients.get(kind)?.client as RedisBackendClient
let next = 0
beforeAll(async () => {
  cluster = await ValkeyCluster.start(PRIMARIES, 0)
  for (const kind of CLUSTER_CLIENTS) clients.set(kind, await cluster.client(kind))
})
afterAll(async () => {
  for (const { close } of clients.values()) close()
  await cluster?.stop()
})

const subjects: [ClusterClientKind, string, Partial<RedisStateBackendOptions>][] = [
  ['ioredis', 'in one slot', { ordered: true }],
  ['ioredis', 'by key groups', { ordered: true, keyGroups: KEY_GROUPS, atomic: false }],
  ['node-redis', 'in one slot', { ordered: true, shared: true }],
  ['node-redis', 'by key groups', { ordered: true, keyGroups: KEY_GROUPS, atomic: false }],
]
// What differs by client is how a slot is found: in a quick run, key groups by node-redis are left to the tests below.
for (const [kind, parts, settings] of runs(subjects, subjects.slice(0, 3))) {
  runConformanceSuite(
    { describe, it },
    {
      name: `RedisStateBackend in a Cluster by ${kind}, ${parts}`,
      open: ({ clock, ttlMs }) =>
        RedisStateBackend.open({
          client: clientOf(kind),
          name: `conformance-${next++}`,
          ...(clock !== undefined && { clock }),
          ...(ttlMs !== undefined && { ttlMs }),
          ...settings,
        }),
      cannot: LACKS,
    },
  )
}

for (const kind of CLUSTER_CLIENTS) {
  const streamClient = () => clientOf(kind) as unknown as RedisClient
  const admin = () => clientOf('ioredis') as Cluster
  const add = (stream: string, event: unknown) => admin().xadd(stream, '*', 'json', JSON.stringify(event))
  const dispose = async () => {}

  runSourceConformanceSuite({ describe, it }, `redisStreamSource in a Cluster by ${kind}`, async () => {
    const tag = `{source-${next++}}`
    const keys = [`${tag}:0`, `${tag}:1`]
    for (const key of keys) for (let i = 0; i < 3; i++) await add(key, { key, i })
    return {
      source: redisStreamSource<unknown>({ client: streamClient(), streams: keys, follow: false }),
      events: Object.fromEntries(keys.map((key) => [key, [0, 1, 2].map((i) => ({ key, i }))])),
      dispose,
    }
  })

  runSinkConformanceSuite({ describe, it }, `redisStreamSink in a Cluster by ${kind}`, async () => {
    const stream = `sink-${next++}`
    return {
      sink: redisStreamSink<unknown>({ client: streamClient(), stream, maxOutputs: 2 }),
      output: (number) => ({ number }),
      read: () => outputsIn(admin(), stream),
      committedAfterOlderCut: 'kept' as const,
      dispose,
    }
  })

  it(`a stream in a Cluster wakes a source that waits, by ${kind}`, async () => {
    const stream = `stream-${next++}`
    const source = redisStreamSource<unknown>({ client: streamClient(), streams: [stream] })
    const reader = await source.open({ positions: {} })
    const polling = reader.poll({ maxEvents: 9, waitMs: 60_000, paused: new Set() })
    await add(stream, 'a')
    expect(await polling).toMatchObject([{ events: ['a'] }])
    await reader.close()
  })
}

describe.each(CLUSTER_CLIENTS)('key groups in a Cluster, by %s', (kind) => {
  it.each([true, false])('are read and written together wherever they lie (ordered: %s)', async (ordered) => {
    const client = clientOf(kind)
    const options = { client, name: `groups-${next++}`, keyGroups: KEY_GROUPS, atomic: false, ordered }
    const backend = await RedisStateBackend.open(options)
    const owners = await Promise.all(
      Array.from({ length: KEY_GROUPS }, (_, group) => cluster.ownerOf(`{${options.name}:${group}}`)),
    )
    expect(new Set(owners).size).toBe(PRIMARIES)
    const random = seededRandom(20_261_128)
    const model = new Map<string, string>()
    const key = () => Buffer.from([0, Math.floor(random() * (KEY_GROUPS + 2)), Math.floor(random() * 20)])
    for (let round = 0; round < runs(300, 40); round++) {
      const batch = new WriteBatch()
      for (let i = 0; i < 10; i++) {
        const at = key()
        if (random() < 0.3) {
          batch.delete(at)
          model.delete(at.toString('hex'))
        } else {
          batch.put(at, Buffer.from(`${round} ${i}`))
          model.set(at.toString('hex'), `${round} ${i}`)
        }
      }
      if (round % 10 === 9) {
        const [from = Buffer.of(), until = Buffer.of()] = [key(), key()].sort(Buffer.compare)
        batch.deleteRange({ gte: from, lt: until })
        for (const held of model.keys())
          if (held >= from.toString('hex') && held < until.toString('hex')) model.delete(held)
      }
      await backend.write(batch)
      const wanted = Array.from({ length: 20 }, key)
      const values = await backend.getMany(wanted)
      expect(values.map((value) => value && Buffer.from(value).toString())).toEqual(
        wanted.map((at) => model.get(at.toString('hex'))),
      )
    }
    const sorted = [...model].sort(([left], [right]) => (left < right ? -1 : 1))
    for (const reverse of [false, true]) {
      const found: [string, string][] = []
      for await (const [at, value] of backend.scan({ reverse }))
        found.push([Buffer.from(at).toString('hex'), Buffer.from(value).toString()])
      expect(found).toEqual(reverse ? [...sorted].reverse() : sorted)
    }
    expect(await backend.count()).toBe(model.size)
    await backend.clear()
    expect(await backend.count()).toBe(0)
    await backend.close()
  })
})
