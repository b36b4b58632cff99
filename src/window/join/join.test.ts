import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { defineJob } from '../../job/define-job.js'
import { utf8 } from '../../state/codec/byte-strings.js'
import { json } from '../../state/codec/json.js'
import { float64 } from '../../state/codec/numbers.js'
import { defineState } from '../../state/schema/define-state.js'
import { JobTest, testJob } from '../../testing/job-test.js'
import { boundedDisorder } from '../time/watermark-strategy.js'
import { deduplication } from './deduplication.js'
import { intervalJoin } from './interval-join.js'
import { versionedTable } from './versioned-table.js'

interface Event {
  readonly side: 'left' | 'right'
  readonly key: string
  readonly at: number
  readonly id: number
}

const common = {
  key: ({ key }: { readonly key: string }) => key,
  timestamp: ({ at }: { readonly at: number }) => at,
}

function joinJob(fromMs: number, toMs: number, disorderMs: number) {
  const join = intervalJoin({ name: 'pairs', left: json<Event>(), right: json<Event>(), fromMs, toMs })
  return defineJob<Event, string>()({
    ...common,
    name: 'join',
    time: { watermarks: boundedDisorder(disorderMs) },
    schema: defineState({ key: utf8, states: { ...join.states } }),
    process(event, { state, timestampMs, emit }) {
      join[event.side](state, event, timestampMs, (left, right) => emit(`${left.id}-${right.id}`))
    },
  })
}

const event = (side: Event['side'], at: number, id: number, key = 'a'): Event => ({ side, key, at, id })

describe('an interval join', () => {
  it('pairs what lies within the interval, ends included, whichever comes first', async () => {
    const { outputs } = await testJob(joinJob(-5, 10, 100), [
      event('left', 20, 1),
      event('right', 14, 2),
      event('right', 15, 3),
      event('right', 30, 4),
      event('right', 31, 5),
      event('left', 36, 6),
      event('right', 20, 7, 'b'),
      event('left', 20, 8),
    ])
    expect(outputs).toEqual(['1-3', '1-4', '6-5', '8-3', '8-4'])
  })

  it('keeps nothing that can have no pair any more', async () => {
    await using test = await JobTest.start(joinJob(0, 10, 0))
    await test.send(event('left', 0, 1), event('left', 5, 2), event('right', 12, 3))
    expect(test.outputs).toEqual(['2-3'])
    await test.send(event('left', 100, 4))
    const store = test.store as unknown as { readonly [name: string]: { all(): Iterable<unknown> } }
    expect([...(store['pairs.left']?.all() ?? [])]).toHaveLength(1)
    expect([...(store['pairs.right']?.all() ?? [])]).toHaveLength(0)
  })

  it('agrees with comparing all with all, where no event is late', async () => {
    const events = fc.array(
      fc.record({
        side: fc.constantFrom('left', 'right'),
        key: fc.constantFrom('a', 'b'),
        stepMs: fc.integer({ min: -5, max: 10 }),
        opens: fc.oneof(
          { weight: 9, arbitrary: fc.constant(false) },
          { weight: 1, arbitrary: fc.constant(true) },
        ),
      }),
      { maxLength: 30 },
    )
    const bounds = fc.tuple(fc.integer({ min: -15, max: 15 }), fc.nat({ max: 15 }))
    await fc.assert(
      fc.asyncProperty(events, bounds, async (steps, [fromMs, length]) => {
        let at = 0
        const made = steps.map(({ side, key, stepMs }, id): Event => {
          at += stepMs
          return { side: side as Event['side'], key, at, id }
        })
        await using test = await JobTest.start(joinJob(fromMs, fromMs + length, 200))
        for (const [i, each] of made.entries()) {
          if (steps[i]?.opens) await test.restart()
          await test.send(each)
        }
        const expected = made
          .filter(({ side }) => side === 'left')
          .flatMap((left) =>
            made
              .filter((right) => right.side === 'right' && right.key === left.key)
              .filter((right) => right.at - left.at >= fromMs && right.at - left.at <= fromMs + length)
              .map((right) => `${left.id}-${right.id}`),
          )
        expect([...test.outputs].sort()).toEqual(expected.sort())
      }),
      { numRuns: process.env['HOLDFAST_LONG'] === '1' ? 500 : 25 },
    )
  })

  it('refuses what is no interval, and a schema without its states', async () => {
    const codecs = { name: 'j', left: utf8, right: utf8 }
    expect(() => intervalJoin({ ...codecs, fromMs: 5, toMs: 4 })).toThrowError(/fromMs must not be more/)
    expect(() => intervalJoin({ ...codecs, fromMs: 0.5, toMs: 4 })).toThrowError(/whole number/)
    expect(() => intervalJoin({ ...codecs, fromMs: 0 } as never)).toThrowError(/toMs is required/)
    const join = intervalJoin({ ...codecs, fromMs: 0, toMs: 1 })
    expect(() => join.left({}, 'x', 0, () => {})).toThrowError(/lacks 'j.right'/)
  })
})

describe('a versioned table', () => {
  interface Change {
    readonly key: string
    readonly at: number
    readonly rate?: number
  }
  const rates = versionedTable({ name: 'rates', row: float64 })
  const job = defineJob<Change, number | undefined>()({
    ...common,
    name: 'rates',
    time: { watermarks: boundedDisorder(10) },
    schema: defineState({ key: utf8, states: { ...rates.states } }),
    process({ rate }, { state, timestampMs, watermarkMs, emit }) {
      if (rate === undefined) emit(rates.asOf(state, timestampMs) ?? -1)
      else rates.put(state, rate, { timestampMs, watermarkMs })
    },
  })

  it('is looked up as it was, and forgets what nobody can ask for', async () => {
    await using test = await JobTest.start(job)
    const rate = (at: number, value?: number) => ({
      key: 'eur',
      at,
      ...(value !== undefined && { rate: value }),
    })
    await test.send(rate(5), rate(10, 1.1), rate(20, 1.2), rate(12), rate(20), rate(19), rate(25))
    expect(test.takeOutputs()).toEqual([-1, 1.1, 1.2, 1.1, 1.2])
    await test.send(rate(50, 1.5), rate(60, 1.6), rate(60, 1.7), rate(45))
    expect(test.takeOutputs()).toEqual([1.2])
    expect([...test.store.rates.keys('eur')].map(Number)).toEqual([20, 50, 60])
  })
})

describe('deduplication', () => {
  it('lets each id through once, within its time', async () => {
    const ids = deduplication({ name: 'ids', id: utf8, withinMs: 100, time: 'event' })
    const job = defineJob<{ readonly key: string; readonly at: number; readonly id: string }, string>()({
      ...common,
      name: 'ids',
      time: { watermarks: boundedDisorder(0) },
      schema: defineState({ key: utf8, states: { ...ids.states } }),
      process({ id, at }, { state, emit }) {
        if (ids.isFirst(state, id)) emit(`${id}@${at}`)
      },
    })
    await using test = await JobTest.start(job)
    const sent = (id: string, at: number, key = 'a') => ({ key, at, id })
    await test.send(sent('x', 0), sent('x', 1), sent('x', 1, 'b'), sent('y', 2))
    await test.restart()
    await test.send(sent('x', 50), sent('z', 200), sent('x', 201))
    expect(test.outputs).toEqual(['x@0', 'x@1', 'y@2', 'z@200', 'x@201'])
  })
})
