import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { segmentName, sequenceOf } from '../format/object-names.js'
import { type CheckpointCondition, planRetention, planSweep, type RetainedCheckpoint } from './retention.js'

function checkpoint(
  sequence: number,
  condition: CheckpointCondition = 'good',
  savepoint = false,
): RetainedCheckpoint {
  const segments = [segmentName(sequence, savepoint ? 'savepoint' : 'base')]
  return { sequence, condition, savepoint, segments: condition === 'good' ? segments : undefined }
}

describe('retention', () => {
  it('keeps the newest ones', () => {
    const checkpoints = [3, 1, 5, 2, 4].map((sequence) => checkpoint(sequence))
    expect(planRetention(checkpoints, 2)).toEqual([1, 2, 3])
    expect(planRetention(checkpoints, 5)).toEqual([])
  })

  it('lets nothing that is not good take the place of what is', () => {
    const good = [1, 2, 3].map((sequence) => checkpoint(sequence))
    const damaged = [4, 5, 6].map((sequence) => checkpoint(sequence, 'damaged'))
    expect(planRetention([...good, ...damaged], 3)).toEqual([])
    expect(planRetention([...good, ...damaged, checkpoint(7)], 3)).toEqual([1])
    expect(planRetention([...good, ...damaged, checkpoint(7)], 1)).toEqual([1, 2, 3, 4, 5, 6])
    expect(planRetention([checkpoint(1), checkpoint(2, 'unreadable'), checkpoint(3)], 2)).toEqual([])
  })

  it('spares savepoints, and what it cannot judge', () => {
    const checkpoints = [
      checkpoint(1, 'good', true),
      checkpoint(2, 'damaged', true),
      checkpoint(3, 'unreadable'),
      checkpoint(4, 'incompatible'),
      checkpoint(5, 'damaged'),
      checkpoint(6),
    ]
    expect(planRetention(checkpoints, 1)).toEqual([5])
  })

  it('sweeps only what no kept manifest can need', () => {
    const names = [1, 2, 3, 4, 5].map((sequence) => segmentName(sequence, 'base'))
    expect(planSweep([checkpoint(2), checkpoint(5)], names)).toEqual([names[0], names[2], names[3]])
    expect(planSweep([checkpoint(2), checkpoint(3, 'damaged'), checkpoint(5)], names)).toEqual([names[3]])
    expect(planSweep([], [segmentName(1, 'savepoint'), 'notes.txt'])).toEqual([])
  })

  it('spares what is in use, though no manifest names it', () => {
    const names = [segmentName(1, 'base'), segmentName(2, 'delta'), segmentName(2, 'merged')]
    expect(planSweep([], names, new Set(names.slice(1)))).toEqual([names[0]])
    expect(planSweep([], names)).toEqual(names)
  })

  it('keeps these promises for any storage', () => {
    const condition = fc.constantFrom<CheckpointCondition>('good', 'damaged', 'unreadable', 'incompatible')
    const arbitrary = fc.uniqueArray(fc.tuple(fc.integer({ min: 1, max: 40 }), condition, fc.boolean()), {
      selector: ([sequence]) => sequence,
    })
    fc.assert(
      fc.property(
        arbitrary,
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: 1, max: 40 })),
        (drawn, max, orphans) => {
          const checkpoints = drawn.map(([sequence, state, savepoint]) =>
            checkpoint(sequence, state, savepoint),
          )
          const doomed = new Set(planRetention(checkpoints, max))
          const kept = checkpoints.filter(({ sequence }) => !doomed.has(sequence))
          const plain = checkpoints.filter(({ savepoint }) => !savepoint)
          const newest = plain
            .map(({ sequence }) => sequence)
            .sort((a, b) => b - a)
            .slice(0, max)
          expect(newest.filter((sequence) => doomed.has(sequence))).toEqual([])
          const good = plain.filter((each) => each.condition === 'good')
          if (good.length > 0)
            expect(kept.some((each) => !each.savepoint && each.condition === 'good')).toBe(true)
          for (const each of checkpoints) {
            if (each.savepoint || each.condition === 'unreadable')
              expect(doomed.has(each.sequence)).toBe(false)
          }
          const names = [...checkpoints.map(({ sequence }) => sequence), ...orphans].map((sequence) =>
            segmentName(sequence, 'base'),
          )
          const swept = new Set(planSweep(kept, names))
          for (const each of kept) {
            for (const name of each.segments ?? []) expect(swept.has(name)).toBe(false)
            if (each.segments !== undefined) continue
            for (const name of swept) expect(sequenceOf(name.slice(0, 14))).toBeGreaterThan(each.sequence)
          }
        },
      ),
    )
  })
})
