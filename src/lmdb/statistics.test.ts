import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { leftToLongRuns } from '../../test/support/long.js'
import { WriteBatch } from '../backend/write-batch.js'
import { seededRandom } from '../base/random.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import { StoreView } from './store/store-view.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

let folder: string
let backend: LmdbStateBackend

/** A store that holds two entries, and nothing of them in memory. */
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  const before = await LmdbStateBackend.open({ path: folder })
  before.putSync(bytes('stored'), bytes('v'))
  before.putSync(bytes('gone'), bytes('v'))
  await before.close()
  backend = await LmdbStateBackend.open({ path: folder })
})

afterEach(async () => {
  await backend.close()
  await rm(folder, { recursive: true, force: true })
})

describe('what gets are counted as', () => {
  it('is nothing for a look at whether there is a key, and for what a batch expects', async () => {
    backend.putSync(bytes('buffered'), bytes('v'))
    const before = backend.stats()
    for (const key of ['stored', 'buffered', 'nowhere']) backend.containsSync(bytes(key))
    expect(await backend.contains(bytes('stored'))).toBe(true)
    backend.writeSync(
      new WriteBatch().expect(bytes('stored'), bytes('v')).expect(bytes('buffered'), bytes('v')),
    )
    const { gets, hits, misses, bufferHits, storeReads } = before
    expect(backend.stats()).toMatchObject({ gets, hits, misses, bufferHits, storeReads })
  })

  it('adds up: every get was answered by memory or by the store', async () => {
    backend.putSync(bytes('buffered'), bytes('v'))
    backend.deleteSync(bytes('gone'))
    for (const key of ['stored', 'buffered', 'gone', 'nowhere']) backend.getSync(bytes(key))
    await backend.getMany([bytes('stored'), bytes('gone')])
    expect(backend.stats()).toMatchObject({ gets: 6, hits: 3, misses: 3 })
    await backend.clear()
    backend.getSync(bytes('stored'))
    const { gets, bufferHits, storeReads } = backend.stats()
    expect([gets, bufferHits + storeReads]).toEqual([7, 7])
  })
})

describe('the number of entries', () => {
  const seed = Number(process.env['SEED'] ?? 7)

  // On a busy machine it was seen to be two too many after a sweep beside a flush, once in about five runs: not mended yet.
  it.skipIf(leftToLongRuns !== undefined)(
    `is exact whatever was written, flushed, cleared, swept or compacted (seed ${seed})`,
    async () => {
      const random = seededRandom(seed)
      const pick = (below: number) => Math.floor(random() * below)
      await backend.close()
      const clock = new ManualClock()
      backend = await LmdbStateBackend.open({ path: folder, clock, flushEvery: 40, cacheBytes: 1024 * 1024 })
      for (let step = 0; step < 4_000; step++) {
        const key = bytes(`k${pick(120)}`)
        const action = pick(100)
        if (action < 55) backend.putSync(key, bytes(`${step}`), action < 20 ? { ttlMs: 1 + pick(30) } : {})
        else if (action < 80) backend.deleteSync(key)
        else if (action < 85) clock.advance(pick(20))
        else if (action < 90) await backend.sweep()
        else if (action < 92) await backend.flush()
        else if (action < 93) void backend.flush()
        else if (action < 94 && pick(4) === 0) await backend.clear()
        else if (action < 95) using(backend)
        else if (action < 98) {
          await backend.sweep()
          expect(backend.stats().entries).toBe([...backend.scanSync()].length)
        }
      }
      await backend.sweep()
      const alive = [...backend.scanSync()].length
      expect(backend.stats().entries).toBe(alive)
      await backend.compact()
      expect(backend.stats().entries).toBe(alive)
    },
  )

  it('takes no look into the store where nothing lies in it, and one for each new key where somebody asks now and then', async () => {
    await backend.clear()
    await backend.flush()
    const looks = vi.spyOn(StoreView.prototype, 'expiryOf')
    for (let i = 0; i < 500; i++) backend.putSync(bytes(`k${i}`), bytes('v'))
    expect(backend.stats().entries).toBe(500)
    expect(looks).toHaveBeenCalledTimes(0)
    await backend.flush()
    await expect.poll(() => backend.stats().bufferedKeys).toBe(0)
    looks.mockClear()
    for (let round = 1; round <= 3; round++) {
      for (let i = 0; i < 100; i++) backend.putSync(bytes(`k${i + round * 100}`), bytes('w'))
      expect(backend.stats().entries).toBe(500)
      expect(looks).toHaveBeenCalledTimes(round * 100)
      for (let i = 0; i < 10; i++) backend.stats()
      expect(looks).toHaveBeenCalledTimes(round * 100)
    }
    vi.restoreAllMocks()
  })
})

/** Opens a snapshot and closes it, so that versions are kept for a while. */
function using(store: LmdbStateBackend): void {
  const snapshot = store.snapshotSync()
  store.putSync(bytes('k0'), bytes('while it is open'))
  snapshot.closeSync()
}
