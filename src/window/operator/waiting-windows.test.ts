import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { modelLimitMs, modelRuns } from '../../../test/support/long.js'
import { onRandomRuns } from '../../../test/support/random-runs.js'
import {
  driven,
  event,
  type Result,
  shown,
  shownWindow,
  values,
  type WindowDriver,
  type WindowEvent,
} from '../../../test/support/window-driver.js'
import { runThrough } from '../../base/slices.js'
import { count } from '../aggregate/ready-made.js'
import { hopping, tumbling, type WindowAssigner } from '../assign/assigner.js'
import { globalWindows, session } from '../assign/by-key.js'
import type { WindowOptions } from '../windowed.js'

/** The clock goes on, and what is due by it fires then. */
function wait(driver: WindowDriver, forMs: number): void {
  const untilMs = driver.nowMs + forMs
  for (;;) {
    driver.nowMs = Math.min(untilMs, Math.max(driver.nowMs, driver.operator.nextProcessingMs))
    runThrough(driver.operator.onProcessingTime(driver.nowMs))
    if (driver.nowMs === untilMs && driver.operator.nextProcessingMs > untilMs) return
  }
}

/** The results since the last call. */
const taken = (driver: WindowDriver): string[] => shown(driver.results.splice(0))

const ten = tumbling({ sizeMs: 10 })

