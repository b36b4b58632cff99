import { describe, expect, it } from 'vitest'
import {
  driven,
  event,
  figures,
  type Result,
  shown,
  shownWindow,
  values,
  WindowDriver,
  type WindowEvent,
} from '../../../test/support/window-driver.js'
import { runThrough } from '../../base/slices.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { json } from '../../state/codec/json.js'
import { float64 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { StateStore } from '../../state/store.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { distinctCount } from '../aggregate/distinct.js'
import { quantiles } from '../aggregate/quantiles.js'
import { combined, count, first, last, sum } from '../aggregate/ready-made.js'
import { hopping, tumbling, type WindowAssigner } from '../assign/assigner.js'
import { countWindows, globalWindows, session, sliding } from '../assign/by-key.js'
import { type WindowOptions, windowed } from '../windowed.js'
import { statesOfWindows } from './open-windows.js'
import type { WindowOperator } from './window-operator.js'

describe('windows', () => {
  it('W1, W7: an event at the end of a window is in the next one, and a window fires when the watermark is at its last instant', async () => {
    const { results } = await driven({ windows: tumbling({ sizeMs: 10 }), aggregate: count() }, (d) => {
      d.add(event('a', 9))
      d.add(event('a', 10))
      d.advance(8)
      expect(d.results).toEqual([])
      d.advance(9)
      expect(shown(d.results)).toEqual(['a [0, 10) 1 onTime 0 final'])
      d.advance(Infinity)
    })
    expect(shown(results)).toEqual(['a [0, 10) 1 onTime 0 final', 'a [10, 20) 1 onTime 0 final'])
  })

  it('W6: events that are exactly a gap apart are one session, further apart they are two', async () => {
    const { results } = await driven({ windows: session({ gapMs: 5 }), aggregate: values }, (d) => {
      for (const at of [0, 5, 11]) d.add(event('a', at, at))
      d.advance(Infinity)
    })
    expect(shown(results)).toEqual(['a [0, 10) [0,5] onTime 0 final', 'a [11, 16) [11] onTime 0 final'])
  })

  it('W8: what is too late for a window leaves nothing, and what was in it is gone', async () => {
    const driver = await driven(
      { windows: tumbling({ sizeMs: 10 }), aggregate: count(), allowedLatenessMs: 5 },
      (d) => {
        d.add(event('a', 1))
        d.advance(13)
        d.add(event('a', 2))
        d.advance(14)
        d.add(event('a', 3))
        d.advance(1_000)
      },
    )
    expect(shown(driver.results)).toEqual(['a [0, 10) 1 onTime 0', 'a [0, 10) 2 late 1'])
    expect(driver.late).toEqual(['3 lost [0, 10)'])
    expect(await driver.close()).toBe(1)
  })

  it('W9: a late event enters those hopping windows that are open, and is counted once', async () => {
    const driver = await driven({ windows: hopping({ sizeMs: 10, slideMs: 5 }), aggregate: count() }, (d) => {
      d.advance(9)
      d.add(event('a', 7))
      d.add(event('a', 1))
      d.advance(Infinity)
    })
    expect(shown(driver.results)).toEqual(['a [5, 15) 1 onTime 0 final'])
    expect(driver.late).toEqual(['7 entered [0, 10)', '1 lost [-5, 5) [0, 10)'])
    expect([driver.operator.late.lostEvents, driver.operator.late.missedWindows]).toEqual([1, 3])
  })

  it('W9, W20: a bad event that also comes late is a bad one, and is not counted as late', async () => {
    for (const allowedLatenessMs of [0, 1]) {
      const windows = hopping({ sizeMs: 20, slideMs: 10 })
      const aggregate = sum(({ value }: WindowEvent) => value)
      const { late } = await driven({ windows, aggregate, allowedLatenessMs }, (d) => {
        d.add(event('a', 25, 1))
        d.advance(20)
        expect(() => d.add(event('a', 15, Number.NaN))).toThrow(/no finite number/)
        expect(d.operator.late).toEqual({ lostEvents: 0, missedWindows: 0 })
        expect(() => d.add(event('k'.repeat(2_048), 15, 1))).toThrow(/the limit is/)
        expect(d.operator.late).toEqual({ lostEvents: 0, missedWindows: 0 })
        d.add(event('a', 15, 1))
        expect(d.operator.late).toEqual({ lostEvents: 0, missedWindows: 1 })
      })
      expect(late).toEqual(['15 entered [0, 20)'])
    }
  })

  it('W20: an event is refused whole where what is told of it throws', async () => {
    for (const kept of [
      {
        events: json<WindowEvent>(),
        process: (all: Iterable<WindowEvent>) => Array.from(all, ({ value }) => value),
      },
      { aggregate: values },
    ]) {
      const output = (result: Result): Result => {
        if ((result.value as number[]).includes(13)) throw new Error('on purpose')
        return result
      }
      const early = { everyEvents: 1 }
      const options = { windows: tumbling({ sizeMs: 10 }), ...kept, early, output }
      const { results } = await driven(options, async (d) => {
        d.add(event('a', 1, 1))
        expect(() => d.add(event('a', 2, 13))).toThrow('on purpose')
        await d.open()
        d.advance(9)
      })
      expect(shown(results)).toEqual(['a [0, 10) [1] early 0', 'a [0, 10) [1] onTime 1 final'])
    }
    const driver = await driven({ windows: tumbling({ sizeMs: 10 }), aggregate: values }, (d) => {
      d.advance(9)
      d.late.push = () => {
        throw new Error('on purpose')
      }
      expect(() => d.add(event('a', 1))).toThrow('on purpose')
    })
    expect(driver.operator.late).toEqual({ lostEvents: 0, missedWindows: 0 })
  })

  it('W10: an event between hopping windows is in none, and not late', async () => {
    const driver = await driven({ windows: hopping({ sizeMs: 5, slideMs: 10 }), aggregate: count() }, (d) => {
      d.add(event('a', 7))
      d.advance(Infinity)
    })
    expect(driver.results).toEqual([])
    expect(driver.late).toEqual([])
  })

  it('W11: a session that would be born expired is late', async () => {
    const driver = await driven({ windows: session({ gapMs: 5 }), aggregate: values }, (d) => {
      d.advance(20)
      d.add(event('a', 10))
      d.add(event('a', 16))
    })
    expect(driver.late).toEqual(['10 lost [10, 15)', '16 lost [16, 21)'])
  })

  it('W12: each late event fires again, with the next index', async () => {
    const { results } = await driven(
      { windows: tumbling({ sizeMs: 10 }), aggregate: values, allowedLatenessMs: 100 },
      (d) => {
        d.add(event('a', 1, 1))
        d.advance(20)
        d.add(event('a', 2, 2))
        d.add(event('a', 3, 3))
        d.add(event('b', 3, 4))
      },
    )
    expect(shown(results)).toEqual([
      'a [0, 10) [1] onTime 0',
      'a [0, 10) [1,2] late 1',
      'a [0, 10) [1,2,3] late 2',
      'b [0, 10) [4] late 0',
    ])
  })

  it('W12: at most every refireMs, and what is left before the window goes', async () => {
    const driver = await driven(
      { windows: tumbling({ sizeMs: 10 }), aggregate: values, allowedLatenessMs: 100, refireMs: 50 },
      async (d) => {
        d.add(event('a', 1, 1))
        d.advance(20)
        d.add(event('a', 2, 2))
        d.add(event('a', 3, 3))
        expect(d.results).toHaveLength(1)
        d.nowMs = 49
        runThrough(d.operator.onProcessingTime(49))
        expect(d.results).toHaveLength(1)
        d.nowMs = 50
        runThrough(d.operator.onProcessingTime(50))
        d.add(event('a', 4, 4))
        d.advance(109)
      },
    )
    expect(shown(driver.results)).toEqual([
      'a [0, 10) [1] onTime 0',
      'a [0, 10) [1,2,3] late 1',
      'a [0, 10) [1,2,3,4] late 2 final',
    ])
  })

  it('W13: discarding results are of what came since the last one, and there is none of nothing', async () => {
    const { results } = await driven(
      {
        windows: tumbling({ sizeMs: 10 }),
        aggregate: values,
        allowedLatenessMs: 100,
        panes: 'discarding',
        early: { everyEvents: 2 },
      },
      (d) => {
        for (const value of [1, 2, 3]) d.add(event('a', value, value))
        for (const value of [4, 5]) d.add(event('b', value, value))
        d.advance(20)
        d.add(event('a', 9, 9))
      },
    )
    expect(shown(results)).toEqual([
      'a [0, 10) [1,2] early 0',
      'b [0, 10) [4,5] early 0',
      'a [0, 10) [3] onTime 1',
      'a [0, 10) [9] late 2',
    ])
  })

  it('W13: discarding is refused where the events are kept, as each result is of all of them', () => {
    const process = (events: Iterable<WindowEvent>) => [...events].length
    const windows = tumbling({ sizeMs: 10 })
    expect(() =>
      windowed({ windows, events: json<WindowEvent>(), process, panes: 'discarding' }),
    ).toThrowError(/options.panes/)
  })

  it('W13, W18: of a window with nothing since its discarding result, nothing is shown', async () => {
    for (const aggregate of [count(), values, quantiles(({ value }: WindowEvent) => value, [0.5])]) {
      const options = { windows: tumbling({ sizeMs: 10 }), early: { everyEvents: 2 } }
      await driven({ ...options, aggregate: aggregate as never, panes: 'discarding' }, (d) => {
        d.add(event('a', 1, 1))
        d.add(event('a', 2, 2))
        expect(d.results).toHaveLength(1)
        expect(d.operator.peek('a')).toEqual([])
        d.add(event('a', 3, 3))
        expect(d.operator.peek('a')).toHaveLength(1)
      })
    }
  })

  it('W13: they go on behind a discarding result, of which nothing is left but the window', async () => {
    const driver = await driven(
      {
        windows: tumbling({ sizeMs: 10 }),
        aggregate: values,
        panes: 'discarding',
        early: { everyEvents: 2 },
      },
      async (d) => {
        for (const value of [1, 2]) d.add(event('a', value, value))
        await d.open()
        expect(d.stored('a')).toEqual([{ startMs: 0, endMs: 10, panes: 1, accumulator: undefined }])
        d.add(event('a', 3, 3))
        d.advance(20)
      },
    )
    expect(shown(driver.results)).toEqual(['a [0, 10) [1,2] early 0', 'a [0, 10) [3] onTime 1 final'])
  })

  it('W14: a late event that joins two fired sessions gives one result that replaces theirs', async () => {
    const { results } = await driven(
      { windows: session({ gapMs: 5 }), aggregate: values, allowedLatenessMs: 100 },
      (d) => {
        d.add(event('a', 0, 1))
        d.add(event('a', 10, 2))
        d.advance(30)
        d.add(event('a', 5, 3))
        d.add(event('a', 15, 4))
      },
    )
    expect(shown(results)).toEqual([
      'a [0, 5) [1] onTime 0',
      'a [10, 15) [2] onTime 0',
      'a [0, 15) [1,3,2] late 0 replaces [0, 5) [10, 15)',
      'a [0, 20) [1,3,2,4] late 0 replaces [0, 15)',
    ])
  })

  it('W14: a session that goes on after it has fired fires at its new end', async () => {
    const driver = await driven(
      { windows: session({ gapMs: 5 }), aggregate: values, allowedLatenessMs: 100 },
      async (d) => {
        d.add(event('a', 0, 1))
        d.advance(4)
        d.add(event('a', 5, 2))
        await d.open()
        d.advance(8)
        expect(d.results).toHaveLength(1)
        d.advance(9)
        d.advance(109)
      },
    )
    expect(shown(driver.results)).toEqual([
      'a [0, 5) [1] onTime 0',
      'a [0, 10) [1,2] onTime 0 replaces [0, 5)',
    ])
    expect(await driver.close()).toBe(1)
  })

  it('W15: sessions merge in the order of their starts, events in that of their arrival', async () => {
    const { results } = await driven({ windows: session({ gapMs: 5 }), aggregate: values }, (d) => {
      d.add(event('a', 20, 1))
      d.add(event('a', 0, 2))
      d.add(event('a', 10, 3))
      d.add(event('a', 12, 4))
      d.add(event('a', 5, 5))
      d.add(event('a', 15, 6))
      d.advance(Infinity)
    })
    expect(shown(results)).toEqual(['a [0, 25) [2,5,3,4,6,1] onTime 0 final'])
  })

  it('W20: an event is taken out again of windows whose aggregate grows, wherever its value had been put', async () => {
    for (const aggregate of [
      distinctCount(float64, ({ value }: WindowEvent) => value),
      combined({
        different: distinctCount(float64, ({ value }: WindowEvent) => value),
        sum: sum(({ value }: WindowEvent) => value),
      }),
    ]) {
      const windows = await new WindowDriver({ windows: tumbling({ sizeMs: 10 }), aggregate }).open()
      const alone = await new WindowDriver({ windows: tumbling({ sizeMs: 10 }), aggregate }).open()
      for (let value = 0; value < 300; value++) {
        const kept = event('a', 1, (value * 37) % 211)
        windows.add({ ...kept, value: value + 1_000 })
        windows.operator.revert()
        windows.add(kept)
        alone.add(kept)
        expect(windows.operator.peek('a')).toEqual(alone.operator.peek('a'))
        if (value % 50 === 0) await windows.open()
      }
      windows.advance(20)
      alone.advance(20)
      expect(windows.results).toEqual(alone.results)
    }
  })

  it('W18: nobody is shown windows from within their own aggregate, which has half an event then', async () => {
    for (const windows of [tumbling({ sizeMs: 10 }), session({ gapMs: 5 }), countWindows({ size: 9 })]) {
      for (const isRaw of [true, false]) {
        let asks = false
        const driver: WindowDriver = new WindowDriver({
          windows,
          aggregate: (isRaw
            ? sum(({ value }: WindowEvent) => asked(value))
            : distinctCount(float64, ({ value }: WindowEvent) => asked(value))) as Aggregate<
            WindowEvent,
            unknown,
            number
          >,
        })
        const asked = (value: number) => {
          if (asks) driver.operator.peek('b')
          return value
        }
        await driver.open()
        driver.add(event('a', 1, 2))
        asks = true
        expect(() => driver.add(event('a', 2, 3))).toThrow(/peek/)
        asks = false
        driver.add(event('a', 3, 4))
        const [open] = driver.operator.peek('a')
        expect(open?.value).toBe(isRaw ? 6 : 2)
      }
    }
  })

  it('leave other work its turns between many windows of one key, which come in any order', async () => {
    const driver = await new WindowDriver({ windows: tumbling({ sizeMs: 10 }), aggregate: count() }).open()
    for (let i = 0; i < 500; i++) driver.add(event('a', ((i * 37) % 500) * 10))
    let most = 0
    let before = 0
    for (const _ of driver.operator.advance(10_000)) {
      most = Math.max(most, driver.results.length - before)
      before = driver.results.length
    }
    expect(most).toBe(1)
    expect(driver.results.map(({ window }) => window.startMs)).toEqual(
      Array.from({ length: 500 }, (_, i) => i * 10),
    )
  })

  it('W16, W17: results come by window end, start and key, also where one advance closes many; they are of the last instant', async () => {
    const { results } = await driven(
      { windows: hopping({ sizeMs: 10, slideMs: 5 }), aggregate: count() },
      (d) => {
        for (const key of ['b', 'a']) for (const at of [12, 3]) d.add(event(key, at))
        d.advance(Infinity)
      },
    )
    expect(
      results.map(({ key, window, timestampMs }) => `${shownWindow(window)} ${key} ${timestampMs}`),
    ).toEqual([
      '[-5, 5) a 4',
      '[-5, 5) b 4',
      '[0, 10) a 9',
      '[0, 10) b 9',
      '[5, 15) a 14',
      '[5, 15) b 14',
      '[10, 20) a 19',
      '[10, 20) b 19',
    ])
  })

  it('W16: sessions that end at one time come by their start', async () => {
    const { results } = await driven({ windows: session({ gapMs: 5 }), aggregate: count() }, (d) => {
      for (const [key, at] of [
        ['a', 10],
        ['b', 6],
        ['b', 10],
        ['c', 8],
        ['c', 10],
      ] as const)
        d.add(event(key, at))
      d.advance(Infinity)
    })
    expect(results.map(({ key, window }) => `${key} ${shownWindow(window)}`)).toEqual([
      'b [6, 15)',
      'c [8, 15)',
      'a [10, 15)',
    ])
  })

  it('W16, W19: windows by count and the global one that are left at the end come by end, start and key', async () => {
    for (const windows of [countWindows({ size: 9 }), globalWindows()]) {
      const { results } = await driven({ windows, aggregate: count() }, (d) => {
        for (const [key, at] of [
          ['a', 5],
          ['b', 1],
          ['b', 8],
          ['c', 7],
          ['d', 3],
          ['e', 3],
          ['f', 7],
          ['f', 2],
        ] as const)
          d.add(event(key, at))
        d.advance(Infinity)
      })
      const found = results.map(({ key, window }) => `${key} ${shownWindow(window)}`)
      expect(found).toEqual(['d [3, 4)', 'e [3, 4)', 'a [5, 6)', 'f [2, 8)', 'c [7, 8)', 'b [1, 9)'])
    }
  })

  it('W18: early results come by count, by the processing clock, and on demand', async () => {
    const { results } = await driven(
      { windows: tumbling({ sizeMs: 10 }), aggregate: values, early: { everyEvents: 3, everyMs: 100 } },
      async (d) => {
        d.add(event('a', 1, 1))
        expect(shown(d.operator.peek('a') as Result[])).toEqual(['a [0, 10) [1] early 0'])
        expect(d.operator.peek('b')).toEqual([])
        d.add(event('a', 2, 2))
        await d.open()
        runThrough(d.operator.onProcessingTime(99))
        expect(d.results).toEqual([])
        runThrough(d.operator.onProcessingTime(100))
        for (const value of [3, 4, 5]) d.add(event('a', 3, value))
        d.advance(9)
      },
    )
    expect(shown(results)).toEqual([
      'a [0, 10) [1,2] early 0',
      'a [0, 10) [1,2,3,4,5] early 1',
      'a [0, 10) [1,2,3,4,5] onTime 2 final',
    ])
  })

  it('W18: whoever is told of a result may ask for what another key has, and nothing comes of that', async () => {
    const kinds: readonly WindowOptions<WindowEvent, string, unknown, Result>[] = [
      { windows: tumbling({ sizeMs: 10 }), aggregate: values },
      {
        windows: tumbling({ sizeMs: 10 }),
        aggregate: values,
        allowedLatenessMs: 5,
        early: { everyEvents: 2 },
      },
      { windows: session({ gapMs: 10 }), aggregate: count() },
      { windows: session({ gapMs: 10 }), aggregate: values, allowedLatenessMs: 5 },
      { windows: session({ gapMs: 10 }), events: json<WindowEvent>(), process: (all) => [...all].length },
      { windows: countWindows({ size: 2 }), aggregate: values },
    ]
    for (const kind of kinds) {
      const asking: { now: WindowOperator | undefined } = { now: undefined }
      const output = (result: Result): Result => {
        for (const key of ['b', 'a', 'nobody']) asking.now?.peek(key)
        return result
      }
      const told: string[][] = []
      for (const asks of [false, true]) {
        const { results } = await driven({ ...kind, output }, (d) => {
          if (asks) asking.now = d.operator
          for (const at of [0, 3, 7, 12, 30]) for (const key of ['a', 'b', 'c']) d.add(event(key, at, at))
          d.advance(16)
          for (const key of ['a', 'c']) d.add(event(key, 9, 9))
          d.flush()
          d.advance(Infinity)
        })
        told.push(shown(results))
      }
      expect(told[1]).toEqual(told[0])
    }
  })

  it('W19: count windows ignore time, and what is left at the end is not full', async () => {
    const { results } = await driven({ windows: countWindows({ size: 2 }), aggregate: values }, (d) => {
      d.add(event('a', 50, 1))
      d.advance(1_000)
      d.add(event('a', 3, 2))
      d.add(event('a', 7, 3))
      d.advance(Infinity)
    })
    expect(results.map(({ value, isFull }) => [value, isFull])).toEqual([
      [[1, 2], true],
      [[3], false],
    ])
  })

  it('W19: the global window ends with the stream', async () => {
    const { results } = await driven({ windows: globalWindows(), aggregate: values }, async (d) => {
      d.add(event('a', 50, 1))
      await d.open()
      d.add(event('a', 3, 2))
      d.advance(2 ** 50)
      expect(d.results).toEqual([])
      d.advance(Infinity)
    })
    expect(shown(results)).toEqual(['a [3, 51) [1,2] onTime 0 final'])
  })

  it('W19: an event behind the watermark is none too late for the global window, which has one result at the end', async () => {
    for (const isKept of [false, true]) {
      const { results } = await driven(
        {
          windows: globalWindows(),
          ...(isKept
            ? {
                events: json<WindowEvent>(),
                process: (events: Iterable<WindowEvent>) => Array.from(events, ({ value }) => value),
              }
            : { aggregate: values }),
        },
        async (d) => {
          d.advance(100)
          d.add(event('a', 50, 1))
          d.add(event('a', 60, 2))
          await d.open()
          d.add(event('a', 100, 3))
          d.add(event('a', 200, 4))
          expect(d.results).toEqual([])
          d.advance(Infinity)
        },
      )
      expect(shown(results)).toEqual(['a [50, 201) [1,2,3,4] onTime 0 final'])
    }
  })

  it('W19: early results of the global window are early behind the watermark, too', async () => {
    const { results } = await driven(
      { windows: globalWindows(), aggregate: values, early: { everyEvents: 2, everyMs: 100 } },
      (d) => {
        d.advance(100)
        d.add(event('a', 50, 1))
        expect(d.results).toEqual([])
        d.add(event('a', 60, 2))
        d.add(event('a', 70, 3))
        runThrough(d.operator.onProcessingTime(100))
        d.add(event('a', 80, 4))
        d.advance(Infinity)
      },
    )
    expect(shown(results)).toEqual([
      'a [50, 61) [1,2] early 0',
      'a [50, 71) [1,2,3] early 1',
      'a [50, 81) [1,2,3,4] onTime 2 final',
    ])
  })

  it('W20: a sum beyond 2^53, or of what is no number, is refused, and changes nothing', async () => {
    const driver = await driven({ windows: tumbling({ sizeMs: 10 }), aggregate: figures() }, (d) => {
      d.add(event('a', 1, 5))
      for (const value of [Number.NaN, Infinity, 2 ** 53, 'x' as unknown as number]) {
        expect(() => d.add(event('a', 2, value))).toThrowError(
          expect.objectContaining({
            code: 'SERIALIZATION_FAILED',
            details: expect.objectContaining({ what: 'state \'w\', key "a"' }),
          }),
        )
      }
      d.advance(Infinity)
    })
    expect(shown(driver.results)).toEqual(['a [0, 10) {"n":1,"total":5,"most":5} onTime 0 final'])
  })

  it('W5: windows that slide with the events hold those before each one, whatever order they come in', async () => {
    const driver = await driven(
      {
        windows: sliding({ sizeMs: 5 }),
        events: json<WindowEvent>(),
        process: (events) => [...events].map(({ value }) => value),
      },
      async (d) => {
        d.add(event('a', 10, 10))
        d.add(event('a', 4, 4))
        await d.open()
        d.add(event('a', 6, 6))
        d.advance(5)
        d.add(event('a', 5, 5))
        d.advance(100)
      },
    )
    expect(driver.results.map(({ window, value }) => [window.endMs - 1, value])).toEqual([
      [4, [4]],
      [6, [4, 5, 6]],
      [10, [5, 6, 10]],
    ])
    expect(driver.late).toEqual(['5 entered [0, 6)'])
    expect(await driver.close()).toBe(1)
  })

  it('keep the events of sessions in the order of their time, and nothing of them afterwards', async () => {
    const driver = await driven(
      { windows: session({ gapMs: 5 }), events: json<WindowEvent>(), aggregate: values },
      (d) => {
        for (const at of [10, 7, 3, 20]) d.add(event('a', at, at))
        d.advance(Infinity)
      },
    )
    expect(shown(driver.results)).toEqual([
      'a [3, 15) [3,7,10] onTime 0 final',
      'a [20, 25) [20] onTime 0 final',
    ])
    expect(await driver.close()).toBe(1)
  })

  it('have first and last by time, not by arrival', async () => {
    const aggregate = combined({
      first: first(float64, (e: WindowEvent) => e.value),
      last: last(float64, (e: WindowEvent) => e.value),
    })
    const { results } = await driven({ windows: session({ gapMs: 5 }), aggregate }, (d) => {
      for (const [at, value] of [
        [4, 1],
        [2, 2],
        [4, 3],
        [2, 4],
        [9, 5],
      ] as const)
        d.add(event('a', at, value))
      d.advance(Infinity)
    })
    expect(results[0]?.value).toEqual({ first: 2, last: 5 })
  })

  it.each([
    ['tumbling', { windows: tumbling({ sizeMs: 10 }), aggregate: values }],
    ['sessions', { windows: session({ gapMs: 5 }), aggregate: figures() }],
    ['kept events', { windows: session({ gapMs: 5 }), events: json<WindowEvent>(), aggregate: figures() }],
    ['of a fixed size', { windows: tumbling({ sizeMs: 10 }), aggregate: figures() }],
  ] as const)('take the last event out again: %s', async (_, options) => {
    const driver = await driven(options as WindowOptions<WindowEvent, string, unknown, Result>, (d) => {
      d.add(event('a', 1, 1))
      d.add(event('a', 2, 2))
      d.operator.revert()
      d.add(event('b', 3, 3))
      d.operator.revert()
      d.add(event('a', 4, 4))
      d.advance(100)
      d.add(event('a', 5, 5))
      d.operator.revert()
    })
    expect(driver.results).toHaveLength(1)
    expect(driver.results[0]?.value).toEqual(
      options.aggregate === (values as object) ? [1, 4] : { n: 2, total: 5, most: 4 },
    )
    expect(driver.operator.late.lostEvents).toBe(0)
    expect(await driver.close()).toBe(1)
  })

  it('take the last event out again: a window by count that it has filled has its kept events again', async () => {
    const { results } = await driven(
      {
        windows: countWindows({ size: 2 }),
        events: json<WindowEvent>(),
        process: (all) => [...all].map(({ value }) => value),
      },
      async (driver) => {
        driver.add(event('a', 1, 1))
        await driver.open()
        driver.add(event('a', 2, 2))
        driver.operator.revert()
        await driver.open()
        driver.add(event('a', 3, 3))
        expect(await driver.close()).toBe(1)
      },
    )
    expect(results.map(({ value }) => value)).toEqual([
      [1, 2],
      [1, 3],
    ])
  })

  it('are INCOMPATIBLE with windows of another size, and refuse what does not go together', async () => {
    const backend = new MemoryStateBackend()
    const open = (windows: WindowAssigner) => {
      const definition = windowed<WindowEvent, string, number, Result>({ windows, aggregate: count() })
      return StateStore.open(
        backend,
        defineState({ key: utf8, states: statesOfWindows('w', definition) as never }),
      )
    }
    await open(tumbling({ sizeMs: 10 }))
    await expect(open(tumbling({ sizeMs: 20 }))).rejects.toMatchObject({ code: 'INCOMPATIBLE' })
    await backend.close()
    const aggregate = { codec: float64, add: () => 1 } as never
    expect(() => windowed({ windows: session({ gapMs: 1 }), aggregate })).toThrowError(/merge/)
    expect(() => windowed({ windows: sliding({ sizeMs: 1 }), aggregate })).toThrowError(/events/)
    expect(() => windowed({ windows: tumbling({ sizeMs: 1 }) })).toThrowError(/aggregate/)
    const early = { everyEvents: 2 }
    expect(() => windowed({ windows: countWindows({ size: 3 }), aggregate, early })).toThrowError(/early/)
  })
})
