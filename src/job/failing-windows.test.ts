// What fails while windows fire is no fault of an event, and ends the job at each start: it is told of which window and which key.

import { describe, expect, it } from 'vitest'
import { utf8 } from '../state/codec/byte-strings.js'
import { json } from '../state/codec/json.js'
import { defineState } from '../state/schema/define-state.js'
import { JobTest, testJob } from '../testing/job-test.js'
import type { Aggregate } from '../window/aggregate/aggregate.js'
import { count, sum } from '../window/aggregate/ready-made.js'
import { hopping, tumbling, type WindowAssigner } from '../window/assign/assigner.js'
import { countWindows, globalWindows, session } from '../window/assign/by-key.js'
import { ascending } from '../window/time/watermark-strategy.js'
import { type WindowDefinition, type WindowResult, windowed } from '../window/windowed.js'
import { defineJob } from './define-job.js'

interface Event {
  readonly key: string
  readonly at: number
  readonly amount: number
}

const event = (key: string, at: number, amount = 1): Event => ({ key, at, amount })
const MOST = Number.MAX_SAFE_INTEGER

const common = {
  name: 'failing',
  key: ({ key }: Event) => key,
  timestamp: ({ at }: Event) => at,
  time: { watermarks: ascending() },
  schema: defineState({ key: utf8, states: {} }),
}

const jobOf = (windows: { readonly [name: string]: WindowDefinition<Event, string, unknown> }) =>
  defineJob<Event, unknown>()({ ...common, windows })

const total = () => sum(({ amount }: Event) => amount)

/** The same by functions of the user's. */
const totalOfMine: Aggregate<Event, number, number> = {
  codec: json<number>(),
  first: () => 0,
  add: (before, { amount }) => before + amount,
  merge: (before, later) => {
    if (before + later > MOST) throw new Error('too much')
    return before + later
  },
}

