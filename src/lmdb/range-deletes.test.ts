import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WriteBatch } from '../backend/write-batch.js'
import { nextTurn } from '../base/slices.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'

/** Far more than one slice removes. */
const KEYS = 4_000
const RANGE = { prefix: Buffer.from('k') }
const keyOf = (i: number) => Buffer.from(`k${String(i).padStart(6, '0')}`)
const value = Buffer.from('value')

describe('deleteRange of a large range on LMDB', () => {
  const clock = new ManualClock(1_000)
  let backend: LmdbStateBackend

  beforeEach(async () => {
    backend = await LmdbStateBackend.temporary({
      clock,
      sweepIntervalMs: Infinity,
      flushIntervalMs: Infinity,
      cacheBytes: 1024 * 1024,
    })
  })

  afterEach(() => backend.close())

  async function fill(ttlMs = Infinity): Promise<void> {
    await backend.clear()
    const batch = new WriteBatch().put(Buffer.from('z'), value)
    for (let i = 0; i < KEYS; i++) batch.put(keyOf(i), value, { ttlMs })
    backend.writeSync(batch)
    await backend.flush()
    // The read cache has taken over what was committed: from here on only the store holds it.
    while (backend.stats().bufferedKeys > 0) await nextTurn()
  }

  it('gives the event loop its turns, while every read sees all of it gone and what is put later', async () => {
    await fill()
    const state = { done: false, turns: 0 }
    const removing = backend.deleteRange(RANGE).finally(() => {
      state.done = true
    })
    backend.putSync(keyOf(KEYS - 1), Buffer.from('new'))
    while (!state.done) {
      await nextTurn()
      state.turns++
      for (const i of [0, KEYS / 2, KEYS - 2]) {
        expect(backend.getSync(keyOf(i))).toBeUndefined()
        expect(backend.containsSync(keyOf(i))).toBe(false)
      }
      expect(backend.getSync(keyOf(KEYS - 1))).toEqual(new Uint8Array(Buffer.from('new')))
    }
    await removing
    expect(state.turns).toBeGreaterThan(1)
    expect(backend.stats().entries).toBe(2)
    await backend.flush()
    expect(await backend.count()).toBe(2)
    expect((await backend.listKeys(RANGE.prefix)).map((key) => Buffer.from(key))).toEqual([keyOf(KEYS - 1)])
  })

  it('is in one commit, which a flush waits for', async () => {
    await fill()
    const { commits } = backend.stats()
    const removing = backend.deleteRange(RANGE)
    await nextTurn()
    expect(backend.stats().commits).toBe(commits)
    await backend.flush()
    expect(backend.stats()).toMatchObject({ commits: commits + 1, entries: 1 })
    await removing
  })

  it('is done at once for a snapshot, for a deletion that cannot wait, and for a writer who gives no turn', async () => {
    for (const act of [
      () => backend.snapshotSync().closeSync(),
      () => backend.deleteRangeSync(RANGE),
      () => {
        const { commits } = backend.stats()
        for (let i = 0; i < 5_000; i++) backend.putSync(Buffer.from(`w${i}`), Buffer.alloc(200))
        expect(backend.stats().commits).toBeGreaterThan(commits)
      },
    ]) {
      await fill()
      const removing = backend.deleteRange(RANGE)
      act()
      expect([...backend.scanSync(RANGE)]).toEqual([])
      await removing
      expect((await backend.listKeys(RANGE.prefix)).length).toBe(0)
    }
  })

  it('counts as expired what had expired before it, and nothing that would have expired meanwhile', async () => {
    await fill(10)
    const { expired } = backend.stats()
    const removing = backend.deleteRange(RANGE)
    clock.advance(10)
    backend.putSync(keyOf(KEYS - 1), value)
    await backend.sweep()
    await removing
    expect(backend.stats().expired).toBe(expired)

    await fill(10)
    const before = backend.stats().expired
    clock.advance(10)
    const removingExpired = backend.deleteRange(RANGE)
    backend.putSync(keyOf(KEYS - 1), value)
    await removingExpired
    expect(backend.stats()).toMatchObject({ expired: before + KEYS, entries: 2 })
  })

  it('ends well beside clear, replaceAll, compact, another deletion and close', async () => {
    const none = async function* () {}
    for (const [act, left] of [
      [() => backend.clear(), 0],
      [() => backend.replaceAll(none()), 0],
      [() => backend.replaceAll(none(), { range: { prefix: Buffer.from('z') } }), 0],
      [() => backend.compact(), 1],
      [() => backend.deleteRange({ gte: keyOf(KEYS / 2) }), 0],
    ] as const) {
      await fill()
      const removing = backend.deleteRange(RANGE)
      await act()
      await removing
      expect(await backend.count(), String(act)).toBe(left)
    }
    await fill()
    const removing = backend.deleteRange(RANGE)
    await backend.close()
    await removing
  })
})
