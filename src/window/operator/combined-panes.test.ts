import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runs } from '../../../test/support/long.js'
import { seededRandom } from '../../base/random.js'
import { runThrough } from '../../base/slices.js'
import { Slot } from '../../base/slot.js'
import { json } from '../../state/codec/json.js'
import { float64, uint32 } from '../../state/codec/numbers.js'
import { struct } from '../../state/codec/struct.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { combined, first, sum } from '../aggregate/ready-made.js'
import { cumulative, hopping, type PanedAssigner, type TimeWindow } from '../assign/assigner.js'
import { Accumulator, HAS_VALUE } from './accumulator.js'
import { type CombinedPane, CombinedPanes } from './combined-panes.js'
import { EntriesByKey } from './entries-by-key.js'
import { KeyTable, TableKey } from './key-table.js'
import { type MergedEntries, SharedEntries } from './shared-entries.js'

interface Added {
  readonly key: string
  readonly at: number
  readonly value: number
  /** Something is begun anew before it, as by a restart. */
  readonly restarts: boolean
}

const KEYS = ['a', 'b', 'c', 'd']

function keyOf(key: string): TableKey {
  return new TableKey().set(new TextEncoder().encode(key), 0, key.length)
}

const textOf = ({ bytes, offset, length }: Slot): string =>
  Buffer.from(bytes.subarray(offset, offset + length)).toString()

/** Panes of some windows, and what these come to. */
class Driver {
  readonly accumulator: Accumulator
  readonly #windows: PanedAssigner
  readonly #panes = new Map<number, CombinedPane>()
  #combined: CombinedPanes
  #firedEndMs = -Infinity
  readonly results: string[] = []
  /** Windows whose entries were merged as they were put out. */
  sortedWindows = 0
  /** The same of windows whose keys are all shared. */
  sharedWindows = 0

  constructor(windows: PanedAssigner, aggregate: Aggregate<Added, never, unknown>) {
    this.#windows = windows
    this.accumulator = new Accumulator(aggregate as never)
    this.#combined = new CombinedPanes(windows, this.accumulator)
  }

  restart(): void {
    this.#combined = new CombinedPanes(this.#windows, this.accumulator)
  }