describe('results that wait for the clock', () => {
  it('W12, W18: come after the interval of their kind, whichever is shorter', async () => {
    const options = { windows: ten, aggregate: values, allowedLatenessMs: 50 }
    await driven({ ...options, early: { everyMs: 9 }, refireMs: 1 }, (d) => {
      d.add(event('a', 1, 1))
      wait(d, 8)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['a [0, 10) [1] early 0'])
      d.advance(9)
      d.add(event('a', 2, 2))
      d.add(event('a', 12, 3))
      taken(d)
      wait(d, 1)
      expect(taken(d)).toEqual(['a [0, 10) [1,2] late 2'])
      wait(d, 8)
      expect(taken(d)).toEqual(['a [10, 20) [3] early 0'])
    })
  })

  it('W12: a window fires again at most every refireMs, whatever others of its key do', async () => {
    const options = { windows: ten, aggregate: count(), allowedLatenessMs: 500, refireMs: 100 }
    await driven(options, (d) => {
      d.add(event('a', 1))
      d.add(event('a', 11))
      d.advance(25)
      taken(d)
      d.add(event('a', 2))
      wait(d, 99)
      d.add(event('a', 12))
      wait(d, 1)
      expect(taken(d)).toEqual(['a [0, 10) 2 late 1'])
      wait(d, 40)
      d.add(event('a', 3))
      wait(d, 58)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['a [10, 20) 2 late 1'])
      wait(d, 40)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['a [0, 10) 3 late 2'])
      expect(d.operator.nextProcessingMs).toBe(Infinity)
    })
  })

  it('W18: everyMs counts from the first event that was not told of, also behind a result by number', async () => {
    for (const windows of [ten, session({ gapMs: 20 }), globalWindows()]) {
      const early = { everyEvents: 2, everyMs: 100 }
      await driven({ windows, aggregate: count(), early }, (d) => {
        d.add(event('a', 1))
        wait(d, 60)
        d.add(event('a', 1))
        expect(taken(d)).toHaveLength(1)
        wait(d, 20)
        d.add(event('a', 1))
        wait(d, 99)
        expect(taken(d)).toEqual([])
        wait(d, 1)
        expect(taken(d)).toHaveLength(1)
      })
    }
  })

  it('W12, W18: wait on behind a restart, and come at once where their time has come meanwhile', async () => {
    const options = { windows: ten, aggregate: count(), allowedLatenessMs: 500, refireMs: 100 }
    await driven({ ...options, early: { everyMs: 50 } }, async (d) => {
      d.advance(9)
      d.add(event('a', 1))
      d.add(event('b', 11))
      wait(d, 30)
      await d.open()
      wait(d, 19)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['b [10, 20) 1 early 0'])
      d.nowMs += 200
      await d.open()
      expect(d.operator.nextProcessingMs).toBe(d.nowMs)
      wait(d, 0)
      expect(taken(d)).toEqual(['a [0, 10) 1 late 0'])
    })
  })

  it('W12, W18: wait for their interval at most where the clock is behind that of the run before', async () => {
    const options = { windows: ten, aggregate: count(), early: { everyMs: 50 } }
    for (const many of [1, 200]) {
      await driven(options, async (d) => {
        d.nowMs = 1_000_000
        for (let i = 0; i < many; i++) d.add(event('a', i * 10))
        d.nowMs = 0
        await d.open()
        wait(d, 49)
        expect(taken(d)).toEqual([])
        wait(d, 1)
        expect(taken(d)).toHaveLength(many)
      })
    }
  })

  it('W12, W18: come at once behind a restart where an earlier version has not noted since when they wait', async () => {
    await driven({ windows: ten, aggregate: values, early: { everyMs: 50 } }, async (d) => {
      d.add(event('a', 1, 1))
      d.damage('w', (bytes) => {
        const before = new Uint8Array(bytes.length - 8)
        before.set(bytes.subarray(0, 36))
        before.set(bytes.subarray(44), 36)
        // What it waits since was noted, by this version.
        expect(before[28]).toBe(2 + 4 + 8)
        before[28] = 2 + 4
        return before
      })
      await d.open()
      wait(d, 0)
      expect(taken(d)).toEqual(['a [0, 10) [1] early 0'])
      d.add(event('a', 2, 2))
      wait(d, 49)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['a [0, 10) [1,2] early 1'])
    })
  })

  it('W12, W14: a session that had ended and goes on waits as before its end, and not at all where there are no early results', async () => {
    const options = {
      windows: session({ gapMs: 10 }),
      aggregate: count(),
      allowedLatenessMs: 500,
      refireMs: 100,
    }
    for (const everyMs of [undefined, 20, 300]) {
      await driven({ ...options, ...(everyMs !== undefined && { early: { everyMs } }) }, (d) => {
        d.add(event('a', 1))
        d.advance(15)
        taken(d)
        d.add(event('a', 1))
        wait(d, 10)
        d.add(event('a', 11))
        if (everyMs !== undefined) {
          wait(d, everyMs - 11)
          expect(taken(d)).toEqual([])
          wait(d, 1)
          expect(taken(d)).toEqual(['a [1, 21) 3 early 0 replaces [1, 11)'])
        }
        wait(d, 1_000)
        expect(taken(d)).toEqual([])
        d.advance(30)
        expect(taken(d)).toHaveLength(1)
        d.add(event('a', 2))
        wait(d, 99)
        expect(taken(d)).toEqual([])
        wait(d, 1)
        expect(taken(d)).toHaveLength(1)
      })
    }
  })

  it('W12: what fired at its end before its early result was due fires again after refireMs, where that is shorter', async () => {
    const options = { aggregate: count(), allowedLatenessMs: 50, early: { everyMs: 20 }, refireMs: 1 }
    for (const windows of [ten, hopping({ sizeMs: 10, slideMs: 10 }), session({ gapMs: 10 })]) {
      await driven({ ...options, windows }, (d) => {
        d.add(event('a', 0))
        d.advance(9)
        taken(d)
        d.add(event('a', 0))
        expect(taken(d)).toEqual([])
        wait(d, 1)
        expect(taken(d)).toEqual(['a [0, 10) 2 late 1'])
      })
    }
  })

  it('W12, W14: a session that had fired and is joined by an event before it, at whose end it stays, fires again after refireMs', async () => {
    const options = { windows: session({ gapMs: 1 }), aggregate: count(), allowedLatenessMs: 1 }
    await driven({ ...options, early: { everyMs: 2 }, refireMs: 1 }, (d) => {
      d.add(event('b', 11))
      d.advance(11)
      taken(d)
      d.add(event('b', 10))
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['b [10, 12) 2 late 0 replaces [11, 12)'])
    })
  })

  it('W15, W18: sessions that become one wait since the first of them did', async () => {
    const options = { windows: session({ gapMs: 10 }), aggregate: count(), early: { everyMs: 50 } }
    await driven(options, (d) => {
      d.add(event('a', 20))
      wait(d, 20)
      d.add(event('a', 1))
      wait(d, 20)
      d.add(event('a', 10))
      wait(d, 9)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['a [1, 30) 3 early 0'])
      wait(d, 1_000)
      expect(taken(d)).toEqual([])
    })
  })

  it('sessions that waited go on where they were without early results', async () => {
    const options = { windows: session({ gapMs: 10 }), aggregate: count() }
    const early = { everyMs: 50 }
    const driver = await driven({ ...options, early }, async (d) => {
      for (const at of [1, 5, 100]) d.add(event('a', at))
      await d.openAs(options)
      d.add(event('a', 12))
      d.add(event('a', 95))
      wait(d, 1_000)
      expect(taken(d)).toEqual([])
      d.advance(Infinity)
    })
    expect(shown(driver.results)).toEqual(['a [1, 22) 3 onTime 0 final', 'a [95, 110) 2 onTime 0 final'])
  })

  it('W12: what is waited for no more behind a restart is told of at its end, or at once where that was before', async () => {
    const options = { windows: ten, aggregate: count(), allowedLatenessMs: 500 }
    await driven({ ...options, early: { everyMs: 50 }, refireMs: 100 }, async (d) => {
      d.advance(9)
      d.add(event('a', 1))
      d.add(event('a', 11))
      await d.openAs({ ...options, early: { everyEvents: 3 } })
      wait(d, 0)
      expect(taken(d)).toEqual(['a [0, 10) 1 late 0'])
      wait(d, 1_000)
      expect(taken(d)).toEqual([])
      await d.openAs({ ...options, early: { everyMs: 50 } })
      d.add(event('a', 12))
      wait(d, 49)
      expect(taken(d)).toEqual([])
      wait(d, 1)
      expect(taken(d)).toEqual(['a [10, 20) 2 early 0'])
    })
  })
})

