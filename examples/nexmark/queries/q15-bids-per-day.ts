// Query 15: how many bids, bidders and auctions are there in a day, all of them and by three ranges of prices? Once for each day (in the UTC zone), when it
// has ended; as SQL on a stream it is told anew after each bid.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import { combined, tumbling, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'
import { type BidStatistics, bidStatistics, DAY_MS } from './bid-statistics.js'

export interface DayOfBids extends BidStatistics {
  readonly day: string
}

export const bidsPerDay = defineJob<Bid, DayOfBids>()({
  name: 'nexmark 15',
  key: () => 0,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    days: windowed({
      windows: tumbling({ sizeMs: DAY_MS }),
      aggregate: combined(bidStatistics),
      output: ({ window, value }: WindowResult<number, BidStatistics>): DayOfBids => ({
        day: new Date(window.startMs).toISOString().slice(0, 10),
        ...value,
      }),
    }),
  },
})
