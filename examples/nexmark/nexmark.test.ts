import type { SourceTimeOptions, StageSchemas } from 'holdfast/job'
import type { StateSchema } from 'holdfast/state'
import { type AnyJob, JobTest, testJob } from 'holdfast/testing'
import { describe, expect, it } from 'vitest'
import * as batch from './expected.js'
import { type NexmarkSettings, nexmarkEvents } from './generator.js'
import { passThrough } from './queries/q00-pass-through.js'
import { currency } from './queries/q01-currency.js'
import { selection } from './queries/q02-selection.js'
import { localItems } from './queries/q03-local-items.js'
import { averagePrice } from './queries/q04-average-price.js'
import { hotItems } from './queries/q05-hot-items.js'
import { highestBid } from './queries/q07-highest-bid.js'
import { newSellers } from './queries/q08-new-sellers.js'
import { winningBids } from './queries/q09-winning-bids.js'
import { userSessions } from './queries/q11-user-sessions.js'
import { processingTime } from './queries/q12-processing-time.js'
import { type SideRow, sideInput } from './queries/q13-side-input.js'
import { bidsPerDay } from './queries/q15-bids-per-day.js'
import { channelsPerDay } from './queries/q16-channels-per-day.js'
import { auctionsPerDay } from './queries/q17-auctions-per-day.js'
import { lastBid } from './queries/q18-last-bid.js'
import { topBids } from './queries/q19-top-bids.js'
import { expandedBids } from './queries/q20-expanded-bids.js'

const EVENTS = process.env['HOLDFAST_LONG'] === '1' ? 10_000 : 600
/** Some minutes of events, and some days. */
const minutes: NexmarkSettings = { seed: 11, events: EVENTS, eventsPerSecond: 20, auctionsInFlight: 20 }
/** Enough for queries that take few. */
const many: NexmarkSettings = { ...minutes, events: EVENTS * 3 }
const days: NexmarkSettings = { seed: 12, events: EVENTS, eventsPerSecond: EVENTS / 250_000 }

const bids = nexmarkEvents(minutes, ['bid'])
const people = nexmarkEvents(minutes, ['person'])
const auctions = nexmarkEvents(minutes, ['auction'])
const bidsOfDays = nexmarkEvents(days, ['bid'])

/** In whatever order: keys are independent of each other. */
function expectSame(outputs: Iterable<object>, expected: readonly object[]): void {
  expect(expected.length).toBeGreaterThan(0)
  expect(sorted(outputs)).toEqual(sorted(expected))
}

const sorted = (rows: Iterable<object>): string[] =>
  Array.from(rows, (row) => JSON.stringify(Object.entries(row).sort())).sort()

/** What a job puts out that is stopped and started again on the way, behind a third and two thirds of its events. */
async function outputsOf<
  Event,
  Schema extends StateSchema,
  Output,
  Stages extends StageSchemas = Record<never, never>,
>(job: AnyJob<Event, Schema, Output, Stages>, events: readonly Event[]): Promise<Output[]> {
  await using test = await JobTest.start(job)
  const third = Math.ceil(events.length / 3)
  for (let from = 0; from < events.length; from += third) {
    if (from > 0) await test.restart()
    await test.send(...events.slice(from, from + third))
  }
  await test.end()
  return test.outputs
}

