// An oracle of windows: what docs/semantics.md says of them, by lists and loops. It was written from that table and the guide alone, and
// knows nothing of how windows are kept. What the table is silent on is not in it: results that wait for the clock, early results of
// sliding windows, and in which order one event's own results come.

import type { TimeWindow } from '../../src/window.js'
import { type AssignedWindows, windowsAt } from './window-assignment.js'
import { type Arrival, rounded, windowValues } from './window-values.js'

export type WindowsOfKey =
  | { readonly kind: 'session'; readonly gapMs: number }
  | { readonly kind: 'sliding'; readonly sizeMs: number }
  | { readonly kind: 'count'; readonly size: number }
  | { readonly kind: 'global' }

export interface WindowRules {
  readonly windows: AssignedWindows | WindowsOfKey
  readonly time: 'event' | 'processing'
  /** A name of `windowValues`. */
  readonly value: string
  readonly latenessMs: number
  readonly earlyEveryEvents?: number
  readonly isDiscarding: boolean
  readonly tellsLate: boolean
}

export interface ExpectedResult {
  readonly of: string
  readonly key: number
  readonly window: TimeWindow
  readonly value: unknown
  readonly pane: { readonly index: number; readonly kind: string; readonly isFinal: boolean }
  readonly replaces: readonly TimeWindow[]
  readonly isFull: boolean | undefined
  readonly timestampMs: number
}

export interface ExpectedLate {
  readonly of: string
  readonly lateId: number
  readonly timestampMs: number
  readonly watermarkMs: number
  readonly missed: readonly TimeWindow[]
  readonly isLost: boolean
}

export type Expected = ExpectedResult | ExpectedLate

export interface ExpectedPeek {
  readonly of: string
  readonly key: number
  readonly window: TimeWindow
  readonly value: unknown
}

interface OpenWindow extends TimeWindow {
  readonly key: number
  /** As they came in, or as merged sessions had them (W15). */
  readonly arrivals: Arrival[]
  readonly shown: Set<Arrival>
  panes: number
  /** Since the last result. */
  newEvents: number
  replaces: TimeWindow[]
}

/** The windows of one name of a job. */
export class WindowOracle {
  readonly #name: string
  readonly #rules: WindowRules
  #open: OpenWindow[] = []
  /** Of sliding windows: what those that are to come may have. */
  readonly #entered: { readonly key: number; readonly arrival: Arrival }[] = []
  #watermarkMs = -Infinity

  constructor(name: string, rules: WindowRules) {
    this.#name = name
    this.#rules = rules
  }

  /** What an event sets off at once. */
  add(key: number, arrival: Arrival): Expected[] {
    const { windows } = this.#rules
    switch (windows.kind) {
      case 'session':
        return this.#addToSession(key, arrival, windows.gapMs)
      case 'sliding':
        return this.#addToSliding(key, arrival, windows.sizeMs)
      case 'count':
        return this.#addToOnly(key, arrival, windows.size)
      case 'global':
        return this.#addToOnly(key, arrival, Infinity)
      default:
        return this.#addToAssigned(key, arrival, windowsAt(windows, arrival.timestampMs))
    }
  }

