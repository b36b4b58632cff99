// The owner of a slot is killed in a Cluster while batches are written that wait for a replica.

import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WriteBatch } from '../../src/backend/write-batch.js'
import { RedisStateBackend } from '../../src/redis.js'
import { runs } from '../support/long.js'
import { ValkeyCluster } from './valkey-cluster.js'

const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(10, 2))
const KILL_LIMIT_MS = 60_000
const PRIMARIES = 3
const LANES = 8
const bytes = (text: string) => Buffer.from(text)

/** Lanes that write numbered batches, one behind the other, and what each was told. */
class Writers {
  readonly acknowledged: number[] = Array.from({ length: LANES }, () => 0)
  longestStallMs = 0
  #lastMs = performance.now()
  #isEnding = false
  readonly #done: Promise<unknown>

  constructor(backend: RedisStateBackend) {
    this.#done = Promise.all(this.acknowledged.map((_, lane) => this.#write(backend, lane)))
    this.#done.catch(() => {})
  }

  get count(): number {
    return this.acknowledged.reduce((sum, count) => sum + count, 0)
  }

  /** Resolves once so many more batches were acknowledged. */
  async more(count: number): Promise<void> {
    const enough = this.count + count
    while (this.count < enough)
      await Promise.race([this.#done, new Promise((resolve) => setTimeout(resolve, 5))])
  }

  async end(): Promise<void> {
    this.#isEnding = true
    await this.#done
  }

  /** The longest time without an answer since this was asked last. */
  takeStall(): number {
    const longest = this.longestStallMs
    this.longestStallMs = 0
    return longest
  }

  async #write(backend: RedisStateBackend, lane: number): Promise<void> {
    for (let i = 1; !this.#isEnding; i++) {
      const batch = new WriteBatch().put(bytes(`lane ${lane}`), bytes(String(i)))
      await backend.write(batch.put(bytes(`lane ${lane} ${i % 100}`), bytes(String(i))))
      this.acknowledged[lane] = i
      const nowMs = performance.now()
      this.longestStallMs = Math.max(this.longestStallMs, nowMs - this.#lastMs)
      this.#lastMs = nowMs
    }
  }
}

describe.each([1, 2])('state in a Cluster with %i replicas of each primary', (replicasOfEach) => {
  let cluster: ValkeyCluster
  beforeAll(async () => {
    cluster = await ValkeyCluster.start(PRIMARIES, replicasOfEach)
  })
  afterAll(() => cluster.stop())

  it(
    `loses nothing that was acknowledged where the owner of its slot is killed (${KILLS} kills)`,
    async () => {
      const client = cluster.client()
      const name = 'killed'
      const backend = await RedisStateBackend.open({ client, name, replicas: 1, eachWrite: true })
      const writers = new Writers(backend)
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
      for (const [lane, last] of writers.acknowledged.entries()) {
        const held = await backend.getMany([bytes(`lane ${lane}`), bytes(`lane ${lane} ${last % 100}`)])
        expect(held.map((value) => Number(Buffer.from(value ?? bytes('0'))))).toEqual([last, last])
      }
      await backend.close()
      client.disconnect()
      const shown = stalls.map(([all, ofServers]) => `${all.toFixed(0)} (${ofServers.toFixed(0)})`)
      process.stdout.write(
        `valkey cluster, ${replicasOfEach} replicas: ${KILLS} kills, ${writers.count} batches acknowledged, none lost; stalls (of which the servers took) ${shown.join(', ')} ms\n`,
      )
    },
    KILLS * KILL_LIMIT_MS,
  )
})
