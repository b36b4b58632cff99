// Windows that are kept one by one, of every kind: with results before and after their end, and such that become one.

import { CodecError } from '../../state/codec/codec-error.js'
import type { TimeWindow, WindowAssigner } from '../assign/assigner.js'
import type { CountWindows, GlobalWindows, SessionWindows, SlidingWindows } from '../assign/by-key.js'
import type { Pane, Windows } from '../windowed.js'
import type { Accumulator } from './accumulator.js'
import type { WindowList } from './window-list.js'
import { FIRED_ON_TIME, IS_AWAITED, type Waits } from './window-page.js'

/** A session that no cut could name, because its end is not exact, is none: the event is a bad one. */
export function checkSessionEnd(timestampMs: number, gapMs: number): void {
  if (timestampMs + gapMs > Number.MAX_SAFE_INTEGER) {
    throw new CodecError(`the timestamp ${timestampMs} is too near to the ends of time`)
  }
}

/** What has become of an event. */
export interface Entered {
  hasEntered: boolean
  /** When the key is due because of it, where that is earlier than it was before. */
  dueMs: number | undefined
  /** Windows that it has come too late for. */
  missed: TimeWindow[]
  /** When something of the key is to be told of by the clock, where that is not known yet; otherwise `Infinity`. */
  awaitedMs: number
}

/** A result, as the windows of a key give it. */
export type Fire = (window: TimeWindow, value: unknown, pane: Pane, more: FireExtras | undefined) => void

export interface FireExtras {
  readonly replaces?: readonly TimeWindow[]
  readonly isFull?: boolean
}

export interface ListedOptions {
  readonly windows: Windows
  readonly allowedLatenessMs: number
  readonly everyEvents: number
  /** How long results before the end wait by the clock; `undefined` where there are none that do. */
  readonly everyMs: number | undefined
  /** How long results after the end do; `undefined` where they do not. */
  readonly refireMs: number | undefined
  /** The processing clock. */
  readonly nowMs: () => number
  readonly isDiscarding: boolean
}

/** Works on the list of a key's windows, which somebody else loads and saves. */
export class ListedWindows {
  readonly #options: ListedOptions
  #list: WindowList
  /** `undefined` where the events are kept. */
  readonly #accumulator: Accumulator | undefined
  /** The value of a window whose events are kept. */
  readonly #valueOf: (window: TimeWindow) => unknown
  readonly #fire: Fire
  /** For how long after its result a window is needed. */
  readonly #keptBehindMs: number
  /** Whether a window fires when the watermark has come to its end. */
  readonly #endsByTime: boolean
  readonly #waitsEarly: boolean
  readonly #waitsLate: boolean
  /** Of what does not wait any more, because a restart has changed that, the time has come. */
  readonly #waits: Waits
  /** The last event has opened a window again that had fired: what waits there waits as before its end. */
  #hasReopened = false
  /** The windows that the last event has entered are among these. */
  #enteredFrom = 0
  #enteredUntil = 0
  #firing: TimeWindow | undefined

  constructor(
    options: ListedOptions,
    list: WindowList,
    accumulator: Accumulator | undefined,
    valueOf: (window: TimeWindow) => unknown,
    fire: Fire,
  ) {
    const { windows, everyMs, refireMs } = options
    this.#waitsEarly = everyMs !== undefined
    this.#waitsLate = refireMs !== undefined
    this.#waits = { earlyMs: everyMs ?? 0, lateMs: refireMs ?? 0 }
    this.#options = options
    this.#list = list
    this.#accumulator = accumulator
    this.#valueOf = valueOf
    this.#fire = fire
    const kind = 'kind' in windows ? windows.kind : 'time'
    // The event of a window that slides is also in those of the events after it.
    const keptMs = kind === 'sliding' ? (windows as SlidingWindows).sizeMs : 0
    this.#keptBehindMs = options.allowedLatenessMs + keptMs
    this.#endsByTime = kind === 'time' || kind === 'session' || kind === 'sliding'
  }