  /** What an advance of the watermark fires, or of the clock where the windows are of processing time; in no order. */
  advance(watermarkMs: number): ExpectedResult[] {
    const before = this.#watermarkMs
    if (watermarkMs <= before) return []
    this.#watermarkMs = watermarkMs
    const due = this.#open.filter((window) => this.#firesAt(window) <= watermarkMs) // W7
    const results = due
      .filter((window) => this.#firesAt(window) > before)
      .flatMap((window) => this.#result(window, 'onTime'))
    this.#open = this.#open.filter((window) => !this.#isGone(window))
    return results
  }

  /** What the windows of a key have that have not fired yet (W18). */
  peek(key: number): ExpectedPeek[] {
    return this.#of(key)
      .filter((window) => this.#firesAt(window) > this.#watermarkMs && this.#counted(window).length > 0)
      .map((window) => ({ of: this.#name, key, window: timesOf(window), value: this.#value(window) }))
  }

  #addToAssigned(key: number, arrival: Arrival, all: readonly TimeWindow[]): Expected[] {
    const missed = all.filter((window) => this.#isGone(window))
    const results = all
      .filter((window) => !this.#isGone(window)) // W9
      .flatMap((window) => this.#enter(this.#find(key, window) ?? this.#begin(key, window), arrival))
    return [...this.#late(arrival, missed, missed.length === all.length), ...results]
  }

  #addToSession(key: number, arrival: Arrival, gapMs: number): Expected[] {
    const own = { startMs: arrival.timestampMs, endMs: arrival.timestampMs + gapMs }
    const joined = this.#of(key).filter(({ startMs, endMs }) => startMs <= own.endMs && own.startMs <= endMs) // W6
    if (joined.length === 0) {
      if (this.#isGone(own)) return this.#late(arrival, [own], true) // W11
      return this.#enter(this.#begin(key, own), arrival)
    }
    const [only] = joined
    const isWithin = only !== undefined && only.startMs <= own.startMs && own.endMs <= only.endMs
    if (joined.length === 1 && isWithin) return this.#enter(only, arrival)
    return this.#afterEntry(this.#merge(key, joined, own, arrival))
  }

  #merge(key: number, joined: readonly OpenWindow[], own: TimeWindow, arrival: Arrival): OpenWindow {
    const alone: OpenWindow = { ...opened(key, own), arrivals: [arrival], newEvents: 1 }
    // Sorting keeps the event behind a session of the same start: it came later (W15).
    const parts = [...joined, alone].sort((a, b) => a.startMs - b.startMs)
    const merged: OpenWindow = {
      ...opened(key, spanOf(parts)),
      arrivals: parts.flatMap(({ arrivals }) => arrivals),
      shown: new Set(parts.flatMap(({ shown }) => [...shown])),
      newEvents: parts.reduce((events, part) => events + part.newEvents, 0),
      replaces: parts.flatMap((part) => (part.panes > 0 ? [timesOf(part), ...part.replaces] : part.replaces)), // W14
    }
    this.#open = [...this.#open.filter((window) => !joined.includes(window)), merged]
    return merged
  }

  #addToSliding(key: number, arrival: Arrival, sizeMs: number): Expected[] {
    const { timestampMs } = arrival
    const own = slidingOf(timestampMs, sizeMs)
    const later = this.#of(key).filter(({ startMs, endMs }) => startMs <= timestampMs && own.endMs < endMs)
    const isLate = this.#isGone(own)
    const results = later.flatMap((window) => this.#enter(window, arrival))
    if (!isLate) results.push(...this.#enter(this.#find(key, own) ?? this.#beginSliding(key, own), arrival))
    const isLost = isLate && later.length === 0
    if (!isLost) this.#entered.push({ key, arrival }) // W5
    return [...this.#late(arrival, isLate ? [own] : [], isLost), ...results]
  }

  #beginSliding(key: number, own: TimeWindow): OpenWindow {
    const window = this.#begin(key, own)
    const before = this.#entered.filter((entered) => entered.key === key).map(({ arrival }) => arrival)
    window.arrivals.push(...before.filter(({ timestampMs }) => isIn(own, timestampMs)))
    return window
  }

  /** Windows by count, and the global one: of a key there is one at a time, from its earliest event to its latest (W19). */
  #addToOnly(key: number, arrival: Arrival, size: number): Expected[] {
    const own = { startMs: arrival.timestampMs, endMs: arrival.timestampMs + 1 }
    const [before = this.#begin(key, own)] = this.#of(key)
    const window = { ...before, ...spanOf([before, own]) }
    this.#open = this.#open.map((each) => (each === before ? window : each))
    const early = this.#enter(window, arrival)
    if (window.arrivals.length < size) return early
    this.#open = this.#open.filter((each) => each !== window)
    return this.#result(window, 'onTime', true)
  }

  #enter(window: OpenWindow, arrival: Arrival): ExpectedResult[] {
    window.arrivals.push(arrival)
    window.newEvents++
    return this.#afterEntry(window)
  }

  #afterEntry(window: OpenWindow): ExpectedResult[] {
    if (this.#firesAt(window) <= this.#watermarkMs) return this.#result(window, 'late') // W12
    const { earlyEveryEvents = Infinity } = this.#rules
    return window.newEvents >= earlyEveryEvents ? this.#result(window, 'early') : [] // W18
  }

  #result(window: OpenWindow, kind: 'early' | 'onTime' | 'late', isFull = false): ExpectedResult[] {
    if (this.#counted(window).length === 0) return [] // W13
    const isFinal = kind !== 'early' && (isFull || this.#isGone(window))
    const result: ExpectedResult = {
      of: this.#name,
      key: window.key,
      window: timesOf(window),
      value: this.#value(window),
      pane: { index: window.panes, kind, isFinal },
      replaces: window.replaces.toSorted(byStart),
      isFull: this.#rules.windows.kind === 'count' ? isFull : undefined,
      timestampMs: window.endMs - 1, // W17
    }
    window.panes++
    window.newEvents = 0
    window.replaces = []
    for (const arrival of window.arrivals) window.shown.add(arrival)
    return [result]
  }

  #late(arrival: Arrival, missed: readonly TimeWindow[], isLost: boolean): ExpectedLate[] {
    if (missed.length === 0 || !this.#rules.tellsLate) return [] // W10
    const { timestampMs, reading } = arrival
    const told = { lateId: reading.id, timestampMs, watermarkMs: this.#watermarkMs }
    return [{ of: this.#name, ...told, missed: missed.toSorted(byStart), isLost }] // W11
  }

  #counted({ arrivals, shown }: OpenWindow): Arrival[] {
    return this.#rules.isDiscarding ? arrivals.filter((arrival) => !shown.has(arrival)) : arrivals // W13
  }

  #value(window: OpenWindow): unknown {
    const value = windowValues[this.#rules.value]
    return rounded(value?.of(this.#counted(window)), value?.digits)
  }

  /** Those by count and the global ones do not fire before the source ends (W19). */
  #firesAt({ endMs }: TimeWindow): number {
    const { kind } = this.#rules.windows
    return kind === 'count' || kind === 'global' ? Infinity : endMs - 1
  }

  #isGone(window: TimeWindow): boolean {
    return this.#watermarkMs >= this.#firesAt(window) + this.#rules.latenessMs // W8
  }

  #of(key: number): OpenWindow[] {
    return this.#open.filter((window) => window.key === key)
  }

  #find(key: number, { startMs, endMs }: TimeWindow): OpenWindow | undefined {
    return this.#of(key).find((window) => window.startMs === startMs && window.endMs === endMs)
  }

  #begin(key: number, times: TimeWindow): OpenWindow {
    const window = opened(key, times)
    this.#open.push(window)
    return window
  }
}

/** The order of results (W16). `names` are the windows of the job as they are named. */
export function inOrder(results: readonly ExpectedResult[], names: readonly string[]): ExpectedResult[] {
  return results.toSorted(
    (a, b) =>
      a.window.endMs - b.window.endMs ||
      a.window.startMs - b.window.startMs ||
      a.key - b.key ||
      names.indexOf(a.of) - names.indexOf(b.of),
  )
}

function opened(key: number, { startMs, endMs }: TimeWindow): OpenWindow {
  return { key, startMs, endMs, arrivals: [], shown: new Set(), panes: 0, newEvents: 0, replaces: [] }
}

const timesOf = ({ startMs, endMs }: TimeWindow): TimeWindow => ({ startMs, endMs })
const slidingOf = (atMs: number, sizeMs: number): TimeWindow => ({ startMs: atMs - sizeMs, endMs: atMs + 1 })
const isIn = ({ startMs, endMs }: TimeWindow, atMs: number): boolean => startMs <= atMs && atMs < endMs
const byStart = (a: TimeWindow, b: TimeWindow): number => a.startMs - b.startMs || a.endMs - b.endMs

function spanOf(windows: readonly TimeWindow[]): TimeWindow {
  const startMs = Math.min(...windows.map((window) => window.startMs))
  return { startMs, endMs: Math.max(...windows.map((window) => window.endMs)) }
}
