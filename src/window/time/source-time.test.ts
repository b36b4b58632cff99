import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ManualClock } from '../../testing/manual-clock.js'
import { mergeSourceTimes, type SavedSourceTime, SourceTime, type SourceTimeOptions } from './source-time.js'
import { ascending, boundedDisorder, sourceWatermarks, watermarksBy } from './watermark-strategy.js'

const HOUR_MS = 3_600_000

function sourceTime(
  options: Partial<SourceTimeOptions> = {},
  saved?: SavedSourceTime,
  clock = new ManualClock(0),
) {
  const time = new SourceTime({ watermarks: ascending(), maxAheadMs: Infinity, ...options }, saved, clock)
  /** Reads events of a partition and tells the watermark afterwards. */
  const read = (partition: string, ...timestamps: readonly number[]): number => {
    for (const each of timestamps) expect(time.partition(partition).onEvent(each)).toBeUndefined()
    time.advance()
    return time.watermarkMs
  }
  return { time, clock, read }
}

describe('timestamps', () => {
  it('T1: are safe integers, negative ones too; anything else is a bad event', () => {
    const { time, read } = sourceTime()
    expect(read('p', -5)).toBe(-6)
    for (const bad of [1.5, Number.NaN, Infinity, 2 ** 53]) {
      expect(time.partition('p').onEvent(bad)).toBe('notWholeMs')
    }
    expect(time.partition('p').highestMs).toBe(-5)
  })

  it('T11: more than maxAheadMs ahead of the processing clock are bad, and do not move the watermark', () => {
    const { time, clock, read } = sourceTime({ maxAheadMs: HOUR_MS })
    expect(read('p', 1_000, HOUR_MS)).toBe(HOUR_MS - 1)
    expect(time.partition('p').onEvent(HOUR_MS + 1)).toBe('tooFarAhead')
    expect(time.partition('p').highestMs).toBe(HOUR_MS)
    clock.advance(1)
    expect(time.partition('p').onEvent(HOUR_MS + 1)).toBeUndefined()
  })

  it('T11: the default is one hour', () => {
    const time = new SourceTime({ watermarks: ascending() }, undefined, new ManualClock(0))
    expect(time.partition('p').onEvent(HOUR_MS)).toBeUndefined()
    expect(time.partition('p').onEvent(HOUR_MS + 1)).toBe('tooFarAhead')
  })
})

