// Windows of the calendar of a time zone: hours, days, weeks, months (W3).
//
// (1) A day starts with the first instant that a clock on the wall shows as that date or a later one: midnight, or where midnight
//     does not exist, the first instant after it. So every instant is in exactly one day, which has 23, 24 or 25 hours.
// (2) Weeks and months start with the day that they start with.
// (3) An hour starts where the wall clock comes to a full hour, or jumps: the hour that comes twice is two hours.

import { oneOf, rejectViolations, requireSettings, violationsOf } from '../../base/options.js'
import { CodecError } from '../../state/codec/codec-error.js'
import type { TimeWindow, WindowAssigner } from './assigner.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** No zone is, or was, further from UTC. */
const MAX_OFFSET_MS = 26 * HOUR_MS

/** The calendar goes so far: what a `Date` can tell, but for what a window may reach beyond its events. */
const MAX_TIME_MS = 8.64e15 - 70 * DAY_MS

const WEEKDAYS = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'] as const

export interface CalendarOptions {
  readonly unit: 'hour' | 'day' | 'week' | 'month'
  /** An IANA name: `'Europe/Berlin'`. */
  readonly timeZone: string
  /** Of weeks. Default `'monday'`. */
  readonly firstDayOfWeek?: (typeof WEEKDAYS)[number]
}

/**
 * Windows as the calendar of a time zone has them. `INVALID_ARGUMENT` for a zone that this Node does not know. When a country
 * changes its rules, windows follow the time zone data of the Node that runs.
 */
export function calendar(options: CalendarOptions): WindowAssigner {
  requireSettings(options, ['unit', 'timeZone'])
  rejectViolations(
    violationsOf(options, {
      unit: oneOf('hour', 'day', 'week', 'month'),
      timeZone: (zone) => (isTimeZone(zone) ? undefined : 'must be an IANA time zone that this Node knows'),
      firstDayOfWeek: oneOf(...WEEKDAYS),
    }),
  )
  const { unit, timeZone, firstDayOfWeek = 'monday' } = options
  const windowOf = windowIn(new WallClock(timeZone), unit, WEEKDAYS.indexOf(firstDayOfWeek))
  // Events of one time follow each other: the last windows are likely to be the next ones.
  let recent: readonly TimeWindow[] = []
  return Object.freeze({
    description: `calendar(${unit}, ${timeZone}${unit === 'week' ? `, ${firstDayOfWeek}` : ''})`,
    windowsOf(timestampMs: number) {
      if (Math.abs(timestampMs) > MAX_TIME_MS) {
        throw new CodecError(`the calendar has no window for the timestamp ${timestampMs}`)
      }
      const [last] = recent
      if (last === undefined || timestampMs < last.startMs || timestampMs >= last.endMs) {
        recent = Object.freeze([windowOf(timestampMs)])
      }
      return recent
    },
  })
}

function isTimeZone(zone: unknown): boolean {
  if (typeof zone !== 'string') return false
  try {
    Intl.DateTimeFormat('en', { timeZone: zone })
    return true
  } catch {
    return false
  }
}

/** What clocks on the walls of a zone show. Wall time is counted in milliseconds as if it were UTC. */
class WallClock {
  readonly #format: Intl.DateTimeFormat

  constructor(timeZone: string) {
    this.#format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      era: 'short',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  }

  at(timestampMs: number): number {
    return timestampMs + this.offsetAt(timestampMs)
  }

  /** By how much the wall clock is ahead of UTC. */
  offsetAt(timestampMs: number): number {
    const seconds = Math.floor(timestampMs / 1_000)
    const parts: { [type: string]: number } = {}
    let isBeforeChrist = false
    for (const { type, value } of this.#format.formatToParts(seconds * 1_000)) {
      if (type === 'era') isBeforeChrist = value.startsWith('B')
      else parts[type] = Number(value)
    }
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = parts
    const wall = new Date(0)
    // Not Date.UTC, which takes the years 0 to 99 for those of the last century.
    wall.setUTCFullYear(isBeforeChrist ? 1 - year : year, month - 1, day)
    wall.setUTCHours(hour, minute, second)
    return wall.getTime() - seconds * 1_000
  }

  /** The first instant between two at which the offset is no longer what it was at `fromMs`. There is at most one change between them. */
  changeBetween(fromMs: number, untilMs: number): number {
    const before = this.offsetAt(fromMs)
    let low = fromMs
    let high = untilMs
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (this.offsetAt(middle) === before) low = middle
      else high = middle
    }
    return high
  }

  /** The first instant at which the wall clock shows `wallMs` or more, and did not before. */
  firstAt(wallMs: number): number {
    const earlyMs = wallMs - MAX_OFFSET_MS
    const offsets = [this.offsetAt(earlyMs), this.offsetAt(wallMs + MAX_OFFSET_MS)]
    // Where the wall clock shows it, it does so at one of these; the first one counts.
    const exact = offsets.map((offset) => wallMs - offset).filter((instant) => this.at(instant) === wallMs)
    if (exact.length > 0) return Math.min(...exact)
    return this.changeBetween(wallMs - Math.max(...offsets) - 1, wallMs - Math.min(...offsets))
  }
}

function windowIn(
  wall: WallClock,
  unit: CalendarOptions['unit'],
  firstDayOfWeek: number,
): (timestampMs: number) => TimeWindow {
  if (unit === 'hour') return (timestampMs) => hourOf(wall, timestampMs)
  /** Where the unit starts that a date is in, and the next one, as dates. */
  const start = (dateMs: number, units: number): number => {
    const date = new Date(dateMs)
    if (unit === 'day') date.setUTCDate(date.getUTCDate() + units)
    if (unit === 'week') {
      const behind = (date.getUTCDay() - firstDayOfWeek + 7) % 7
      date.setUTCDate(date.getUTCDate() - behind + 7 * units)
    }
    if (unit === 'month') date.setUTCMonth(date.getUTCMonth() + units, 1)
    return date.getTime()
  }
  return (timestampMs) => {
    let dateMs = start(Math.floor(wall.at(timestampMs) / DAY_MS) * DAY_MS, 0)
    // Where a clock was set back over midnight, the date on the wall is one day off for a while.
    while (wall.firstAt(dateMs) > timestampMs) dateMs = start(dateMs - DAY_MS, 0)
    while (wall.firstAt(start(dateMs, 1)) <= timestampMs) dateMs = start(dateMs, 1)
    return { startMs: wall.firstAt(dateMs), endMs: wall.firstAt(start(dateMs, 1)) }
  }
}

function hourOf(wall: WallClock, timestampMs: number): TimeWindow {
  const offset = wall.offsetAt(timestampMs)
  const shown = timestampMs + offset
  const startMs = Math.floor(shown / HOUR_MS) * HOUR_MS - offset
  const endMs = startMs + HOUR_MS
  return {
    startMs: wall.offsetAt(startMs) === offset ? startMs : wall.changeBetween(startMs, timestampMs),
    endMs: wall.offsetAt(endMs - 1) === offset ? endMs : wall.changeBetween(timestampMs, endMs - 1),
  }
}
