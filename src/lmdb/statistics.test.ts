import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { runs } from '../../test/support/long.js'
import { EntryBlockBuilder } from '../backend/entry-block.js'
import { WriteBatch } from '../backend/write-batch.js'
import { seededRandom } from '../base/random.js'
import { SLICE_MS } from '../base/slices.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import { StoreView } from './store/store-view.js'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

const STEPS = runs(4_000, 600)

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

  it(`is exact whatever was written, flushed, cleared, swept, replaced or compacted (seed ${seed})`, async () => {
    const random = seededRandom(seed)
    const pick = (below: number) => Math.floor(random() * below)
    await backend.close()
    const clock = new ManualClock()
    const options = { path: folder, clock, flushEvery: 40, cacheBytes: 1024 * 1024 }
    backend = await LmdbStateBackend.open(options)
    // Slices end anywhere.
    const { now } = performance
    let aheadMs = 0
    vi.spyOn(performance, 'now').mockImplementation(() => {
      if (random() < 0.2) aheadMs += SLICE_MS
      return now.call(performance) + aheadMs
    })
    for (let step = 0; step < STEPS; step++) {
      const key = bytes(`k${pick(120)}`)
      const action = pick(100)
      if (action < 55) backend.putSync(key, bytes(`${step}`), action < 20 ? { ttlMs: 1 + pick(30) } : {})
      else if (action < 77) backend.deleteSync(key)
      else if (action < 82) clock.advance(pick(20))
      else if (action < 86) await backend.sweep()
      else if (action < 88) await backend.flush()
      else if (action < 90) void backend.flush()
      else if (action < 91 && pick(4) === 0) await backend.clear()
      else if (action < 92) using(backend)
      else if (action < 93) backend.deleteRangeSync({ gte: key, lt: bytes('k7') })
      else if (action < 94 && pick(4) === 0) await replaceStretch(backend, pick)
      else if (action < 95 && pick(4) === 0) {
        await backend.close()
        backend = await LmdbStateBackend.open(options)
      } else if (action < 98) {
        await backend.sweep()
        expect(backend.stats().entries).toBe([...backend.scanSync()].length)
      }
    }
    await backend.sweep()
    const alive = [...backend.scanSync()].length
    expect(backend.stats().entries).toBe(alive)
    await backend.compact()
    expect(backend.stats().entries).toBe(alive)
    vi.restoreAllMocks()
  })

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

/** Replaces what is from `k3` to `k5` by some entries, of which some expire. */
async function replaceStretch(store: LmdbStateBackend, pick: (below: number) => number): Promise<void> {
  const snapshot = store.snapshotSync()
  const nowMs = snapshot.takenAtMs
  snapshot.closeSync()
  const builder = new EntryBlockBuilder(1_000)
  for (let i = 30; i < 50; i++) {
    if (pick(2) === 0) continue
    const key = bytes(`k${i}`)
    const expiresAtMs = pick(2) === 0 ? Infinity : nowMs + 1 + pick(30)
    builder.add(key, key, expiresAtMs)
  }
  if (builder.entryCount === 0) return
  const block = builder.take()
  await store.replaceAll(
    (async function* () {
      yield block
    })(),
    { range: { gte: bytes('k3'), lt: bytes('k5') } },
  )
}
