import { describe, expect, it } from 'vitest'
import type { ChangeBase } from '../backend/state-snapshot.js'
import { Slot } from '../base/slot.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const LONG = process.env['HOLDFAST_LONG'] === '1'
const value = Buffer.alloc(40, 'v')

function numbered(i: number): Buffer {
  const key = Buffer.alloc(16, 'key:')
  key.writeUInt32BE(i, 12)
  return key
}

/**
 * Puts arrive at a rate and nothing else happens: the caller gives timers no turn. Returns the most entries that were held,
 * and the most memory, at any of some moments after the first two seconds.
 */
function arrive(
  state: MemoryStateBackend,
  clock: ManualClock,
  { perSecond, seconds, put }: { perSecond: number; seconds: number; put: (i: number) => void },
): { entries: number; bytes: number; expiryBytes: number } {
  const held = { entries: 0, bytes: 0, expiryBytes: 0 }
  const perMs = perSecond / 1_000
  for (let ms = 0; ms < seconds * 1_000; ms++) {
    for (let i = 0; i < perMs; i++) put(ms * perMs + i)
    clock.set(clock.now() + 1)
    if (ms < 2_000 || ms % 50 !== 0) continue
    const memory = state.memoryUsage()
    held.entries = Math.max(held.entries, state.stats().entries)
    held.bytes = Math.max(held.bytes, memory.totalBytes)
    held.expiryBytes = Math.max(held.expiryBytes, memory.expiryBytes)
  }
  return held
}

const perSecond = LONG ? 150_000 : 16_000
const seconds = LONG ? 20 : 5

describe('at any rate of arrival, what is held stays near what is alive', () => {
  it('where every put is a new key with a short life', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock })
    const put = (i: number) => state.putSync(numbered(i), value, { ttlMs: 1_000 })
    const held = arrive(state, clock, { perSecond, seconds, put })
    expect(held.entries).toBeLessThan(perSecond * 1.1)
  })

  it('where lives differ by a factor of a thousand', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock })
    const lives = [10, 100, 1_000, 3_000]
    const put = (i: number) => state.putSync(numbered(i), value, { ttlMs: lives[i % 4] ?? 1 })
    const held = arrive(state, clock, { perSecond, seconds, put })
    const alive = lives.reduce((sum, ms) => sum + (perSecond / 4) * (ms / 1_000), 0)
    expect(held.entries).toBeLessThan(alive * 1.1)
  })

  it('where entries are made by updates in place, and some live on by them', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock, ttlMs: 1_000 })
    const slot = new Slot()
    const put = (i: number) => state.updateSync(numbered(i % 3 === 0 ? i % 100 : i), 8, slot)
    const held = arrive(state, clock, { perSecond, seconds, put })
    expect(held.entries).toBeLessThan(perSecond * 1.1)
  })

  it('where keys are put and deleted again long before they expire', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock })
    const put = (i: number) => {
      state.putSync(numbered(i), value, { ttlMs: 86_400_000 })
      state.deleteSync(numbered(i))
    }
    const held = arrive(state, clock, { perSecond, seconds, put })
    expect(held.entries).toBeLessThan(10)
    expect(held.expiryBytes).toBeLessThan(300_000)
  })

  it('where the lives of a few keys get longer and shorter all the time', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock })
    const put = (i: number) =>
      state.putSync(numbered(i % 10), value, { ttlMs: i % 2 === 0 ? 3_600_000 : 2_000 })
    const held = arrive(state, clock, { perSecond, seconds, put })
    expect(held.entries).toBe(10)
    expect(held.expiryBytes).toBeLessThan(300_000)
    clock.set(clock.now() + 3_600_000)
    state.sweep()
    expect(state.stats()).toMatchObject({ entries: 0, expired: 10 })
  })
})