interface Waiting {
  readonly startMs: number
  readonly endMs: number
  values: number[]
  changes: number
  panes: number
  isFired: boolean
  /** When its first event came that was not told of. */
  sinceMs: number
}

interface Settings {
  readonly windows: WindowAssigner | ReturnType<typeof session>
  readonly latenessMs: number
  readonly refireMs: number | undefined
  readonly everyMs: number | undefined
  readonly everyEvents: number | undefined
  readonly isDiscarding: boolean
}

/** The same by lists and loops, a millisecond of the clock at a time. */
class PlainWindows {
  readonly results: string[] = []
  watermarkMs = -Infinity
  nowMs = 0
  readonly #open = new Map<string, Waiting[]>()
  readonly #settings: Settings

  constructor(settings: Settings) {
    this.#settings = settings
  }

  add({ key, at, value }: WindowEvent): void {
    const { everyEvents = Infinity, refireMs } = this.#settings
    for (const window of this.#windowsOf(key, at)) {
      window.values.push(value)
      window.changes++
      window.sinceMs = Math.min(window.sinceMs, this.nowMs)
      if (this.watermarkMs >= window.endMs - 1) {
        window.isFired = true
        if (refireMs === undefined) this.#fire(key, window, 'late')
      } else if (window.changes >= everyEvents) {
        this.#fire(key, window, 'early')
      }
    }
    this.fireDue()
  }

  advance(watermarkMs: number): void {
    if (watermarkMs <= this.watermarkMs) return
    this.watermarkMs = watermarkMs
    for (const [key, list] of this.#open) {
      for (const window of list) {
        if (window.endMs - 1 > watermarkMs || window.isFired) continue
        window.isFired = true
        this.#fire(key, window, 'onTime')
      }
      const isGone = ({ endMs }: Waiting) => endMs - 1 + this.#settings.latenessMs <= watermarkMs
      for (const window of list.filter(isGone)) this.#fire(key, window, 'late')
      this.#open.set(
        key,
        list.filter((window) => !isGone(window)),
      )
    }
  }

  wait(forMs: number): void {
    for (const untilMs = this.nowMs + forMs; this.nowMs < untilMs; ) {
      this.nowMs++
      this.fireDue()
    }
  }

  fireDue(): void {
    const { refireMs = Infinity, everyMs = Infinity } = this.#settings
    for (const [key, list] of this.#open) {
      for (const window of list) {
        const waitsMs = window.isFired ? refireMs : everyMs
        if (window.changes > 0 && window.sinceMs + waitsMs <= this.nowMs)
          this.#fire(key, window, window.isFired ? 'late' : 'early')
      }
    }
  }

  #windowsOf(key: string, at: number): Waiting[] {
    const { windows, latenessMs } = this.#settings
    const list = this.#open.get(key) ?? []
    this.#open.set(key, list)
    const begun = (startMs: number, endMs: number) => {
      const plain = { values: [], changes: 0, panes: 0, isFired: false, sinceMs: Infinity }
      return { startMs, endMs, ...plain }
    }
    const isTooLate = (endMs: number) => endMs - 1 + latenessMs <= this.watermarkMs
    if (!('kind' in windows)) {
      return windows.windowsOf(at).flatMap(({ startMs, endMs }) => {
        if (isTooLate(endMs)) return []
        const found = list.find((each) => each.startMs === startMs && each.endMs === endMs)
        if (found !== undefined) return [found]
        list.push(begun(startMs, endMs))
        return list.slice(-1)
      })
    }
    const { gapMs } = windows
    const joined = list.filter(({ startMs, endMs }) => startMs - gapMs <= at && at <= endMs)
    joined.sort((a, b) => a.startMs - b.startMs)
    const [only] = joined
    const startMs = Math.min(at, ...joined.map((each) => each.startMs))
    const endMs = Math.max(at + gapMs, ...joined.map((each) => each.endMs))
    if (only === undefined && isTooLate(endMs)) return []
    if (joined.length === 1 && only?.startMs === startMs && only.endMs === endMs) return joined
    const merged: Waiting = begun(startMs, endMs)
    merged.values = joined.flatMap((each) => each.values)
    for (const { changes, sinceMs } of joined) {
      merged.changes += changes
      merged.sinceMs = Math.min(merged.sinceMs, sinceMs)
    }
    this.#open.set(key, [...list.filter((each) => !joined.includes(each)), merged])
    return [merged]
  }

  #fire(key: string, window: Waiting, kind: string): void {
    const { isDiscarding, latenessMs } = this.#settings
    if (window.changes === 0 && (isDiscarding || kind !== 'onTime')) return
    const isFinal = kind !== 'early' && this.watermarkMs >= window.endMs - 1 + latenessMs
    this.results.push(
      shownAt(this.nowMs, {
        key,
        window,
        value: window.values,
        pane: { kind, index: window.panes++, isFinal },
      } as never),
    )
    window.changes = 0
    window.sinceMs = Infinity
    if (isDiscarding) window.values = []
  }
}