  add(event: Added): void {
    const { paneMs, offsetMs } = this.#windows
    const startMs = event.at - ((((event.at - offsetMs) % paneMs) + paneMs) % paneMs)
    const lastEndMs = this.#windows.lastEndMs(event.at)
    if (lastEndMs === undefined || lastEndMs <= this.#firedEndMs) return
    let pane = this.#panes.get(startMs)
    if (pane === undefined) {
      const table = new KeyTable()
      const { keys } = this.#combined
      if (keys !== undefined) runThrough(table.copyFrom(keys))
      pane = { startMs, endMs: startMs + paneMs, lastEndMs, table }
    }
    this.#panes.set(startMs, pane)
    const firstEndMs = this.#windows.nextEndMs(event.at, -Infinity) ?? Infinity
    if (firstEndMs <= this.#firedEndMs) this.#combined.forget()
    const key = keyOf(event.key)
    const found = pane.table.find(key)
    const entry = found === 0 ? pane.table.add(key, this.accumulator.zeroBytes) : found
    this.accumulator.add(pane.table, entry, event, event.at)
  }

  /** All windows that end up to there. */
  fire(untilMs: number): void {
    for (;;) {
      const panes = [...this.#panes.values()].sort((one, other) => one.startMs - other.startMs)
      const ends = panes.map(({ startMs }) => this.#windows.nextEndMs(startMs, this.#firedEndMs) ?? Infinity)
      const endMs = Math.min(...ends)
      if (endMs > untilMs || endMs === Infinity) break
      const window = { startMs: this.#windows.startOf(endMs), endMs }
      this.#putOut(
        window,
        panes.filter(({ startMs }) => startMs >= window.startMs && startMs < endMs),
      )
      this.#firedEndMs = endMs
      for (const [startMs, { lastEndMs }] of this.#panes) if (lastEndMs <= endMs) this.#panes.delete(startMs)
    }
    this.#firedEndMs = Math.max(this.#firedEndMs, untilMs)
  }

  #putOut(window: TimeWindow, panes: readonly CombinedPane[]): void {
    const work = this.#combined.of(window, panes)
    let step = work.next()
    while (step.done !== true) step = work.next()
    const found = step.value
    if (found instanceof KeyTable) this.#putOutTable(window, found)
    else this.#putOutMerged(window, found)
    for (const _ of this.#combined.release());
  }

  #putOutTable(window: TimeWindow, table: KeyTable): void {
    const shown = new Slot()
    const results: [key: string, value: unknown][] = []
    for (let entry = table.first(); entry !== 0; entry = table.next(entry)) {
      if (!table.has(entry, HAS_VALUE)) continue
      results.push([textOf(table.keyOf(entry, shown)), this.accumulator.result(table, entry)])
    }
    results.sort(([one], [other]) => (one < other ? -1 : 1))
    for (const [key, value] of results) this.#push(window, key, value)
  }

  #putOutMerged(window: TimeWindow, entries: MergedEntries): void {
    const shown = new Slot()
    if (entries instanceof EntriesByKey) this.sortedWindows++
    else this.sharedWindows++
    while (entries.next()) {
      const key = entries.key((table, entry) => textOf(table.keyOf(entry, shown))) as string
      this.#push(window, key, this.accumulator.raw?.result(entries.view, entries.payloadAt))
    }
  }

  #push({ startMs, endMs }: TimeWindow, key: string, value: unknown): void {
    this.results.push(`${startMs} ${endMs} ${key} ${JSON.stringify(value)}`)
  }
}

/** Its values in the order in which they were merged. */
const values: Aggregate<Added, never, unknown> = {
  kind: 'values',
  codec: json<number[]>(),
  first: () => [],
  add: (list: number[], { value }: Added) => [...list, value],
  merge: (list: number[], later: number[]) => [...list, ...later],
} as never

const numbers = combined({
  sum: sum(({ value }: Added) => value / 10),
  first: first(float64, ({ value }: Added) => value),
}) as unknown as Aggregate<Added, never, unknown>

const size = fc.integer({ min: 1, max: 24 })
const assigners = fc.oneof(
  fc.tuple(size, size).map(([sizeMs, slideMs]) => hopping({ sizeMs, slideMs })),
  fc
    .tuple(size, size)
    .map(([slideMs, n]) => hopping({ sizeMs: slideMs * n, slideMs, offsetMs: slideMs - 1 })),
  fc
    .tuple(fc.integer({ min: 1, max: 4 }), size)
    .map(([stepMs, n]) => cumulative({ stepMs, maxMs: stepMs * n })),
)
const streams = fc.array(
  fc.record({
    key: fc.constantFrom(...KEYS),
    stepMs: fc.integer({ min: -6, max: 9 }),
    restarts: fc.integer({ min: 0, max: 19 }).map((drawn) => drawn === 0),
  }),
  { minLength: 20, maxLength: 120 },
)

function eventsOf(steps: readonly { key: string; stepMs: number; restarts: boolean }[]): Added[] {
  let at = -30
  return steps.map(({ key, stepMs, restarts }, value) => ({ key, at: (at += stepMs), value, restarts }))
}

function driven(driver: Driver, events: readonly Added[], restarts: boolean): string[] {
  for (const event of events) {
    if (restarts && event.restarts) driver.restart()
    driver.add(event)
    driver.fire(event.at - 3)
  }
  driver.fire(1e6)
  return driver.results
}

describe('panes of windows', () => {
  it('W3: come to what they have in the order of their times, whatever comes late', () => {
    fc.assert(
      fc.property(assigners, streams, (windows, steps) => {
        const events = eventsOf(steps)
        const found = driven(new Driver(windows, values), events, false)
        const expected = new Map<string, { at: number; value: number }[]>()
        let watermarkMs = -Infinity
        for (const { key, at, value } of events) {
          for (const { startMs, endMs } of windows.windowsOf(at)) {
            if (endMs <= watermarkMs) continue
            const name = `${startMs} ${endMs} ${key}`
            expected.set(name, [...(expected.get(name) ?? []), { at, value }])
          }
          watermarkMs = Math.max(watermarkMs, at - 3)
        }
        const paneOf = (at: number) => Math.floor((at - windows.offsetMs) / windows.paneMs)
        const right = Array.from(expected, ([name, list]) => {
          list.sort((one, other) => paneOf(one.at) - paneOf(other.at) || one.value - other.value)
          return `${name} ${JSON.stringify(list.map(({ value }) => value))}`
        })
        expect([...found].sort()).toEqual(right.sort())
      }),
      { numRuns: runs(2_000, 40) },
    )
  })

  it('R5: give the same sums to the last bit where they are begun anew on the way', () => {
    fc.assert(
      fc.property(assigners, streams, (windows, steps) => {
        const events = eventsOf(steps)
        const restarted = driven(new Driver(windows, numbers), events, true)
        expect(restarted).toEqual(driven(new Driver(windows, numbers), events, false))
      }),
      { numRuns: runs(2_000, 40) },
    )
  })

  it('W3: are merged as they are put out where hardly a key comes again, to the same sums', () => {
    const windows = hopping({ sizeMs: 1_200, slideMs: 100 })
    const random = seededRandom(5)
    const events = Array.from({ length: 6_000 }, (_, at): Added => {
      const key = `key ${Math.floor(random() * 500)}`
      return {
        key,
        at: at - Math.floor(random() * 3),
        value: Math.floor(random() * 1_000),
        restarts: at % 1_700 === 0,
      }
    })
    const driver = new Driver(windows, numbers)
    const found = driven(driver, events, false)
    expect(driver.sortedWindows).toBeGreaterThan(30)
    expect(driven(new Driver(windows, numbers), events, true)).toEqual(found)
    const expected = new Map<string, { sum: number; first: Added }>()
    for (const event of events) {
      for (const { startMs, endMs } of windows.windowsOf(event.at)) {
        const name = `${startMs} ${endMs} ${event.key}`
        const before = expected.get(name)
        const isFirst = before === undefined || event.at < before.first.at
        expected.set(name, { sum: (before?.sum ?? 0) + event.value, first: isFirst ? event : before.first })
      }
    }
    expect(found.length).toBe(expected.size)
    const wrong = found.filter((line) => {
      const { sum: total, first: value } = JSON.parse(line.slice(line.indexOf('{')))
      const right = expected.get(line.slice(0, line.indexOf(' {')))
      return Math.round(total * 10) !== right?.sum || value !== right.first.value
    })
    expect(wrong).toEqual([])
    const order = found.map((line) => line.split(' '))
    const isSorted = order.every(([, endMs, , key], i) => {
      const [, endBefore, , keyBefore] = order[i - 1] ?? ['', '-1']
      return endMs !== endBefore || Buffer.compare(Buffer.from(keyBefore ?? ''), Buffer.from(key ?? '')) < 0
    })
    expect(isSorted).toBe(true)
  })

  it('W3: are merged as they are put out where keys come again, to the same sums, also where some of them pause', () => {
    const windows = hopping({ sizeMs: 1_200, slideMs: 100 })
    const random = seededRandom(9)
    const events = Array.from({ length: 9_000 }, (_, at): Added => {
      // By turns a half of the keys is silent for longer than a window.
      const drawn = Math.floor(random() * 20) + (Math.floor(at / 1_500) % 2) * 20
      return { key: `key ${at < 2_400 ? at % 40 : drawn}`, at, value: at, restarts: false }
    })
    const driver = new Driver(windows, numbers)
    const found = driven(driver, events, false)
    expect(driver.sharedWindows).toBeGreaterThan(20)
    const expected = new Map<string, { sum: number; first: number }>()
    for (const { key, at, value } of events) {
      for (const { startMs, endMs } of windows.windowsOf(at)) {
        const name = `${startMs} ${endMs} ${key}`
        const before = expected.get(name)
        expected.set(name, { sum: (before?.sum ?? 0) + value, first: before?.first ?? value })
      }
    }
    const sums = found.map((line): [name: string, value: { sum: number; first: number }] => {
      const { sum: total, first: earliest } = JSON.parse(line.slice(line.indexOf('{')))
      return [line.slice(0, line.indexOf(' {')), { sum: Math.round(total * 10), first: earliest }]
    })
    expect(sums.length).toBe(expected.size)
    expect(new Map(sums)).toEqual(expected)
  })

  it('W3: give each result a key of its own where somebody could change it', () => {
    const { raw, zeroBytes } = new Accumulator(numbers as never)
    const keys = new KeyTable()
    const entry = keys.add(keyOf('a'), zeroBytes)
    keys.shareKeys()
    const entries = new SharedEntries(raw as never)
    const order = Uint32Array.of(entry)
    const given = (read: () => unknown): unknown => {
      const [earlier, later] = [new KeyTable(), new KeyTable()]
      for (const table of [earlier, later]) runThrough(table.copyFrom(keys))
      later.set(entry, HAS_VALUE, true)
      entries.begin(order, earlier, later)
      expect(entries.next()).toBe(true)
      const key = entries.key(read)
      expect(entries.next()).toBe(false)
      return key
    }
    const one = given(() => ({ id: 1 }))
    const other = given(() => ({ id: 1 }))
    expect(other).toEqual(one)
    expect(other).not.toBe(one)
    expect(given(() => 'a')).toBe('a')
    expect(given(() => expect.fail('it was read before'))).toBe('a')
  })

  it('are not sorted where a record cannot name an entry of so many tables', () => {
    const { raw, zeroBytes } = new Accumulator(numbers as never)
    const entries = new EntriesByKey(raw as never, zeroBytes)
    const table = new KeyTable()
    expect(
      runThrough(
        entries.sort(
          Array.from({ length: 100 }, () => table),
          table,
        ),
      ),
    ).toBe(true)
    expect(entries.next()).toBe(false)
    expect(
      runThrough(
        entries.sort(
          Array.from({ length: 2 ** 16 }, () => table),
          table,
        ),
      ),
    ).toBe(false)
  })

  it('keep no pane once they were put out, where entries were sorted', async () => {
    const { raw, zeroBytes } = new Accumulator(numbers as never)
    const entries = new EntriesByKey(raw as never, zeroBytes)
    const put = () => {
      const tables = ['a', 'b', 'a'].map((key) => {
        const table = new KeyTable()
        table.set(table.add(keyOf(key), zeroBytes), HAS_VALUE, true)
        return table
      })
      runThrough(entries.sort(tables.slice(0, 2), tables[2] as KeyTable))
      while (entries.next());
      return tables.map((table) => new WeakRef(table))
    }
    const tables = put()
    setFlagsFromString('--expose-gc')
    // What a WeakRef was made of lives until the end of the turn.
    await new Promise((resolve) => setImmediate(resolve))
    const collect = runInNewContext('gc') as () => void
    collect()
    expect(tables.filter((table) => table.deref() !== undefined).length).toBe(0)
    expect(entries.next()).toBe(false)
  })

  it('are merged three times for each key and window, however many panes a window has', () => {
    let merges = 0
    const counted = {
      kind: 'counted',
      codec: struct({ count: uint32 }),
      add: (total: { count: number }) => void total.count++,
      merge: (total: { count: number }, later: { readonly count: number }) => {
        merges++
        total.count += later.count
      },
    }
    const driver = new Driver(hopping({ sizeMs: 360, slideMs: 1 }), counted as never)
    for (let at = 0; at < 1_500; at++) {
      for (const key of KEYS) driver.add({ key, at, value: 1, restarts: false })
      driver.fire(at)
    }
    const windows = driver.results.length / KEYS.length
    expect(windows).toBeGreaterThan(1_400)
    expect(driver.results.at(-1)).toContain('{"count":360}')
    expect(merges / driver.results.length).toBeLessThan(3.1)
  })
})
