import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runThrough } from '../../base/slices.js'
import { MemoryStateBackend } from '../../memory/memory-state-backend.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { ByteWriter } from '../../state/codec/bytes.js'
import { json } from '../../state/codec/json.js'
import { float64 } from '../../state/codec/numbers.js'
import { GivenKey, statePrefix } from '../../state/key/stored-key.js'
import { defineState } from '../../state/schema/define-state.js'
import { openStateOf, StateStore } from '../../state/store.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { distinctCount } from '../aggregate/distinct.js'
import { approximateDistinctCount } from '../aggregate/hyper-log-log.js'
import { quantiles } from '../aggregate/quantiles.js'
import { combined, count, first, last, max, sum } from '../aggregate/ready-made.js'
import { topN } from '../aggregate/top-n.js'
import { cumulative, hopping, type TimeWindow, tumbling, type WindowAssigner } from '../assign/assigner.js'
import { countWindows, globalWindows, session, sliding } from '../assign/by-key.js'
import { type WindowOptions, type WindowResult, windowed } from '../windowed.js'
import { openWindows, statesOfWindows } from './open-windows.js'
import { WindowList } from './window-list.js'
import type { WindowOperator } from './window-operator.js'

interface Event {
  readonly key: string
  readonly at: number
  readonly value: number
}

type Result = WindowResult<string, unknown>

/** Windows over a store that may be opened again and again. */
class Driver {
  readonly results: Result[] = []
  readonly late: string[] = []
  watermarkMs = -Infinity
  nowMs = 0
  operator!: WindowOperator
  #store!: object
  readonly #backend = new MemoryStateBackend()
  readonly #definition: object

