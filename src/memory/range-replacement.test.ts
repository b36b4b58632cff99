import { describe, expect, it } from 'vitest'
import { nextTurn } from '../base/slices.js'
import { Slot } from '../base/slot.js'
import { ManualClock } from '../testing/manual-clock.js'
import { MemoryStateBackend } from './memory-state-backend.js'

const bytes = (text: string) => Buffer.from(text)
const key = (part: string, i: number) => bytes(`${part}:${String(i).padStart(6, '0')}`)
const RANGE = { prefix: bytes('b:') }

function filled(clock: ManualClock, count: number, value: string): MemoryStateBackend {
  const state = new MemoryStateBackend({ clock })
  for (const part of ['a', 'b', 'c'])
    for (let i = 0; i < count; i++) state.putSync(key(part, i), bytes(value))
  return state
}

describe('replaceAll of a range', () => {
  it('leaves the event loop its turns, and every reader what was there, until it shows all at once', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    const count = 20_000
    await using state = filled(clock, count, 'old')
    await using other = new MemoryStateBackend({ clock })
    // Half of the keys are new, half of the old ones go.
    for (let i = 0; i < count; i++) other.putSync(key('b', i + count / 2), bytes('new'))
    using before = state.snapshotSync()
    using blocks = other.snapshotSync()
    const progress = { isDone: false }
    const replaced = state.replaceAll(blocks.blocks(), { range: RANGE }).finally(() => {
      progress.isDone = true
    })
    const slot = new Slot()
    const sizes = new Set<number>()
    const seen = new Set<string>()
    let scanned = 0
    for (; !progress.isDone; await nextTurn()) {
      const { liveBytes, deadBytes } = state.memoryUsage()
      sizes.add(liveBytes + deadBytes)
      const texts = [0, count / 2, count - 1, count, count + count / 2 - 1].map((i) => {
        const value = state.getSync(key('b', i))
        return value && Buffer.from(value).toString()
      })
      seen.add(
        [...texts.map(String), state.peekSync(key('b', count), slot), state.containsSync(key('b', 0))].join(),
      )
      expect(state.stats().entries).toBe(3 * count)
      if (sizes.size % 5 === 0) {
        using snapshot = state.snapshotSync({ track: true })
        expect(snapshot.base).toBeUndefined()
        expect(Buffer.from(snapshot.getSync(key('b', 5)) ?? []).toString()).toBe('old')
        expect(snapshot.containsSync(key('b', count))).toBe(false)
        scanned += Array.from(snapshot.scanSync({ ...RANGE, limit: 100 })).length
        expect(await state.count()).toBe(3 * count)
      }
    }
    await replaced
    expect([...seen]).toEqual(['old,old,old,undefined,undefined,false,true'])
    expect(scanned).toBeGreaterThan(0)
    expect(sizes.size).toBeGreaterThan(4)
    expect(before.countSync()).toBe(3 * count)
    expect(state.stats().entries).toBe(3 * count)
    expect(Array.from(state.scanSync(RANGE), ([k, v]) => `${Buffer.from(k)}=${Buffer.from(v)}`)).toEqual(
      Array.from({ length: count }, (_, i) => `${key('b', i + count / 2)}=new`),
    )
    expect(Array.from(state.scanSync({ prefix: bytes('a:') })).length).toBe(count)
    expect(Array.from(before.scanSync(RANGE)).length).toBe(count)
  })

  it('ends with close, while it writes', async () => {
    const clock = new ManualClock(1_700_000_000_000)
    const state = filled(clock, 10_000, 'old')
    await using other = new MemoryStateBackend({ clock })
    for (let i = 0; i < 10_000; i++) other.putSync(key('b', i), bytes('new'))
    using blocks = other.snapshotSync()
    const outcome = state.replaceAll(blocks.blocks(), { range: RANGE }).catch((error: unknown) => error)
    const size = () => state.memoryUsage().liveBytes + state.memoryUsage().deadBytes
    for (const begun = size(); size() === begun; ) await nextTurn()
    expect(Buffer.from(state.getSync(key('b', 0)) ?? []).toString()).toBe('old')
    await state.close()
    expect(await outcome).toMatchObject({ code: 'CLOSED' })
  })
})
