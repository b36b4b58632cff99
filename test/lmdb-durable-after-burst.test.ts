// LMDB loads its list of free pages in each commit, unless it is told otherwise (see FREE_PAGES_LOADED in environment.ts): a burst
// that frees many pages would then make each durable write after it slow. Processor time is compared, within one run,
// because the time that a disk takes says nothing.

import { afterEach, describe, expect, it } from 'vitest'
import { seededRandom } from '../src/base/random.js'
import { LmdbStateBackend } from '../src/lmdb/lmdb-state-backend.js'
import { leftToLongRuns } from './support/long.js'

const SLOWER_AT_MOST = 3
const WARM_UP_PUTS = 15
const MEASURED_PUTS = 12

let backend: LmdbStateBackend

afterEach(async () => {
  await backend.close()
})

const keyOf = (i: number): Uint8Array => new TextEncoder().encode(`key ${String(i).padStart(8, '0')}`)

/** Processor time of one durable put of a random key in microseconds: the lower quartile of some, which a busy machine disturbs least. */
async function durablePutMicros(entries: number, value: Uint8Array, random: () => number): Promise<number> {
  const micros: number[] = []
  for (let i = 0; i < WARM_UP_PUTS + MEASURED_PUTS; i++) {
    const before = process.cpuUsage()
    await backend.put(keyOf(Math.floor(random() * entries)), value, { durable: true })
    const { user, system } = process.cpuUsage(before)
    if (i >= WARM_UP_PUTS) micros.push(user + system)
  }
  micros.sort((a, b) => a - b)
  return micros[MEASURED_PUTS >> 2] as number
}

async function fill(entries: number, value: Uint8Array): Promise<void> {
  for (let i = 0; i < entries; i++) backend.putSync(keyOf(i), value)
  await backend.flush()
}

describe('a durable put takes no more processor time than thrice that on a fresh store', () => {
  it('after a burst of deletions in random order, in a few large commits', async () => {
    const entries = 30_000
    const commits = 4
    // Of this length each value has a page of its own, which its deletion frees.
    const value = new Uint8Array(2_100)
    const random = seededRandom(1)
    backend = await LmdbStateBackend.temporary({ flushEvery: entries })
    await fill(entries, value)
    const fresh = await durablePutMicros(entries, value, random)
    const half = Array.from({ length: entries }, (_, i) => ({ i, place: random() }))
      .sort((a, b) => a.place - b.place)
      .slice(0, entries / 2)
    for (const [n, { i }] of half.entries()) {
      backend.deleteSync(keyOf(i))
      if ((n + 1) % (entries / 2 / commits) === 0) await backend.flush()
    }
    const worn = await durablePutMicros(entries, value, random)
    expect(worn / fresh, `${worn} and ${fresh} µs`).toBeLessThan(SLOWER_AT_MOST)
  })

  it.skipIf(leftToLongRuns !== undefined)(
    `after 200,000 random updates of a million entries${leftToLongRuns === undefined ? '' : ` (${leftToLongRuns})`}`,
    async () => {
      const entries = 1_000_000
      const value = new Uint8Array(100)
      const random = seededRandom(1)
      backend = await LmdbStateBackend.temporary()
      await fill(entries, value)
      const fresh = await durablePutMicros(entries, value, random)
      for (let i = 0; i < 200_000; i++) backend.putSync(keyOf(Math.floor(random() * entries)), value)
      await backend.flush()
      const worn = await durablePutMicros(entries, value, random)
      expect(worn / fresh, `${worn} and ${fresh} µs`).toBeLessThan(SLOWER_AT_MOST)
    },
  )
})
