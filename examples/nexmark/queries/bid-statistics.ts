// What queries 15 and 16 count: bids, bidders and auctions, all of them and by three ranges of prices.

import { uint32 } from 'holdfast/state'
import { count, distinctCount, sum } from 'holdfast/window'
import type { Bid } from '../events.js'

const isLow = ({ price }: Bid): boolean => price < 10_000
const isHigh = ({ price }: Bid): boolean => price >= 1_000_000
const isMiddle = (bid: Bid): boolean => !isLow(bid) && !isHigh(bid)

const bidsThat = (fit: (bid: Bid) => boolean) => sum((bid: Bid) => (fit(bid) ? 1 : 0))
const biddersThat = (fit: (bid: Bid) => boolean) =>
  distinctCount(uint32, (bid: Bid) => (fit(bid) ? bid.bidder : undefined))
const auctionsThat = (fit: (bid: Bid) => boolean) =>
  distinctCount(uint32, (bid: Bid) => (fit(bid) ? bid.auction : undefined))

export const bidStatistics = {
  totalBids: count(),
  lowBids: bidsThat(isLow),
  middleBids: bidsThat(isMiddle),
  highBids: bidsThat(isHigh),
  totalBidders: distinctCount(uint32, ({ bidder }: Bid) => bidder),
  lowBidders: biddersThat(isLow),
  middleBidders: biddersThat(isMiddle),
  highBidders: biddersThat(isHigh),
  totalAuctions: distinctCount(uint32, ({ auction }: Bid) => auction),
  lowAuctions: auctionsThat(isLow),
  middleAuctions: auctionsThat(isMiddle),
  highAuctions: auctionsThat(isHigh),
}

export type BidStatistics = { readonly [Name in keyof typeof bidStatistics]: number }

/** What queries 16 and 17 know of ranges of prices too. */
export const ranges = { isLow, isMiddle, isHigh, bidsThat }

export const DAY_MS = 86_400_000
