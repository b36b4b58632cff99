import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { defineJob } from '../../job/define-job.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { tuple } from '../../state/codec/composite.js'
import { json } from '../../state/codec/json.js'
import { float64, int32, uint32 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { testJob } from '../../testing/job-test.js'
import { hopping, tumbling } from '../assign/assigner.js'
import { session } from '../assign/by-key.js'
import { boundedDisorder } from '../time/watermark-strategy.js'
import { type WindowResult, type Windows, windowed } from '../windowed.js'
import { type BytesAggregate, type BytesWork, bytesWorkOf, wholeOf } from './bytes-aggregate.js'
import { distinctCount, distinctValues } from './distinct.js'
import { approximateDistinctCount } from './hyper-log-log.js'
import { quantiles } from './quantiles.js'
import type { FixedAggregate } from './raw-aggregate.js'
import { combined, count, max, mean, sum, variance } from './ready-made.js'
import { topN } from './top-n.js'

const LONG = process.env['HOLDFAST_LONG'] === '1'
const NUM_RUNS = LONG ? 2_000 : 30

interface Bid {
  readonly price: number
  readonly bidder: string
  readonly at: number
}

function workOf<Result>(aggregate: object): BytesWork<unknown, Result> {
  const work = bytesWorkOf(aggregate)
  if (work === undefined) throw new Error('not a ready-made one')
  return work as BytesWork<unknown, Result>
}

const noBytes = new Uint8Array(0)

/** What events come to, all of them at once. */
function accumulated(aggregate: object, events: readonly object[]): Uint8Array {
  const work = workOf(aggregate)
  let bytes: Uint8Array | undefined
  for (const event of events)
    bytes = new Uint8Array(wholeOf(bytes, work.add(bytes, event, 'at' in event ? (event.at as number) : 0)))
  return bytes ?? noBytes
}

/** What they come to in several parts that are merged. */
function inParts(aggregate: object, parts: readonly (readonly object[])[]): Uint8Array {
  const [first = noBytes, ...others] = parts
    .filter((part) => part.length > 0)
    .map((part) => accumulated(aggregate, part))
  return others.reduce((all, other) => new Uint8Array(workOf(aggregate).merge(all, other)), first)
}

const bids = fc.array(
  fc.record({
    price: fc.integer({ min: -5, max: 5 }),
    bidder: fc.constantFrom('ann', 'bob', 'cy', 'dé', '\u0000', ''),
    at: fc.nat({ max: 20 }),
  }),
  { maxLength: 40 },
)

/** Parts whose times follow each other, as those of panes and sessions do. */
const partsByTime = fc.tuple(bids, fc.array(fc.nat({ max: 20 }), { maxLength: 3 })).map(([all, cuts]) => {
  const ends = [...new Set(cuts)].sort((left, right) => left - right)
  const bounds = [-1, ...ends, Infinity]
  return bounds.slice(1).map((end, i) => all.filter(({ at }) => at > (bounds[i] as number) && at <= end))
})

const best = topN({ n: 3, by: ({ price }: Bid) => price, codec: json<Bid>() })
const bidders = distinctValues(utf8, ({ bidder }: Bid) => bidder)
const howMany = distinctCount(utf8, ({ bidder }: Bid) => bidder)
const aboutHowMany = approximateDistinctCount(utf8, ({ bidder }: Bid) => bidder, { registers: 16 })
const prices = quantiles(({ price }: Bid) => price, [0, 0.25, 0.5, 1])
const figures = combined({ bids: count(), dearest: max(({ price }: Bid) => price), best, bidders, prices })

describe('topN', () => {
  it('is what sorting gives, in one or in parts', () => {
    fc.assert(
      fc.property(partsByTime, fc.integer({ min: 1, max: 5 }), (parts, n) => {
        const aggregate = topN({ n, by: ({ price }: Bid) => price, codec: json<Bid>() })
        const expected = parts
          .flat()
          .map((bid, place) => ({ bid, place }))
          .sort(
            (left, right) =>
              right.bid.price - left.bid.price ||
              left.bid.at - right.bid.at ||
              // Of one timestamp all are in one part, in which they are in the order of their arrival.
              left.place - right.place,
          )
          .slice(0, n)
          .map(({ bid }) => bid)
        const work = workOf<readonly Bid[]>(aggregate)
        for (const bytes of [accumulated(aggregate, parts.flat()), inParts(aggregate, parts)]) {
          work.check(bytes)
          expect(work.result(bytes)).toEqual(expected)
        }
      }),
      { numRuns: NUM_RUNS },
    )
  })

  it('keeps what `of` gives of an event, and refuses what is wrong', () => {
    const names = topN({ n: 2, by: ({ price }: Bid) => price, codec: utf8, of: ({ bidder }) => bidder })
    const made = accumulated(names, [
      { price: 1, bidder: 'ann', at: 0 },
      { price: 3, bidder: 'bob', at: 1 },
      { price: 2, bidder: 'cy', at: 2 },
    ])
    expect(workOf(names).result(made)).toEqual(['bob', 'cy'])
    expect(() => workOf(names).add(made, { price: Number.NaN, bidder: '', at: 0 }, 0)).toThrow(/topN|finite/)
    expect(() => topN({ n: 0, codec: utf8 } as never)).toThrow(/options\.n.*options\.by is required/s)
    expect(() => topN({ n: 10_001, by: () => 0, codec: utf8, of: () => '' })).toThrow(
      /not be more than 10000/,
    )
  })
})

describe('distinct values', () => {
  it('are those of a set, in one or in parts', () => {
    fc.assert(
      fc.property(partsByTime, (parts) => {
        const all = parts.flat()
        const expected = [...new Set(all.map(({ bidder }) => bidder))].sort()
        if (all.length === 0) return
        for (const aggregate of [bidders, howMany]) {
          const whole = accumulated(aggregate, all)
          workOf(aggregate).check(whole)
          expect(inParts(aggregate, parts)).toEqual(whole)
        }
        expect(workOf(bidders).result(accumulated(bidders, all))).toEqual(expected)
        expect(workOf(howMany).result(accumulated(howMany, all))).toBe(expected.length)
      }),
      { numRuns: NUM_RUNS },
    )
  })

  it('are none of events that have none', () => {
    const even = distinctCount(uint32, ({ value }: { readonly value: number }) =>
      value % 2 === 0 ? value : undefined,
    )
    expect(workOf(even).result(accumulated(even, [{ value: 1 }]))).toBe(0)
    expect(workOf(even).result(accumulated(even, [{ value: 1 }, { value: 2 }, { value: 2 }]))).toBe(1)
    const about = approximateDistinctCount(uint32, () => undefined)
    expect(workOf(about).result(accumulated(about, [{}, {}]))).toBe(0)
  })

  it('are sorted by their key form, also where that has several parts', () => {
    const pairs = distinctValues(tuple(utf8, int32), (pair: { readonly of: [string, number] }) => pair.of)
    const made = accumulated(pairs, [{ of: ['b', 1] }, { of: ['a', 2] }, { of: ['a', -2] }, { of: ['b', 1] }])
    expect(workOf(pairs).result(made)).toEqual([
      ['a', -2],
      ['a', 2],
      ['b', 1],
    ])
  })

  it('refuse what is no key codec or no function', () => {
    expect(() => distinctCount(json() as never, () => 0 as never)).toThrow(/codec/)
    expect(() => distinctCount(utf8, 'x' as never)).toThrow(/of/)
    expect(() => approximateDistinctCount(utf8, () => '', { registers: 1_000 })).toThrow(/power of two/)
    expect(() => workOf(howMany).add(undefined, { bidder: '\ud800' }, 0)).toThrow(/surrogate/)
  })

  it('are each there once however many there are, and in one order behind merging', () => {
    const all = distinctValues(uint32, (value: number) => value)
    const of = (values: readonly number[]): Uint8Array => {
      let bytes: Uint8Array | undefined
      for (const value of values) {
        bytes = all.add(bytes as Uint8Array, value, 0) as Uint8Array
        // What is stored of it can be read at any time.
        if (value % 16 === 0) all.work.check(bytes)
      }
      return bytes as Uint8Array
    }
    const stream = fc.array(fc.nat({ max: 400 }), { minLength: 1, maxLength: 600, size: 'max' })
    fc.assert(
      fc.property(stream, stream, (some, others) => {
        const sortedSet = (...values: number[]) => [...new Set(values)].sort((left, right) => left - right)
        const bytes = of(some)
        expect(all.result?.(bytes)).toEqual(sortedSet(...some))
        expect(distinctCount(uint32, (value: number) => value).result?.(bytes)).toBe(
          sortedSet(...some).length,
        )
        const merged = all.merge?.(bytes, of(others)) as Uint8Array
        all.work.check(merged)
        expect(all.result?.(merged)).toEqual(sortedSet(...some, ...others))
      }),
      { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 300 : 20 },
    )
  })

  it('are refused where what came last is among the others, twice, or cut off', () => {
    const all = distinctValues(uint32, (value: number) => value)
    let bytes: Uint8Array | undefined
    for (let value = 0; value < 70; value++) bytes = all.add(bytes as Uint8Array, value * 2, 0) as Uint8Array
    const whole = bytes as Uint8Array
    all.work.check(whole)
    const withLast = (...tail: number[]) => Uint8Array.of(...whole, ...tail)
    all.work.check(withLast(4, 0, 0, 0, 0, 0, 0, 7))
    for (const tail of [
      [4, 0, 0, 0, 0, 0, 0, 8],
      [4, 0, 0, 0, 0, 0, 0, 7, 4, 0, 0, 0, 0, 0, 0, 7],
      [4, 0, 0, 0, 0, 0, 0],
      [255, 255, 255, 255],
      [3, 0, 0, 0, 1, 2, 3],
      [0],
    ]) {
      expect(() => all.work.check(withLast(...tail)), String(tail)).toThrow(/end|twice|bytes|cut off/)
    }
  })
})

describe('an approximate distinct count', () => {
  const about = approximateDistinctCount(uint32, ({ value }: { readonly value: number }) => value)

  // Deterministic: the same values give the same estimate everywhere.
  it('is within three standard errors from few to many', () => {
    const work = workOf<number>(about)
    let bytes: Uint8Array | undefined
    let value = 0
    const errors: number[] = []
    for (const upTo of [1, 10, 100, 1_000, 2_000, 5_000, 10_000, ...(LONG ? [50_000, 200_000] : [])]) {
      for (; value < upTo; value++) bytes = wholeOf(bytes, work.add(bytes, { value }, 0))
      errors.push(Math.abs(work.result(bytes as Uint8Array) - upTo) / upTo)
    }
    expect(Math.max(...errors.slice(0, 2))).toBe(0)
    expect(Math.max(...errors)).toBeLessThan((3 * 1.04) / Math.sqrt(2_048))
  })

  it('has no bias: over many sets the errors come to nothing', () => {
    const few = approximateDistinctCount(uint32, ({ value }: { readonly value: number }) => value, {
      registers: 64,
    })
    for (const size of LONG ? [20, 160, 640] : [20, 160]) {
      let total = 0
      for (let set = 0; set < 200; set++) {
        const values = Array.from({ length: size }, (_, i) => ({ value: set * 1_000 + i }))
        total += workOf<number>(few).result(accumulated(few, values)) / size - 1
      }
      // Of 200 sets the mean error is 13 % / √200 = 0.9 %.
      expect(Math.abs(total / 200)).toBeLessThan(0.03)
    }
  })

  it('is the same in two parts that have some values in common, in every register', () => {
    const values = Array.from({ length: 30_000 }, (_, value) => ({ value }))
    const parts = [values.slice(0, 20_000), values.slice(10_000)]
    expect(inParts(about, parts)).toEqual(accumulated(about, values))
  })

  it('is the same in one or in parts, and of values that come twice', () => {
    fc.assert(
      fc.property(partsByTime, (parts) => {
        if (parts.flat().length === 0) return
        const whole = accumulated(aboutHowMany, [...parts.flat(), ...parts.flat()])
        expect(inParts(aboutHowMany, parts)).toEqual(whole)
      }),
      { numRuns: NUM_RUNS },
    )
  })
})

describe('quantiles', () => {
  const asked = [0, 0.1, 0.5, 0.9, 0.99, 1] as const
  const numbers = fc.oneof(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer({ min: -1_000, max: 1_000 }),
  )

  it.each([0.01, 0.0001, 0.2])('are within %s of what sorting gives, in one or in parts', (accuracy) => {
    const aggregate = quantiles(({ value }: { readonly value: number }) => value, asked, {
      relativeAccuracy: accuracy,
    })
    const work = workOf<readonly number[]>(aggregate)
    const values = fc.array(
      numbers.map((value) => ({ value })),
      { minLength: 1, maxLength: 50 },
    )
    fc.assert(
      fc.property(values, fc.nat({ max: 50 }), (all, cut) => {
        const whole = accumulated(aggregate, all)
        work.check(whole)
        expect(inParts(aggregate, [all.slice(0, cut), all.slice(cut)])).toEqual(whole)
        const sorted = all.map(({ value }) => value).sort((left, right) => left - right)
        for (const [i, found] of work.result(whole).entries()) {
          const exact = sorted[Math.floor((asked[i] as number) * (sorted.length - 1))] as number
          // Numbers below the least normal one are zero.
          const allowed = accuracy * Math.abs(exact) * (1 + 1e-9) + 2 ** -1_021
          expect(Math.abs(found - exact)).toBeLessThanOrEqual(allowed)
        }
      }),
      { numRuns: NUM_RUNS },
    )
  })

  it('are as near where numbers are so large that twice one is none', () => {
    const aggregate = quantiles(({ value }: { readonly value: number }) => value, [0.5], {
      relativeAccuracy: 0.2,
    })
    const work = workOf<readonly number[]>(aggregate)
    const [median = 0] = work.result(
      accumulated(aggregate, [{ value: 6.4e307 }, { value: 7.7e307 }, { value: 1.7e308 }]),
    )
    expect(Math.abs(median - 7.7e307)).toBeLessThanOrEqual(0.2 * 7.7e307 * (1 + 1e-9))
  })

  it('keep so many buckets at most: the lowest are taken together, whatever the order', () => {
    const few = quantiles(({ value }: { readonly value: number }) => value, [0, 0.5, 1], { maxBuckets: 4 })
    const values = Array.from({ length: 100 }, (_, i) => ({ value: 1.1 ** i }))
    const one = accumulated(few, values)
    expect(one.length).toBe(24 + 4 * 12)
    expect(accumulated(few, values.toReversed())).toEqual(one)
    expect(inParts(few, [values.slice(50), values.slice(0, 50)])).toEqual(one)
    workOf(few).check(one)
    const [least, , greatest] = workOf<readonly number[]>(few).result(one)
    expect([least, greatest]).toEqual([1, 1.1 ** 99])
  })

  it('refuse what is no number, and what cannot be asked for', () => {
    expect(() => workOf(prices).add(undefined, { price: Infinity }, 0)).toThrow(/finite/)
    expect(() => quantiles(() => 0, [1.5])).toThrow(/at/)
    expect(() => quantiles(() => 0, [])).toThrow(/at/)
    expect(() => quantiles(() => 0, [0.5], { relativeAccuracy: 0 })).toThrow(/relativeAccuracy/)
    expect(() => quantiles(() => 0, [0.5], { maxBuckets: 1 })).toThrow(/maxBuckets/)
  })
})

describe('several aggregates of what grows', () => {
  it('are what each is alone', () => {
    fc.assert(
      fc.property(partsByTime, (parts) => {
        const all = parts.flat()
        if (all.length === 0) return
        const alone = (aggregate: object) => workOf(aggregate).result(accumulated(aggregate, all))
        const work = workOf(figures)
        for (const bytes of [accumulated(figures, all), inParts(figures, parts)]) {
          work.check(bytes)
          expect(work.result(bytes)).toEqual({
            bids: all.length,
            dearest: Math.max(...all.map(({ price }) => price)),
            best: alone(topN({ n: 3, by: ({ price }: Bid) => price, codec: json<Bid>() })),
            bidders: alone(bidders),
            prices: alone(prices),
          })
        }
      }),
      { numRuns: NUM_RUNS },
    )
  })

  it('have a fixed size where all of them have', () => {
    const fixed = combined({ bids: count(), about: aboutHowMany })
    expectTypeOf(fixed).toEqualTypeOf<
      FixedAggregate<Bid, { readonly bids: number; readonly about: number }>
    >()
    expect(fixed.codec.fixedBytes).toBe(24)
    type Figures = typeof figures extends BytesAggregate<Bid, infer Result> ? Result : never
    expectTypeOf<keyof Figures>().toEqualTypeOf<'bids' | 'dearest' | 'best' | 'bidders' | 'prices'>()
    expectTypeOf<Figures['bids']>().toEqualTypeOf<number>()
    expectTypeOf<Figures['best']>().toEqualTypeOf<readonly Bid[]>()
    expectTypeOf<Figures['bidders']>().toEqualTypeOf<readonly string[]>()
    expectTypeOf<Figures['prices']>().toEqualTypeOf<readonly [number, number, number, number]>()
    expect(() => combined({ own: { codec: float64, add: () => 0 } as never })).toThrow(/ready-made/)
  })
})

const kinds: readonly [string, object][] = [
  ['topN', best],
  ['distinctValues', bidders],
  ['approximateDistinctCount', aboutHowMany],
  ['quantiles', prices],
  ['combined', figures],
]
const some: Bid[] = [
  { price: 2, bidder: 'ann', at: 1 },
  { price: -1, bidder: 'bob', at: 2 },
  { price: 2, bidder: '', at: 0 },
  { price: 0, bidder: 'ann', at: 3 },
]

const notTheirs = expect.objectContaining({ name: 'CodecError' })

describe('stored bytes of aggregates', () => {
  it.each(kinds)('that are cut off are refused: %s', (_, aggregate) => {
    const bytes = accumulated(aggregate, some)
    workOf(aggregate).check(bytes)
    for (let length = 0; length < bytes.length; length++) {
      // An end between two entries of a top list is the list of fewer events.
      const isShorterList = aggregate === best && endsOfEntries(bytes).includes(length)
      if (isShorterList) continue
      expect(() => workOf(aggregate).check(bytes.subarray(0, length))).toThrow(notTheirs)
    }
    expect(() => workOf(aggregate).check(new Uint8Array([...bytes, 0]))).toThrow(notTheirs)
  })

  it.each(kinds)(
    'that are damaged are refused, or read as other values, never beyond: %s',
    (_, aggregate) => {
      const bytes = accumulated(aggregate, some)
      const work = workOf(aggregate)
      for (let at = 0; at < bytes.length; at++) {
        for (const bit of [1, 0x80]) {
          const damaged = new Uint8Array(bytes)
          damaged[at] = (damaged[at] as number) ^ bit
          try {
            work.check(damaged)
          } catch (error) {
            expect(error).toMatchObject({ name: 'CodecError' })
            continue
          }
          work.result(new Uint8Array(damaged))
          work.result(work.merge(new Uint8Array(damaged), bytes))
          const given = new Uint8Array(damaged)
          work.result(wholeOf(given, work.add(given, some[0], 5)))
        }
      }
    },
  )

  it('are those of docs/format/state.md', () => {
    const document = readFileSync(new URL('../../../docs/format/state.md', import.meta.url), 'utf8')
    const hex = (aggregate: object) => Buffer.from(accumulated(aggregate, some.slice(0, 2))).toString('hex')
    const bidderNames = topN({ n: 1, by: ({ price }: Bid) => price, codec: utf8, of: ({ bidder }) => bidder })
    const lines = [
      ['topN: 1 of utf8', hex(bidderNames)],
      ['distinctValues of utf8', hex(bidders)],
      ['approximateDistinctCount of utf8, 16 registers', hex(aboutHowMany)],
      ['quantiles, 0.01', hex(quantiles(({ price }: Bid) => price, [0.5]))],
      ['combined: count, distinctCount of utf8', hex(combined({ n: count(), bidders: howMany }))],
    ]
    for (const [name, bytes] of lines) expect(document).toContain(`| ${name} | \`${bytes}\` |`)
  })
})

function endsOfEntries(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const ends = [0]
  for (let at = 0; at < bytes.length; ends.push(at)) at += 20 + view.getUint32(at + 16, true)
  return ends
}

describe('windows of growing aggregates', () => {
  interface Reading {
    readonly key: string
    readonly at: number
    readonly value: number
  }
  const aggregate = combined({
    readings: count(),
    total: sum(({ value }: Reading) => value),
    average: mean(({ value }: Reading) => value),
    different: distinctValues(float64, ({ value }: Reading) => value),
    about: approximateDistinctCount(float64, ({ value }: Reading) => value, { registers: 64 }),
    highest: topN({ n: 2, by: ({ value }: Reading) => value, codec: float64, of: ({ value }) => value }),
    spread: quantiles(({ value }: Reading) => value, [0, 0.5, 1]),
  })
  const jobOf = (windows: Windows) =>
    defineJob<Reading, string>()({
      name: 'readings',
      key: ({ key }) => key,
      timestamp: ({ at }) => at,
      time: { watermarks: boundedDisorder(30) },
      schema: defineState({ key: utf8, states: {} }),
      windows: {
        readings: windowed({
          windows,
          aggregate,
          output: ({ window, value }) =>
            `${window.startMs} ${window.endMs} ${value.readings} ${value.total} ${value.different} ${value.about} ${value.highest} ${value.spread[0]} ${value.spread[2]}`,
        }),
      },
    })
  const random = fc.array(
    fc.record({ at: fc.integer({ min: 0, max: 200 }), value: fc.integer({ min: 0, max: 6 }) }),
    { minLength: 1, maxLength: 30 },
  )

  it.each([
    ['tumbling', tumbling({ sizeMs: 20 })],
    ['hopping', hopping({ sizeMs: 30, slideMs: 10 })],
    ['session', session({ gapMs: 8 })],
  ] as const)('are those of all their events: %s', async (kind, windows) => {
    await fc.assert(
      fc.asyncProperty(random, async (made) => {
        const events = made.sort((left, right) => left.at - right.at).map((event) => ({ ...event, key: 'k' }))
        const { outputs } = await testJob(jobOf(windows), events)
        const expected = intervalsOf(
          kind,
          events.map(({ at }) => at),
        ).map(([startMs, endMs]) => {
          const values = events.filter(({ at }) => at >= startMs && at < endMs).map(({ value }) => value)
          const sorted = values.toSorted((left, right) => left - right)
          const different = [...new Set(sorted)]
          const total = values.reduce((all, value) => all + value, 0)
          const highest = sorted.toReversed().slice(0, 2)
          return `${startMs} ${endMs} ${values.length} ${total} ${different} ${different.length} ${highest} ${sorted[0]} ${sorted.at(-1)}`
        })
        expect(outputs).toEqual(expected)
      }),
      { numRuns: LONG ? 200 : 4 },
    )
  })

  it('have the types of what they are made of', () => {
    windowed({
      windows: tumbling({ sizeMs: 1 }),
      aggregate,
      output: (result) => {
        expectTypeOf(result).toExtend<WindowResult<unknown, { readonly about: number }>>()
        return result
      },
    })
  })
})

/** The windows that have one of these times, which are sorted, by their ends. */
function intervalsOf(kind: 'tumbling' | 'hopping' | 'session', times: readonly number[]): [number, number][] {
  if (kind === 'session') {
    const sessions: [number, number][] = []
    for (const at of times) {
      const last = sessions.at(-1)
      if (last !== undefined && at <= last[1]) last[1] = at + 8
      else sessions.push([at, at + 8])
    }
    return sessions
  }
  const [size, slide] = kind === 'tumbling' ? [20, 20] : [30, 10]
  const found: [number, number][] = []
  for (let startMs = -size; startMs <= 200; startMs += slide) {
    if (times.some((at) => at >= startMs && at < startMs + size)) found.push([startMs, startMs + size])
  }
  return found
}

describe('W20: numbers that are far apart', () => {
  const MAX = Number.MAX_VALUE
  interface Sample {
    readonly at: number
    readonly value: number
  }
  const of = ({ value }: Sample) => value
  const results = async (
    windows: Windows,
    aggregate: FixedAggregate<Sample, number>,
    values: readonly number[],
  ) => {
    const job = defineJob<Sample, number>()({
      name: 'far apart',
      key: () => 'k',
      timestamp: ({ at }) => at,
      time: { watermarks: boundedDisorder(0) },
      schema: defineState({ key: utf8, states: {} }),
      onBadEvent: 'skip',
      windows: {
        all: windowed({ windows, aggregate, output: ({ value }: WindowResult<string, number>) => value }),
      },
    })
    const events = values.map((value, at) => ({ at, value }))
    const { outputs, stats } = await testJob(job, events, { startMs: 0 })
    return { outputs, badEvents: stats.badEvents }
  }

  it('have a mean, also in windows of panes', async () => {
    const { outputs: means, badEvents } = await results(tumbling({ sizeMs: 10 }), mean(of), [
      MAX,
      -MAX,
      MAX,
      -MAX,
    ])
    expect(badEvents).toBe(0)
    expect(means.map((each) => each / MAX)).toEqual([expect.closeTo(0)])
    const { outputs } = await results(hopping({ sizeMs: 4, slideMs: 2 }), mean(of), [MAX, MAX, -MAX, -MAX])
    expect(outputs).toEqual([MAX, 0, -MAX])
  })

  it('make an event bad by which their variance is no number', async () => {
    const windows = tumbling({ sizeMs: 10 })
    expect(await results(windows, variance(of), [1e200, -1e200])).toEqual({ outputs: [0], badEvents: 1 })
    expect(await results(windows, variance(of), [1, 1e200, 3])).toEqual({ outputs: [1], badEvents: 1 })
  })
})
