import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CalendarOptions, calendar } from './calendar.js'

const HOUR_MS = 3_600_000

function windowAt(options: CalendarOptions, instant: string) {
  const [window] = calendar(options).windowsOf(Date.parse(instant))
  if (window === undefined) throw new Error('no window')
  return {
    start: new Date(window.startMs).toISOString(),
    end: new Date(window.endMs).toISOString(),
    hours: (window.endMs - window.startMs) / HOUR_MS,
  }
}

describe('calendar windows', () => {
  it('W3: a day has 23, 24 or 25 hours', () => {
    const day = { unit: 'day', timeZone: 'Europe/Berlin' } as const
    expect(windowAt(day, '2025-03-30T12:00:00Z')).toEqual({
      start: '2025-03-29T23:00:00.000Z',
      end: '2025-03-30T22:00:00.000Z',
      hours: 23,
    })
    expect(windowAt(day, '2025-10-26T12:00:00Z').hours).toBe(25)
    expect(windowAt(day, '2025-06-01T12:00:00Z').hours).toBe(24)
  })

  it('W3: a midnight that does not exist is the first instant of that date', () => {
    // Clocks went from 24:00 on the 3rd of November to 1:00 on the 4th.
    const day = { unit: 'day', timeZone: 'America/Sao_Paulo' } as const
    expect(windowAt(day, '2018-11-04T03:00:00Z')).toEqual({
      start: '2018-11-04T03:00:00.000Z',
      end: '2018-11-05T02:00:00.000Z',
      hours: 23,
    })
    expect(windowAt(day, '2018-11-04T02:59:59.999Z').end).toBe('2018-11-04T03:00:00.000Z')
  })

  it('W3: a day that does not exist is no window', () => {
    // Samoa went from the 29th to the 31st of December.
    const day = { unit: 'day', timeZone: 'Pacific/Apia' } as const
    expect(windowAt(day, '2011-12-30T09:59:59.999Z').end).toBe('2011-12-30T10:00:00.000Z')
    expect(windowAt(day, '2011-12-30T10:00:00Z').start).toBe('2011-12-30T10:00:00.000Z')
    expect(windowAt(day, '2011-12-30T10:00:00Z').hours).toBe(24)
  })

  it('W3: a clock that is set back over midnight makes one long day, not three', () => {
    // At 0:01 on the 7th of November clocks went back to 23:01 on the 6th.
    const day = { unit: 'day', timeZone: 'America/St_Johns' } as const
    const seventh = windowAt(day, '2010-11-07T12:00:00Z')
    expect(seventh).toEqual({
      start: '2010-11-07T02:30:00.000Z',
      end: '2010-11-08T03:30:00.000Z',
      hours: 25,
    })
    expect(windowAt(day, '2010-11-07T02:45:00Z')).toEqual(seventh)
    expect(windowAt(day, '2010-11-07T02:29:59Z').end).toBe(seventh.start)
  })

  it('W3: the hour that comes twice is two hours', () => {
    const hour = { unit: 'hour', timeZone: 'Europe/Berlin' } as const
    const first = windowAt(hour, '2025-10-26T00:30:00Z')
    const second = windowAt(hour, '2025-10-26T01:30:00Z')
    expect([first.start, first.end]).toEqual(['2025-10-26T00:00:00.000Z', '2025-10-26T01:00:00.000Z'])
    expect([second.start, second.end]).toEqual(['2025-10-26T01:00:00.000Z', '2025-10-26T02:00:00.000Z'])
  })

  it('W3: hours of zones with half hours start on their clocks', () => {
    expect(windowAt({ unit: 'hour', timeZone: 'Asia/Kolkata' }, '2025-01-01T00:00:00Z').start).toBe(
      '2024-12-31T23:30:00.000Z',
    )
    // Clocks of Lord Howe Island jump by half an hour: from 2:00 to 2:30, and from 2:00 back to 1:30.
    const howe = { unit: 'hour', timeZone: 'Australia/Lord_Howe' } as const
    expect(windowAt(howe, '2025-10-04T15:40:00Z')).toEqual({
      start: '2025-10-04T15:30:00.000Z',
      end: '2025-10-04T16:00:00.000Z',
      hours: 0.5,
    })
    expect(windowAt(howe, '2025-04-05T15:10:00Z')).toEqual({
      start: '2025-04-05T15:00:00.000Z',
      end: '2025-04-05T15:30:00.000Z',
      hours: 0.5,
    })
  })

  it('W3: weeks start on the day that was chosen, months on the first', () => {
    const zone = 'America/New_York'
    const week = windowAt({ unit: 'week', timeZone: zone }, '2025-03-09T12:00:00Z')
    expect([week.start, week.end, week.hours]).toEqual([
      '2025-03-03T05:00:00.000Z',
      '2025-03-10T04:00:00.000Z',
      167,
    ])
    const fromSunday = windowAt(
      { unit: 'week', timeZone: zone, firstDayOfWeek: 'sunday' },
      '2025-03-09T12:00:00Z',
    )
    expect(fromSunday.start).toBe('2025-03-09T05:00:00.000Z')
    const month = windowAt({ unit: 'month', timeZone: zone }, '2024-02-10T00:00:00Z')
    expect([month.start, month.end]).toEqual(['2024-02-01T05:00:00.000Z', '2024-03-01T05:00:00.000Z'])
  })

  it('W3: before the epoch, and before our era', () => {
    const day = { unit: 'day', timeZone: 'UTC' } as const
    expect(windowAt(day, '1969-12-31T23:59:59.999Z').start).toBe('1969-12-31T00:00:00.000Z')
    expect(windowAt(day, '-000001-03-01T01:00:00Z').start).toBe('-000001-03-01T00:00:00.000Z')
    expect(windowAt(day, '0050-03-01T01:00:00Z').start).toBe('0050-03-01T00:00:00.000Z')
  })

  it('W3: every instant is in one window, and windows follow each other without a gap', () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/St_Johns',
      'America/Sao_Paulo',
      'Pacific/Apia',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
      'Africa/Cairo',
      'Europe/Dublin',
    ]
    const instant = fc.integer({ min: Date.parse('1972-01-01'), max: Date.parse('2037-01-01') })
    fc.assert(
      fc.property(
        fc.constantFrom(...zones),
        fc.constantFrom('hour', 'day', 'week', 'month'),
        instant,
        (timeZone, unit, at) => {
          const assigner = calendar({ unit, timeZone })
          const [window] = calendar({ unit, timeZone }).windowsOf(at)
          if (window === undefined) throw new Error('no window')
          expect(window.startMs).toBeLessThanOrEqual(at)
          expect(window.endMs).toBeGreaterThan(at)
          expect(assigner.windowsOf(window.startMs)).toEqual([window])
          expect(assigner.windowsOf(window.endMs - 1)).toEqual([window])
          expect(assigner.windowsOf(window.endMs)[0]?.startMs).toBe(window.endMs)
          expect(assigner.windowsOf(window.startMs - 1)[0]?.endMs).toBe(window.startMs)
        },
      ),
      { numRuns: 200 },
    )
  })

  it('lists every wrong setting', () => {
    expect(() => calendar({ unit: 'year' as never, timeZone: 'Europe/Nowhere' })).toThrow(/unit.*timeZone/s)
    expect(() => calendar({ unit: 'week', timeZone: 'UTC', firstDayOfWeek: 'noday' as never })).toThrow(
      'firstDayOfWeek',
    )
  })
})