describe('the watermark', () => {
  it('T2: is the highest timestamp less the disorder less 1', () => {
    const { read } = sourceTime({ watermarks: boundedDisorder(500) })
    expect(read('p', 1_000, 900)).toBe(499)
    expect(sourceTime().read('p', 1_000)).toBe(999)
  })

  it('T2, T3: is what a function says, and a lower one is ignored', () => {
    const { read } = sourceTime({
      watermarks: watermarksBy(({ timestampMs, highestMs }) =>
        timestampMs % 2 === 0 ? highestMs - 10 : undefined,
      ),
    })
    expect(read('p', 101)).toBe(-Infinity)
    expect(read('p', 100)).toBe(91)
    expect(read('p', 103)).toBe(91)
    const falling = sourceTime({ watermarks: watermarksBy(({ timestampMs }) => timestampMs) })
    expect(falling.read('p', 5, 3)).toBe(5)
  })

  it('T3: of the source itself never goes back', () => {
    const { time } = sourceTime({ watermarks: sourceWatermarks() })
    const partition = time.partition('p')
    partition.onEvent(1_000)
    expect(time.advance()).toBe(false)
    partition.onWatermark(700)
    expect(time.advance()).toBe(true)
    partition.onWatermark(600)
    expect(time.advance()).toBe(false)
    expect(time.watermarkMs).toBe(700)
  })

  it('T4: is the least of those of the partitions', () => {
    const { time, read } = sourceTime()
    time.partition('slow')
    expect(read('fast', 1_000)).toBe(-Infinity)
    expect(read('slow', 300)).toBe(299)
    expect(read('fast', 2_000)).toBe(299)
  })

  it('T5: does not wait for a partition that was polled in vain for idleAfterMs', () => {
    const { time, clock, read } = sourceTime({ idleAfterMs: 1_000 })
    read('quiet', 100)
    read('busy', 5_000)
    time.partition('quiet').onEmptyPoll()
    clock.advance(999)
    time.partition('quiet').onEmptyPoll()
    expect(read('busy', 5_001)).toBe(99)
    clock.advance(1)
    time.partition('quiet').onEmptyPoll()
    expect(read('busy', 5_002)).toBe(5_001)
  })

  it('T5: waits for a partition that is not polled', () => {
    const { time, clock, read } = sourceTime({ idleAfterMs: 1_000 })
    read('paused', 100)
    time.partition('paused').onEmptyPoll()
    time.partition('paused').onPause()
    clock.advance(10_000)
    time.partition('paused').onEmptyPoll()
    expect(read('busy', 5_000)).toBe(99)
  })

  it('T6: stays where an idle partition comes back behind it, which counts again once it has caught up', () => {
    const { time, clock, read } = sourceTime({ idleAfterMs: 10 })
    read('idle', 100)
    read('busy', 1_000)
    time.partition('idle').onEmptyPoll()
    clock.advance(10)
    time.partition('idle').onEmptyPoll()
    expect(read('busy', 2_000)).toBe(1_999)
    expect(read('idle', 500)).toBe(1_999)
    expect(read('busy', 3_000)).toBe(2_999)
    expect(read('idle', 3_500)).toBe(2_999)
    expect(read('busy', 9_000)).toBe(3_499)
  })

  it('T7: stays where all are idle, or goes to the furthest of them', () => {
    for (const [onAllIdle, expected] of [
      ['hold', 99],
      ['advance', 999],
    ] as const) {
      const { time, clock, read } = sourceTime({ idleAfterMs: 10, onAllIdle })
      read('a', 100)
      read('b', 1_000)
      for (const id of ['a', 'b']) time.partition(id).onEmptyPoll()
      clock.advance(10)
      for (const id of ['a', 'b']) time.partition(id).onEmptyPoll()
      time.advance()
      expect(time.watermarkMs, onAllIdle).toBe(expected)
    }
  })

  it('T7: goes to the furthest also where that partition has ended before the others were idle', () => {
    const { time, clock, read } = sourceTime({ idleAfterMs: 10, onAllIdle: 'advance' })
    time.partition('b').onEmptyPoll()
    read('a', 1_000)
    time.partition('a').onEnd()
    time.advance()
    expect(time.watermarkMs).toBe(-Infinity)
    clock.advance(10)
    time.partition('b').onEmptyPoll()
    time.advance()
    expect(time.watermarkMs).toBe(999)
  })

  it('T8: is +Infinity once every partition has ended, and waits only for the others before', () => {
    const { time, read } = sourceTime()
    read('a', 100)
    read('b', 50)
    time.partition('b').onEnd()
    time.advance()
    expect(time.watermarkMs).toBe(99)
    time.partition('a').onEnd()
    expect(time.advance()).toBe(true)
    expect(time.watermarkMs).toBe(Infinity)
  })

  it('T9: goes on where it was saved; a partition that was never seen starts at the beginning', () => {
    const before = sourceTime({ watermarks: boundedDisorder(10) })
    before.read('a', 1_000)
    before.read('b', 2_000)
    const saved = JSON.parse(JSON.stringify(before.time.save())) as SavedSourceTime
    const { time, read } = sourceTime({ watermarks: boundedDisorder(10) }, saved)
    expect(time.watermarkMs).toBe(989)
    expect(time.partition('a').watermarkMs).toBe(989)
    expect(time.partition('b').highestMs).toBe(2_000)
    expect(time.partition('c').watermarkMs).toBe(-Infinity)
    expect(read('a', 900)).toBe(989)
  })

  it('T9: what a strategy does not remember is kept too', () => {
    for (const watermarks of [sourceWatermarks(), watermarksBy(() => 700)]) {
      const { time } = sourceTime({ watermarks })
      time.partition('p').onEvent(1_000)
      time.partition('p').onWatermark(700)
      time.advance()
      expect(sourceTime({ watermarks }, time.save()).time.partition('p').watermarkMs).toBe(700)
    }
  })

  it('T9: partitions that were not asked for again stay in the next cut', () => {
    const { time, read } = sourceTime()
    read('a', 1)
    read('b', 2)
    const again = sourceTime({}, time.save())
    again.read('a', 5)
    expect(Object.keys(again.time.save().partitions).sort()).toEqual(['a', 'b'])
  })

  it('T8, T9: a partition that has ended goes on where it was before its end, should the source have more by then', () => {
    const before = sourceTime({ watermarks: boundedDisorder(10) })
    before.read('a', 100)
    before.read('b', 200)
    for (const id of ['a', 'b']) before.time.partition(id).onEnd()
    before.time.advance()
    expect(before.time.watermarkMs).toBe(Infinity)
    const { time, read } = sourceTime({ watermarks: boundedDisorder(10) }, before.time.save())
    expect(time.watermarkMs).toBe(89)
    expect(time.advance()).toBe(false)
    expect(time.partition('b').hasEnded).toBe(false)
    expect(read('a', 150)).toBe(139)
  })

  it('T10: of several states is the least of theirs', () => {
    const left = sourceTime()
    left.read('a', 1_000)
    const right = sourceTime()
    right.read('b', 400)
    expect(mergeSourceTimes([left.time.save(), right.time.save()])).toEqual({
      watermarkMs: 399,
      partitions: {
        a: { highestMs: 1_000, watermarkMs: 999 },
        b: { highestMs: 400, watermarkMs: 399 },
      },
    })
    expect(mergeSourceTimes([left.time.save(), { partitions: {} }]).watermarkMs).toBeUndefined()
  })

  it('T10: is kept of partitions that have the names of what every object inherits', () => {
    const before = sourceTime()
    const names = ['constructor', 'toString', '__proto__']
    for (const [i, name] of names.entries()) before.read(name, 1_000 + i)
    const saved = JSON.parse(JSON.stringify(before.time.save())) as SavedSourceTime
    expect(Object.keys(saved.partitions)).toEqual(names)
    expect(Object.keys(sourceTime({}, saved).time.save().partitions)).toEqual(names)
    const merged = mergeSourceTimes([saved, saved])
    expect(Object.keys(merged.partitions)).toEqual(names)
    const { time } = sourceTime({}, merged)
    for (const [i, name] of names.entries()) expect(time.partition(name).watermarkMs).toBe(999 + i)
  })

  it('T3, T4: never goes back, and is never beyond a partition that counts, whatever happens', () => {
    const step = fc.record({
      partition: fc.constantFrom('a', 'b', 'c'),
      act: fc.oneof(fc.integer({ min: 0, max: 1_000 }), fc.constantFrom('empty' as const, 'pause' as const)),
      passMs: fc.integer({ min: 0, max: 20 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { time, clock } = sourceTime({ watermarks: boundedDisorder(5), idleAfterMs: 30 })
        for (const id of ['a', 'b', 'c']) time.partition(id)
        let lastMs = -Infinity
        for (const { partition, act, passMs } of steps) {
          clock.advance(passMs)
          const one = time.partition(partition)
          if (act === 'empty') one.onEmptyPoll()
          else if (act === 'pause') one.onPause()
          else one.onEvent(act)
          const hasAdvanced = time.advance()
          expect(time.watermarkMs).toBeGreaterThanOrEqual(lastMs)
          const counting = ['a', 'b', 'c']
            .map((id) => time.partition(id))
            .filter((each) => each.countsAt(lastMs))
          if (hasAdvanced)
            for (const each of counting) expect(time.watermarkMs).toBeLessThanOrEqual(each.watermarkMs)
          lastMs = time.watermarkMs
        }
      }),
    )
  })
})

it('a partition is ahead that is further than maxDriftMs from the slowest one that counts', () => {
  const { time, clock, read } = sourceTime({ maxDriftMs: 100, idleAfterMs: 10 })
  time.partition('slow')
  read('fast', 1_000)
  expect(Array.from(time.ahead(), ({ id }) => id)).toEqual(['fast'])
  read('slow', 900)
  expect(Array.from(time.ahead(), ({ id }) => id)).toEqual([])
  read('fast', 1_001)
  expect(Array.from(time.ahead(), ({ id }) => id)).toEqual(['fast'])
  time.partition('slow').onEmptyPoll()
  clock.advance(10)
  time.partition('slow').onEmptyPoll()
  expect(Array.from(time.ahead(), ({ id }) => id)).toEqual([])
})

it('lists every wrong setting', () => {
  expect(() => new SourceTime({ watermarks: {} as never, idleAfterMs: 0, onAllIdle: 'go' as never })).toThrow(
    /watermarks.*idleAfterMs.*onAllIdle/s,
  )
  expect(() => boundedDisorder(-1)).toThrow('maxDisorderMs')
  expect(() => boundedDisorder(1.5)).toThrow('maxDisorderMs')
})
