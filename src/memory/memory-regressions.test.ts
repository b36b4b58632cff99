// Each of these went wrong once, or would go unnoticed if the line that it guards were broken.

import { describe, expect, it } from 'vitest'
import { EntryBlockBuilder } from '../backend/entry-block.js'
import { WriteBatch } from '../backend/write-batch.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const key = (text: string) => Buffer.from(text)
const value = (size: number) => new Uint8Array(size).fill(7)
const SMALLEST_LIMIT = 64 * 1024

function open(maxBytes = Infinity): { backend: MemoryStateBackend; clock: ManualClock } {
  const clock = new ManualClock()
  return { backend: new MemoryStateBackend({ clock, maxBytes, sweepIntervalMs: Infinity }), clock }
}

function fill(backend: MemoryStateBackend, put: (i: number) => void): number {
  for (let i = 0; ; i++) {
    try {
      put(i)
    } catch (error) {
      expect(error).toMatchObject({ code: 'BACKEND_FULL' })
      return backend.stats().entries
    }
  }
}

describe('memory engine: what went wrong once', () => {
  it('a delete whose tombstone begins a new segment is not lost', () => {
    for (let fillers = 150; fillers < 200; fillers++) {
      const { backend } = open(SMALLEST_LIMIT)
      backend.putSync(key('old'), value(4_000))
      const snapshot = backend.snapshotSync()
      expect([...snapshot.scanSync()].length).toBe(1)
      for (let i = 0; i < fillers; i++) backend.putSync(key(`t${i}`), value(1))
      for (let i = 0; i < fillers; i++) backend.deleteSync(key(`t${i}`))
      backend.deleteSync(key('old'))
      expect(backend.getSync(key('old')), `${fillers}`).toBeUndefined()
      expect([...backend.scanSync()]).toEqual([])
      expect(snapshot.getSync(key('old'))).toEqual(value(4_000))
    }
  })

  it('sweep ends although a full log has no room to compact in', () => {
    const { backend } = open(SMALLEST_LIMIT)
    const count = fill(backend, (i) => backend.putSync(key(String(i)), value(0)))
    expect([...backend.scanSync()].length).toBe(count)
    for (let i = 0; i < count; i++) if (i % 5 > 1) backend.deleteSync(key(String(i)))
    backend.sweep()
    expect(backend.getSync(key('1'))).toEqual(value(0))
  })

  it('an expired entry that was swept to make room for its successor is counted once, and the successor expires', () => {
    const { backend, clock } = open(SMALLEST_LIMIT)
    for (let i = 0; i < 60; i++) backend.putSync(key(`e${i}`), value(100), { ttlMs: 1_000 })
    fill(backend, (i) => backend.putSync(key(`f${i}`), value(100)))
    const unexpired = backend.stats().entries - 60
    clock.advance(2_000)
    backend.putSync(key('e0'), value(120), { ttlMs: 5_000 })
    expect(backend.stats().expired).toBe(60)
    clock.advance(10_000)
    backend.sweep()
    expect(backend.stats()).toMatchObject({ expired: 61, entries: unexpired })
  })

  it('a batch of many lifetimes applies wholly or not at all near the limit', () => {
    for (let size = 100; size < 600; size += 7) {
      const { backend } = open(SMALLEST_LIMIT)
      const batch = new WriteBatch()
      for (let i = 0; i < size; i++) batch.put(key(`k${i}`), value(100), { ttlMs: 1_000 * (i + 1) })
      try {
        backend.writeSync(batch)
      } catch (error) {
        expect(error).toMatchObject({ code: 'BACKEND_FULL' })
      }
      expect([0, size]).toContain(backend.stats().entries)
    }
  })

  it('a restored entry whose time is long past is not there', async () => {
    const { backend } = open()
    const builder = new EntryBlockBuilder(1_024)
    builder.add(key('a'), value(1), -1e300)
    const block = builder.take()
    await backend.replaceAll(
      (async function* () {
        yield block
      })(),
    )
    expect(backend.getSync(key('a'))).toBeUndefined()
    expect(await backend.count()).toBe(0)
  })

  it('a listener that clears or closes the backend while a snapshot begins', () => {
    for (const act of ['clear', 'close'] as const) {
      const { backend, clock } = open()
      backend.putSync(key('stays'), value(1))
      backend.putSync(key('goes'), value(1), { ttlMs: 10 })
      backend.on('expired', () => void backend[act]())
      clock.advance(20)
      if (act === 'clear') expect(backend.snapshotSync().countSync()).toBe(0)
      else expect(() => backend.snapshotSync()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    }
  })

  it('a snapshot counts exactly although entries come and go while it counts', async () => {
    const { backend, clock } = open()
    for (let i = 0; i < 60_000; i++) backend.putSync(key(`k${i}`), value(4))
    for (let i = 0; i < 200_000; i++) backend.putSync(key(`x${i}`), value(4), { ttlMs: 10 })
    clock.advance(20)
    const snapshot = backend.snapshotSync()
    const counting = snapshot.count()
    for (let turn = 0; turn < 5; turn++) {
      for (let i = turn; i < 60_000; i += 3) backend.deleteSync(key(`k${i}`))
      for (let i = 0; i < 5_000; i++) backend.putSync(key(`new${turn}:${i}`), value(4))
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
    }
    expect(await counting).toBe(60_000)
  })
})

describe('memory engine: guards', () => {
  it('a value that shrinks by more than slack can record is written anew', () => {
    const { backend } = open()
    backend.putSync(key('a'), value(1_000_000))
    backend.putSync(key('a'), value(10))
    backend.putSync(key('b'), value(10))
    expect(backend.memoryUsage().liveBytes).toBeLessThan(1_000)
  })

  it('a key born and gone beside a snapshot leaves no tombstone', () => {
    const { backend } = open()
    backend.putSync(key('x'), value(1))
    using _ = backend.snapshotSync()
    const { liveBytes } = backend.memoryUsage()
    for (let i = 0; i < 100; i++) {
      backend.putSync(key(`n${i}`), value(9))
      backend.putSync(key(`n${i}`), value(99))
      backend.deleteSync(key(`n${i}`))
    }
    expect(backend.memoryUsage().liveBytes).toBe(liveBytes)
  })

  it('a segment that was emptied while two snapshots were open outlives the first to close', () => {
    const { backend } = open(SMALLEST_LIMIT)
    backend.putSync(key('a'), value(3_000))
    const first = backend.snapshotSync()
    backend.putSync(key('z'), value(1))
    const second = backend.snapshotSync()
    for (let round = 0; round < 4; round++) backend.putSync(key('a'), value(3_000 + round * 8))
    first.closeSync()
    for (let i = 0; i < 6; i++) backend.putSync(key(`q${i}`), new Uint8Array(3_000).fill(1))
    expect(second.getSync(key('a'))).toEqual(value(3_000))
  })

  it('new keys stay in order when their segment is compacted before they are merged', () => {
    const { backend } = open(1024 * 1024)
    backend.putSync(key('a'), value(1))
    expect([...backend.scanSync()].length).toBe(1)
    for (let i = 0; i < 3_000; i++) backend.putSync(key(`n${i}`), value(60))
    for (let i = 0; i < 3_000; i++) if (i % 5 !== 0) backend.deleteSync(key(`n${i}`))
    backend.sweep()
    for (let i = 0; i < 3_000; i++) backend.putSync(key('f'), value(50 + (i % 100)))
    expect([...backend.scanSync({ prefix: key('n') })].length).toBe(600)
  })

  it('compaction after shrinking in place leaves what it moved whole', () => {
    const { backend } = open(1024 * 1024)
    for (let i = 0; i < 2_000; i++) backend.putSync(key(`n${i}`), value(200))
    for (let i = 0; i < 2_000; i++) backend.putSync(key(`n${i}`), value(20))
    for (let i = 1; i < 2_000; i += 2) backend.deleteSync(key(`n${i}`))
    backend.sweep()
    for (let i = 0; i < 2_000; i += 2) backend.putSync(key(`n${i}`), value(21))
    backend.sweep()
    const entries = [...backend.scanSync()]
    expect(entries.length).toBe(1_000)
    expect(entries.every(([, each]) => each.length === 21)).toBe(true)
  })
})
