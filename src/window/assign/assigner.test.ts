import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cumulative, hopping, type TimeWindow, tumbling, type WindowAssigner } from './assigner.js'
import { countWindows, session, sliding } from './by-key.js'

const bounds = (windows: readonly TimeWindow[]) => windows.map(({ startMs, endMs }) => [startMs, endMs])
const timestamp = fc.integer({ min: -1_000_000, max: 1_000_000 })
const size = fc.integer({ min: 1, max: 5_000 })

describe('tumbling windows', () => {
  it('W1: have their start, and not their end', () => {
    const assigner = tumbling({ sizeMs: 10 })
    expect(bounds(assigner.windowsOf(10))).toEqual([[10, 20]])
    expect(bounds(assigner.windowsOf(19))).toEqual([[10, 20]])
    expect(bounds(assigner.windowsOf(20))).toEqual([[20, 30]])
  })

  it('W2: floor times before the epoch too', () => {
    expect(bounds(tumbling({ sizeMs: 10 }).windowsOf(-1))).toEqual([[-10, 0]])
    expect(bounds(tumbling({ sizeMs: 10, offsetMs: 3 }).windowsOf(2))).toEqual([[-7, 3]])
    expect(bounds(tumbling({ sizeMs: 10, offsetMs: 3 }).windowsOf(-8))).toEqual([[-17, -7]])
  })

  it('W2: have an offset smaller than their size, and whole sizes', () => {
    expect(() => tumbling({ sizeMs: 10, offsetMs: 10 })).toThrow('offsetMs')
    expect(() => tumbling({} as never)).toThrow('options.sizeMs is required')
    for (const make of [tumbling, hopping, cumulative, session, sliding, countWindows]) {
      const options = { sizeMs: 10, slideMs: 5, maxMs: 10, stepMs: 5, gapMs: 10, size: 10 }
      expect(() => make({ ...options, offset: 3 } as never)).toThrow('options.offset is unknown')
    }
    expect(() => tumbling({ sizeMs: 10, offsetMs: -1 })).toThrow('offsetMs')
    expect(() => tumbling({ sizeMs: 0.5 })).toThrow('sizeMs')
    expect(() => hopping({ sizeMs: 0, slideMs: -1 })).toThrow(/sizeMs.*slideMs/s)
    expect(() => hopping({ sizeMs: 10, slideMs: 5, offsetMs: 5 })).toThrow('slideMs')
    expect(() => cumulative({ maxMs: 10, stepMs: 4 })).toThrow('multiple')
  })

  it('W2: every time is in exactly one', () => {
    fc.assert(
      fc.property(timestamp, size, fc.nat(), (timestampMs, sizeMs, anyOffset) => {
        const offsetMs = anyOffset % sizeMs
        const [window, ...more] = tumbling({ sizeMs, offsetMs }).windowsOf(timestampMs)
        expect(more).toEqual([])
        const { startMs, endMs } = window as TimeWindow
        expect(startMs <= timestampMs && timestampMs < endMs && endMs - startMs === sizeMs).toBe(true)
        expect(Math.abs((startMs - offsetMs) % sizeMs)).toBe(0)
      }),
    )
  })
})

/** Every window that could be near, asked one by one. */
function expected(
  timestampMs: number,
  { sizeMs, slideMs, offsetMs }: { sizeMs: number; slideMs: number; offsetMs: number },
) {
  const from = Math.floor((timestampMs - sizeMs) / slideMs) * slideMs - slideMs + offsetMs
  const windows: [number, number][] = []
  for (let startMs = from; startMs <= timestampMs + slideMs; startMs += slideMs) {
    if (startMs <= timestampMs && timestampMs < startMs + sizeMs) windows.push([startMs, startMs + sizeMs])
  }
  return windows
}

describe('hopping windows', () => {
  it('W4: an event is in every window that has its time, whether or not the size is a multiple of the slide', () => {
    expect(bounds(hopping({ sizeMs: 10, slideMs: 4 }).windowsOf(9))).toEqual([
      [0, 10],
      [4, 14],
      [8, 18],
    ])
    fc.assert(
      fc.property(
        timestamp,
        size,
        fc.integer({ min: 50, max: 5_000 }),
        fc.nat(),
        (timestampMs, sizeMs, slideMs, any) => {
          const offsetMs = any % slideMs
          const windows = hopping({ sizeMs, slideMs, offsetMs }).windowsOf(timestampMs)
          expect(bounds(windows)).toEqual(expected(timestampMs, { sizeMs, slideMs, offsetMs }))
        },
      ),
    )
  })

  it('W10: where they leave gaps, an event in one is in no window', () => {
    expect(hopping({ sizeMs: 3, slideMs: 10 }).windowsOf(5)).toEqual([])
  })
})

describe('cumulative windows', () => {
  it('W5: start together and end a step apart', () => {
    const assigner = cumulative({ maxMs: 30, stepMs: 10 })
    expect(bounds(assigner.windowsOf(12))).toEqual([
      [0, 20],
      [0, 30],
    ])
    expect(bounds(assigner.windowsOf(-1))).toEqual([[-30, 0]])
    expect(bounds(cumulative({ maxMs: 30, stepMs: 10, offsetMs: 15 }).windowsOf(14))).toEqual([[-15, 15]])
  })
})

it('an event is in one pane, and the windows of an event are whole panes', () => {
  const assigners = fc.oneof(
    fc.tuple(size, fc.nat()).map(([sizeMs, any]) => tumbling({ sizeMs, offsetMs: any % sizeMs })),
    fc
      .tuple(size, fc.integer({ min: 50, max: 5_000 }), fc.nat())
      .map(([sizeMs, slideMs, any]) => hopping({ sizeMs, slideMs, offsetMs: any % slideMs })),
    fc
      .tuple(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 20 }), fc.nat())
      .map(([stepMs, steps, any]) =>
        cumulative({ maxMs: stepMs * steps, stepMs, offsetMs: any % (stepMs * steps) }),
      ),
  )
  fc.assert(
    fc.property(assigners, timestamp, ({ paneMs, offsetMs, windowsOf }, timestampMs) => {
      for (const { startMs, endMs } of windowsOf(timestampMs)) {
        expect(Math.abs((startMs - offsetMs) % paneMs)).toBe(0)
        expect(Math.abs((endMs - startMs) % paneMs)).toBe(0)
      }
    }),
  )
})

it('assigners of other settings have other descriptions', () => {
  const assigners: readonly WindowAssigner[] = [
    tumbling({ sizeMs: 10 }),
    tumbling({ sizeMs: 10, offsetMs: 1 }),
    hopping({ sizeMs: 10, slideMs: 5 }),
    cumulative({ maxMs: 10, stepMs: 5 }),
  ]
  expect(new Set(assigners.map(({ description }) => description)).size).toBe(4)
})
