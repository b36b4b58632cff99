// Query 4: the average price of the winning bids of each category, after each auction that has ended. Behind the winning bids of query 9 a second stage
// is keyed by the category.

import { defineJob } from 'holdfast/job'
import { aggregating, defineState, float64, struct, uint32 } from 'holdfast/state'
import type { Auction, Bid } from '../events.js'
import { type WinningBid, winningBids } from './q09-winning-bids.js'

export interface AveragePrice {
  readonly category: number
  readonly auctions: number
  readonly average: number
}

export const averagePrice = defineJob<Auction | Bid, WinningBid>()({
  ...winningBids,
  name: 'nexmark 4',
}).pipe<AveragePrice>()({
  name: 'categories',
  key: ({ category }) => category,
  schema: defineState({
    key: uint32,
    states: {
      prices: aggregating(struct({ auctions: uint32, total: float64 }), (all, { price }: WinningBid) => {
        all.auctions++
        all.total += price
      }),
    },
  }),
  process(winning, { key, state, emit }) {
    state.prices.add(winning)
    const { auctions, total } = state.prices.get() ?? { auctions: 0, total: 0 }
    emit({ category: key, auctions, average: total / auctions })
  },
})
