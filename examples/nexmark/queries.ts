// All queries under their numbers, each with the events that it asks for.

import { type JobDefinition, type PipedJob, type RunningJob, runJob, type StageSchemas } from 'holdfast/job'
import type { StateSchema } from 'holdfast/state'
import { type From, type NexmarkSettings, nexmarkFrom } from './generator.js'
import type { Place } from './place.js'
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
import { sideInput, withRows } from './queries/q13-side-input.js'
import { bidsPerDay } from './queries/q15-bids-per-day.js'
import { channelsPerDay } from './queries/q16-channels-per-day.js'
import { auctionsPerDay } from './queries/q17-auctions-per-day.js'
import { lastBid } from './queries/q18-last-bid.js'
import { topBids } from './queries/q19-top-bids.js'
import { expandedBids } from './queries/q20-expanded-bids.js'

/** Runs a query on the events of a generator. */
export type RunQuery = (settings: NexmarkSettings, place: Place) => Promise<RunningJob<unknown>>

function query<Event, Schema extends StateSchema, Output, Stages extends StageSchemas>(
  job: JobDefinition<Event, Schema, Output> | PipedJob<Event, Schema, Output, Stages>,
  events: (settings: NexmarkSettings) => From<Event>,
): RunQuery {
  return (settings, { sourceOf, sinkOf, ...where }) =>
    // A job of several stages is run in the same way.
    runJob<Event, Schema, Output>({
      ...(job as JobDefinition<Event, Schema, Output>),
      ...where,
      source: sourceOf(events(settings)),
      sink: sinkOf<Output>(),
    }) as Promise<RunningJob<unknown>>
}

const bids = (settings: NexmarkSettings) => nexmarkFrom(settings, ['bid'])
const auctionsAndBids = (settings: NexmarkSettings) => nexmarkFrom(settings, ['auction', 'bid'])
const peopleAndAuctions = (settings: NexmarkSettings) => nexmarkFrom(settings, ['person', 'auction'])

export const queries: ReadonlyMap<number, RunQuery> = new Map([
  [0, query(passThrough, bids)],
  [1, query(currency, bids)],
  [2, query(selection, bids)],
  [3, query(localItems, peopleAndAuctions)],
  [4, query(averagePrice, auctionsAndBids)],
  [5, query(hotItems, bids)],
  [7, query(highestBid, bids)],
  [8, query(newSellers, peopleAndAuctions)],
  [9, query(winningBids, auctionsAndBids)],
  [11, query(userSessions, bids)],
  [12, query(processingTime, bids)],
  [13, query(sideInput, (settings) => withRows(bids(settings)))],
  [15, query(bidsPerDay, bids)],
  [16, query(channelsPerDay, bids)],
  [17, query(auctionsPerDay, bids)],
  [18, query(lastBid, bids)],
  [19, query(topBids, bids)],
  [20, query(expandedBids, auctionsAndBids)],
])
