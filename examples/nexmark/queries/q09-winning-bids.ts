// Query 9: the winning bid of each auction: the highest one from its beginning to its end, both included; of equal ones the earliest. It is
// known once the watermark has come to the end, and a timer waits for that.

import { boundedDisorder, defineJob, type ProcessContext } from 'holdfast/job'
import { defineState, json, list, uint32, value } from 'holdfast/state'
import { type Auction, type Bid, DISORDER_MS } from '../events.js'

export interface WinningBid {
  readonly auction: number
  readonly category: number
  readonly bidder: number
  readonly price: number
}

/** Bids for an auction that has not opened are kept for so long, and those that come after its end. */
const WAIT_MS = 60_000

const schema = defineState({
  key: uint32,
  states: {
    auction: value(json<Auction>()),
    best: value(json<Bid>()),
    waiting: list(json<Bid>(), { ttl: { afterMs: WAIT_MS, time: 'event' } }),
  },
})

function offer(
  { at, expires }: Auction,
  bid: Bid,
  state: ProcessContext<number, typeof schema, never>['state'],
) {
  if (bid.at < at || bid.at > expires) return
  const best = state.best.get()
  const isBetter =
    best === undefined || bid.price > best.price || (bid.price === best.price && bid.at < best.at)
  if (isBetter) state.best.put(bid)
}

export const winningBids = defineJob<Auction | Bid, WinningBid>()({
  name: 'nexmark 9',
  key: (event) => (event.kind === 'auction' ? event.id : event.auction),
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema,
  process(event, { state, timers }) {
    if (event.kind === 'bid') {
      const auction = state.auction.get()
      if (auction === undefined) state.waiting.append(event)
      else offer(auction, event, state)
    } else {
      state.auction.put(event)
      timers.event.set(event.expires)
      for (const bid of state.waiting.values()) offer(event, bid, state)
      state.waiting.clear()
    }
  },
  onTimer(_, { key, state, emit }) {
    const best = state.best.get()
    const category = state.auction.get()?.category
    if (best !== undefined && category !== undefined) {
      emit({ auction: key, category, bidder: best.bidder, price: best.price })
    }
    state.auction.delete()
    state.best.delete()
  },
})