describe('what is held stays near what is alive, whoever reads beside the writes', () => {
  const arrivals = 3_000
  const life = { ttlMs: 1_000 }
  const long = { seconds: LONG ? 120 : 9 }

  /** Calls `each` at every second; it is given the second. */
  type Reader = (state: MemoryStateBackend) => (second: number) => void

  /** The most memory that `put` takes, called for so many numbers in every second. */
  async function heldBytes(
    reader: Reader,
    put = (state: MemoryStateBackend, i: number) => state.putSync(numbered(i), value, life),
  ): Promise<number> {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock })
    const each = reader(state)
    return arrive(state, clock, {
      perSecond: arrivals,
      ...long,
      put: (i) => {
        if (i % arrivals === 0) each(i / arrivals)
        put(state, i)
      },
    }).bytes
  }

  /** A snapshot that is held for the whole run, and sees at its end what it saw at first. */
  const holds: Reader = (state) => {
    for (let i = 1; i <= 100; i++) state.putSync(numbered(2 ** 32 - i), value)
    const snapshot = state.snapshotSync()
    return () => {
      expect(Array.from(snapshot.scanSync()).length).toBe(100)
    }
  }

  /** What a coordinator does with its checkpoints, every two seconds: the base is a new one, two seconds later it is the only one. */
  const tracks: Reader = (state) => {
    let base: ChangeBase | undefined
    let older: ChangeBase | undefined
    let told = 0
    return (second) => {
      if (second === long.seconds - 1) expect(told).toBeGreaterThan(0)
      if (second % 2 !== 0) return
      const snapshot = state.snapshotSync({ track: true, ...(base && { since: base }) })
      if (snapshot.tellsChanges) told++
      snapshot.closeSync()
      older?.release()
      older = base
      base = snapshot.base
    }
  }

  /** Snapshots that follow one another, each closed when the next one but one is opened. */
  const overlaps: Reader = (state) => {
    const open: { closeSync(): void }[] = []
    return () => {
      open.push(state.snapshotSync())
      if (open.length > 2) open.shift()?.closeSync()
    }
  }

  const both =
    (...readers: readonly Reader[]): Reader =>
    (state) => {
      const calls = readers.map((reader) => reader(state))
      return (second) => {
        for (const call of calls) call(second)
      }
    }

  const nobody: Reader = () => () => {}

  const everybody = both(holds, tracks, overlaps)

  it('while a snapshot is open and scanned, or bases or snapshots follow one another, or all of that', async () => {
    const alone = await heldBytes(nobody)
    expect((await heldBytes(holds)) / alone).toBeLessThan(2)
    expect((await heldBytes(tracks)) / alone).toBeLessThan(4)
    expect((await heldBytes(overlaps)) / alone).toBeLessThan(6)
    expect((await heldBytes(everybody)) / alone).toBeLessThan(8)
  })

  it('where entries are refreshed some times before they expire', async () => {
    const refresh = (state: MemoryStateBackend, i: number) => {
      for (const before of [0, arrivals / 16, arrivals / 2]) {
        if (i >= before) state.putSync(numbered(i - before), value, life)
      }
    }
    expect((await heldBytes(everybody, refresh)) / (await heldBytes(nobody, refresh))).toBeLessThan(6)
  })

  it('where the same keys are put and deleted all the time', async () => {
    const cycle = (state: MemoryStateBackend, i: number) => {
      const key = numbered(2 ** 32 - 1 - (i % 100))
      state.deleteSync(key)
      if (i % 3 > 0) state.putSync(key, value)
    }
    expect(await heldBytes(everybody, cycle)).toBeLessThan(2_200_000)
  })
})

describe('listeners of expired entries', () => {
  it('may write again what has expired: each entry is told once, and no call of theirs is nested in another', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    await using state = new MemoryStateBackend({ clock, sweepIntervalMs: Infinity })
    for (let i = 0; i < 20_000; i++) state.putSync(numbered(i), value, { ttlMs: 1_000 })
    clock.set(clock.now() + 1_000)
    let told = 0
    let depth = 0
    let deepest = 0
    state.on('expired', ({ keys }) => {
      deepest = Math.max(deepest, ++depth)
      told += keys.length
      for (const key of keys) state.putSync(key, value, { ttlMs: 3_600_000 })
      depth--
    })
    state.putSync(numbered(20_000), value, { ttlMs: 3_600_000 })
    state.sweep()
    state.sweep()
    expect(deepest).toBe(1)
    expect(told).toBe(20_000)
    expect(state.stats()).toMatchObject({ entries: 20_001, expired: 20_000 })
  })
})
