// Query 18: the last bid of each bidder for each auction. Told when there is a later one; the last that is told of a bidder and an
// auction is the answer. Of one instant, the bid that came first.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, int64, tuple, uint32, value } from 'holdfast/state'
import { type Bid, DISORDER_MS } from '../events.js'

export const lastBid = defineJob<Bid, Bid>()({
  name: 'nexmark 18',
  key: ({ bidder, auction }): [number, number] => [bidder, auction],
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(DISORDER_MS) },
  schema: defineState({ key: tuple(uint32, uint32), states: { lastAt: value(int64) } }),
  process(bid, { state, emit }) {
    if (bid.at <= (state.lastAt.get() ?? -Infinity)) return
    state.lastAt.put(bid.at)
    emit(bid)
  },
})
