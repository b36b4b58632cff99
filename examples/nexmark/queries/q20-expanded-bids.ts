// Query 20: each bid for an auction of category 10, with that auction. A join without an end: bids that come before their auction wait for it.

import { defineJob } from 'holdfast/job'
import { defineState, json, list, uint32, value } from 'holdfast/state'
import type { Auction, Bid } from '../events.js'

export interface ExpandedBid extends Pick<Bid, 'auction' | 'bidder' | 'price' | 'channel' | 'at'> {
  readonly item: string
  readonly seller: number
  readonly expires: number
}

const CATEGORY = 10

function expanded(
  { item, seller, expires }: Auction,
  { auction, bidder, price, channel, at }: Bid,
): ExpandedBid {
  return { auction, bidder, price, channel, at, item, seller, expires }
}

export const expandedBids = defineJob<Auction | Bid, ExpandedBid>()({
  name: 'nexmark 20',
  key: (event) => (event.kind === 'auction' ? event.id : event.auction),
  schema: defineState({
    key: uint32,
    states: { auction: value(json<Auction>()), waiting: list(json<Bid>()) },
  }),
  process(event, { state, emit }) {
    if (event.kind === 'bid') {
      const auction = state.auction.get()
      if (auction === undefined) state.waiting.append(event)
      else if (auction.category === CATEGORY) emit(expanded(auction, event))
    } else {
      state.auction.put(event)
      if (event.category === CATEGORY) {
        for (const bid of state.waiting.values()) emit(expanded(event, bid))
      }
      state.waiting.clear()
    }
  },
})