const shownAt = (nowMs: number, { key, window, value, pane }: Result): string =>
  `${nowMs} ${key} ${shownWindow(window)} ${[...(value as number[])].sort().join()} ${pane.kind} ${pane.index} ${pane.isFinal}`

it(
  'W12, W14, W18: results that wait agree with lists and loops, whenever the store is opened again',
  async () => {
    const size = fc.integer({ min: 1, max: 12 })
    const interval = fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined })
    const settings: fc.Arbitrary<Settings> = fc.record({
      windows: fc.oneof(
        size.map((sizeMs) => tumbling({ sizeMs })),
        fc.tuple(size, size).map(([sizeMs, slideMs]) => hopping({ sizeMs, slideMs })),
        size.map((gapMs) => session({ gapMs })),
      ),
      latenessMs: fc.integer({ min: 1, max: 40 }),
      refireMs: interval,
      everyMs: interval,
      everyEvents: fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined, freq: 2 }),
      isDiscarding: fc.boolean(),
    })
    const step = fc.record({
      what: fc.constantFrom('add', 'add', 'add', 'add again', 'advance', 'wait', 'wait', 'open'),
      key: fc.constantFrom('a', 'a', 'b'),
      at: fc.nat({ max: 60 }),
      // Anywhere, or about as far as the watermark has come, where windows are late for longer.
      isNear: fc.boolean(),
      forMs: fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: 20 })),
    })
    await onRandomRuns(
      fc.asyncProperty(settings, fc.array(step, { maxLength: 60, size: 'max' }), async (given, steps) => {
        const { windows, latenessMs, refireMs, everyMs, everyEvents, isDiscarding } = given
        const early = {
          ...(everyMs !== undefined && { everyMs }),
          ...(everyEvents !== undefined && { everyEvents }),
        }
        const options: WindowOptions<WindowEvent, string, unknown, Result> = {
          windows,
          aggregate: values,
          allowedLatenessMs: latenessMs,
          panes: isDiscarding ? 'discarding' : 'accumulating',
          ...(refireMs !== undefined && { refireMs }),
          ...(Object.keys(early).length > 0 && { early }),
        }
        const plain = new PlainWindows(given)
        let found: string[] = []
        await driven(options, async (d) => {
          const push = d.results.push.bind(d.results)
          d.results.push = (...results) => {
            found.push(...results.map((result) => shownAt(d.nowMs, result)))
            return push(...results)
          }
          for (const [value, { what, key, at, isNear, forMs }] of steps.entries()) {
            const timeMs = isNear ? Math.max(0, plain.watermarkMs) + (at % 16) - 10 : at
            if (what === 'add' || what === 'add again') {
              const added = { key, at: timeMs, value: 100 + value }
              d.add(added)
              if (what === 'add again' && found.length === 0) {
                d.operator.revert()
                d.add(added)
              }
              wait(d, 0)
              plain.add(added)
            } else if (what === 'advance') {
              d.advance(timeMs)
              plain.advance(timeMs)
            } else if (what === 'wait') {
              wait(d, forMs)
              plain.wait(forMs)
            } else {
              d.nowMs += forMs
              plain.nowMs += forMs
              await d.open()
              wait(d, 0)
              plain.fireDue()
            }
            // In which order they come is told elsewhere.
            expect(found.sort()).toEqual(plain.results.splice(0).sort())
            found = []
          }
          d.advance(Infinity)
          plain.advance(Infinity)
          expect(found.sort()).toEqual(plain.results.sort())
          expect(await d.close()).toBe(1)
        })
      }),
      { runs: modelRuns(5_000, 300) },
    )
  },
  modelLimitMs(60_000),
)
