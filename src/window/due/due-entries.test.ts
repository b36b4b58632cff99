import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runThrough } from '../../base/slices.js'
import { DueEntries } from './due-entries.js'

/** The entries that are due up to a time, in the order of their numbers. */
function taken(due: DueEntries, timeMs: number): number[] {
  const { count, records } = runThrough(due.takeUntil(timeMs))
  return [...records.entries.subarray(0, count)].sort((left, right) => left - right)
}

describe('due entries', () => {
  it('come when they are due, each once', () => {
    const due = new DueEntries()
    due.add(20, 2)
    due.add(10, 1)
    due.add(21, 3)
    expect(due.nextMs).toBe(10)
    expect(taken(due, 20)).toEqual([1, 2])
    expect(due.nextMs).toBe(21)
    expect(taken(due, 20)).toEqual([])
    expect(taken(due, Infinity)).toEqual([3])
    expect(due.nextMs).toBe(Infinity)
  })

  it('come as often as they are there', () => {
    const due = new DueEntries()
    runThrough(due.takeUntil(0))
    for (const dueMs of [5, 5, 6]) due.add(dueMs, 7)
    expect(taken(due, 5)).toEqual([7, 7])
    expect(taken(due, 6)).toEqual([7])
  })

  it('come late where they were due before the time at hand, also at the end of time', () => {
    const due = new DueEntries()
    runThrough(due.takeUntil(1_000_000))
    due.add(-5, 1)
    expect(due.nextMs).toBe(-5)
    expect(taken(due, 1_000_000)).toEqual([1])
    due.add(Infinity, 2)
    expect(taken(due, 2 ** 52)).toEqual([])
    expect(taken(due, Infinity)).toEqual([2])
    due.add(3, 4)
    expect(taken(due, Infinity)).toEqual([4])
  })

  it('agree with a list, for times near and far and however time goes on', () => {
    const times = fc.oneof(
      fc.integer({ min: -1_000, max: 1_000 }),
      fc.integer({ min: -(2 ** 42), max: 2 ** 42 }),
      // Beginnings and ends of buckets of all levels.
      fc
        .tuple(
          fc.constantFrom(2 ** 8, 2 ** 16, 2 ** 24, 2 ** 32, 2 ** 40),
          fc.integer({ min: -300, max: 300 }),
          fc.integer({ min: -1, max: 1 }),
        )
        .map(([widthMs, number, more]) => widthMs * number + more),
      fc.constantFrom(Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER),
    )
    const step = fc.record({
      add: fc.array(times, { maxLength: 20 }),
      areAhead: fc.boolean(),
      takeMs: fc.oneof(
        fc.nat({ max: 2 ** 33 }),
        fc.nat({ max: 1_000 }),
        fc.constantFrom(2 ** 8, 2 ** 16, 2 ** 24, 2 ** 41),
      ),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        const due = new DueEntries()
        let left: { dueMs: number; entry: number }[] = []
        let timeMs = -1_000
        let entry = 0
        for (const { add, areAhead, takeMs } of steps) {
          for (const ms of add) {
            const dueMs = areAhead && Math.abs(ms) < 2 ** 52 ? timeMs + ms : ms
            due.add(dueMs, ++entry)
            left.push({ dueMs, entry })
          }
          timeMs += takeMs
          const expected = left.filter(({ dueMs }) => dueMs <= timeMs).map((each) => each.entry)
          left = left.filter(({ dueMs }) => dueMs > timeMs)
          expect(taken(due, timeMs)).toEqual(expected)
          expect(due.nextMs).toBe(Math.min(Infinity, ...left.map(({ dueMs }) => dueMs)))
        }
      }),
      { numRuns: 500 },
    )
  })

  it('are taken out in many steps where there are many that stay', () => {
    const due = new DueEntries()
    const count = 30_000
    for (let i = 0; i < count; i++) due.add((i * 7_919) % 5_003, i)
    const work = due.takeUntil(2_500)
    let steps = 0
    let step = work.next()
    for (; step.done !== true; step = work.next()) steps++
    expect(steps).toBeGreaterThan(count / 8_192 - 1)
    const first = step.value.count
    expect(first).toBeGreaterThan(count / 3)
    expect(first + taken(due, 5_003).length).toBe(count)
  })
})
