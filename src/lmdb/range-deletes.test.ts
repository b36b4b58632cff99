import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type EntryBlock, EntryBlockCursor } from '../backend/entry-block.js'
import type { ScanRange } from '../backend/types.js'
import { WriteBatch } from '../backend/write-batch.js'
import { nextTurn, SLICE_MS } from '../base/slices.js'
import { ManualClock } from '../testing/manual-clock.js'
import { LmdbStateBackend } from './lmdb-state-backend.js'
import { openSharedSnapshot } from './share/lent-snapshot-reader.js'

/** Far more than one slice removes. */
const KEYS = 1_500
const RANGE = { prefix: Buffer.from('k') }
const keyOf = (i: number) => Buffer.from(`k${String(i).padStart(6, '0')}`)
const value = Buffer.from('value')

function keysOf({ bytes }: EntryBlock): string[] {
  const keys: string[] = []
  const cursor = new EntryBlockCursor(bytes)
  while (cursor.next()) {
    const { keyStart, keyLength } = cursor
    keys.push(Buffer.from(cursor.bytes.subarray(keyStart, keyStart + keyLength)).toString())
  }
  return keys
}

describe('deleteRange of a large range on LMDB', () => {
  const clock = new ManualClock(1_000)
  let backend: LmdbStateBackend

  beforeEach(async () => {
    backend = await LmdbStateBackend.temporary({
      clock,
      sweepIntervalMs: Infinity,
      flushIntervalMs: Infinity,
      cacheBytes: 1024 * 1024,
      // Time goes fast in some of these tests.
      commitTimeoutMs: 1e9,
    })
  })

  afterEach(() => backend.close())

  async function fill(ttlMs = Infinity): Promise<void> {
    await backend.clear()
    const batch = new WriteBatch().put(Buffer.from('z'), value)
    for (let i = 0; i < KEYS; i++) batch.put(keyOf(i), value, { ttlMs })
    backend.writeSync(batch)
    await backend.flush()
    // What a log has is durable, and may wait for the store for long.
    if (backend.stats().log === 'open') await backend.compact()
    // The read cache has taken over what was committed: from here on only the store holds it.
    while (backend.stats().bufferedKeys > 0) await nextTurn()
  }

  it('is done meanwhile by a writer who gives no turn', async () => {
    await fill()
    const removing = backend.deleteRange(RANGE)
    const { commits } = backend.stats()
    for (let i = 0; i < 5_000; i++) backend.putSync(Buffer.from(`w${i}`), Buffer.alloc(200))
    expect(backend.stats().commits).toBeGreaterThan(commits)
    expect([...backend.scanSync(RANGE)]).toEqual([])
    await removing
    expect((await backend.listKeys(RANGE.prefix)).length).toBe(0)
  })

  describe('where one slice is one step', () => {
    beforeEach(() => {
      let nowMs = 0
      vi.spyOn(performance, 'now').mockImplementation(() => (nowMs += SLICE_MS))
    })

    afterEach(() => vi.restoreAllMocks())

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

    const acts: readonly (readonly [string, () => void])[] = [
      ['a synchronous deletion', () => backend.deleteRangeSync(RANGE)],
      ['a batch', () => backend.writeSync(new WriteBatch().deleteRange(RANGE).put(Buffer.from('y'), value))],
      ['an asynchronous deletion', () => void backend.deleteRange(RANGE)],
    ]

    it.each(acts)('%s leaves most of a large range to later turns, in one commit', async (_, act) => {
      await fill()
      const { commits } = backend.stats()
      act()
      expect(backend.stats().entries).toBeGreaterThan(KEYS / 2)
      backend.putSync(keyOf(1), Buffer.from('new'))
      for (let turn = 0; turn < 3; turn++) {
        expect(backend.stats().commits).toBe(commits)
        expect([...backend.scanSync(RANGE)].map(([key]) => Buffer.from(key))).toEqual([keyOf(1)])
        await nextTurn()
      }
      await backend.flush()
      expect(backend.stats().commits).toBe(commits + 1)
      expect((await backend.listKeys(RANGE.prefix)).length).toBe(1)
      expect(backend.stats().entries).toBe(await backend.count())
    })

    it('snapshots and scans do not finish it, and see what is left of their moment', async () => {
      await fill()
      backend.deleteRangeSync({ gte: keyOf(10), lt: keyOf(KEYS - 10) })
      await nextTurn()
      backend.putSync(keyOf(100), Buffer.from('new'))
      const left = [...Array(KEYS).keys()]
        .filter((i) => i < 10 || i >= KEYS - 10 || i === 100)
        .map((i) => keyOf(i).toString())
      const snapshot = backend.snapshotSync()
      backend.deleteRangeSync({ lt: keyOf(5) })
      expect(backend.stats().entries).toBeGreaterThan(KEYS / 2)
      for (let round = 0; round < 2; round++) {
        const read = (range: ScanRange) =>
          [...snapshot.scanSync(range)].map(([key]) => Buffer.from(key).toString())
        expect(read(RANGE)).toEqual(left)
        expect(read({ ...RANGE, reverse: true })).toEqual(left.toReversed())
        expect(read({ gte: keyOf(20), lt: keyOf(90) })).toEqual([])
        expect(snapshot.countSync()).toBe(left.length + 1)
        expect(snapshot.getSync(keyOf(50))).toBeUndefined()
        expect(snapshot.getSync(keyOf(5))).toBeDefined()
        await backend.flush()
      }
      snapshot.closeSync()
      expect(await backend.count()).toBe(left.length + 1 - 5)
    })

    it('a snapshot that tells changes waits for it in slices, and has a tombstone for each key', async () => {
      await fill()
      const before = backend.snapshotSync({ track: true })
      const since = before.base
      expect(since).toBeDefined()
      backend.deleteRangeSync(RANGE)
      expect(backend.prepareSnapshot()).toBeUndefined()
      const prepared = backend.prepareSnapshot({ track: true })
      expect(prepared).toBeDefined()
      await prepared
      expect(backend.stats().entries).toBe(1)
      expect(backend.prepareSnapshot({ track: true })).toBeUndefined()
      const snapshot = backend.snapshotSync({ track: true, ...(since === undefined ? {} : { since }) })
      expect(snapshot.tellsChanges).toBe(true)
      let tombstones = 0
      for await (const block of snapshot.changes()) tombstones += block.entryCount
      expect(tombstones).toBe(KEYS)
      snapshot.closeSync()
      before.closeSync()
    })

    it('a snapshot that was lent to another thread sees it done', async () => {
      await fill()
      backend.deleteRangeSync(RANGE)
      const snapshot = backend.snapshotSync()
      const { data } = snapshot.share?.() ?? {}
      const reader = await openSharedSnapshot(data)
      const keys: string[] = []
      for await (const block of reader.blocks()) keys.push(...keysOf(block))
      expect(keys).toEqual(['z'])
      await reader.close()
      const again = await openSharedSnapshot(snapshot.share?.()?.data).catch(() => undefined)
      if (again !== undefined) expect(await again.count()).toBe(1)
      await again?.close()
      snapshot.closeSync()
    })
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
