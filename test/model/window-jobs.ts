// Jobs of windows drawn at random, and what happens to them: over few keys and short windows, so that events often share, join and miss them.

import fc from 'fast-check'
import type { EventTime, WatermarkRule } from './watermark-oracle.js'
import type { AssignedWindows, Calendar } from './window-assignment.js'
import type { WindowRules, WindowsOfKey } from './window-oracle.js'
import { windowValues } from './window-values.js'

export type Step =
  | {
      readonly do: 'send'
      readonly partition: string
      readonly key: number
      readonly value: number
      readonly at: number
    }
  | { readonly do: 'wait' | 'restart'; readonly ms: number }
  | { readonly do: 'peek' }

export interface RandomJob {
  readonly keys: KeyForm
  readonly startMs: number
  readonly partitions: readonly string[]
  /** Whether the source has them all from the beginning, or each from its first event. */
  readonly areListed: boolean
  readonly time: EventTime
  readonly windows: Readonly<Record<string, WindowRules>>
  readonly steps: readonly Step[]
  readonly ends: boolean
}

/** Of whichever the keys are, there are so many. */
export const KEYS = 3
export const keyForms = ['utf8', 'int64', 'tuple'] as const
export type KeyForm = (typeof keyForms)[number]

const small = (min: number, max: number) => fc.integer({ min, max })
const HOUR_MS = 3_600_000

const assigned: fc.Arbitrary<AssignedWindows> = fc.oneof(
  fc
    .record({ kind: fc.constant('tumbling' as const), sizeMs: small(1, 9), offsetMs: small(0, 8) })
    .map((drawn) => ({ ...drawn, offsetMs: drawn.offsetMs % drawn.sizeMs })),
  fc
    .record({
      kind: fc.constant('hopping' as const),
      sizeMs: small(1, 14),
      slideMs: small(1, 7),
      offsetMs: small(0, 6),
    })
    .map((drawn) => ({ ...drawn, offsetMs: drawn.offsetMs % drawn.slideMs })),
  fc
    .record({
      kind: fc.constant('cumulative' as const),
      stepMs: small(1, 4),
      steps: small(1, 4),
      offsetMs: small(0, 15),
    })
    .map(({ kind, stepMs, steps, offsetMs }) => {
      const maxMs = stepMs * steps
      return { kind, stepMs, maxMs, offsetMs: offsetMs % maxMs }
    }),
)

const session = fc.record({ kind: fc.constant('session' as const), gapMs: small(1, 6) })

const byKey: fc.Arbitrary<WindowsOfKey> = fc.oneof(
  { weight: 3, arbitrary: session },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('sliding' as const), sizeMs: small(1, 8) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('count' as const), size: small(1, 4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('global' as const) }) },
)

const calendar: fc.Arbitrary<Calendar> = fc.record({
  kind: fc.constant('calendar' as const),
  unit: fc.constantFrom('hour', 'day', 'week', 'month'),
  timeZone: fc.constantFrom(
    'UTC',
    'Europe/Berlin',
    'America/New_York',
    'America/Sao_Paulo',
    'America/Havana',
    'Asia/Kathmandu',
  ),
  firstDayOfWeek: fc.constantFrom('monday', 'saturday', 'sunday'),
})

/** What the rules of some windows may be, more than goes together: `fitting` leaves out what does not. */
function rulesOf(windows: fc.Arbitrary<WindowRules['windows']>, latenessMs: fc.Arbitrary<number>) {
  return fc.record(
    {
      windows,
      time: fc.constant('event' as const),
      value: fc.constantFrom(...Object.keys(windowValues)),
      latenessMs: fc.oneof(fc.constant(0), latenessMs),
      earlyEveryEvents: small(1, 3),
      isDiscarding: fc.boolean(),
      tellsLate: fc.boolean(),
    },
    { requiredKeys: ['windows', 'time', 'value', 'latenessMs', 'isDiscarding', 'tellsLate'] },
  )
}

function fitting(drawn: WindowRules): WindowRules {
  const { kind } = drawn.windows
  const value = fittingValue(drawn)
  const { earlyEveryEvents, ...rules } = drawn
  const hasEnd = kind !== 'count' && kind !== 'global'
  const isEarly = kind !== 'count' && kind !== 'sliding' && earlyEveryEvents !== undefined
  return {
    ...rules,
    value,
    latenessMs: hasEnd && rules.time === 'event' ? rules.latenessMs : 0,
    isDiscarding: rules.isDiscarding && value !== 'kept',
    tellsLate: rules.tellsLate && rules.time === 'event',
    ...(isEarly && { earlyEveryEvents }),
  }
}

function fittingValue({ windows: { kind }, value }: WindowRules): string {
  if (kind === 'sliding') return 'kept'
  const needs = windowValues[value]?.needs
  const isOfPanes = kind === 'hopping' || kind === 'cumulative'
  const isRefused = kind === 'session' ? needs === 'no merge' : isOfPanes && needs === 'order of arrival'
  return isRefused ? 'together' : value
}

