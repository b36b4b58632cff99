// Which windows have an instant, found by trying: for the oracle of windows. W1 and W2 of docs/semantics.md for all, W3 to W5 for some.

import type { TimeWindow } from '../../src/window.js'

export interface Tumbling {
  readonly kind: 'tumbling'
  readonly sizeMs: number
  readonly offsetMs: number
}

export interface Hopping {
  readonly kind: 'hopping'
  readonly sizeMs: number
  readonly slideMs: number
  readonly offsetMs: number
}

export interface Cumulative {
  readonly kind: 'cumulative'
  readonly stepMs: number
  readonly maxMs: number
  readonly offsetMs: number
}

export interface Calendar {
  readonly kind: 'calendar'
  readonly unit: 'hour' | 'day' | 'week' | 'month'
  readonly timeZone: string
  readonly firstDayOfWeek: 'monday' | 'saturday' | 'sunday'
}

/** Windows that the timestamp of an event alone decides. */
export type AssignedWindows = Tumbling | Hopping | Cumulative | Calendar

export function windowsAt(windows: AssignedWindows, atMs: number): TimeWindow[] {
  switch (windows.kind) {
    case 'tumbling':
      return hoppingAt({ ...windows, kind: 'hopping', slideMs: windows.sizeMs }, atMs)
    case 'hopping':
      return hoppingAt(windows, atMs)
    case 'cumulative':
      return cumulativeAt(windows, atMs)
    case 'calendar':
      return [calendarAt(windows, atMs)]
  }
}

function hoppingAt({ sizeMs, slideMs, offsetMs }: Hopping, atMs: number): TimeWindow[] {
  const found: TimeWindow[] = []
  const latestMs = Math.floor((atMs - offsetMs) / slideMs) * slideMs + offsetMs
  for (let startMs = latestMs; atMs < startMs + sizeMs; startMs -= slideMs)
    found.push({ startMs, endMs: startMs + sizeMs })
  return found
}

function cumulativeAt({ stepMs, maxMs, offsetMs }: Cumulative, atMs: number): TimeWindow[] {
  const startMs = Math.floor((atMs - offsetMs) / maxMs) * maxMs + offsetMs
  const found: TimeWindow[] = []
  for (let endMs = startMs + stepMs; endMs <= startMs + maxMs; endMs += stepMs)
    if (atMs < endMs) found.push({ startMs, endMs })
  return found
}

const MINUTE_MS = 60_000

/** Between two of them no zone that is tested changes its date, hour or offset. */
const GRID_MS = 15 * MINUTE_MS
const DAY_MS = 24 * 60 * MINUTE_MS
const DAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday']
const THURSDAY = 4

const known = new Map<string, TimeWindow>()

/** All around the instant that a clock on the wall calls the same (W3). */
function calendarAt(calendar: Calendar, atMs: number): TimeWindow {
  const slotMs = Math.floor(atMs / GRID_MS) * GRID_MS
  const query = JSON.stringify([calendar, slotMs])
  const found = known.get(query)
  if (found !== undefined) return found
  const shownAt = wallClock(calendar.timeZone)
  const name = (ms: number) => nameOf(calendar, shownAt(ms))
  const isBorder = (ms: number) =>
    name(ms - 1) !== name(ms) || (calendar.unit === 'hour' && shownAt(ms) < shownAt(ms - 1))
  let startMs = slotMs
  while (!isBorder(startMs)) startMs -= GRID_MS
  let endMs = slotMs + GRID_MS
  while (!isBorder(endMs)) endMs += GRID_MS
  const window = { startMs, endMs }
  known.set(query, window)
  return window
}

/** What the clock on the wall shows at an instant, to the minute, as if it were in UTC. */
function wallClock(timeZone: string): (atMs: number) => number {
  const format = new Intl.DateTimeFormat('en-US', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
  })
  return (atMs) => {
    const parts = Object.fromEntries(
      format.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]),
    )
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0 } = parts
    return Date.UTC(year, month - 1, day, hour, minute)
  }
}

/** Equal within the same hour, day, week or month. */
function nameOf({ unit, firstDayOfWeek }: Calendar, shownMs: number): string | number {
  if (unit === 'hour') return Math.floor(shownMs / (60 * MINUTE_MS))
  if (unit === 'month') return new Date(shownMs).toISOString().slice(0, 'yyyy-mm'.length)
  const day = Math.floor(shownMs / DAY_MS)
  return unit === 'day' ? day : Math.floor((day + THURSDAY - DAYS.indexOf(firstDayOfWeek)) / 7)
}