describe('the failure of windows that fire', () => {
  // The panes of a window are merged in each of the ways there are (combined-panes.ts).
  const few = hopping({ sizeMs: 20, slideMs: 10 })
  const many = hopping({ sizeMs: 100, slideMs: 10 })
  const sparse = (at: number) => Array.from({ length: 5 }, (_, i) => event(`k${at}-${i}`, at))
  const dense = (at: number) => Array.from({ length: 5 }, (_, i) => event(`k${i}`, at))
  /** What each pane has: events of other keys, and of one key these amounts, or none. */
  const panes = (others: (at: number) => readonly Event[], amounts: (at: number) => number | undefined) =>
    Array.from({ length: 50 }, (_, pane) => {
      const at = pane * 10
      const amount = amounts(at)
      return amount === undefined ? others(at) : [...others(at), event('bad', at, amount)]
    })
  const onlyAt = (amounts: { readonly [at: number]: number }) => (at: number) => amounts[at]
  const alsoAt = (amounts: { readonly [at: number]: number }) => (at: number) => amounts[at] ?? 0
  const ways: readonly [string, WindowAssigner, readonly (readonly Event[])[]][] = [
    ['few panes', few, panes(dense, onlyAt({ 10: MOST, 20: MOST }))],
    ['many panes of the same keys, in one block', many, panes(dense, onlyAt({ 420: MOST, 430: MOST }))],
    ['many panes of shared keys, in one block', many, panes(dense, alsoAt({ 420: MOST, 430: MOST }))],
    ['many panes of shared keys, in two blocks', many, panes(dense, alsoAt({ 390: MOST, 400: MOST }))],
    ['many panes of other keys, in one block', many, panes(sparse, onlyAt({ 420: MOST, 430: MOST }))],
    ['many panes of other keys, in two blocks', many, panes(sparse, onlyAt({ 390: MOST, 400: MOST }))],
    ['the last panes of a block alone', many, panes(dense, onlyAt({ 370: -MOST, 380: MOST, 390: MOST }))],
    [
      'the last panes of a block alone, of other keys',
      many,
      panes(sparse, onlyAt({ 370: -MOST, 380: MOST, 390: MOST })),
    ],
  ]
  for (const [way, windows, events] of ways) {
    it(`names window and key where what panes have cannot be merged: ${way}`, async () => {
      for (const aggregate of [total(), totalOfMine]) {
        const job = jobOf({ sums: windowed({ windows, aggregate, output: () => undefined }) })
        await using test = await JobTest.start(job)
        const sendAll = async () => {
          for (const each of events) await test.send(...each)
        }
        await expect(sendAll()).rejects.toMatchObject({
          code: 'JOB_FAILED',
          details: {
            job: 'failing',
            reason: expect.stringMatching(
              /^the window \[-?\d+, \d+\) of 'sums', key "bad": .*(2\^53|too much)/,
            ),
          },
        })
      }
    })
  }

  it('names the window whose panes they are', async () => {
    const job = jobOf({
      sums: windowed({ windows: few, aggregate: total() }),
      counts: windowed({ windows: few, aggregate: count() }),
    })
    const events = [event('a', 1), event('bad', 12, MOST), event('bad', 22, MOST)]
    await expect(testJob(job, events)).rejects.toThrow(/the window \[10, 30\) of 'sums', key "bad"/)
  })

  const throwing = (): never => {
    throw new Error('on purpose')
  }
  const outputs: readonly [string, object][] = [
    ['output', { output: throwing }],
    ['outputs', { outputs: throwing }],
    [
      'outputs, in the middle',
      {
        outputs: function* () {
          for (let i = 0; i < 1_000; i++) yield i
          throwing()
        },
      },
    ],
  ]
  for (const [what, by] of outputs) {
    it(`names window and key where ${what} throws`, async () => {
      const aggregate = total()
      const kinds: readonly [object, string][] = [
        [{ windows: tumbling({ sizeMs: 10 }), aggregate }, '[0, 10)'],
        [{ windows: few, aggregate }, '[-10, 10)'],
        [{ windows: session({ gapMs: 10 }), aggregate }, '[3, 13)'],
        [{ windows: session({ gapMs: 10 }), aggregate: totalOfMine }, '[3, 13)'],
        [{ windows: countWindows({ size: 3 }), aggregate }, '[3, 4)'],
        [{ windows: globalWindows(), events: json<Event>(), process: () => 1 }, '[3, 4)'],
      ]
      for (const [kind, window] of kinds) {
        const job = jobOf({ mine: windowed({ ...kind, ...by } as never) })
        await expect(testJob(job, [event('k', 3)])).rejects.toMatchObject({
          code: 'JOB_FAILED',
          details: { reason: `the window ${window} of 'mine', key "k": on purpose` },
          cause: { message: 'on purpose' },
        })
      }
    })
  }

  it('names them where a function of the window throws, and the stage', async () => {
    const job = defineJob<Event, Event>()({
      ...common,
      windows: {
        all: windowed({
          windows: tumbling({ sizeMs: 10 }),
          aggregate: count(),
          output: ({ key, timestampMs }: WindowResult<string, number>) => event(key, timestampMs),
        }),
      },
    }).pipe()({
      name: 'second',
      key: ({ key }) => key,
      schema: common.schema,
      windows: {
        kept: windowed({ windows: tumbling({ sizeMs: 20 }), events: json<Event>(), process: throwing }),
      },
    })
    await expect(testJob(job, [event('k', 3)])).rejects.toThrow(
      `stage 'second', the window [0, 20) of 'kept', key "k": on purpose`,
    )
  })

  it('names them where a result that waits for the clock throws', async () => {
    const job = jobOf({
      early: windowed({
        windows: tumbling({ sizeMs: 10 }),
        aggregate: count(),
        early: { everyMs: 5 },
        output: throwing,
      }),
    })
    const test = await JobTest.start(job, { startMs: 0 })
    await test.send(event('k', 3))
    await expect(test.advance(10)).rejects.toThrow(`the window [0, 10) of 'early', key "k": on purpose`)
  })
})
