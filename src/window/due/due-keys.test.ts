import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runThrough } from '../../base/slices.js'
import { type DueBatch, DueKeys } from './due-keys.js'

const encoder = new TextEncoder()

function add(due: DueKeys, dueMs: number, key: string, group = 0): void {
  const bytes = encoder.encode(`..${key}`)
  due.add(dueMs, group, { bytes, offset: 2, length: bytes.length - 2 })
}

function shown(batch: DueBatch): string[] {
  const stretch = { bytes: new Uint8Array(0), offset: 0, length: 0 }
  return Array.from({ length: batch.size }, (_, i) => {
    batch.key(i, stretch)
    const key = Buffer.from(stretch.bytes).toString('latin1', stretch.offset, stretch.offset + stretch.length)
    return `${batch.dueMs(i)} ${batch.group(i)} ${key}`
  })
}

describe('due keys', () => {
  it('come by time, then by bytes, each once', () => {
    const due = new DueKeys()
    add(due, 20, 'b', 7)
    add(due, 10, 'z')
    add(due, 20, 'a', 3)
    add(due, 21, 'a')
    expect(due.nextMs).toBe(10)
    expect(shown(runThrough(due.takeUntil(20)))).toEqual(['10 0 z', '20 3 a', '20 7 b'])
    expect(due.size).toBe(1)
    expect(due.nextMs).toBe(21)
    expect(shown(runThrough(due.takeUntil(Infinity)))).toEqual(['21 0 a'])
    expect(due.nextMs).toBe(Infinity)
  })

  it('are counted up to a time, also where a bucket has some that are due later', () => {
    const due = new DueKeys()
    runThrough(due.takeUntil(0))
    for (const dueMs of [10, 20, 20, 300, 100_000, 2 ** 52]) add(due, dueMs, 'a')
    expect([0, 10, 19, 20, 300, 99_999, 100_000, Infinity].map((timeMs) => due.countUntil(timeMs))).toEqual([
      0, 1, 1, 3, 4, 4, 5, 6,
    ])
  })

  it('come late where they were due before the time at hand', () => {
    const due = new DueKeys()
    runThrough(due.takeUntil(1_000_000))
    add(due, -5, 'old')
    expect(shown(runThrough(due.takeUntil(1_000_000)))).toEqual(['-5 0 old'])
  })

  it('that are due at the end of time come there', () => {
    const due = new DueKeys()
    add(due, Infinity, 'last')
    expect(shown(runThrough(due.takeUntil(2 ** 52)))).toEqual([])
    expect(shown(runThrough(due.takeUntil(Infinity)))).toEqual(['Infinity 0 last'])
  })

  it('agree with sorting, for times near and far and however time goes on', () => {
    const times = fc.oneof(
      fc.integer({ min: -1_000, max: 1_000 }),
      fc.integer({ min: -(2 ** 42), max: 2 ** 42 }),
      fc.constantFrom(Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER),
    )
    const step = fc.record({
      add: fc.array(fc.tuple(times, fc.string({ unit: 'binary-ascii', maxLength: 4 })), { maxLength: 20 }),
      takeMs: fc.nat({ max: 2 ** 33 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const due = new DueKeys()
        let left: [number, string][] = []
        let timeMs = -1_000
        for (const { add: added, takeMs } of steps) {
          for (const [dueMs, key] of added) {
            add(due, dueMs, key)
            left.push([dueMs, key])
          }
          timeMs += takeMs
          const taken = left.filter(([dueMs]) => dueMs <= timeMs)
          left = left.filter(([dueMs]) => dueMs > timeMs)
          taken.sort(([a, x], [b, y]) => a - b || Buffer.compare(Buffer.from(x), Buffer.from(y)))
          expect(shown(runThrough(due.takeUntil(timeMs)))).toEqual(
            taken.map(([dueMs, key]) => `${dueMs} 0 ${key}`),
          )
          expect(due.size).toBe(left.length)
          expect(due.nextMs).toBe(Math.min(Infinity, ...left.map(([dueMs]) => dueMs)))
        }
      }),
      { numRuns: 200 },
    )
  })

  it('are sorted alike where there are many, of any length and likeness', () => {
    const due = new DueKeys()
    const expected: string[] = []
    for (let i = 0; i < 6_000; i++) {
      const number = (i * 7_919) % 6_007
      const key = `user-${number % 3 === 0 ? number : `${'x'.repeat(number % 11)}${number % 50}`}`
      add(due, number % 2, key)
      expected.push(`${number % 2} 0 ${key}`)
    }
    expect(shown(runThrough(due.takeUntil(1)))).toEqual(expected.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)))
  })

  it('are taken out and sorted in many steps where there are many', () => {
    const due = new DueKeys()
    const count = 30_000
    for (let i = 0; i < count; i++) add(due, (i * 7_919) % 5_003, `user ${i}`)
    const work = due.takeUntil(Infinity)
    let steps = 0
    let step = work.next()
    for (; step.done !== true; step = work.next()) steps++
    expect(steps).toBeGreaterThan(count / 8_192)
    const batch = step.value
    expect(batch.size).toBe(count)
    let inOrder = 1
    for (let i = 1; i < count; i++) if (batch.dueMs(i - 1) <= batch.dueMs(i)) inOrder++
    expect(inOrder).toBe(count)
  })
})