  constructor(options: WindowOptions<Event, string, unknown, Result>) {
    this.#definition = windowed<Event, string, unknown, Result>({
      ...options,
      onLate: ({ event, missed, isLost }) => {
        this.late.push(`${event.at} ${isLost ? 'lost' : 'entered'} ${missed.map(shownWindow).join(' ')}`)
        return undefined
      },
    })
  }

  /** Makes a cut, and opens its store: what is only in memory is lost by it. */
  async open(): Promise<this> {
    this.flush()
    const schema = defineState({ key: utf8, states: statesOfWindows('w', this.#definition) as never })
    const store = await StateStore.open(this.#backend, schema)
    this.#store = store
    this.operator = openWindows({
      store,
      name: 'w',
      definition: this.#definition as never,
      emit: (result) => void this.results.push(result as Result),
      nowMs: () => this.nowMs,
    })
    for (const _ of this.operator.restore(this.watermarkMs));
    return this
  }

  add(event: Event): void {
    this.operator.add(event.key, event, event.at, this.watermarkMs)
  }

  advance(watermarkMs: number): void {
    if (watermarkMs <= this.watermarkMs) return
    this.watermarkMs = watermarkMs
    for (const _ of this.operator.advance(watermarkMs));
  }

  flush(): void {
    if (this.operator !== undefined) for (const _ of this.operator.flush());
  }

  /** A cut that fails at a call of a state's entries, if it comes to that one. */
  failAt(state: string, call: 'put' | 'remove', failing: number): void {
    const { entries } = openStateOf(this.#store, state)
    const real = entries[call].bind(entries) as (...args: unknown[]) => void
    let calls = 0
    entries[call] = (...args: unknown[]) => {
      if (calls++ === failing) throw new Error('the store is full')
      real(...args)
    }
    try {
      this.flush()
    } catch {
      // The next one writes what is left.
    } finally {
      Reflect.deleteProperty(entries, call)
    }
  }

  /** The windows of a key, as a tool reads them from the store. */
  stored(key: string): unknown {
    return (this.#store as { readonly w: { get(key: string): unknown } }).w.get(key)
  }

  /** Makes a cut and damages what it has of a state. */
  damage(state: string, damaged: (bytes: Uint8Array) => Uint8Array): void {
    this.flush()
    const { entries, context } = openStateOf(this.#store, state)
    for (let group = 0; group < context.keyGroups; group++) {
      const range = { gte: statePrefix(group, context.id), lt: statePrefix(group, context.id + 1) }
      // Nothing is written while it is scanned.
      const found = [...(entries.scan([range]) as Iterable<[Uint8Array, Uint8Array]>)]
      for (const [key, bytes] of found) {
        const written = new ByteWriter()
        written.append(damaged(bytes))
        entries.put(new GivenKey(new Uint8Array(key)), written)
      }
    }
  }

  /** How many entries there are in the end, the recorded schema among them. */
  async close(): Promise<number> {
    this.flush()
    const left = await this.#backend.count()
    await this.#backend.close()
    return left
  }
}

const shownWindow = ({ startMs, endMs }: TimeWindow): string => `[${startMs}, ${endMs})`

const shown = (results: readonly Result[]): string[] =>
  results.map(({ key, window, value, pane, replaces }) => {
    const became = replaces === undefined ? '' : ` replaces ${replaces.map(shownWindow).join(' ')}`
    return `${key} ${shownWindow(window)} ${JSON.stringify(value)} ${pane.kind} ${pane.index}${pane.isFinal ? ' final' : ''}${became}`
  })

const values: Aggregate<Event, number[], number[]> = {
  codec: json<number[]>(),
  first: () => [],
  add: (list, { value }) => [...list, value],
  merge: (list, later) => [...list, ...later],
}
const figures = () =>
  combined({ n: count(), total: sum((e: Event) => e.value), most: max((e: Event) => e.value) })
const event = (key: string, at: number, value = 1): Event => ({ key, at, value })

async function driven(
  options: WindowOptions<Event, string, unknown, Result>,
  body: (driver: Driver) => void | Promise<void>,
): Promise<Driver> {
  const driver = await new Driver(options).open()
  await body(driver)
  return driver
}

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
      const aggregate = sum(({ value }: Event) => value)
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
      { events: json<Event>(), process: (all: Iterable<Event>) => Array.from(all, ({ value }) => value) },
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
    const process = (events: Iterable<Event>) => [...events].length
    const windows = tumbling({ sizeMs: 10 })
    expect(() => windowed({ windows, events: json<Event>(), process, panes: 'discarding' })).toThrowError(
      /options.panes/,
    )
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
      distinctCount(float64, ({ value }: Event) => value),
      combined({
        different: distinctCount(float64, ({ value }: Event) => value),
        sum: sum(({ value }: Event) => value),
      }),
    ]) {
      const windows = await new Driver({ windows: tumbling({ sizeMs: 10 }), aggregate }).open()
      const alone = await new Driver({ windows: tumbling({ sizeMs: 10 }), aggregate }).open()
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
        const driver: Driver = new Driver({
          windows,
          aggregate: (isRaw
            ? sum(({ value }: Event) => asked(value))
            : distinctCount(float64, ({ value }: Event) => asked(value))) as Aggregate<
            Event,
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
    const driver = await new Driver({ windows: tumbling({ sizeMs: 10 }), aggregate: count() }).open()
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

  it('W18: early results come by count, by the processing clock, and on demand', async () => {
    const { results } = await driven(
      { windows: tumbling({ sizeMs: 10 }), aggregate: values, early: { everyEvents: 3, everyMs: 100 } },
      async (d) => {
        d.add(event('a', 1, 1))
        expect(shown(d.operator.peek('a') as Result[])).toEqual(['a [0, 10) [1] early 0'])
        expect(d.operator.peek('b')).toEqual([])
        d.add(event('a', 2, 2))
        await d.open()
        runThrough(d.operator.onProcessingTime(0))
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
    const kinds: readonly WindowOptions<Event, string, unknown, Result>[] = [
      { windows: tumbling({ sizeMs: 10 }), aggregate: values },
      {
        windows: tumbling({ sizeMs: 10 }),
        aggregate: values,
        allowedLatenessMs: 5,
        early: { everyEvents: 2 },
      },
      { windows: session({ gapMs: 10 }), aggregate: count() },
      { windows: session({ gapMs: 10 }), aggregate: values, allowedLatenessMs: 5 },
      { windows: session({ gapMs: 10 }), events: json<Event>(), process: (all) => [...all].length },
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
                events: json<Event>(),
                process: (events: Iterable<Event>) => Array.from(events, ({ value }) => value),
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
        events: json<Event>(),
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
      { windows: session({ gapMs: 5 }), events: json<Event>(), aggregate: values },
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
      first: first(float64, (e: Event) => e.value),
      last: last(float64, (e: Event) => e.value),
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
    ['kept events', { windows: session({ gapMs: 5 }), events: json<Event>(), aggregate: figures() }],
    ['of a fixed size', { windows: tumbling({ sizeMs: 10 }), aggregate: figures() }],
  ] as const)('take the last event out again: %s', async (_, options) => {
    const driver = await driven(options as WindowOptions<Event, string, unknown, Result>, (d) => {
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

  it('are INCOMPATIBLE with windows of another size, and refuse what does not go together', async () => {
    const backend = new MemoryStateBackend()
    const open = (windows: WindowAssigner) => {
      const definition = windowed<Event, string, number, Result>({ windows, aggregate: count() })
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

interface Plain {
  startMs: number
  endMs: number
  values: number[]
}

/** The same windows by lists and loops: what the watermark lets in, and what it closes. */
function batchOf(
  windows: WindowAssigner | { readonly gapMs: number },
  events: readonly Event[],
  disorderMs: number,
): string[] {
  const open = new Map<string, Plain[]>()
  const results: string[] = []
  let watermarkMs = -Infinity
  const closeUntil = (limitMs: number) => {
    watermarkMs = limitMs
    const closing = [...open].flatMap(([key, list]) =>
      list.filter(({ endMs }) => endMs - 1 <= limitMs).map((window) => ({ key, window })),
    )
    for (const [key, list] of open)
      open.set(
        key,
        list.filter(({ endMs }) => endMs - 1 > limitMs),
      )
    closing.sort(
      (a, b) =>
        a.window.endMs - b.window.endMs || a.window.startMs - b.window.startMs || (a.key < b.key ? -1 : 1),
    )
    for (const { key, window } of closing)
      results.push(`${key} ${shownWindow(window)} ${window.values.sort().join()}`)
  }
  for (const { key, at, value } of events) {
    const list = open.get(key) ?? []
    open.set(key, list)
    if ('gapMs' in windows) {
      const { gapMs } = windows
      const joined = list.filter(({ startMs, endMs }) => startMs - gapMs <= at && at <= endMs)
      const merged: Plain = {
        startMs: Math.min(at, ...joined.map(({ startMs }) => startMs)),
        endMs: Math.max(at + gapMs, ...joined.map(({ endMs }) => endMs)),
        values: [value, ...joined.flatMap((each) => each.values)],
      }
      if (merged.endMs - 1 > watermarkMs)
        open.set(key, [...list.filter((each) => !joined.includes(each)), merged])
    } else {
      for (const { startMs, endMs } of windows.windowsOf(at)) {
        if (endMs - 1 <= watermarkMs) continue
        const found = list.find((each) => each.startMs === startMs && each.endMs === endMs)
        if (found === undefined) list.push({ startMs, endMs, values: [value] })
        else found.values.push(value)
      }
    }
    if (at - disorderMs - 1 > watermarkMs) closeUntil(at - disorderMs - 1)
  }
  closeUntil(Infinity)
  return results
}

interface PlainPanes extends Plain {
  panes: number
  isFired: boolean
  replaces: string[]
}

/** The same with allowed lateness and a result for each late event: a key at a time, by lists and loops. */
function lateBatchOf(
  windows: WindowAssigner | { readonly gapMs: number },
  events: readonly Event[],
  { disorderMs, latenessMs }: { readonly disorderMs: number; readonly latenessMs: number },
): string[] {
  const open = new Map<string, PlainPanes[]>()
  const results: string[] = []
  let watermarkMs = -Infinity
  const fire = (key: string, window: PlainPanes, kind: string) => {
    const became = window.replaces.length === 0 ? '' : ` replaces ${window.replaces.join(' ')}`
    const isFinal = watermarkMs >= window.endMs - 1 + latenessMs ? ' final' : ''
    results.push(
      `${key} ${shownWindow(window)} ${JSON.stringify([...window.values].sort())} ${kind} ${window.panes++}${isFinal}${became}`,
    )
    window.isFired = true
    window.replaces = []
  }
  const closeUntil = (limitMs: number) => {
    watermarkMs = limitMs
    const due = [...open].flatMap(([key, list]) =>
      list
        .filter(({ endMs, isFired }) => !isFired && endMs - 1 <= limitMs)
        .map((window) => ({ key, window })),
    )
    due.sort(
      (a, b) =>
        a.window.endMs - b.window.endMs || a.window.startMs - b.window.startMs || (a.key < b.key ? -1 : 1),
    )
    for (const { key, window } of due) fire(key, window, 'onTime')
    for (const [key, list] of open)
      open.set(
        key,
        list.filter(({ endMs }) => endMs - 1 + latenessMs > limitMs),
      )
  }
  for (const { key, at, value } of events) {
    const list = open.get(key) ?? []
    open.set(key, list)
    const touched: PlainPanes[] = []
    if ('gapMs' in windows) {
      const { gapMs } = windows
      const joined = list.filter(({ startMs, endMs }) => startMs - gapMs <= at && at <= endMs)
      joined.sort((a, b) => a.startMs - b.startMs)
      const startMs = Math.min(at, ...joined.map((each) => each.startMs))
      const endMs = Math.max(at + gapMs, ...joined.map((each) => each.endMs))
      const [only] = joined
      if (joined.length === 1 && only?.startMs === startMs && only.endMs === endMs) {
        only.values.push(value)
        touched.push(only)
      } else if (joined.length > 0 || endMs - 1 + latenessMs > watermarkMs) {
        const replaces = joined.flatMap((each) => [
          ...each.replaces,
          ...(each.panes > 0 ? [shownWindow(each)] : []),
        ])
        const together = [...joined.flatMap((each) => each.values), value]
        const merged = { startMs, endMs, values: together, panes: 0, isFired: false, replaces }
        open.set(key, [...list.filter((each) => !joined.includes(each)), merged])
        touched.push(merged)
      }
    } else {
      for (const { startMs, endMs } of windows.windowsOf(at)) {
        if (endMs - 1 + latenessMs <= watermarkMs) continue
        let found = list.find((each) => each.startMs === startMs && each.endMs === endMs)
        if (found === undefined) {
          found = { startMs, endMs, values: [], panes: 0, isFired: false, replaces: [] }
          list.push(found)
        }
        found.values.push(value)
        touched.push(found)
      }
    }
    touched.sort((a, b) => a.startMs - b.startMs || a.endMs - b.endMs)
    for (const window of touched) if (watermarkMs >= window.endMs - 1) fire(key, window, 'late')
    if (at - disorderMs - 1 > watermarkMs) closeUntil(at - disorderMs - 1)
  }
  closeUntil(Infinity)
  return results
}

describe('windows over random streams', () => {
  const size = fc.integer({ min: 1, max: 20 })
  const assigners = fc.oneof(
    size.map((sizeMs) => tumbling({ sizeMs })),
    fc.tuple(size, size).map(([sizeMs, slideMs]) => hopping({ sizeMs, slideMs })),
    fc
      .tuple(size, fc.integer({ min: 1, max: 4 }))
      .map(([stepMs, n]) => cumulative({ stepMs, maxMs: stepMs * n })),
    size.map((gapMs) => session({ gapMs })),
  )
  const stream = fc.array(
    fc.record({
      key: fc.constantFrom('a', 'b', 'c'),
      stepMs: fc.oneof(
        { weight: 5, arbitrary: fc.integer({ min: -8, max: 12 }) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 200 }) },
      ),
      opens: fc.oneof(
        { weight: 9, arbitrary: fc.constant(false) },
        { weight: 1, arbitrary: fc.constant(true) },
      ),
    }),
    { maxLength: 60 },
  )
  const numRuns = process.env['HOLDFAST_LONG'] === '1' ? 2_000 : 150

  it('agree with lists and loops, with and without merging, whenever the store is opened again', async () => {
    await fc.assert(
      fc.asyncProperty(
        assigners,
        stream,
        fc.nat({ max: 20 }),
        fc.boolean(),
        async (windows, steps, disorderMs, merges) => {
          let at = -20
          const events = steps.map(({ key, stepMs }, value): Event => {
            at += stepMs
            return { key, at, value: 100 + value }
          })
          const { merge: _merge, ...unmerged } = values
          const aggregate = merges || 'kind' in windows ? values : unmerged
          const driver = await driven({ windows, aggregate }, async (d) => {
            for (const [i, each] of events.entries()) {
              if (steps[i]?.opens) await d.open()
              d.add(each)
              d.advance(each.at - disorderMs - 1)
            }
            d.advance(Infinity)
          })
          const found = driver.results.map(
            ({ key, window, value }) => `${key} ${shownWindow(window)} ${(value as number[]).sort().join()}`,
          )
          expect(found).toEqual(batchOf(windows as WindowAssigner, events, disorderMs))
          expect(await driver.close()).toBe(1)
        },
      ),
      { numRuns },
    )
  })

  it('agree with lists and loops where late events are taken in', async () => {
    const lateness = fc.record({
      disorderMs: fc.nat({ max: 10 }),
      latenessMs: fc.integer({ min: 1, max: 40 }),
    })
    await fc.assert(
      fc.asyncProperty(assigners, stream, lateness, async (windows, steps, times) => {
        let at = -20
        const events = steps.map(({ key, stepMs }, value): Event => {
          at += stepMs
          return { key, at, value: 100 + value }
        })
        const sorted: Aggregate<Event, number[], number[]> = { ...values, result: (list) => [...list].sort() }
        const { latenessMs: allowedLatenessMs, disorderMs } = times
        const driver = await driven({ windows, aggregate: sorted, allowedLatenessMs }, async (d) => {
          for (const [i, each] of events.entries()) {
            if (steps[i]?.opens) await d.open()
            d.add(each)
            d.advance(each.at - disorderMs - 1)
          }
          d.advance(Infinity)
        })
        expect(shown(driver.results)).toEqual(lateBatchOf(windows as WindowAssigner, events, times))
        expect(await driver.close()).toBe(1)
      }),
      { numRuns },
    )
  })

  it('agree with lists and loops where a key has many windows open, of which late events are taken in', async () => {
    const many = fc.array(
      fc.record({
        key: fc.constantFrom('a', 'a', 'a', 'b'),
        at: fc.nat({ max: 8_000 }),
        behindMs: fc.nat({ max: 9_000 }),
        opens: fc.integer({ min: 0, max: 59 }).map((number) => number === 0),
      }),
      { minLength: 100, maxLength: 400 },
    )
    const times = { disorderMs: 4_000, latenessMs: 3_000 }
    await fc.assert(
      fc.asyncProperty(assigners, many, async (windows, steps) => {
        // Each event may be of any time up to what has come, which goes on by and by.
        const events = steps.map(({ key, at, behindMs }, i): Event => {
          return { key, at: Math.max(at, i * 40) - behindMs, value: 100 + i }
        })
        const sorted: Aggregate<Event, number[], number[]> = { ...values, result: (list) => [...list].sort() }
        const { latenessMs: allowedLatenessMs, disorderMs } = times
        const driver = await driven({ windows, aggregate: sorted, allowedLatenessMs }, async (d) => {
          for (const [i, each] of events.entries()) {
            if (steps[i]?.opens) await d.open()
            d.add(each)
            // What was taken out again is as if it had not come; of what it has put out nothing is taken back.
            if (each.at - 1 > d.watermarkMs + 30) {
              d.operator.revert()
              d.add(each)
            }
            d.advance(each.at - disorderMs - 1)
          }
          d.advance(Infinity)
        })
        expect(shown(driver.results)).toEqual(lateBatchOf(windows as WindowAssigner, events, times))
        expect(await driver.close()).toBe(1)
      }),
      { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 300 : 12 },
    )
  })
})

describe('windows at the edges', () => {
  it('take the last event out again: a window by count that it has filled has its kept events again', async () => {
    const { results } = await driven(
      {
        windows: countWindows({ size: 2 }),
        events: json<Event>(),
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

  it.each([
    ['tumbling', 'w', { windows: tumbling({ sizeMs: 10 }), aggregate: count() }],
    ['sessions', 'w', { windows: session({ gapMs: 5 }), aggregate: count() }],
    [
      'kept events',
      'w.events',
      { windows: session({ gapMs: 5 }), events: json<Event>(), aggregate: count() },
    ],
  ] as const)(
    'are whole in the next cut where one has failed in the middle: %s',
    async (_, state, options) => {
      for (const failing of ['put', 'remove'] as const) {
        const driver = await driven(options as WindowOptions<Event, string, unknown, Result>, async (d) => {
          for (const key of ['gone', 'gone too']) d.add(event(key, -50))
          await d.open()
          d.advance(-20)
          for (const key of ['a', 'b', 'c']) d.add(event(key, 1))
          for (let calls = 0; calls < 3; calls++) d.failAt(state, failing, calls)
          await d.open()
          d.advance(Infinity)
        })
        expect(driver.results.map(({ key }) => key)).toEqual(['gone', 'gone too', 'a', 'b', 'c'])
        expect(await driver.close()).toBe(1)
      }
    },
  )

  it('go on behind a discarding result, of which nothing is left but the window', async () => {
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

  it.each([
    ['tumbling', tumbling({ sizeMs: 10 })],
    ['session', session({ gapMs: 5 })],
  ] as const)('keep nothing of an event that one of several aggregates refuses: %s', async (_, windows) => {
    const name = ({ value }: Event) => (value === 0 ? '\ud800' : String(value))
    const aggregate = combined({ n: count(), names: distinctCount(utf8, name) })
    const { results } = await driven({ windows, aggregate }, (d) => {
      const refused = expect.objectContaining({ code: 'SERIALIZATION_FAILED' })
      for (const value of [1, 1, 0, 2, 0]) {
        if (value !== 0) d.add(event('a', 1, value))
        else expect(() => d.add(event('a', 1, value))).toThrowError(refused)
      }
      d.advance(20)
    })
    expect(results.map(({ value }) => value)).toEqual([{ n: 3, names: 2 }])
  })

  it.each([
    ['topN', topN({ n: 2, by: ({ value }: Event) => value, codec: json<Event>() })],
    ['distinctCount', distinctCount(utf8, ({ key }: Event) => key)],
    ['approximateDistinctCount', approximateDistinctCount(float64, ({ value }: Event) => value)],
    ['quantiles', quantiles(({ value }: Event) => value, [0.5])],
    ['combined', combined({ n: count(), many: distinctCount(utf8, ({ key }: Event) => key) })],
  ])('refuse stored bytes that are none of %s', async (_, aggregate) => {
    for (const windows of [tumbling({ sizeMs: 10 }), session({ gapMs: 5 })]) {
      const driver = await driven({ windows, aggregate } as never, (d) => d.add(event('a', 1)))
      driver.damage('w', (bytes) => {
        const damaged = new Uint8Array(bytes)
        // Its last byte is a register, or part of a count, of a value's end, or of JSON.
        damaged[damaged.length - 1] = 0xff
        return damaged
      })
      await expect(driver.open()).rejects.toMatchObject({ code: 'DESERIALIZATION_FAILED' })
    }
  })

  it.each([
    ['tumbling', { windows: tumbling({ sizeMs: 10 }), aggregate: count() }],
    ['sessions', { windows: session({ gapMs: 5 }), aggregate: count() }],
    ['kept events', { windows: session({ gapMs: 5 }), events: json<Event>(), aggregate: count() }],
  ] as const)('refuse a key that the next cut could not store: %s', async (_, options) => {
    const driver = await driven(options as WindowOptions<Event, string, unknown, Result>, (d) => {
      const refused = expect.objectContaining({ code: 'SERIALIZATION_FAILED' })
      for (const length of [2_048, 3_000])
        expect(() => d.add(event('k'.repeat(length), 1))).toThrowError(refused)
      d.add(event('k'.repeat(2_000), 1))
      d.flush()
      d.advance(Infinity)
    })
    expect(driver.results).toHaveLength(1)
    expect(await driver.close()).toBe(1)
  })

  it.each([
    ['tumbling', tumbling({ sizeMs: 60_000 })],
    ['hopping', hopping({ sizeMs: 60_000, slideMs: 7_000 })],
    ['cumulative', cumulative({ maxMs: 60_000, stepMs: 10_000 })],
  ])('refuse an event whose %s window no cut could name', async (_, windows) => {
    await driven({ windows, aggregate: count() }, async (driver) => {
      for (const at of [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]) {
        expect(() => driver.add(event('a', at))).toThrow(
          expect.objectContaining({ code: 'SERIALIZATION_FAILED' }),
        )
      }
      driver.add(event('a', 1))
      await driver.open()
      driver.advance(Infinity)
      expect(driver.results.length).toBeGreaterThan(0)
    })
  })

  const cut = (bytes: Uint8Array) => bytes.slice(0, -3)
  const junk = (bytes: Uint8Array) => bytes.map((byte, i) => (i < bytes.length - 3 ? byte : 0xff))
  it.each([
    ['a count that is cut off', { windows: tumbling({ sizeMs: 10 }), aggregate: count() }, 'w', cut],
    ['a list that is cut off', { windows: tumbling({ sizeMs: 10 }), aggregate: values }, 'w', cut],
    ['a list of a session', { windows: session({ gapMs: 10 }), aggregate: values }, 'w', junk],
    [
      'a session without an end',
      { windows: session({ gapMs: 10 }), aggregate: count() },
      'w',
      (bytes: Uint8Array) => {
        const damaged = Buffer.from(bytes)
        damaged.writeDoubleLE(Number.NaN, 12)
        return new Uint8Array(damaged)
      },
    ],
    [
      'a kept event',
      { windows: session({ gapMs: 10 }), events: json<Event>(), process: () => 0 },
      'w.events',
      cut,
    ],
  ])(
    'refuse %s, which the store has damaged, before anything comes of it',
    async (_, options, state, how) => {
      await driven(options, async (driver) => {
        driver.add(event('a', 1))
        driver.damage(state, how)
        await expect(driver.open()).rejects.toMatchObject({ code: 'DESERIALIZATION_FAILED' })
      })
    },
  )

  it('refuse more replaced results than their form has room for, and change nothing', () => {
    const list = new WindowList()
    list.insert(0, 0, 10, 8)
    const replaced = Array.from({ length: 65_536 }, (_, i) => ({ startMs: i, endMs: i + 1 }))
    expect(() => list.setReplaces(0, replaced)).toThrow(/more than 65535/)
    expect([list.replaces(0), list.accumulatorBytes(0)]).toEqual([[], 8])
  })
})
