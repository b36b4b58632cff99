// The owner of a slot is killed in a Cluster while batches are written that wait for a replica.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RedisStateBackend } from '../../src/redis.js'
import { runs } from '../support/long.js'
import { LaneWriters } from './lane-writers.js'
import { CLUSTER_CLIENTS, type ClusterClientKind, ValkeyCluster } from './valkey-cluster.js'

const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(10, 2))
const KILL_LIMIT_MS = 60_000
const PRIMARIES = 3
/** How long no batch may be answered beyond what the servers take to give a slot a new owner: a machine that is busy keeps it. */
const STALL_LIMIT_MS = 15_000

describe.each([1, 2])('state in a Cluster with %i replicas of each primary', (replicasOfEach) => {
  let cluster: ValkeyCluster
  beforeAll(async () => {
    cluster = await ValkeyCluster.start(PRIMARIES, replicasOfEach)
  })
  afterAll(() => cluster?.stop())

  // How a client finds the new owner is the same however many replicas there are: in a quick run, both find it once.
  const kinds = runs<readonly ClusterClientKind[]>(
    CLUSTER_CLIENTS,
    replicasOfEach === 1 ? ['ioredis'] : CLUSTER_CLIENTS,
  )
  it.each(kinds)(
    `loses nothing that was acknowledged by %s where the owner of its slot is killed (${KILLS} kills)`,
    async (kind) => {
      const { client, close } = await cluster.client(kind)
      const name = `killed-by-${kind}`
      const backend = await RedisStateBackend.open({ client, name, replicas: 1, eachWrite: true })
      const writers = new LaneWriters(backend)
      await writers.more(200)
      const stalls: [all: number, ofServers: number][] = []
      for (let kill = 0; kill < KILLS; kill++) {
        const owner = await cluster.ownerOf(`{${name}}`)
        writers.takeStall()
        const killedMs = performance.now()
        await owner.kill()
        const probe = `{${name}}probe`
        const ofServers =
          replicasOfEach === 1
            ? Promise.resolve(0)
            : cluster.isTakenOver(probe, owner).then(() => performance.now() - killedMs)
        // Of one replica nothing is left to wait for until the server that was killed is back, as a replica.
        if (replicasOfEach === 1) await owner.start()

        await writers.more(200)
        stalls.push([writers.takeStall(), await ofServers])
        if (replicasOfEach > 1) await owner.start()
        await cluster.isWhole(PRIMARIES, replicasOfEach)
      }
      await writers.end()
      expect(await writers.lost()).toEqual([])
      await backend.close()
      close()
      const shown = stalls.map(([all, ofServers]) => `${all.toFixed(0)} (${ofServers.toFixed(0)})`)
      process.stdout.write(
        `valkey cluster, ${kind}, ${replicasOfEach} replicas: ${KILLS} kills, ${writers.count} batches acknowledged, none lost; stalls (of which the servers took) ${shown.join(', ')} ms\n`,
      )
      // Of one replica, what the servers took is not known: nothing is written there until the killed one is back.
      const ofClients = replicasOfEach === 1 ? [] : stalls.map(([all, ofServers]) => all - ofServers)
      for (const stallMs of ofClients) expect(stallMs).toBeLessThan(STALL_LIMIT_MS)
    },
    KILLS * KILL_LIMIT_MS,
  )
})