describe('nexmark', () => {
  it('has one person, three auctions and 46 bids in 50 events, the same for a seed', () => {
    const all = nexmarkEvents(minutes, ['person', 'auction', 'bid'])
    expect(all).toHaveLength(EVENTS)
    expect([people.length, auctions.length, bids.length]).toEqual([
      EVENTS / 50,
      (EVENTS / 50) * 3,
      (EVENTS / 50) * 46,
    ])
    expect(nexmarkEvents(minutes, ['person', 'auction', 'bid'])).toEqual(all)
    const backwards = all.filter(({ at }, i) => at < (all[i - 1]?.at ?? -Infinity))
    expect(backwards.length).toBeGreaterThan(EVENTS / 4)
  })

  it('query 0: passes bids through', async () => {
    expect(await outputsOf(passThrough, bids)).toEqual(bids)
  })

  it('query 1: has prices in euro', async () => {
    expect(await outputsOf(currency, bids)).toEqual(batch.expected1(bids))
  })

  it('query 2: selects bids by their auction', async () => {
    const manyBids = nexmarkEvents(many, ['bid'])
    expectSame(await outputsOf(selection, manyBids), batch.expected2(manyBids))
  })

  it('query 4: has the average price of categories', async () => {
    const outputs = await outputsOf(averagePrice, nexmarkEvents(minutes, ['auction', 'bid']))
    const last = new Map(outputs.map((average) => [average.category, average]))
    expect(outputs.map(({ auctions: ended }) => ended)).toHaveLength(batch.expected9(auctions, bids).length)
    expectSame(last.values(), batch.expected4(auctions, bids))
  })

  it('query 5: finds the hottest auctions of ten seconds, every two seconds', async () => {
    expectSame(await outputsOf(hotItems, bids), batch.expected5(bids))
  })

  it('query 3: joins sellers and auctions', async () => {
    const outputs = await outputsOf(localItems, nexmarkEvents(many, ['person', 'auction']))
    expectSame(outputs, batch.expected3(nexmarkEvents(many, ['person']), nexmarkEvents(many, ['auction'])))
  })

  it('query 7: finds the highest bids of ten seconds', async () => {
    expectSame(await outputsOf(highestBid, bids), batch.expected7(bids))
  })

  it('query 8: joins people and auctions of the same ten seconds', async () => {
    const outputs = await outputsOf(newSellers, nexmarkEvents(minutes, ['person', 'auction']))
    expectSame(outputs, batch.expected8(people, auctions))
  })

  it('query 9: finds the winning bids', async () => {
    const outputs = await outputsOf(winningBids, nexmarkEvents(minutes, ['auction', 'bid']))
    expectSame(outputs, batch.expected9(auctions, bids))
  })

  it('query 11: counts bids by session', async () => {
    expectSame(await outputsOf(userSessions, bids), batch.expected11(bids))
  })

  it('query 12: counts bids by the clock of the machine', async () => {
    await using test = await JobTest.start(processingTime)
    let nowMs = 0
    for (const bid of bids) {
      // The clock goes with the events.
      if (bid.at > nowMs) await test.advance(bid.at - test.clock.now())
      nowMs = Math.max(nowMs, bid.at)
      await test.send(bid)
    }
    await test.advance(10_000)
    expectSame(test.outputs, batch.expected12(bids))
  })

  it('query 13: looks up what was valid, also where rows and bids come from two partitions', async () => {
    const from = bids[0]?.at ?? 0
    const rows = Array.from({ length: EVENTS / 10 }, (_, n): SideRow[] => [
      { kind: 'row', key: 1_000 + n, value: `first ${n}`, at: from - 1_000 },
      { kind: 'row', key: 1_000 + n, value: `second ${n}`, at: from + 20_000 },
    ]).flat()
    rows.sort((one, other) => one.at - other.at)
    const events = [...rows, ...bids].sort((one, other) => one.at - other.at)
    expectSame(await outputsOf(sideInput, events), batch.expected13(rows, bids))
    const inOrder = { ...sideInput, time: { ...sideInput.time, inOrder: true } as SourceTimeOptions }
    const { outputs } = await testJob(inOrder, { bids, rows })
    expectSame(outputs, batch.expected13(rows, bids))
  })

  it('query 15: has statistics of days', async () => {
    const outputs = await outputsOf(bidsPerDay, bidsOfDays)
    expect(outputs.length).toBeGreaterThan(2)
    expectSame(outputs, batch.expected15(bidsOfDays))
  })

  it('query 16: has statistics of channels and days', async () => {
    expectSame(await outputsOf(channelsPerDay, bidsOfDays), batch.expected16(bidsOfDays))
  })

  it('query 17: has statistics of auctions and days', async () => {
    expectSame(await outputsOf(auctionsPerDay, bidsOfDays), batch.expected17(bidsOfDays))
  })

  it('query 18: ends with the last bid of a bidder for an auction', async () => {
    const outputs = await outputsOf(lastBid, bids)
    const last = new Map(outputs.map((bid) => [`${bid.bidder} ${bid.auction}`, bid]))
    expectSame(last.values(), batch.expected18(bids))
  })

  it('query 19: ranks the ten highest bids', async () => {
    expectSame(await outputsOf(topBids, bids), batch.expected19(bids))
  })

  it('query 20: expands bids by their auctions', async () => {
    const outputs = await outputsOf(expandedBids, nexmarkEvents(minutes, ['auction', 'bid']))
    expectSame(outputs, batch.expected20(auctions, bids))
  })
})