const rule: fc.Arbitrary<WatermarkRule> = fc.oneof(
  fc.constant({ kind: 'ascending' as const }),
  fc.record({ kind: fc.constant('bounded' as const), disorderMs: small(0, 8) }),
  fc.constant({ kind: 'punctuated' as const }),
)

const eventTime: fc.Arbitrary<EventTime> = fc.record(
  {
    rule,
    idleAfterMs: fc.constantFrom(1, 5),
    onAllIdle: fc.constantFrom('hold' as const, 'advance' as const),
    maxAheadMs: fc.constantFrom(1, 20),
  },
  { requiredKeys: ['rule'] },
)

/** A move, and how far its event is behind (below 0) or ahead of how far all have come. */
const send = fc.record({
  do: fc.constant('send' as const),
  partition: small(0, 2),
  key: small(0, KEYS - 1),
  value: small(-3, 5),
  onward: fc.oneof({ weight: 5, arbitrary: small(0, 3) }, { weight: 1, arbitrary: small(4, 12) }),
  aside: fc.oneof(
    { weight: 4, arbitrary: small(-2, 1) },
    { weight: 2, arbitrary: small(-25, 0) },
    { weight: 1, arbitrary: fc.constantFrom(0, 60) },
  ),
})

const drawnStep = fc.oneof(
  { weight: 16, arbitrary: send },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 2, 5, 9, 15) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const), ms: fc.constantFrom(0, 3, 30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('peek' as const) }) },
)

/** The time in which steps are taken. */
interface Scale {
  readonly baseMs: number
  readonly unitMs: number
}

const plainScale: fc.Arbitrary<Scale> = fc.record({
  baseMs: fc.constantFrom(0, -20, -60, 1_000),
  unitMs: fc.constant(1),
})

/** Around changes of the clock, a leap day, and the epoch. */
const calendarScale: fc.Arbitrary<Scale> = fc.record({
  baseMs: fc.constantFrom(
    Date.UTC(2017, 9, 14, 20),
    Date.UTC(2018, 1, 17, 20),
    Date.UTC(2024, 1, 28),
    Date.UTC(2024, 2, 10, 1),
    Date.UTC(2024, 2, 30, 20),
    Date.UTC(2024, 9, 26, 20),
    Date.UTC(2024, 10, 3, 0),
    -3 * 24 * HOUR_MS,
  ),
  unitMs: fc.constantFrom(1, HOUR_MS / 4, HOUR_MS / 2),
})

function jobsOf(windows: fc.Arbitrary<WindowRules>, scales: fc.Arbitrary<Scale>): fc.Arbitrary<RandomJob> {
  const drawn = fc.record({
    keys: fc.constantFrom(...keyForms),
    scale: scales,
    partitions: fc.constantFrom(1, 1, 1, 2, 3),
    areListed: fc.boolean(),
    time: eventTime,
    windows: fc.array(windows.map(fitting), { minLength: 1, maxLength: 3 }),
    steps: fc.array(drawnStep, { minLength: 1, maxLength: 40, size: 'max' }),
    ends: fc.integer({ min: 0, max: 5 }),
  })
  return drawn.map(({ scale, partitions, windows: all, steps, ends, ...rest }) => {
    const names = ['p0', 'p1', 'p2'].slice(0, partitions)
    return {
      ...rest,
      startMs: scale.baseMs + 100 * scale.unitMs,
      partitions: names,
      // Not in the order of the alphabet: they are to come as they are named.
      windows: Object.fromEntries(all.map((each, place) => [`w${all.length - place}`, each])),
      steps: timed(steps, scale, names),
      ends: ends > 0,
    }
  })
}

type DrawnStep = typeof drawnStep extends fc.Arbitrary<infer Drawn> ? Drawn : never

function timed(
  steps: readonly DrawnStep[],
  { baseMs, unitMs }: Scale,
  partitions: readonly string[],
): Step[] {
  let reached = 0
  return steps.map((step) => {
    if (step.do !== 'send') return step
    reached += step.onward
    const { key, value, aside } = step
    const partition = partitions[step.partition % partitions.length] ?? ''
    return { do: 'send', partition, key, value, at: baseMs + unitMs * (reached + aside) }
  })
}

const shortWindows = rulesOf(fc.oneof(assigned, byKey), small(1, 10))
const calendarWindows = rulesOf(fc.oneof(calendar, byKey), small(1, 3 * HOUR_MS))
const processingWindows = rulesOf(fc.oneof(assigned, session), fc.constant(0)).map((drawn) => ({
  ...drawn,
  time: 'processing' as const,
}))

export const randomJobs: fc.Arbitrary<RandomJob> = fc.oneof(
  { weight: 8, arbitrary: jobsOf(shortWindows, plainScale) },
  { weight: 1, arbitrary: jobsOf(calendarWindows, calendarScale) },
  { weight: 1, arbitrary: jobsOf(processingWindows, plainScale) },
)
