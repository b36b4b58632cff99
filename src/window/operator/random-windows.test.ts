import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  driven,
  shown,
  shownWindow,
  values,
  type WindowDriver,
  type WindowEvent,
} from '../../../test/support/window-driver.js'
import type { Aggregate } from '../aggregate/aggregate.js'
import { cumulative, hopping, tumbling, type WindowAssigner } from '../assign/assigner.js'
import { session } from '../assign/by-key.js'

interface Plain {
  startMs: number
  endMs: number
  values: number[]
}

interface KeyAndWindow {
  readonly key: string
  readonly window: Plain
}

/** The order of results. */
const byEndAndKey = (a: KeyAndWindow, b: KeyAndWindow) =>
  a.window.endMs - b.window.endMs || a.window.startMs - b.window.startMs || (a.key < b.key ? -1 : 1)

/** The same windows by lists and loops: what the watermark lets in, and what it closes. */
function batchOf(
  windows: WindowAssigner | { readonly gapMs: number },
  events: readonly WindowEvent[],
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
    closing.sort(byEndAndKey)
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
  events: readonly WindowEvent[],
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
    due.sort(byEndAndKey)
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

interface Step {
  readonly key: string
  readonly stepMs: number
}

/** Each event comes so long after the one before it. */
function eventsOf(steps: readonly Step[]): WindowEvent[] {
  let at = -20
  return steps.map(({ key, stepMs }, value) => {
    at += stepMs
    return { key, at, value: 100 + value }
  })
}

/** Adds all events, of which some are preceded by another opening of the store. */
async function addAll(
  driver: WindowDriver,
  events: readonly WindowEvent[],
  steps: readonly { readonly opens: boolean }[],
  disorderMs: number,
  added: (event: WindowEvent) => void = () => {},
): Promise<void> {
  for (const [i, each] of events.entries()) {
    if (steps[i]?.opens) await driver.open()
    driver.add(each)
    added(each)
    driver.advance(each.at - disorderMs - 1)
  }
  driver.advance(Infinity)
}

const sortedValues: Aggregate<WindowEvent, number[], number[]> = {
  ...values,
  result: (list) => [...list].sort(),
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
          const events = eventsOf(steps)
          const { merge: _merge, ...unmerged } = values
          const aggregate = merges || 'kind' in windows ? values : unmerged
          const driver = await driven({ windows, aggregate }, (d) => addAll(d, events, steps, disorderMs))
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
        const events = eventsOf(steps)
        const { latenessMs: allowedLatenessMs, disorderMs } = times
        const driver = await driven({ windows, aggregate: sortedValues, allowedLatenessMs }, (d) =>
          addAll(d, events, steps, disorderMs),
        )
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
        const events = steps.map(({ key, at, behindMs }, i): WindowEvent => {
          return { key, at: Math.max(at, i * 40) - behindMs, value: 100 + i }
        })
        const { latenessMs: allowedLatenessMs, disorderMs } = times
        const driver = await driven({ windows, aggregate: sortedValues, allowedLatenessMs }, (d) =>
          addAll(d, events, steps, disorderMs, (event) => {
            // What was taken out again is as if it had not come; of what it has put out nothing is taken back.
            if (event.at - 1 <= d.watermarkMs + 30) return
            d.operator.revert()
            d.add(event)
          }),
        )
        expect(shown(driver.results)).toEqual(lateBatchOf(windows as WindowAssigner, events, times))
        expect(await driver.close()).toBe(1)
      }),
      { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 300 : 12 },
    )
  })
})