  /** The window whose result was asked for last, since the key at hand fires; `undefined` where none was yet. */
  get firing(): TimeWindow | undefined {
    return this.#firing
  }

  /** Works on another list from now on. */
  workOn(list: WindowList): void {
    this.#list = list
  }

  /** Takes an event in. */
  enter(event: unknown, timestampMs: number, watermarkMs: number, entered: Entered): void {
    const { windows } = this.#options
    this.#enteredFrom = 0
    this.#enteredUntil = 0
    this.#hasReopened = false
    if (!('kind' in windows)) this.#enterTime(windows, event, timestampMs, watermarkMs, entered)
    else if (windows.kind === 'session') this.#enterSession(windows, event, timestampMs, watermarkMs, entered)
    else if (windows.kind === 'sliding') this.#enterSliding(windows, timestampMs, watermarkMs, entered)
    else this.#enterOnly(windows, event, timestampMs, entered)
    if (this.#waitsEarly || this.#waitsLate) this.#awaitEntered(watermarkMs, entered)
  }

  /**
   * Windows that the last event has entered wait from the first one on that was not told of. One that fires by its number still counts as
   * waiting: its key comes in vain then, in place of once more for each such result.
   */
  #awaitEntered(watermarkMs: number, entered: Entered): void {
    const list = this.#list
    const { earlyMs, lateMs } = this.#waits
    // All of them since the same moment, so that they come together.
    let nowMs: number | undefined
    for (let i = this.#enteredFrom; i < this.#enteredUntil; i++) {
      const changes = list.changes(i)
      const isPast = watermarkMs >= this.#firesAtMs(list.endMs(i))
      if (changes === 0 || !(isPast ? this.#waitsLate : this.#waitsEarly)) continue
      const isAwaited = list.has(i, IS_AWAITED)
      if (!isAwaited || changes === 1) list.setSinceMs(i, (nowMs ??= this.#options.nowMs()))
      if (isAwaited && !(this.#hasReopened && !isPast)) continue
      list.set(i, IS_AWAITED, true)
      entered.awaitedMs = Math.min(entered.awaitedMs, list.sinceMs(i) + (isPast ? lateMs : earlyMs))
    }
  }

  /** What an event that has entered makes fire at once. */
  fireEntered(watermarkMs: number): void {
    const list = this.#list
    const { windows, everyEvents } = this.#options
    if ('kind' in windows && windows.kind === 'count') {
      if (list.nextNumber < windows.size) return
      this.#fireWindow(0, 'onTime', watermarkMs, { isFull: true })
      list.clear()
      return
    }
    for (let i = this.#enteredFrom; i < this.#enteredUntil; i++) {
      const isPast = watermarkMs >= this.#firesAtMs(list.endMs(i))
      if (!isPast && everyEvents === Infinity) continue
      const changes = list.changes(i)
      if (changes === 0) continue
      if (isPast) {
        list.set(i, FIRED_ON_TIME, true)
        if (!this.#waitsLate) this.#fireWindow(i, 'late', watermarkMs)
      } else if (changes >= everyEvents) {
        this.#fireWindow(i, 'early', watermarkMs)
      }
    }
  }

  /** What is due at a time: it fires, or its place is given back. */
  fireDue(dueMs: number, watermarkMs: number): void {
    this.#firing = undefined
    const list = this.#list
    const { windows } = this.#options
    const isCounted = 'kind' in windows && windows.kind === 'count'
    const fires = this.#firesUntilMs(dueMs)
    for (let i = list.nextEnding(0, false, fires); i < list.count; i = list.nextEnding(i + 1, false, fires)) {
      list.set(i, FIRED_ON_TIME, true)
      // Its key comes after `everyMs`: that is too late for what waits from now on, where `refireMs` is shorter.
      if (list.has(i, IS_AWAITED)) list.set(i, IS_AWAITED, false)
      this.#fireWindow(i, 'onTime', watermarkMs, isCounted ? { isFull: false } : undefined)
    }
    const goes = this.#firesUntilMs(dueMs - this.#keptBehindMs)
    for (let i = list.nextEnding(0, true, goes); i < list.count; i = list.nextEnding(i, true, goes)) {
      // What late events have changed, and nobody has been told of.
      if (list.has(i, IS_AWAITED) && list.changes(i) > 0) this.#fireWindow(i, 'late', watermarkMs)
      list.remove(i)
    }
  }

  /** What waits for a processing time that has come fires. */
  fireAwaited(watermarkMs: number, nowMs: number): void {
    this.#firing = undefined
    const list = this.#list
    const waits = this.#waits
    for (
      let i = list.nextAwaited(0, waits, nowMs);
      i < list.count;
      i = list.nextAwaited(i + 1, waits, nowMs)
    ) {
      list.set(i, IS_AWAITED, false)
      if (list.has(i, FIRED_ON_TIME)) this.#fireWindow(i, 'late', watermarkMs)
      else if (this.#waitsEarly) this.#fireWindow(i, 'early', watermarkMs)
    }
  }

  /** When something of the key is to be told of by the clock; `Infinity` where nothing is. */
  nextAwaitedMs(): number {
    return this.#list.nextAwaitedMs(this.#waits)
  }

  /** Nothing has waited for longer than until now, by a clock that may have gone back. Whether that has changed something. */
  waitSinceAtMost(nowMs: number): boolean {
    const list = this.#list
    let hasChanged = false
    for (let i = 0; i < list.count; i++) {
      if (!list.has(i, IS_AWAITED) || list.sinceMs(i) <= nowMs) continue
      list.setSinceMs(i, nowMs)
      hasChanged = true
    }
    return hasChanged
  }

  /** When the key is due next; `undefined` where it is not. */
  nextDueMs(): number | undefined {
    const openEndMs = this.#list.leastEndMs(false)
    const firedEndMs = this.#list.leastEndMs(true)
    const firesAtMs = openEndMs === undefined ? undefined : this.#firesAtMs(openEndMs)
    const goesAtMs = firedEndMs === undefined ? undefined : this.#goesAtMs(firedEndMs)
    if (firesAtMs === undefined || goesAtMs === undefined) return firesAtMs ?? goesAtMs
    return Math.min(firesAtMs, goesAtMs)
  }

  /** The first window that fires at a time; `undefined` where none does. */
  firstFiring(dueMs: number): TimeWindow | undefined {
    const list = this.#list
    const i = list.nextEnding(0, false, this.#firesUntilMs(dueMs))
    return i < list.count ? { startMs: list.startMs(i), endMs: list.endMs(i) } : undefined
  }

  /** What each window of a list has at the moment, as an early result that changes nothing. */
  show(list: WindowList, fire: Fire): void {
    for (let i = 0; i < list.count; i++) {
      // A discarding result of nothing is none (W13).
      if (this.#options.isDiscarding && list.changes(i) === 0) continue
      const window = { startMs: list.startMs(i), endMs: list.endMs(i) }
      const pane: Pane = { index: list.panes(i), kind: 'early', isFinal: false }
      if (!list.has(i, FIRED_ON_TIME)) fire(window, this.#value(list, i, window), pane, undefined)
    }
  }

  #enterTime(
    windows: WindowAssigner,
    event: unknown,
    timestampMs: number,
    watermarkMs: number,
    entered: Entered,
  ): void {
    for (const window of windows.windowsOf(timestampMs)) {
      if (this.#isTooLate(window.endMs, watermarkMs)) entered.missed.push(window)
      else this.#addTo(window.startMs, window.endMs, event, timestampMs, entered)
    }
  }

  /** The first of a window's key's events makes it; each one after changes its interval (W19). */
  #enterOnly(
    { kind }: CountWindows | GlobalWindows,
    event: unknown,
    timestampMs: number,
    entered: Entered,
  ): void {
    const list = this.#list
    if (list.count === 0) {
      list.insert(0, timestampMs, timestampMs + 1, 0)
      this.#accumulator?.reset(list, 0)
      entered.dueMs = Infinity
    }
    list.setInterval(0, Math.min(list.startMs(0), timestampMs), Math.max(list.endMs(0), timestampMs + 1))
    if (kind === 'count' && this.#accumulator !== undefined) list.nextNumber++
    this.#addAt(0, event, timestampMs, entered)
  }

  #enterSliding(
    { sizeMs }: SlidingWindows,
    timestampMs: number,
    watermarkMs: number,
    entered: Entered,
  ): void {
    const list = this.#list
    const own = { startMs: timestampMs - sizeMs, endMs: timestampMs + 1 }
    if (this.#isTooLate(own.endMs, watermarkMs)) entered.missed.push(own)
    else this.#addTo(own.startMs, own.endMs, undefined, timestampMs, entered)
    // Those of later events: each ends behind its own one, and all of them are of one size.
    for (let i = list.firstEndingFrom(timestampMs + 2); i < list.count; i++) {
      if (list.startMs(i) > timestampMs) break
      if (!this.#isTooLate(list.endMs(i), watermarkMs)) this.#addAt(i, undefined, timestampMs, entered)
    }
  }

  #enterSession(
    { gapMs }: SessionWindows,
    event: unknown,
    timestampMs: number,
    watermarkMs: number,
    entered: Entered,
  ): void {
    checkSessionEnd(timestampMs, gapMs)
    const list = this.#list
    // Sessions are apart from each other, so their ends are in the order of their starts.
    const from = list.firstEndingFrom(timestampMs)
    let until = from
    while (until < list.count && list.startMs(until) - gapMs <= timestampMs) until++
    const own = { startMs: timestampMs, endMs: timestampMs + gapMs }
    if (from === until) {
      if (this.#isTooLate(own.endMs, watermarkMs)) entered.missed.push(own)
      else this.#addTo(own.startMs, own.endMs, event, timestampMs, entered)
      return
    }
    if (until === from + 1 && timestampMs >= list.startMs(from)) {
      this.#extend(from, own.endMs, entered)
      this.#addAt(from, event, timestampMs, entered)
      return
    }
    this.#bridge(from, until, own, event, entered)
  }

  /** The session goes on until later; what it has given as results is of another one then (W14). */
  #extend(i: number, endMs: number, entered: Entered): void {
    const list = this.#list
    const endBeforeMs = list.endMs(i)
    if (endMs <= endBeforeMs) return
    const startMs = list.startMs(i)
    list.setInterval(i, startMs, endMs)
    // Most often it has given nothing, and nothing else of it changes.
    if (list.panes(i) > 0) {
      list.setReplaces(i, [...list.replaces(i), { startMs, endMs: endBeforeMs }])
      list.setPanes(i, 0)
    }
    if (!list.has(i, FIRED_ON_TIME)) return
    // Its key is due only when it would have gone.
    entered.dueMs = this.#firesAtMs(endMs)
    list.set(i, FIRED_ON_TIME, false)
    this.#hasReopened = true
  }

  /** An event joins sessions, or comes before one: their values are merged in the order of their starts (W15). */
  #bridge(from: number, until: number, own: TimeWindow, event: unknown, entered: Entered): void {
    const list = this.#list
    const replaced: TimeWindow[] = []
    for (let i = from; i < until; i++) {
      replaced.push(...list.replaces(i))
      if (list.panes(i) > 0) replaced.push({ startMs: list.startMs(i), endMs: list.endMs(i) })
    }
    let place = from
    while (place < until && list.startMs(place) <= own.startMs) place++
    list.insert(place, own.startMs, own.endMs, 0)
    this.#accumulator?.reset(list, place)
    this.#addAt(place, event, own.startMs, entered)
    const startMs = list.startMs(from)
    let endMs = list.endMs(from)
    let changes = list.changes(from)
    let isAwaited = false
    let sinceMs = Infinity
    for (let i = from; i <= until; i++) {
      if (list.has(i, FIRED_ON_TIME)) this.#hasReopened = true
      if (!list.has(i, IS_AWAITED)) continue
      isAwaited = true
      if (list.changes(i) > 0) sinceMs = Math.min(sinceMs, list.sinceMs(i))
    }
    for (let count = until - from; count > 0; count--) {
      this.#accumulator?.merge(list, from, list, from + 1)
      endMs = Math.max(endMs, list.endMs(from + 1))
      changes += list.changes(from + 1)
      list.remove(from + 1)
    }
    list.setInterval(from, startMs, endMs)
    list.setChanges(from, changes)
    list.set(from, IS_AWAITED, isAwaited)
    if (sinceMs < Infinity) list.setSinceMs(from, sinceMs)
    list.setReplaces(from, replaced)
    list.setPanes(from, 0)
    list.set(from, FIRED_ON_TIME, false)
    entered.dueMs = this.#firesAtMs(endMs)
    this.#enteredFrom = from
    this.#enteredUntil = from + 1
  }

  #addTo(startMs: number, endMs: number, event: unknown, timestampMs: number, entered: Entered): void {
    const list = this.#list
    const i = list.placeOf(startMs, endMs)
    if (!list.isAt(i, startMs, endMs)) {
      const before = this.nextDueMs()
      const dueMs = endMs - 1
      if (
        (before === undefined || dueMs < before) &&
        (entered.dueMs === undefined || dueMs < entered.dueMs)
      ) {
        entered.dueMs = dueMs
      }
      list.insert(i, startMs, endMs, 0)
      // Those behind it have moved.
      if (i < this.#enteredUntil) this.#enteredUntil++
      this.#accumulator?.reset(list, i)
    }
    this.#addAt(i, event, timestampMs, entered)
  }

  #addAt(i: number, event: unknown, timestampMs: number, entered: Entered): void {
    this.#accumulator?.add(this.#list, i, event, timestampMs)
    this.#list.noteEntered(i)
    if (this.#enteredUntil === 0 || i < this.#enteredFrom) this.#enteredFrom = i
    if (i >= this.#enteredUntil) this.#enteredUntil = i + 1
    entered.hasEntered = true
  }

  #fireWindow(i: number, kind: Pane['kind'], watermarkMs: number, more?: FireExtras): void {
    const list = this.#list
    const { isDiscarding, allowedLatenessMs } = this.#options
    // A discarding result of nothing is none (W13); what has not changed is not told again.
    if (list.changes(i) === 0 && (isDiscarding || kind !== 'onTime')) return
    const window = { startMs: list.startMs(i), endMs: list.endMs(i) }
    this.#firing = window
    const isFinal =
      more?.isFull === true ||
      (kind !== 'early' && watermarkMs >= this.#firesAtMs(list.endMs(i)) + allowedLatenessMs)
    const replaces = list.replaces(i)
    const extras = replaces.length > 0 ? { ...more, replaces } : more
    this.#fire(window, this.#value(list, i, window), { index: list.panes(i), kind, isFinal }, extras)
    if (replaces.length > 0) list.setReplaces(i, [])
    list.setPanes(i, list.panes(i) + 1)
    list.setChanges(i, 0)
    if (isDiscarding) this.#accumulator?.reset(list, i)
  }

  #value(list: WindowList, i: number, window: TimeWindow): unknown {
    return this.#accumulator === undefined ? this.#valueOf(window) : this.#accumulator.result(list, i)
  }

  #isTooLate(endMs: number, watermarkMs: number): boolean {
    return watermarkMs >= endMs - 1 + this.#options.allowedLatenessMs
  }

  /** When the watermark is there, a window with this end fires (W7). */
  #firesAtMs(endMs: number): number {
    return this.#endsByTime ? endMs - 1 : Infinity
  }

  /** When the watermark is there, nothing is left of a window with this end, which has fired (W8). */
  #goesAtMs(endMs: number): number {
    return this.#firesAtMs(endMs) + this.#keptBehindMs
  }

  /** The latest end of windows that fire up to a watermark. */
  #firesUntilMs(watermarkMs: number): number {
    return this.#endsByTime || watermarkMs === Infinity ? watermarkMs + 1 : -Infinity
  }
}
