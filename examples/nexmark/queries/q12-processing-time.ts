// Query 12: how many bids does a bidder make in every ten seconds of the machine's clock? Windows are of event time, so a counter and a
// timer do it. Two runs do not give the same windows; together their counts are all bids.

import { defineJob } from 'holdfast/job'
import { defineState, uint32, value } from 'holdfast/state'
import type { Bid } from '../events.js'

export interface BidderCount {
  readonly bidder: number
  readonly bids: number
  readonly endMs: number
}

const SIZE_MS = 10_000

export const processingTime = defineJob<Bid, BidderCount>()({
  name: 'nexmark 12',
  key: ({ bidder }) => bidder,
  schema: defineState({ key: uint32, states: { bids: value(uint32, { default: () => 0 }) } }),
  process(_, { state, timers, now }) {
    state.bids.update((bids) => bids + 1)
    timers.processing.set((Math.floor(now() / SIZE_MS) + 1) * SIZE_MS)
  },
  onTimer({ timestampMs }, { key, state, emit }) {
    emit({ bidder: key, bids: state.bids.get(), endMs: timestampMs })
    state.bids.delete()
  },
})
