import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { planKills } from './kill-plan.js'
import { randomFrom } from './random.js'

describe('planKills', () => {
  it('keeps every kill between the first and the last request, in order', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 1_000 }),
        (seed, kills, total) => {
          const plan = planKills(randomFrom(seed), kills, total)
          expect(plan.length).toBeLessThanOrEqual(kills)
          plan.forEach(({ atEvents, latestAtEvents, delayMs }, i) => {
            expect(latestAtEvents).toBeGreaterThanOrEqual(atEvents)
            expect(latestAtEvents).toBeLessThanOrEqual(plan[i + 1]?.atEvents ?? total)
            expect(atEvents).toBeGreaterThan(plan[i - 1]?.atEvents ?? 0)
            expect(atEvents).toBeLessThan(total)
            expect(delayMs).toBeGreaterThanOrEqual(0)
          })
        },
      ),
    )
  })

  it('drops none where there is room, and draws other moments for another seed', () => {
    expect(planKills(randomFrom(1), 5, 1_000)).toHaveLength(5)
    expect(planKills(randomFrom(1), 1, 2)).toHaveLength(1)
    expect(planKills(randomFrom(1), 5, 1_000)).toEqual(planKills(randomFrom(1), 5, 1_000))
    expect(planKills(randomFrom(2), 5, 1_000)).not.toEqual(planKills(randomFrom(1), 5, 1_000))
  })

  it('has none for a single request', () => {
    expect(planKills(randomFrom(1), 3, 1)).toEqual([])
  })
})
