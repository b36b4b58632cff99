import { Redis } from 'ioredis'
import { createClient } from 'redis'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { type RedisBackendClient, RedisStateBackend, type RedisStateBackendOptions } from '../../src/redis.js'
import { runConformanceSuite } from '../../src/testing/conformance.js'
import { runs } from '../support/long.js'

interface OpenClient {
  readonly client: RedisBackendClient
  close(): void
}

const stateClients: { readonly [name: string]: (address: string) => Promise<OpenClient> } = {
  ioredis: async (address) => {
    const client = new Redis(address, { maxRetriesPerRequest: 1 })
    client.on('error', () => {})
    return { client, close: () => client.disconnect() }
  },
  'node-redis': async (address) => {
    const client = createClient({ url: address })
    client.on('error', () => {})
    await client.connect()
    return { client, close: () => client.destroy() }
  },
}

/** What the conformance suite is told of the backend, wherever it runs. */
export const LACKS = {
  sync: 'it is across a network',
  sweep:
    'its sweeps wait for a server, which a clock that a test moves does not; a test of its own is beside this',
  maxBytes: 'the server has the limit (maxmemory); a test of its own is beside this',
  snapshots: 'a server has no instant of several commands',
  instantScans: 'each page of a scan is a script of its own',
  replaceAll: 'nothing replaces a store in one step beside readers',
  changes: 'it has no snapshots',
  share: 'it has no snapshots',
  inPlace: 'it is across a network',
  largeValues: 'values have at most 16 MiB',
}

/** What holds of the backend on a real server of some kind. */
export function redisStateHolds(system: string): void {
  let service: RunningService
  let next = 0
  beforeAll(async () => {
    service = await startService(system)
  })
  afterAll(() => service?.stop())

  const subjects: [string, string, Partial<RedisStateBackendOptions>][] = [
    ['ioredis', 'in order', { ordered: true }],
    ['ioredis', 'without order', {}],
    ['ioredis', 'shared by several', { shared: true, ordered: true }],
    ['ioredis', 'with a near cache', { nearCacheBytes: 100_000 }],
    ['node-redis', 'in order', { ordered: true }],
  ]
  // A client and a near cache are the same whatever the server: in a quick run one kind of server has them all.
  for (const [name, kind, settings] of runs(subjects, system === 'redis' ? subjects : subjects.slice(0, 3))) {
    describe(`with ${name}, ${kind}`, () => {
      let opened: OpenClient
      beforeAll(async () => {
        opened = (await stateClients[name]?.(service.address)) as OpenClient
      })
      afterAll(() => opened.close())
      runConformanceSuite(
        { describe, it },
        {
          name: `RedisStateBackend on ${system}`,
          open: ({ clock, ttlMs }) =>
            RedisStateBackend.open({
              client: opened.client,
              name: `conformance-${next++}`,
              ...(clock !== undefined && { clock }),
              ...(ttlMs !== undefined && { ttlMs }),
              ...settings,
            }),
          cannot: LACKS,
        },
      )
    })
  }
}
