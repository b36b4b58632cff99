// A process that makes checkpoints in a store, mirrors and copies them is killed at random moments, or its server, or both.

import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { seededRandom } from '../../src/base/random.js'
import type { BucketCheckpointStorage } from '../../src/bucket/bucket-checkpoint-storage.js'
import { CheckpointArchive } from '../../src/checkpoint/archive/checkpoint-archive.js'
import { CheckpointCoordinator } from '../../src/checkpoint/coordinator/checkpoint-coordinator.js'
import { MemoryStateBackend } from '../../src/memory/memory-state-backend.js'
import { compileSources } from '../faults/compile-sources.js'
import { runs } from '../support/long.js'
import { type ObjectStore, placeIn, problemOf, roundOf } from './children/checkpoint-places.js'

/** `HOLDFAST_KILLS` asks for another number. */
const KILLS = Number(process.env['HOLDFAST_KILLS'] ?? runs(50, 4))
const KILL_LIMIT_MS = 60_000
const SEED = 20_261_201
const PLACES = ['own', 'mirror', 'copies'] as const
type Place = (typeof PLACES)[number]

/** What a store needs to be told apart, and asked about, by these tests. */
export interface KilledStore {
  /** How the server ends: `end`, where it forgets what it acknowledged when it is killed. Default `kill`. */
  readonly serverEndsBy?: 'kill' | 'end'
  /** Who is killed in turn. A server that keeps nothing is not. */
  readonly victims: readonly ('process' | 'server' | 'both')[]
  /** Makes the bucket. */
  prepare?(address: string): Promise<void>
  /** Keys of uploads under a prefix that were begun and neither completed nor aborted; left out where these cannot be told. */
  unfinished?(address: string, prefix: string): Promise<readonly string[]>
}

/** Makes checkpoints until it is killed. */
class Writer {
  readonly #child: ChildProcess
  readonly ended: Promise<number | null>
  /** The last round of each kind that it has told of. */
  readonly told = new Map<string, number>()
  #hasEnded = false
  #news: () => void = () => {}

  constructor(script: string, args: readonly string[]) {
    const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [what = '', round] = line.split(' ')
      this.told.set(what, Number(round))
      this.#news()
    })
    this.ended = new Promise((resolve) => {
      child.on('close', (status) => {
        this.#hasEnded = true
        this.#news()
        resolve(status)
      })
    })
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  async tells(what: string): Promise<void> {
    while (!this.told.has(what)) {
      if (this.#hasEnded) throw new Error(`the writer has ended: ${JSON.stringify([...this.told])}`)
      await new Promise<void>((resolve) => {
        this.#news = resolve
      })
    }
  }
}

/** What is in a place is whole: every checkpoint verifies, and the newest restores to the exact state of its round, which is returned. */
async function checked(storage: BucketCheckpointStorage): Promise<number> {
  const archive = new CheckpointArchive(storage)
  for (const { id } of await archive.list()) await archive.verify(id)
  const backend = new MemoryStateBackend()
  try {
    const restored = await new CheckpointCoordinator(backend, { storage }).restoreLatest()
    if (restored === undefined) return 0
    expect(await problemOf(backend)).toBeUndefined()
    return await roundOf(backend)
  } finally {
    await backend.close()
  }
}

export function checkpointsSurviveKills(store: ObjectStore, killed: KilledStore): void {
  describe(`checkpoints in ${store} whose maker is killed`, () => {
    let service: RunningService
    let script: string
    beforeAll(async () => {
      service = await startService(store)
      await killed.prepare?.(service.address)
      script = (await compileSources()).pathOf('test/services/children/checkpoint-writer.ts')
    })
    afterAll(() => service?.stop())

    it(
      `are there and exact where they were acknowledged, in the storage, its mirror and its copies, and nothing is left of what was begun (${KILLS} kills)`,
      async () => {
        const random = seededRandom(SEED)
        const place = (part: Place) => placeIn(store, service.address, `killed/${part}`)
        const args = [store, service.address, 'killed']
        // How long a round takes here and now: the moments of the kills are spread over it.
        const timed = new Writer(script, [...args, '2'])
        await timed.tells('begun')
        const beganMs = performance.now()
        expect(await timed.ended).toBe(0)
        const roundMs = (performance.now() - beganMs) / 2
        const counts = { process: 0, server: 0, both: 0 }
        const published: Record<Place, number> = { own: 0, mirror: 0, copies: 0 }
        for (let kill = 0; kill < KILLS; kill++) {
          const victim = killed.victims[kill % killed.victims.length] ?? 'process'
          const writer = new Writer(script, args)
          await writer.tells('begun')
          await sleep(random() * roundMs * 1.2)
          if (victim !== 'process') await service[killed.serverEndsBy ?? 'kill']()
          if (victim === 'both') writer.kill()
          if (victim !== 'process') await service.start()
          // One whose server has died goes on by itself before it is killed as well.
          if (victim === 'server') await writer.tells('published')
          writer.kill()
          await writer.ended
          counts[victim]++
          published.own = Math.max(published.own, writer.told.get('published') ?? 0)
          published.mirror = Math.max(published.mirror, writer.told.get('mirrored') ?? 0)
          published.copies = Math.max(published.copies, writer.told.get('copied') ?? 0)
          for (const part of PLACES) {
            const found = await checked(place(part))
            expect(found, `${part} behind kill ${kill}`).toBeGreaterThanOrEqual(published[part])
          }
        }
        // The next checkpoint works, everywhere; what was begun and never finished goes with it.
        const last = new Writer(script, [...args, '1'])
        expect(await last.ended).toBe(0)
        const rounds = await Promise.all(PLACES.map((part) => checked(place(part))))
        expect(new Set(rounds).size).toBe(1)
        let discarded = 0
        for (const part of PLACES) {
          const lease = await place(part).acquire()
          discarded += await lease.discardUncommitted(0)
          expect(await lease.discardUncommitted(0)).toBe(0)
          await lease.release()
          if (killed.unfinished !== undefined)
            expect(await killed.unfinished(service.address, `killed/${part}/`)).toEqual([])
        }
        process.stdout.write(
          `${store}: killed ${JSON.stringify(counts)}, ${rounds[0]} rounds, ${discarded} leftovers discarded at the end; nothing lost or damaged\n`,
        )
      },
      (KILLS + 3) * KILL_LIMIT_MS,
    )
  })
}
