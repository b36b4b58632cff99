// Query 17: the bids for each auction and day: how many, by three ranges of prices, and the least, the greatest, the average and the sum of the
// prices. Once for each auction and day, when that has ended.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, uint32 } from 'holdfast/state'
import { combined, count, max, min, sum, tumbling, type WindowResult, windowed } from 'holdfast/window'
import { type Bid, DISORDER_MS } from '../events.js'
import { DAY_MS, ranges } from './bid-statistics.js'

export interface AuctionDay {
  readonly auction: number
  readonly day: string
  readonly totalBids: number
  readonly lowBids: number
  readonly middleBids: number
  readonly highBids: number
  readonly least: number
  readonly greatest: number
  readonly average: number
  readonly sum: number
}

const { isLow, isMiddle, isHigh, bidsThat } = ranges
const price = (bid: Bid): number => bid.price

export const auctionsPerDay = defineJob<Bid, AuctionDay>()({
  name: 'nexmark 17',
  key: ({ auction }) => auction,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: uint32, states: {} }),
  windows: {
    days: windowed({
      windows: tumbling({ sizeMs: DAY_MS }),
      aggregate: combined({
        totalBids: count(),
        lowBids: bidsThat(isLow),
        middleBids: bidsThat(isMiddle),
        highBids: bidsThat(isHigh),
        least: min(price),
        greatest: max(price),
        sum: sum(price),
      }),
      output: ({
        key,
        window,
        value,
      }: WindowResult<number, Omit<AuctionDay, 'auction' | 'day' | 'average'>>): AuctionDay => ({
        auction: key,
        day: new Date(window.startMs).toISOString().slice(0, 10),
        ...value,
        average: value.sum / value.totalBids,
      }),
    }),
  },
})
